"""What data holds is counted right, however it is divided among processes, and shown on a page of its own."""

from __future__ import annotations

import html.parser
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tuwen.config import TuwenError
from tuwen.data.dataset import open_data, write_data
from tuwen.data.looking.frequent import Frequent
from tuwen.data.looking.page import BOTTOM, HEIGHT, WIDTH, histogram, size_map
from tuwen.data.looking.stats import LENGTHS, Statistics, count, mean, quantile
from tuwen.data.looking.stats_display import bar, sparkline, tables
from tuwen.data.looking.stats_page import write_stats_page
from tuwen.data.looking.stats_values import values_of
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.models.processing import TuwenProcessor

Record = dict[str, Any]


def write_lines(path: Path, records: list[Any]) -> Path:
    """JSON lines; a string stands for a line as it is."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def record(name: str, question: str, *answers: str, pictures: tuple[str, ...] = (), **values: Any) -> Record:
    """A conversation in Tuwen's form in which every question is the same."""
    turns: list[Record] = []
    for answer in answers:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    turns[0]["content"] = [*({"type": "image"} for _ in pictures), {"type": "text", "text": question}]
    return {"id": name, "messages": turns, "images": list(pictures), **values}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five samples of two tasks about two pictures, a broken line and a missing picture."""
    for name, size in (("wide.png", (64, 32)), ("tall.png", (20, 80))):
        PIL.Image.new("RGB", size, "red").save(tmp_path / name)
    return write_lines(
        tmp_path / "data.jsonl",
        [
            record("a", "What is it?", "A cat.", "Yes", pictures=("wide.png",), task="vqa", source="corpus"),
            record("b", "What was it?", "Yes", pictures=("wide.png", "tall.png"), task="vqa", source="corpus"),
            record("c", "图里有什么?", "猫", pictures=("gone.png",), task="vqa"),
            "{broken",
            record("d", "你好", "你好", task="text"),
            record("e", "Hello there", "", task="text"),
        ],
    )


def test_everything_is_counted(data: Path) -> None:
    found = count(open_data(data))
    assert (found.samples, found.broken, found.lost) == (5, 1, 1)
    assert {name: task.samples for name, task in found.tasks.items()} == {"vqa": 3, "text": 2}
    assert found.languages == {"en": 3, "zh": 2}
    assert found.sources == {"corpus": 2, "–": 3}
    assert found.turns == {2: 1, 1: 4}
    assert found.pictures == {1: 2, 2: 1, 0: 2}
    assert (found.places, found.different_pictures()) == (4, 3)
    assert found.sides == {64: 2, 80: 1}
    assert found.answers.top(9) == [("Yes", 2), ("A cat.", 1), ("你好", 1), ("猫", 1)]
    assert found.openings.top(2) == [("what is", 2), ("hello there", 1)]
    texts = [11 + 6 + 11 + 3, 12 + 3, 6 + 1, 2 + 2, 11]
    assert found.lengths["sample"] == Counter(texts)
    assert found.trained_share == pytest.approx((9 + 3 + 1 + 2 + 0) / sum(texts))
    assert "line 4" in found.problem or "gone.png" in found.problem


def test_tokens_are_those_of_training(data: Path, toy_run: Path) -> None:
    processor = TuwenProcessor.from_pretrained(toy_run / "model")
    found = count(open_data(data), processor)
    dataset = open_data(data)
    rendered = {}
    for entry in dataset.scan():
        if entry.sample is not None and entry.sample.id != "c":
            lengths = [processor.num_image_tokens(64, 32)] * len(entry.sample.images)
            rendered[entry.sample.id] = processor.renderer.render(entry.sample.messages, lengths)
    # What cannot be opened has no length, and the sample is counted among those that cannot be used.
    assert (found.samples, found.broken, found.lost) == (4, 2, 0)
    assert found.lengths["sample"] == Counter(len(one.input_ids) for one in rendered.values())
    assert found.lengths["answers"] == Counter(sum(label >= 0 for label in one.labels) for one in rendered.values())
    assert found.lengths["pictures"] == {processor.tokens_per_tile: 1, 2 * processor.tokens_per_tile: 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred samples of many tasks."""
    drawer = Synthesiser(SynthConfig(suites={"shapes": 1, "faces": 1, "words": 1, "text": 1}))
    path = tmp_path_factory.mktemp("stats") / "drawn.jsonl"
    write_data((sample for index in range(110) for sample in drawer.draw(4, index).samples), path)
    return path


