"""Pages, documents and charts: the labels are what is drawn, for everyone the same, in both languages."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.chat.grounding import parse_boxes
from tuwen.config import TuwenError, parse_config
from tuwen.data.sample import Region, Sample
from tuwen.data.synth import SUITES, Drawn, SynthConfig, Synthesiser
from tuwen.data.synth.canvas import SCALE
from tuwen.data.synth.fonts import Script, typefaces
from tuwen.data.synth.reading.distortion import Warp
from tuwen.data.synth.reading.layout import LAYOUTS, Board
from tuwen.data.synth.vocabulary.corpus import Corpus, fill
from tuwen.data.synth.vocabulary.hanzi import FREQUENT, LEVEL_1, RANKED, TRADITIONAL, characters, to_traditional

SUITES_HERE = ("chart", "document", "ocr")


@cache
def draw(suite: str, count: int) -> list[Drawn]:
    """Pictures of one suite with all questions."""
    synthesiser = Synthesiser(SynthConfig(suites={suite: 1.0}, questions=None))
    return [synthesiser.draw(5, index) for index in range(count)]


def asked(drawn: Drawn, task: str) -> list[Sample]:
    """The samples of a task."""
    return [sample for sample in drawn.samples if sample.task == task]


def fingerprints(count: int) -> str:
    """Of pixels, questions, answers and regions of all suites here."""
    synthesiser = Synthesiser(SynthConfig(suites=dict.fromkeys(SUITES_HERE, 1.0)))
    found = []
    for index in range(count):
        drawn = synthesiser.draw(9, index)
        assert drawn.image is not None
        labels = [(sample.id, sample.messages, sample.task, sample.pair) for sample in drawn.samples]
        found.append(hashlib.sha256(drawn.image.tobytes() + repr((labels, drawn.regions)).encode()).hexdigest())
    return "".join(found)


# --- the same for everyone, in both languages ---


def test_another_process_draws_the_same() -> None:
    script = "from tests.data.test_synth_reading import fingerprints; print(fingerprints(12))"
    environment = {**os.environ, "PYTHONHASHSEED": "3"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert result.stdout.strip() == fingerprints(12), result.stderr


@pytest.mark.parametrize("suite", SUITES_HERE)
def test_every_task_is_asked_in_both_languages_and_pairs_are_whole(suite: str) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for drawn in draw(suite, 60):
        assert drawn.image is not None
        assert max(drawn.image.size) == 448
        pairs: dict[str, list[str]] = {}
        for sample in drawn.samples:
            counts[sample.task, sample.language] += 1
            assert sample.answer
            assert "{" not in sample.messages[0].text
            if sample.task.endswith("_yesno"):
                assert sample.pair is not None
                pairs.setdefault(sample.pair, []).append(sample.answer)
        assert all(answers in (["是", "否"], ["yes", "no"]) for answers in pairs.values())
    assert {task for task, _ in counts} == set(SUITES.get(suite).tasks)
    assert all(counts[task, language] for task in SUITES.get(suite).tasks for language in ("zh", "en"))


@pytest.mark.parametrize("suite", SUITES_HERE)
def test_regions_lie_whole_in_the_picture(suite: str) -> None:
    for drawn in draw(suite, 60):
        for region in drawn.regions:
            left, top, right, bottom = region.box
            # A side at 0 or 1 would mean that something was cut off.
            assert 0 < left < right < 1, region
            assert 0 < top < bottom < 1, region


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"suites": {"ocr": 1}, "size": 100}, "settings.ocr: size: .*224, found 100"),
        ({"suites": {"document": 1}, "size": 128}, "settings.document: size: .*384, found 128"),
        ({"suites": {"chart": 1}, "size": 64}, "settings.chart: size: .*320, found 64"),
        ({"suites": {"ocr": 1}, "settings": {"ocr": {"scripts": {"latn": 1}}}}, "unknown script 'latn'.*'latin'"),
        ({"suites": {"ocr": 1}, "settings": {"ocr": {"scripts": {"latin": -1}}}}, "latin: a weight must be above 0"),
        ({"suites": {"ocr": 1}, "settings": {"ocr": {"distortion": 2}}}, "distortion.*found 2"),
    ],
)
def test_mistakes_are_named(values: dict, message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        Synthesiser(parse_config(SynthConfig, values, "sources.0"))
    assert "\n" not in str(caught.value)


def test_every_suite_has_its_own_size_unless_one_is_given() -> None:
    sizes = [drawn.image.size for suite in ("ocr", "words") for drawn in draw(suite, 1) if drawn.image is not None]
    assert sizes[0] != sizes[1] == (128, 128)
    drawn = Synthesiser(SynthConfig(suites={"ocr": 1.0}, size=320)).draw(0, 0)
    assert drawn.image is not None
    assert max(drawn.image.size) == 320


# --- text ---


def test_characters_are_those_of_the_first_level_and_their_forms() -> None:
    assert len(LEVEL_1) == len(set(LEVEL_1)) == 3755
    assert sorted(RANKED) == sorted(LEVEL_1)
    assert RANKED.startswith(FREQUENT)
    drawn = Counter(characters(random.Random(0), 60_000))
    assert sum(drawn[character] for character in FREQUENT[:100]) > 3 * sum(drawn[c] for c in LEVEL_1[-100:])
    assert set(TRADITIONAL) <= set(LEVEL_1)
    "".join(TRADITIONAL.values()).encode("big5hkscs")


@pytest.mark.parametrize(
    ("simplified", "traditional"),
    [("理发店在后面", "理髮店在後面"), ("干净的面条", "乾淨的麵條"), ("皇后的头发", "皇后的頭髮"), ("发现", "發現")],
)
def test_the_form_of_a_character_follows_its_word(simplified: str, traditional: str) -> None:
    assert to_traditional(simplified) == traditional


def test_traditional_pages_hold_no_simplified_characters() -> None:
    config = SynthConfig.model_validate({"suites": {"ocr": 1}, "settings": {"ocr": {"scripts": {"traditional": 1}}}})
    synthesiser = Synthesiser(config)
    text = "".join(region.text for index in range(40) for region in synthesiser.draw(0, index).regions)
    assert sum(character >= "一" for character in text) > 500
    # Big5 has traditional characters only; the few rare ones that it lacks have one form.
    lacking = {character for character in text if not character.encode("big5hkscs", errors="ignore")}
    assert not lacking & set(TRADITIONAL)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**9), script=st.sampled_from(["simplified", "traditional", "latin"]))
def test_a_phrase_and_its_near_miss_are_texts_of_the_corpus(seed: int, script: Script) -> None:
    corpus, rng = Corpus(script), random.Random(seed)
    alphabet = {*corpus.alphabet(), " "}
    for phrase in (corpus.sentence(rng), corpus.short(rng), corpus.mixed(rng), corpus.heading(rng)):
        assert phrase.text != phrase.other
        assert {*phrase.text, *phrase.other} <= alphabet
        assert not re.search(r"\b[Aa] [aeiou]|[{}]", phrase.text)


def test_neither_a_text_nor_its_near_miss_is_the_likelier() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    rng = random.Random(1)
    for _ in range(4000):
        phrase = fill("{word}!", {"word": lambda rng: rng.choice("aaab")}, rng)
        counts[phrase.text, phrase.other] += 1
    assert set(counts) == {("a!", "b!"), ("b!", "a!")}
    assert abs(counts["a!", "b!"] - 2000) < 160


@settings(max_examples=40)
@given(seed=st.integers(0, 10**9), strength=st.floats(0.01, 1), wide=st.integers(120, 900), high=st.integers(120, 900))
def test_a_warp_leads_there_and_back_and_nothing_leaves_the_picture(
    seed: int, strength: float, wide: int, high: int
) -> None:
    warp = Warp.random(random.Random(seed), (wide, high), (448, 320), strength)
    points = [(0, 0), (wide, 0), (wide, high), (0, high), (wide / 3, high / 5), (wide / 2, high)]
    there = warp.forward(points)
    assert np.allclose(warp.backward(there), points, atol=1e-6)
    assert there.min() >= 0
    assert (there <= (448, 320)).all()


@pytest.mark.parametrize("seed", range(6))
def test_pixels_go_where_points_go(seed: int) -> None:
    """Dots on a sheet are found in the picture where the warp says."""
    sheet = PIL.Image.new("RGB", (400 * SCALE, 300 * SCALE), "white")
    dots = [(60, 50), (330, 60), (200, 150), (70, 250), (350, 240)]
    pixels = np.asarray(sheet).copy()
    ys, xs = np.mgrid[: 300 * SCALE, : 400 * SCALE]
    for x, y in dots:
        pixels[np.hypot(xs + 0.5 - x * SCALE, ys + 0.5 - y * SCALE) < 6 * SCALE] = 0
    warp = Warp.random(random.Random(seed), (400, 300), (448, 336), 1.0)
    picture = np.asarray(warp.apply(PIL.Image.fromarray(pixels), PIL.Image.new("RGB", (448, 336), "white")))
    dark = 255 - picture.min(axis=-1).astype(float)
    for x, y in warp.forward(dots):
        left, top = round(x) - 12, round(y) - 12
        patch = dark[top : top + 24, left : left + 24]
        rows, columns = np.mgrid[top : top + 24, left : left + 24] + 0.5
        assert (columns * patch).sum() / patch.sum() == pytest.approx(x, abs=0.75)
        assert (rows * patch).sum() / patch.sum() == pytest.approx(y, abs=0.75)


@pytest.mark.parametrize("script", ["simplified", "latin"])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "scattered"])
def test_the_ink_of_a_layout_is_that_of_its_lines(layout: str, script: Script) -> None:
    """No ink outside the lines' boxes, and ink at all four sides of each."""
    if layout == "upright" and script == "latin":
        return
    corpus = Corpus(script)
    faces = typefaces(corpus.script, corpus.alphabet())
    for seed in range(6):
        sheet = PIL.Image.new("RGB", (400 * SCALE, 420 * SCALE), "white")
        board = Board(sheet, random.Random(seed), corpus, faces, (0, 0, 0))
        LAYOUTS[layout].write(board)
        ink = np.asarray(board.image).min(axis=-1) < 200
        for line in board.lines:
            left, top, right, bottom = (round(side * SCALE) for side in (*line.corners[0], *line.corners[2]))
            ys, xs = np.nonzero(ink[top:bottom, left:right])
            # Faint edges of strokes do not count as ink.
            assert max(xs.min(), ys.min(), right - left - 1 - xs.max(), bottom - top - 1 - ys.max()) <= 3, line
        for line in board.lines:
            left, top, right, bottom = (round(side * SCALE) for side in (*line.corners[0], *line.corners[2]))
            ink[top - 1 : bottom + 1, left - 1 : right + 1] = False
        assert not ink.any(), (layout, seed)


