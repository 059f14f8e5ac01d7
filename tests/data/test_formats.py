"""Every format keeps a sample or refuses it by name, in every kind of file; published records are known as such."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.corpora import draw, put, put_lines
from tuwen.chat.messages import Image, Message, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS
from tuwen.data.dataset import Dataset, open_data, write_data
from tuwen.data.formats.base import FORMATS, Reading
from tuwen.data.media import PictureFolder, picture_bytes
from tuwen.data.sample import Region, Sample, Stored, plain_parts

WRITTEN = ["caption", "llava", "openai", "preference", "qwen_vl", "sharegpt", "swift", "tuwen"]
PLACES = [(format, container) for format in WRITTEN for container in FORMATS.get(format).containers]
FIXTURES = Path(__file__).parents[2] / "../shared/fixtures/qwen_vl"


# --- samples of all kinds ---


@cache
def png(colour: str = "teal") -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (6, 4), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A picture in each of the forms that a sample may have one in."""
    home = tmp_path_factory.mktemp("pictures")
    with zipfile.ZipFile(home / "some.zip", "w") as archive:
        archive.writestr("inner/a b.png", png("gold"))
    (home / "plain.png").write_bytes(png("red"))
    (home / "它 “1”, 2.png").write_bytes(png("blue"))
    opened = PIL.Image.new("RGB", (3, 2), "green")
    stored = [Stored(str(home / "some.zip"), "inner/a b.png")]
    return [home / "plain.png", home / "它 “1”, 2.png", *stored, png("pink"), b"of no known kind", opened]


# What has a meaning in one of the formats or files, and must not get it by chance.
PIECES = [
    "\n", "\r\n", "\r", "\t", '"', '""', ",", ";", "|", "'", "\\", "\0", "\u2028", "\ufeff", " ", "#0", "[", "{", "1",
    "<image>", "<image>\n", "<img>a.png</img>", "<img></img>", "Picture 1: ", "<bbox>", "<ref-object>",
    "<box>(1,2),(3,4)</box>", "😀", "好", "a.png", "data:image/png;base64,", "https://x.org/a.png", "\ud800",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=5).map("".join)
NAMES = st.text(min_size=1, max_size=12) | TEXTS.filter(bool)
LABELS = st.sampled_from([None, None, None, "", "Picture 1: ", "Picture 2: ", "Picture 7:", "图一"])
SIDES = st.floats(0, 1).map(lambda side: round(side, 4))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    parts = st.lists(TEXTS.map(Text) | LABELS.map(Image) | st.just(Image()), max_size=4)
    asked = st.builds(Message, st.just("user"), st.builds(lambda text: (Image(), Text(text)), NAMES))
    said = st.builds(Message, st.just("assistant"), NAMES.map(lambda text: (Text(text),)))
    anything = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), parts.map(tuple))
    turns = draw(st.tuples(asked, said) | st.lists(anything, min_size=1, max_size=4))
    return tuple(Message(turn.role, plain_parts(turn.parts)) for turn in turns)


@st.composite
def samples(draw: st.DrawFn, name: str) -> Sample:
    """A sample in normal form; its pictures are numbers in a byte, for ``fill`` to put some there."""
    messages = draw(conversations())
    count = sum(isinstance(part, Image) for message in messages for part in message.parts)
    sides = st.tuples(SIDES, SIDES).map(sorted)
    region = st.builds(
        lambda across, down, text, image: Region(box=(across[0], down[0], across[1], down[1]), text=text, image=image),
        sides, sides, TEXTS, st.integers(0, 3),
    )  # fmt: skip
    return Sample(
        id=name + draw(TEXTS),
        messages=messages,
        images=tuple(bytes([draw(st.integers(0, 5))]) for _ in range(count)),
        task=draw(st.just("") | TEXTS),
        language=draw(st.sampled_from(["zh", "en"])),
        pair=draw(st.none() | NAMES),
        regions=tuple(draw(st.lists(region, max_size=2))),
        source=draw(st.just("") | TEXTS),
        rejected=draw(st.none() | NAMES) if messages[-1].role == "assistant" else None,
    )


def fill(sample: Sample, pictures: list[Any]) -> Sample:
    numbers = (number[0] for number in sample.images if isinstance(number, bytes))
    return replace(sample, images=tuple(pictures[number] for number in numbers))