def test_processes_count_the_same(drawn: Path) -> None:
    dataset = open_data(drawn)
    alone = count(dataset, workers=1)
    assert alone.samples > 17 * 64
    together = count(dataset, workers=2)
    assert values_of(together) == values_of(alone)
    assert together.gallery == alone.gallery


def test_data_without_a_sample_is_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "none.jsonl", [record("x", "What?", "A", pictures=("a",)) | {"images": []}])
    with pytest.raises(TuwenError, match="no sample in it can be used"):
        count(open_data(tmp_path / "none.jsonl", format="tuwen"))


class _Page(html.parser.HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]


def test_the_page_stands_alone_and_shows_samples_as_text(data: Path, tmp_path: Path) -> None:
    lines = data.read_text(encoding="utf-8")
    evil = record("<i>f</i>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", task="<b>bold</b>")
    data.write_text(lines + json.dumps(evil) + "\n", encoding="utf-8")
    dataset = open_data(data)
    out = tmp_path / "pages" / "stats.html"
    write_stats_page(out, count(dataset, shown=4), dataset)
    text = out.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert page.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert "http" not in text
    assert "<b>bold" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    # Samples about the same picture are shown once.
    assert (">a · en" in text) != (">b · en" in text)
    assert "gone.png: cannot be read" in text


def test_the_terminal_shows_the_same_figures(data: Path) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(tables(count(open_data(data))))
    text = console.export_text()
    for expected in ("5 samples", "3 pictures", "1 unusable", "vqa", "What", "corpus"):
        assert expected.lower() in text.lower()


# --- arithmetic ---

COUNTS = st.dictionaries(st.integers(0, 5000), st.integers(1, 50), min_size=1, max_size=40)


@given(COUNTS)
def test_quantiles_and_means_are_numpys(counts: dict[int, int]) -> None:
    values = np.repeat(list(counts), list(counts.values()))
    for share in (0.5, 0.9, 0.99, 1.0):
        assert quantile(counts, share) == np.quantile(values, share, method="inverted_cdf")
    assert mean(counts) == pytest.approx(values.mean())


@given(COUNTS)
def test_a_histogram_holds_everything_and_stays_in_its_frame(counts: dict[int, int]) -> None:
    plot = histogram(counts, {"p50": quantile(counts, 0.5)})
    shown = [int(bar.label.rsplit(": ", 1)[1].replace(",", "")) for bar in plot.bars]
    assert sum(shown) == sum(counts.values())
    for one in plot.bars:
        assert 0 <= one.x <= WIDTH + 0.2 - one.width
        assert 0 <= one.y <= HEIGHT - BOTTOM + 0.2 - one.height
    assert all(-0.2 <= mark.place <= WIDTH + 0.2 for mark in (*plot.ticks, *plot.lines))
    assert plot.ticks


@given(st.dictionaries(st.tuples(st.integers(0, 60), st.integers(0, 60)), st.integers(1, 99), min_size=1, max_size=30))
def test_a_map_of_sizes_stays_in_its_frame(sizes: dict[tuple[int, int], int]) -> None:
    plot = size_map(sizes)
    assert plot is not None
    assert len(plot.cells) == len(sizes)
    for cell in plot.cells:
        assert -0.2 <= cell.x <= plot.side - cell.side + 0.2
        assert -0.2 <= cell.y <= plot.side - cell.side + 0.2


@given(COUNTS, st.floats(0, 1))
def test_terminal_bars_fit(counts: dict[int, int], share: float) -> None:
    assert 1 <= len(sparkline(counts)) <= 32
    assert 1 <= len(bar(share, 10)) <= 10


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=60), max_size=6))
def test_frequent_texts_are_counted_within_what_was_forgotten(parts: list[list[str]]) -> None:
    whole = Frequent(most=4)
    for part in parts:
        other = Frequent(most=4)
        other.count(part)
        whole.add(other)
    exact = Counter(text for part in parts for text in part)
    assert whole.total == exact.total()
    assert len(whole.counts) <= 4
    for text, times in exact.items():
        assert times - whole.missed <= whole.counts[text] <= times


@given(st.permutations(range(5)), st.integers(1, 4))
def test_parts_add_up_in_any_division(order: list[int], cut: int) -> None:
    def part(numbers: list[int]) -> Statistics:
        found = Statistics()
        for number in numbers:
            one = Statistics()
            one.turns[number] += 1
            one.lengths[LENGTHS[0]][number] += number
            one.answers.count([str(number % 2)])
            found.add(one)
        return found

    left, right = part(order[:cut]), part(order[cut:])
    left.add(right)
    whole = part(sorted(order))
    assert (left.turns, left.lengths, left.answers.counts) == (whole.turns, whole.lengths, whole.answers.counts)