def contrast(image: PIL.Image.Image, region: Region) -> float:
    """Difference between light and dark in a region."""
    width, height = image.size
    left, top, right, bottom = region.box
    box = (int(left * width), int(top * height), int(right * width) + 1, int(bottom * height) + 1)
    values = np.asarray(image.convert("L").crop(box), float)
    return float(np.percentile(values, 97) - np.percentile(values, 3))


@pytest.mark.parametrize("suite", ["document", "ocr"])
def test_there_is_something_to_read_in_each_region(suite: str) -> None:
    for drawn in draw(suite, 60):
        assert drawn.image is not None
        for region in drawn.regions:
            assert contrast(drawn.image, region) > 28, (drawn.samples[0].id, region)


def test_answers_about_pages_follow_from_the_regions() -> None:
    for drawn in draw("ocr", 60):
        lines = [region.text for region in drawn.regions]
        boxes = {region.text: region.box for region in drawn.regions}
        joined = {"".join(lines), " ".join(lines)}
        for sample in drawn.samples:
            question = sample.messages[0].text
            match sample.task:
                case "ocr_page":
                    assert sample.answer.split("\n") == lines
                case "ocr_line" | "ocr_column":
                    (number,) = re.findall(r"[0-9]+", question)
                    assert sample.answer == lines[int(number) - 1]
                case "ocr_grounding":
                    (grounding,) = parse_boxes(sample.answer)
                    assert grounding.label in question
                    assert grounding.box == pytest.approx(boxes[grounding.label], abs=0.0011)
                case "ocr_box":
                    (grounding,) = parse_boxes(question)
                    assert grounding.box == pytest.approx(boxes[sample.answer], abs=0.0011)
                case _:
                    text = "".join(re.findall('“([^”]*)”|"([^"]*)"', question)[0])
                    assert (sample.answer in ("是", "yes")) == any(text in page for page in joined)


def test_columns_are_read_from_the_right() -> None:
    seen = 0
    for drawn in draw("ocr", 60):
        if asked(drawn, "ocr_column"):
            places = [region.box[0] + region.box[2] for region in drawn.regions]
            assert places == sorted(places, reverse=True)
            seen += 1
    assert seen