def plain(sample: Sample) -> Sample:
    """The sample with its pictures' bytes, wherever it was read."""
    return replace(sample, images=tuple(picture_bytes(picture) for picture in sample.images), origin=None)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def kept(made: list[Sample], out: Path, format: str, *, pack: bool) -> Dataset | None:
    """The samples written and opened again, or None if one was refused by name."""
    refusal = ""
    try:
        count = write_data(made, out, format=format, pack=pack)
    except TuwenError as error:
        refusal = str(error)
    if not refusal:
        assert count == len(made)
        return open_data(out, format=format)
    names = [" ".join(shown.split()) for sample in made for shown in (sample.id, ascii(sample.id))]
    assert any(name in refusal for name in names), refusal
    assert not out.exists()
    return None


SOME = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(("format", "container"), PLACES)
@SOME
@given(data=st.data())
def test_what_is_written_is_read_again_or_refused_by_name(
    format: str, container: str, data: st.DataObject, pictures: list[Any]
) -> None:
    drawn = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    made = [fill(data.draw(samples(f"n{number}")), pictures) for number in drawn]
    suffix = data.draw(st.sampled_from([s for s in CONTAINERS.get(container).suffixes if s != ".txt"]))
    with folder() as home:
        dataset = kept(made, home / f"data{suffix}", format, pack=data.draw(st.booleans()))
        if dataset is None:
            return
        entries = list(dataset.scan())
        assert [entry.error for entry in entries] == [None] * len(made)
        read = [entry.sample for entry in entries if entry.sample]
        assert [plain(sample) for sample in read] == [plain(sample) for sample in made]
        # Any of them by itself, in any order.
        for entry in reversed(entries):
            assert dataset.sample(entry.place) == entry.sample


@settings(SOME, max_examples=150)
@given(data=st.data())
def test_there_and_back_again(data: st.DataObject, pictures: list[Any]) -> None:
    first, second = data.draw(st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES)))
    made = [fill(data.draw(samples("one")), pictures)]
    with folder() as home:
        suffixes = [CONTAINERS.get(container).suffixes[0] for _, container in (first, second)]
        there = kept(made, home / f"a{suffixes[0]}", first[0], pack=data.draw(st.booleans()))
        away = there and kept(list(there), home / f"b{suffixes[1]}", second[0], pack=data.draw(st.booleans()))
        back = away and kept(list(away), home / f"c{suffixes[0]}", first[0], pack=False)
        if away is not None:
            assert back is not None, "it was kept before"
            assert [plain(sample) for sample in back] == [plain(sample) for sample in made]


PLAIN = Sample(
    id="1/a",
    messages=(Message.of("user", Image(), 'What, "is"\tthis?\n😀'), Message.of("assistant", "一只猫。\nA cat.")),
    images=(png(),),
    task="vqa",
    pair="p",
    source="here, there",
    regions=(Region(box=(0, 0.25, 0.5, 1), text="猫"),),
)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(("format", "container"), PLACES)
def test_an_ordinary_sample_is_kept_and_known_again(format: str, container: str, pack: bool, tmp_path: Path) -> None:
    if format == "qwen_vl" and pack:
        pytest.skip("names its pictures")
    rejected = "一只狗。" if FORMATS.get(format).keeps_rejected and (pack or format == "preference") else None
    made = [replace(PLAIN, id=str(number), rejected=rejected) for number in range(3)]
    out = tmp_path / f"data{CONTAINERS.get(container).suffixes[0]}"
    write_data(made, out, format=format, pack=pack)
    dataset = open_data(out)
    assert dataset.format.name == format
    assert [plain(sample) for sample in dataset] == [plain(sample) for sample in made]
    beside = {path.name for path in tmp_path.iterdir()}
    assert beside == ({out.name} if pack or container == "tar" else {out.name, "data_images"})


def test_what_a_format_cannot_keep_is_said(tmp_path: Path) -> None:
    def refused(format: str, *parts: Any, role: Any = "user", pack: bool = False) -> str:
        count = sum(isinstance(part, Image) for part in parts)
        sample = Sample(id="s1", messages=(Message.of(role, *parts),), images=(png(),) * count)
        with pytest.raises(TuwenError) as error:
            write_data([sample], tmp_path / "x.json", format=format, pack=pack)
        assert not list(tmp_path.glob("*.json"))
        return str(error.value)

    rest = "; write the format tuwen, which keeps everything"
    assert refused("llava", "<image>") == f"s1: its text holds <image>, which would become the place of a picture{rest}"
    assert (
        refused("swift", Image(label="图一")) == f"s1: the label '图一' of a picture has no place in this format{rest}"
    )
    assert (
        refused("openai", Image(label="A: ")) == f"s1: the label 'A: ' of a picture has no place in this format{rest}"
    )
    where = "a picture in a turn of the assistant has no place"
    assert refused("llava", Image(), role="assistant") == f"s1: {where} in LLaVA's format{rest}"
    assert refused("qwen_vl", Image(), role="assistant") == f"s1: {where} in Qwen-VL's format{rest}"
    assert refused("qwen_vl", Image(), pack=True).startswith("s1: Qwen-VL names pictures in the text")
    assert "would be read as something else" in refused("qwen_vl", "<img>a.png</img>")
    assert refused("caption", "hello").startswith("s1: this format keeps questions and answers in turn")
    for format in sorted(set(WRITTEN) - {"preference", "sharegpt", "swift", "tuwen"}):
        with pytest.raises(TuwenError, match=f"^1/a: its rejected answer has no place in the format {format}; write"):
            write_data([replace(PLAIN, rejected="一只狗。")], tmp_path / "x.json", format=format)
    with pytest.raises(TuwenError, match="^1/a: it has no rejected answer"):
        write_data([PLAIN], tmp_path / "x.json", format="preference")
    blank = Sample(id="s1", messages=(*PLAIN.messages[:1], Message.of("assistant", " \n")), images=(png(),))
    with pytest.raises(TuwenError, match="^s1: its answer is blank, which is no caption; write the format tuwen"):
        write_data([blank], tmp_path / "x.csv", format="caption")


# --- records as they are published ---


def said(sample: Sample) -> list[str]:
    """The conversation in a line a turn, with ⟨⟩ where a picture stands and its label in it."""
    signs = {"system": "S", "user": "Q", "assistant": "A"}
    return [
        f"{signs[message.role]} "
        + "".join(f"⟨{part.label or ''}⟩" if isinstance(part, Image) else part.text for part in message.parts)
        for message in sample.messages
    ]


def named(sample: Sample) -> list[str]:
    """The names of the pictures that are files."""
    return [picture.name if isinstance(picture, Path) else str(picture)[:40] for picture in sample.images]


LLAVA: dict[str, Any] = {
    "id": "000000033471",
    "image": "a.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "White and red."},
        {"from": "human", "value": "And the feature on its back?"},
        {"from": "gpt", "value": "An advertisement."},
    ],
}
LLAVA_SAID = [
    "Q ⟨⟩What are the colors of the bus?", "A White and red.", "Q And the feature on its back?", "A An advertisement.",
]  # fmt: skip
TURNS = [{"role": "user", "content": "<image>这是谁?"}, {"role": "assistant", "content": "凯恩。"}]
TURNS_SAID = ["Q ⟨⟩这是谁?", "A 凯恩。"]
PART = {"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}}
# Format, name of the file, its records, and what the first of them says about which pictures.
EXAMPLES: dict[str, tuple[str, str, list[Any], list[str], list[str]]] = {
    "LLaVA-Instruct": ("llava", "x.json", [LLAVA], LLAVA_SAID, ["a.png"]),
    "LLaVA-665k, with text alone": (
        "llava",
        "x.json",
        [LLAVA, {"id": "t", "conversations": LLAVA["conversations"][2:]}],
        LLAVA_SAID,
        ["a.png"],
    ),
    "LLaVA-NeXT, two pictures": (
        "llava",
        "x.jsonl",
        [
            {
                "id": 7,
                "image": ["a.png", "b.png"],
                "conversations": [
                    {"from": "human", "value": "<image>\n<image>\nWhich is larger?"},
                    {"from": "gpt", "value": "The <image> tag is no picture here."},
                ],
            }
        ],
        ["Q ⟨⟩⟨⟩Which is larger?", "A The <image> tag is no picture here."],
        ["a.png", "b.png"],
    ),
    "Qwen-VL": (
        "qwen_vl",
        "x.json",
        [
            {
                "id": "identity_1",
                "conversations": [
                    {"from": "user", "value": "Picture 1: <img>a.png</img>\n图中的狗是什么品种?"},
                    {"from": "assistant", "value": "拉布拉多。"},
                    {"from": "user", "value": "框出图中的格子衬衫"},
                    {"from": "assistant", "value": "<ref>格子衬衫</ref><box>(588,499),(725,789)</box>"},
                ],
            },
            {
                "id": "identity_2",
                "conversations": [{"from": "user", "value": "你好"}, {"from": "assistant", "value": "你好。"}],
            },
        ],
        [
            "Q ⟨⟩图中的狗是什么品种?",
            "A 拉布拉多。",
            "Q 框出图中的格子衬衫",
            "A <ref>格子衬衫</ref><box>(588,499),(725,789)</box>",
        ],
        ["a.png"],
    ),
    "Qwen-VL, counted through the conversation": (
        "qwen_vl",
        "x.json",
        [
            {
                "id": "m",
                "conversations": [
                    {"from": "user", "value": "Picture 1: <img>a.png</img>\nA?"},
                    {"from": "assistant", "value": "a"},
                    {"from": "user", "value": "Picture 2: <img>b.png</img>\n<img>a.png</img>B?"},
                    {"from": "assistant", "value": "b"},
                ],
            }
        ],
        ["Q ⟨⟩A?", "A a", "Q ⟨Picture 2: ⟩⟨⟩B?", "A b"],
        ["a.png", "b.png", "a.png"],
    ),
    "LLaMA-Factory, ShareGPT": (
        "sharegpt",
        "x.json",
        [
            {
                "conversations": [
                    {"from": "human", "value": "<image>Who are they?"},
                    {"from": "gpt", "value": "Two players."},
                ],
                "system": "Be brief.",
                "tools": "",
                "images": ["a.png"],
            }
        ],
        ["S Be brief.", "Q ⟨⟩Who are they?", "A Two players."],
        ["a.png"],
    ),
    "LLaMA-Factory and ms-swift, messages": (
        "swift", "x.json", [{"messages": TURNS, "images": ["a.png"]}], TURNS_SAID, ["a.png"],
    ),
    "ms-swift, a picture without a place": (
        "swift",
        "x.jsonl",
        [
            {
                "messages": [{"role": "system", "content": "S."}, {"role": "user", "content": "Hm?"}, TURNS[1]],
                "images": {"bytes": None, "path": "a.png"},
            }
        ],
        ["S S.", "Q ⟨⟩Hm?", "A 凯恩。"],
        ["a.png"],
    ),
    "ms-swift, pre-training": (
        "swift",
        "x.jsonl",
        [
            {
                "messages": [{"role": "assistant", "content": "<image>is a puppy, <image>is a kitten"}],
                "images": ["a.png", "b.png"],
            }
        ],
        ["A ⟨⟩is a puppy, ⟨⟩is a kitten"],
        ["a.png", "b.png"],
    ),
    "ms-swift 2, query and response": (
        "swift",
        "x.jsonl",
        [
            {
                "system": "S.",
                "query": "<image>And now?",
                "response": "Now.",
                "history": [["First?", "First."]],
                "images": ["a.png"],
            }
        ],
        ["S S.", "Q First?", "A First.", "Q ⟨⟩And now?", "A Now."],
        ["a.png"],
    ),
    "ms-swift, pairs": (
        "swift",
        "x.jsonl",
        [{"system": "S.", "conversation": [{"human": "1?", "assistant": "1."}, {"human": "2?", "assistant": "2."}]}],
        ["S S.", "Q 1?", "A 1.", "Q 2?", "A 2."],
        [],
    ),
    "Alpaca with pictures": (
        "swift",
        "x.json",
        [{"instruction": "翻译", "input": "<image>", "output": "狗", "images": ["a.png"]}],
        ["Q 翻译\n⟨⟩", "A 狗"],
        ["a.png"],
    ),
    "OpenAI, fine-tuning": (
        "openai",
        "x.jsonl",
        [
            {
                "messages": [
                    {"role": "developer", "content": "You know cheese."},
                    {"role": "user", "content": "What is this cheese?"},
                    {"role": "user", "content": [PART, {"type": "text", "text": " Well?"}]},
                    {"role": "assistant", "content": "Danbo", "weight": 1},
                ]
            }
        ],
        ["S You know cheese.", "Q What is this cheese?", "Q ⟨⟩ Well?", "A Danbo"],
        ["a.png"],
    ),
    "Qwen2-VL's messages": (
        "openai",
        "x.jsonl",
        [
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "这是谁?"}],
                    },
                    TURNS[1],
                ]
            }
        ],
        TURNS_SAID,
        ["a.png"],
    ),
    "Tuwen, text alone": ("tuwen", "x.jsonl", [{"messages": [TURNS[1]]}], ["A 凯恩。"], []),
    "LLaVA-558k's captions": (
        "caption",
        "x.json",
        [{"id": "004539375", "image": "a.png", "blip_caption": "a select luxury furniture", "url": "http://x.org/1"}],
        ["Q ⟨⟩Describe the picture.", "A a select luxury furniture"],
        ["a.png"],
    ),
    "LLaMA-Factory, ranked": (
        "sharegpt",
        "x.json",
        [
            {
                "conversations": [{"from": "human", "value": "<image>How many?"}],
                "chosen": {"from": "gpt", "value": "Two."},
                "rejected": {"from": "gpt", "value": "Worse."},
                "images": ["a.png"],
            }
        ],
        ["Q ⟨⟩How many?", "A Two."],
        ["a.png"],
    ),
    "LLaMA-Factory, ranked text alone": (
        "sharegpt",
        "x.json",
        [
            {
                "conversations": [{"from": "human", "value": "How many?"}],
                "chosen": {"from": "gpt", "value": "Two."},
                "rejected": {"from": "gpt", "value": "Worse."},
            }
        ],
        ["Q How many?", "A Two."],
        [],
    ),
    "ms-swift, ranked": (
        "swift",
        "x.jsonl",
        [{"messages": TURNS, "images": ["a.png"], "rejected_response": said} for said in ("Worse.", None)],
        TURNS_SAID,
        ["a.png"],
    ),
    "RLAIF-V": (
        "preference",
        "x.jsonl",
        [{"image": "a.png", "question": "How many?", "chosen": "Two.", "rejected": "Worse.", "origin_dataset": "vqa"}],
        ["Q ⟨⟩How many?", "A Two."],
        ["a.png"],
    ),
    "RLHF-V": (
        "preference",
        "x.jsonl",
        [
            {
                "image": "a.png",
                "text": '{"question": "How many?", "chosen": "[Two].", "rejected": "Worse."}',
                "ds_name": "RLHF-V",
            }
        ],
        ["Q ⟨⟩How many?", "A [Two]."],
        ["a.png"],
    ),
    "TRL, with parts": (
        "preference",
        "x.jsonl",
        [
            {
                "images": ["a.png"],
                "prompt": [
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},
                ],
                "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "Two."}]}],
                "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "Worse."}]}],
            }
        ],
        ["Q ⟨⟩How many?", "A Two."],
        ["a.png"],
    ),
    "UltraFeedback": (
        "preference",
        "x.jsonl",
        [
            {
                "prompt": "How many?",
                "chosen": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Two."}],
                "rejected": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Worse."}],
            }
        ],
        ["Q How many?", "A Two."],
        [],
    ),
    "AI Challenger": (
        "caption",
        "x.json",
        [{"url": "http://x.org/1", "image_id": "a.png", "caption": ["一个人。", "两个人。"]}],
        ["Q ⟨⟩描述这张图片。", "A 一个人。"],
        ["a.png"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_records_are_known_by_themselves(name: str, tmp_path: Path) -> None:
    format, file, records, turns, images = EXAMPLES[name]
    write = put_lines if file.endswith("l") else put
    dataset = open_data(write(tmp_path / file, records))
    first = next(iter(dataset))
    assert (dataset.format.name, said(first), named(first)) == (format, turns, images)
    assert len({sample.id for sample in dataset}) == len(list(dataset))
    assert first.rejected == ("Worse." if "Worse." in json.dumps(records) else None)
    # Exactly one format takes it, so that nobody has to be asked.
    own = FORMATS.get("tuwen")
    taken = [kind for kind in map(FORMATS.get, FORMATS.names()) if all(kind.recognises(record) for record in records)]
    assert own in taken or [kind.name for kind in taken] == [format]


TABLES = {
    "Flickr8k": ("x.token", "1000.jpg#0\tA \"dog\" runs .\n1000.jpg#1\tTwo dogs .\n", "1000.jpg#0", 'A "dog" runs .'),
    "Flickr30k-CNA": ("x.txt", "6228559981\t一个孩子跑。\n6244908705\t那个男人。\n", "6228559981", "一个孩子跑。"),
    "Flickr30k-CN": ("x.txt", "1007#zhm#0\t一个孩子。\n1007#zhm#1\t孩子。\n", "1007#zhm#0", "一个孩子。"),
    "Flickr30k of Kaggle": (
        "x.csv", "image_name| comment_number| comment\n1000.jpg| 0| Two, White guys\n", "x.csv@36", "Two, White guys",
    ),
    "a table of pandas": ("x.tsv", 'picture\ttitle\n1000.jpg\t"A\nB ""C"""\n', "x.tsv@14", 'A\nB "C"'),
    "from Excel, with a mark": ("x.csv", "\ufeff图片,描述\r\n1000.jpg,\"好,\"\r\n", "x.csv@18", "好,"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_captions_are_known_by_themselves(name: str, tmp_path: Path) -> None:
    file, text, identity, caption = TABLES[name]
    (tmp_path / file).write_bytes(text.encode())
    dataset = open_data(tmp_path / file)
    first = next(iter(dataset))
    assert (dataset.format.name, first.id, first.answer) == ("caption", identity, caption)
    assert named(first) in (["1000.jpg"], ["6228559981.jpg"], ["1007.jpg"])


def test_addresses_of_the_web_are_named_and_never_fetched(tmp_path: Path) -> None:
    (tmp_path / "Train_GCC.tsv").write_text("a bus station\thttp://x.org/a?b=1\n", encoding="utf-8")
    (sample,) = open_data(tmp_path / "Train_GCC.tsv")
    assert (sample.answer, sample.images) == ("a bus station", (Stored("http://x.org/a?b=1"),))
    with pytest.raises(TuwenError, match="nothing is fetched from the web; download it first"):
        picture_bytes(sample.images[0])


def test_captions_of_coco_are_joined_with_their_pictures(tmp_path: Path) -> None:
    draw(tmp_path / "COCO_1.jpg")
    coco = {
        "info": {"year": 2014, "contributor": "us"},
        "images": [{"license": 5, "file_name": "COCO_1.jpg", "id": 57870}, {"file_name": "b.jpg", "id": 2}],
        "licenses": [{"id": 1}],
        "annotations": [
            {"image_id": 57870, "id": 787980, "caption": "A restaurant."},
            {"image_id": 3, "id": 5, "caption": "Nothing."},
            {"image_id": 2, "id": 6, "caption": "一只猫。"},
        ],
    }
    dataset = open_data(put(tmp_path / "captions_train2014.json", coco))
    first, broken, last = dataset.scan()
    assert first.sample is not None
    assert last.sample is not None
    assert (first.sample.id, said(first.sample)) == ("787980", ["Q ⟨⟩Describe the picture.", "A A restaurant."])
    assert picture_bytes(first.sample.images[0]) == (tmp_path / "COCO_1.jpg").read_bytes()
    assert str(broken.error).endswith("captions_train2014.json: annotation 1: image_id 3 is not among the images")
    assert said(last.sample) == ["Q ⟨⟩描述这张图片。", "A 一只猫。"]
    assert dataset.sample(last.place) == last.sample
    # Where pictures come last in the file.
    turned = put(tmp_path / "turned.json", {key: coco[key] for key in ("annotations", "images")})
    assert [sample.sample and sample.sample.id for sample in open_data(turned).scan()] == ["787980", None, "6"]


def test_several_captions_are_several_samples(tmp_path: Path) -> None:
    records = [{"image_id": "a.png", "caption": ["一。", " ", "三。"]}, {"image_id": "b.png", "caption": ["四。"]}]
    dataset = open_data(put(tmp_path / "x.json", records), language="zh", task="caption")
    entries = list(dataset.scan())
    found = [entry.sample and (entry.sample.id, entry.sample.answer) for entry in entries]
    assert found == [
        ("x.json@1#0", "一。"),
        None,
        ("x.json@1#2", "三。"),
        (f"x.json@{entries[3].place.offset}#0", "四。"),
    ]
    assert str(entries[1].error).endswith("x.json: record 0: caption 1: expected a text, found ' '")
    for entry in entries:
        if entry.sample:
            assert dataset.sample(entry.place) == entry.sample
            assert entry.sample.task == "caption"


def test_columns_and_prompts_can_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("name,short,text\na.png,kurz,long\n", encoding="utf-8")
    options = {"image": "name", "text": "short", "prompt": "Was ist das?"}
    (sample,) = open_data(file, format="caption", options=options)
    assert (said(sample), named(sample)) == (["Q ⟨⟩Was ist das?", "A kurz"], ["a.png"])
    with pytest.raises(TuwenError, match="no column is known to hold the image among name, short, text; say which"):
        list(open_data(file, format="caption"))
    with pytest.raises(TuwenError, match="no column nothing among name, short, text"):
        list(open_data(file, format="caption", options={"image": "nothing"}))
    with pytest.raises(TuwenError, match="options of caption: colour: unknown key"):
        open_data(file, format="caption", options={"colour": "red"})


def test_objects_of_swift_become_boxes_and_regions(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "b.png")
    turns = [
        {"role": "user", "content": "<image><image>Find the <ref-object>."},
        {"role": "assistant", "content": "<bbox> and <ref-object><bbox>"},
    ]
    objects = {"ref": ["羊", "dog"], "bbox": [[20, 10, 100, 50], [5, 5, 50, 50]], "image_id": [0, 1]}
    record = {"messages": turns, "images": ["a.png", "b.png"], "objects": objects}
    dataset = open_data(put_lines(tmp_path / "x.jsonl", [record]))
    (sample,) = dataset
    assert dataset.format.name == "swift"
    assert said(sample) == [
        "Q ⟨⟩⟨⟩Find the <ref>羊</ref>.",
        "A <box>(100,100),(500,500)</box> and <ref>dog</ref><box>(100,100),(999,999)</box>",
    ]
    regions = (Region(box=(0.1, 0.1, 0.5, 0.5), text="羊"), Region(box=(0.1, 0.1, 1, 1), text="dog", image=1))
    assert sample.regions == regions
    # What was expanded once is kept as it is.
    write_data([sample], tmp_path / "y.jsonl", format="swift")
    assert [plain(again) for again in open_data(tmp_path / "y.jsonl", format="swift")] == [plain(sample)]

    def refused(**change: Any) -> str:
        data = put_lines(tmp_path / "z.jsonl", [{**record, "objects": {**objects, **change}}])
        (entry,) = open_data(data, format="swift").scan()
        assert entry.error
        return str(entry.error).partition("z.jsonl: record 0: objects: ")[2]

    assert refused(ref=["羊"]) == "the text has more <ref-object> than the 1 that are listed"
    assert refused(ref=["羊", "dog", "cat"]) == "3 listed, but 2 <ref-object> in the text"
    assert refused(bbox_type="norm1000").startswith("bbox: bbox_type 'norm1000': known are real and norm1")
    assert refused(bbox=[[1, 2], [3, 4]]) == "bbox: expected left, top, right, bottom, found [1, 2]"
    assert "stands" in refused(bbox=[[20, 10, 400, 50], [5, 5, 50, 50]])
    assert refused(image_id=[0, 2]) == "image_id 2: there are 2 pictures"
    assert refused(bbox_type="norm1", bbox=[[0, 0, 0.5, 2], [0, 0, 1, 1]]).startswith("bbox: box [0, 0, 0.5, 2] stands")


OTHER_TURNS = [{"from": "human", "value": "q"}, {"from": "observation", "value": "{}"}]
REFUSED = {
    "tools of LLaMA-Factory": (
        {"conversations": OTHER_TURNS, "images": []},
        "turn 2: from 'observation' is not known; known are human, gpt, system",
    ),
    "tools of ms-swift": (
        {"messages": [{"role": "tool_call", "content": "{}"}], "images": []},
        "turn 1: role 'tool_call' is not known; known are user, assistant, system",
    ),
    "tools of OpenAI": (
        {"messages": [{"role": "user", "content": [PART]}, {"role": "tool", "content": "x"}]},
        "turn 2: role 'tool' is not known; known are user, assistant, system, developer",
    ),
    "calls of OpenAI": (
        {"messages": [{"role": "user", "content": [PART]}, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
        "turn 2: conversations with tools are not read",
    ),
    "turns that are not learnt": (
        {"messages": [{"role": "user", "content": [PART]}, {"role": "assistant", "content": "x", "weight": 0}]},
        "turn 2: it is not to be learnt, which no sample can say here; leave out the turns up to it",
    ),
    "films": ({"messages": TURNS, "videos": ["a.mp4"]}, "videos: only pictures are read"),
    "worse conversations": (
        {"messages": TURNS, "rejected_messages": TURNS},
        "rejected_messages: worse answers are read",
    ),
    "a worse answer than none": (
        {"messages": TURNS[:1], "images": ["a.png"], "rejected_response": "x"},
        "a rejected answer needs a better one: the last turn must be the assistant's",
    ),
    "worse answers of OpenAI": (
        {"messages": [{"role": "user", "content": [PART]}], "rejected": "x"},
        "rejected: worse answers are read in the formats tuwen, swift, sharegpt and preference",
    ),
    "a ranked answer of the user": (
        {"conversations": OTHER_TURNS[:1], **dict.fromkeys(("chosen", "rejected"), OTHER_TURNS[0])},
        "rejected: expected a text of the assistant",
    ),
    "a ranked answer without a better one": (
        {"conversations": OTHER_TURNS[:1], "rejected": {"from": "gpt", "value": "x"}},
        "chosen and rejected: turn 1: expected from and value (texts), found None",
    ),
    "judged answers": ({"messages": TURNS, "label": False}, "label: judged answers are not read"),
    "too few pictures": ({"messages": TURNS, "images": []}, "1 places for pictures in the text, but 0 pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_something_else_is_refused_and_the_rest_is_read(name: str, tmp_path: Path) -> None:
    record, problem = REFUSED[name]
    good = {key: value for key, value in record.items() if key in ("messages", "conversations")}
    turns = next(iter(good.values()))
    good = {key: [turns[0] if name != "tools of ms-swift" else TURNS[1]] for key in good}
    good["images"] = ["a.png"] if "<image>" in str(turns[0]) else []
    file = put_lines(tmp_path / "x.jsonl", [record, good])
    format = "sharegpt" if "conversations" in record else "openai" if "OpenAI" in name or "learnt" in name else "swift"
    broken, fine = open_data(file, format=format).scan()
    assert str(broken.error).startswith(f"{file}: record 0: {problem}")
    assert fine.sample is not None


def test_what_fits_several_formats_differently_is_asked_for(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    text = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    with pytest.raises(TuwenError) as error:
        open_data(put_lines(tmp_path / "x.jsonl", [{"conversations": turns}]))
    assert str(error.value).endswith(
        "(keys conversations) fits more than one format; say which with --from: llava, qwen_vl, sharegpt"
    )
    # Where they all mean the same, nobody is asked.
    assert [said(sample) for sample in open_data(put(tmp_path / "y.json", [{"conversations": text}]))] == [
        ["Q q", "A a"]
    ]
    with pytest.raises(TuwenError, match=r"\(keys a, b\) fits no format that is known; say which with --from: "):
        open_data(put(tmp_path / "z.json", [{"a": 1, "b": 2}]))
    with pytest.raises(TuwenError, match="unknown data format 'lava': choose one of .*; did you mean 'llava'"):
        open_data(tmp_path / "z.json", format="lava")


def test_most_of_the_records_say_what_data_is_where_faults_are_looked_for(tmp_path: Path) -> None:
    file = put_lines(tmp_path / "x.jsonl", [LLAVA, LLAVA, "no record", {**LLAVA, "system": "Be short."}])
    with pytest.raises(TuwenError, match="fits no format that is known"):
        open_data(file)
    assert open_data(file, despite_faults=True).format.name == "llava"
    half = put_lines(tmp_path / "half.jsonl", [LLAVA, {"query": "q", "response": "a"}])
    with pytest.raises(TuwenError, match="fits no format that is known"):
        open_data(half, despite_faults=True)


def test_the_files_of_a_folder_say_together_what_they_are(tmp_path: Path) -> None:
    put_lines(tmp_path / "1.jsonl", ["broken"])
    put_lines(tmp_path / "2.jsonl", [{"messages": TURNS[1:]}])
    put_lines(tmp_path / "3.jsonl", [{"messages": TURNS, "images": ["a.png"]}])
    dataset = open_data(tmp_path)
    assert dataset.format.name == "swift"
    assert [entry.error is None for entry in dataset.scan()] == [False, True, True]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="no ../shared/fixtures beside the repository")
def test_training_data_of_qwen_vl_is_kept_as_it_is(tmp_path: Path) -> None:
    found = json.loads((FIXTURES / "labels_qwenvl.json").read_text(encoding="utf-8"))["samples"]
    records = [{"id": f"{number}", "conversations": one["conversations"]} for number, one in enumerate(found)]
    dataset = open_data(put(tmp_path / "x.json", records), images=FIXTURES)
    assert dataset.format.name == "qwen_vl"
    assert {picture_bytes(picture)[:4] for sample in dataset for picture in sample.images} == {b"\x89PNG"}
    # Pictures elsewhere are named in full when they are written; beside the data they are named as before.
    out = tmp_path / "written/x.json"
    write_data(list(open_data(tmp_path / "x.json", images=out.parent)), out, format="qwen_vl")
    written = json.loads(out.read_text(encoding="utf-8"))
    assert [one["conversations"] for one in written] == [one["conversations"] for one in records]


def test_a_sample_without_an_id_has_one_that_holds_wherever_the_data_lies(tmp_path: Path) -> None:
    records = [{"messages": TURNS, "images": ["a.png"]}] * 3
    here = open_data(put_lines(tmp_path / "here/x.jsonl", records))
    there = open_data(put_lines(tmp_path / "there/x.jsonl", records))
    names = [sample.id for sample in here]
    assert len(set(names)) == 3
    assert names == [sample.id for sample in there]
    assert [here.sample(entry.place).id for entry in here.scan()] == names


INNER = [
    "role", "content", "from", "value", "type", "text", "image", "image_url", "url", "bytes", "box", "ref", "bbox",
]  # fmt: skip
OUTER = [
    "id", "image", "images", "messages", "conversations", "conversation", "system", "query", "response", "history",
    "objects", "instruction", "input", "output", "caption", "prompt", "task", "language", "pair", "source", "regions",
    "0", "1",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | TEXTS | st.sampled_from(["user", "human", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)


@settings(SOME, max_examples=400)
@given(record=st.dictionaries(st.sampled_from(OUTER), VALUES, max_size=5), format=st.sampled_from(WRITTEN))
def test_any_record_is_read_or_refused_in_one_line(record: dict[str, Any], format: str) -> None:
    kind = FORMATS.get(format)
    assert kind.recognises(record) in (True, False)
    try:
        found = kind().samples(record, "x.jsonl: record 0", Reading(PictureFolder("/nowhere")))
    except TuwenError as error:
        found = [error]
    for one in found:
        assert isinstance(one, Sample) or "\n" not in str(one)
