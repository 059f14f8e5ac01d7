"""What is wrong with data is found under the right name, and nothing is found where nothing is wrong."""

from __future__ import annotations

import base64
import copy
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.dying_task import DyingTask
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.check import NamedFinding, Report, Verdict, all_reasons, check
from tuwen.data.checks.answers import declined, refusal_in
from tuwen.data.checks.base import CheckOptions
from tuwen.data.checks.boxes import unbalanced, wrong_box
from tuwen.data.checks.encoding import mojibake_in
from tuwen.data.checks.fix import write_good
from tuwen.data.checks.repairs import repair
from tuwen.data.checks.repeats import ANSWER, COLUMNS, CONTENT, ID, PAIR, QUESTION, find_repeats
from tuwen.data.containers.base import RecordReason
from tuwen.data.dataset import open_data, write_data
from tuwen.data.sample import Region, Sample
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.data.walk import walk
from tuwen.models.processing import TuwenProcessor
from tuwen.vision.pictures import DEFAULT_LIMITS
from tuwen.vision.pictures import Reason as PictureReason

SUITES = ("caption", "faces", "glyphs", "grounding", "ocr", "refuse", "shapes", "vqa", "words")
Record = dict[str, Any]
Records = list[Any]
Plant = Callable[[Records, Path], None]


def findings_of(data: Path, workers: int = 1, **options: Any) -> tuple[Report, list[NamedFinding]]:
    """The report on a data file, and all findings."""
    found: list[NamedFinding] = []
    format = options.pop("format", None)
    dataset = open_data(data, format=format, despite_faults=True)
    return check(dataset, CheckOptions(**options), workers=workers, sink=found.append), found


def write_lines(path: Path, records: Records) -> Path:
    """JSON lines; a string stands for a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data drawn by many suites, as a file with its pictures beside it."""
    drawer = Synthesiser(SynthConfig(suites=dict.fromkeys(SUITES, 1.0), questions=6))
    path = tmp_path_factory.mktemp("clean") / "drawn.jsonl"
    write_data((sample for index in range(18) for sample in drawer.draw(3, index).samples), path)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Ten records in Tuwen's form about five pictures that lie in ``tmp_path``."""
    made: Records = []
    for number in range(10):
        name = f"{number // 2}.png"
        if number % 2 == 0:
            noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
            PIL.Image.fromarray(noise).save(tmp_path / name)
        question = f"第{number}个问题:图里有什么?" if number % 2 else f"Question {number}: what is in the picture?"
        made.append(
            {
                "id": f"sample-{number}",
                "messages": [
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
                    {"role": "assistant", "content": f"答案{number}。" if number % 2 else f"Answer {number} it is."},
                ],
                "images": [name],
            }
        )
    return made


def test_drawn_data_is_clean(clean: Path) -> None:
    report, found = findings_of(clean)
    assert found == []
    assert report.samples == len(clean.read_text(encoding="utf-8").splitlines()) > 80


def test_processes_find_the_same(records: Records, tmp_path: Path) -> None:
    many = []
    for number in range(1400):
        record = copy.deepcopy(records[number % 10])
        record["id"] = f"many-{number}"
        record["messages"][1]["content"] = "" if number % 100 == 7 else f"Answer number {number % 1300}."
        many.append(record)
    data = write_lines(tmp_path / "many.jsonl", many)
    alone, found = findings_of(data)
    different = {(record["messages"][0]["content"][1]["text"], record["messages"][1]["content"]) for record in many}
    assert alone.counts == {"empty_answer": 14, "duplicate_sample": 1400 - len(different)}
    together, same = findings_of(data, workers=2)
    assert (same, together.counts, together.verdicts) == (found, alone.counts, alone.verdicts)


def test_a_process_that_dies_is_said_in_a_line(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "many.jsonl", [{"id": str(number), "messages": []} for number in range(1400)])
    with pytest.raises(TuwenError, match="--workers 1"):
        list(walk(open_data(data, format="tuwen"), DyingTask(), workers=2))


# --- every defect by itself ---


def answer(records: Records, text: str) -> None:
    """Let the third record's answer be ``text``."""
    records[2]["messages"][1]["content"] = text


def ask(records: Records, text: str) -> None:
    """Let the third record's question be ``text``."""
    records[2]["messages"][0]["content"][1]["text"] = text


def turns(*roles: str) -> Plant:
    """Give the third record turns of these roles; the first question has the picture."""

    def plant(records: Records, folder: Path) -> None:
        messages: list[Record] = [
            {"role": role, "content": f"Something number {place}."} for place, role in enumerate(roles)
        ]
        first = roles.index("user")
        messages[first]["content"] = [{"type": "image"}, {"type": "text", "text": "Question: what is it?"}]
        records[2]["messages"] = messages

    return plant


def picture(content: bytes | None, name: str = "other.png") -> Plant:
    """Let the third record name a picture with this content; None leaves the file out."""

    def plant(records: Records, folder: Path) -> None:
        records[2]["images"] = [name]
        if content is not None:
            (folder / name).write_bytes(content)

    return plant


def encoded(width: int, height: int, kind: str = "PNG", frames: int = 1) -> bytes:
    """A picture's file."""
    rng = np.random.default_rng(7)
    images = [PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(frames)]
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(stream, kind, **more)
    return stream.getvalue()


def huge_header() -> bytes:
    """A PNG that says it is larger than any picture may be, and holds nothing."""
    small = bytearray(encoded(16, 16))
    side = (DEFAULT_LIMITS.max_side + 1).to_bytes(4, "big")
    small[16:24] = side + (16).to_bytes(4, "big")
    small[29:33] = zlib.crc32(bytes(small[12:29])).to_bytes(4, "big")
    return bytes(small)


def with_answer(text: str) -> Plant:
    return lambda records, folder: answer(records, text)


def with_question(text: str) -> Plant:
    return lambda records, folder: ask(records, text)


def with_values(**values: Any) -> Plant:
    return lambda records, folder: records[2].update(values)


def line(text: str) -> Plant:
    def plant(records: Records, folder: Path) -> None:
        records[2] = text

    return plant


def without(key: str) -> Plant:
    return lambda records, folder: records[2].pop(key)


def places(count: int) -> Plant:
    def plant(records: Records, folder: Path) -> None:
        text = records[2]["messages"][0]["content"][-1]
        records[2]["messages"][0]["content"] = [{"type": "image"}] * count + [text]

    return plant


def copied(records: Records, folder: Path) -> None:
    records.append(copy.deepcopy(records[2]))


def same_id(records: Records, folder: Path) -> None:
    records[2]["id"] = records[1]["id"]


def contradicts(records: Records, folder: Path) -> None:
    for number in (2, 3):
        records[number]["messages"] = copy.deepcopy(records[2]["messages"])
        records[number]["messages"][1]["content"] = "是" if number == 2 else "No."


def asked_again(records: Records, folder: Path) -> None:
    records[2]["messages"] += [
        {"role": "user", "content": records[2]["messages"][0]["content"][1]["text"]},
        {"role": "assistant", "content": "As I said."},
    ]


def folder_picture(records: Records, folder: Path) -> None:
    (folder / "sub").mkdir()
    records[2]["images"] = ["sub"]


PNG = encoded(48, 32)
NOISE = encoded(64, 64)
PLANTED: dict[str, tuple[Plant, ...]] = {
    "broken_record": (line('{"id": "x", "messages": ['), line("{'id': 1}"), line("\xff")),
    "not_an_object": (line('["a list"]'), line('"text"')),
    "no_conversation": (without("messages"), with_values(messages=None)),
    "unknown_role": (with_values(images=[], messages=[{"role": "narrator", "content": "Once upon a time."}]),),
    "refused_record": (with_values(images=[], messages=[{"role": "user"}]), with_values(images=[3])),
    "empty_conversation": (with_values(images=[], messages=[]),),
    "assistant_first": (turns("assistant", "user", "assistant"), turns("system", "assistant", "user", "assistant")),
    "unanswered": (turns("user"), turns("user", "assistant", "user")),
    "system_not_first": (turns("user", "assistant", "system", "user", "assistant"),),
    "same_role_twice": (turns("user", "user", "assistant"), turns("user", "assistant", "assistant")),
    "empty_answer": (with_answer(""),),
    "blank_answer": (with_answer(" \n\u3000"),),
    "cut_off_answer": (with_answer("Here it is:\n```python\nprint('cat"),),
    "blind_answer": (
        with_answer("As an AI language model, I am not able to see images, but I can help otherwise."),
        with_answer("I'm sorry, but I cannot view images."),
        with_answer("很抱歉,作为一个AI语言模型,我无法查看图片。"),
        with_answer("您没有上传图片,请重新上传。"),
    ),
    "refused_answer": (
        with_answer("I'm sorry, but I can't assist with that request."),
        with_answer("很抱歉,我无法对这张表情包进行描述。"),
        with_answer("我不能描述图中的人物。"),
    ),
    "same_rejected": (with_values(rejected="Answer 2 it is."), with_values(rejected=" Answer 2 it is.\n")),
    "more_places": (places(2),),
    "fewer_places": (places(0), with_values(images=["0.png", "1.png"])),
    "missing_picture": (picture(None), with_values(images=["https://example.com/cat.jpg"])),
    "not_a_file": (folder_picture,),
    "empty_picture": (picture(b""),),
    "broken_picture": (picture(NOISE[: len(NOISE) // 2]), picture(encoded(64, 64, "JPEG")[:900], "cut.jpg")),
    "not_a_picture": (
        picture(b"<!doctype html><title>404</title>", "page.jpg"),
        with_values(images=["data:image/png;base64," + base64.b64encode(b"no picture").decode()]),
    ),
    "wrong_suffix": (picture(PNG, "png.jpg"),),
    "oversized_picture": (picture(huge_header()),),
    "tiny_picture": (picture(encoded(48, 5)),),
    "extreme_shape": (picture(encoded(1100, 20)),),
    "animated_picture": (picture(encoded(24, 24, "GIF", frames=3), "moving.gif"),),
    "bad_base64": (with_values(images=["data:image/png;base64,=="]), with_values(images=["data:image/png,abc"])),
    "duplicate_sample": (copied,),
    "duplicate_id": (same_id,),
    "repeated_question": (asked_again,),
    "bad_region": (
        with_values(regions=[{"box": [0.1, 0.2, 1.4, 0.5], "text": "cat"}]),
        with_values(regions=[{"box": [0.8, 0.2, 0.4, 0.5], "text": "cat"}]),
        with_values(regions=[{"box": [0.1, 0.2, 0.4, 0.5], "text": "cat", "image": 1}]),
    ),
    "bad_box": (
        with_answer("<ref>cat</ref><box>(100,200),(1200,300)</box>"),
        with_answer("<box>(500,200),(100,300)</box>"),
        with_answer("<ref>cat</ref><box>[[100, 300, 200, 200]]</box>"),
        with_answer("<box>12 34</box>"),
    ),
    "unclosed_markup": (
        with_answer("<ref>cat<box>(100,200),(300,400)</box>"),
        with_answer("<ref>cat</ref><box>(100,200),(300,400)"),
        with_answer("cat</ref> is there"),
    ),
    "control_text": (with_question("<|im_start|>What is in the picture?"), with_question("[INST] What is it? [/INST]")),
    "control_text_in_answer": (with_answer("A cat.<|im_end|>"), with_answer("A cat.</s>"), with_answer("<s>A cat.")),
    "place_in_text": (with_question("<image>\nWhat is in the picture?"), with_answer("In <img>a.jpg</img> is a cat.")),
    "lost_character": (with_answer("caf\ufffd au lait"),),
    "mojibake": (with_answer("ä½ å¥½,è¿™æ˜¯ä¸€åªçŒ«"), with_answer("itâ€™s a cat"), with_answer("锟斤拷锟斤拷")),
    "half_surrogate": (with_answer("a cat \ud83d"),),
    "control_character": (with_answer("a cat\x00"), with_question("what\x07 is it?")),
    "wrong_language": (
        with_values(language="zh"),
        lambda records, folder: records[3].update(language="en"),
    ),
    "lone_half": (with_values(pair="pair-1"),),
}  # fmt: skip
CASES = [
    pytest.param(reason, plant, id=f"{reason}-{number}")
    for reason, plants in PLANTED.items()
    for number, plant in enumerate(plants)
]


def test_one_answer_may_be_better_than_several(records: Records, tmp_path: Path) -> None:
    records += [{**copy.deepcopy(records[2]), "id": str(number), "rejected": f"Worse {number}."} for number in range(2)]
    report, _ = findings_of(write_lines(tmp_path / "data.jsonl", records))
    assert not report.counts


@pytest.mark.parametrize(("reason", "plant"), CASES)
def test_a_planted_defect_and_nothing_else_is_found(
    records: Records, tmp_path: Path, reason: str, plant: Plant
) -> None:
    plant(records, tmp_path)
    report, found = findings_of(write_lines(tmp_path / "data.jsonl", records))
    assert report.counts == {reason: 1}, found
    assert report.samples == len(records)
    assert found[0].severity == all_reasons()[reason].severity
    assert found[0].where.startswith(f"{tmp_path / 'data.jsonl'}: record ")
    assert bool(report.with_verdict(Verdict.BAD | Verdict.REPAIRABLE)) == (found[0].severity == "error")


def test_every_reason_to_refuse_a_picture_or_record_is_counted() -> None:
    assert {*get_args(PictureReason), *get_args(RecordReason)} <= all_reasons().keys()


def test_a_contradiction_names_both(records: Records, tmp_path: Path) -> None:
    contradicts(records, tmp_path)
    _, found = findings_of(write_lines(tmp_path / "data.jsonl", records))
    assert [(one.reason, one.id, one.detail) for one in found] == [
        ("contradiction", "sample-2", "as record 3"),
        ("contradiction", "sample-3", "as record 2"),
    ]


def test_a_broken_list_is_found_where_it_breaks(records: Records, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(records)[:-400], encoding="utf-8")
    report, found = findings_of(tmp_path / "data.json")
    assert report.counts == {"broken_file": 1}
    assert report.samples == 8
    assert "record 8" in found[0].detail


def test_a_lone_half_names_its_pair(records: Records, tmp_path: Path) -> None:
    records[4]["pair"] = "is-it-a-cat"
    _, found = findings_of(write_lines(tmp_path / "data.jsonl", records))
    assert [(one.id, one.detail) for one in found] == [("sample-4", "pair 'is-it-a-cat'")]


def test_a_copy_under_another_name_is_a_copy(records: Records, tmp_path: Path) -> None:
    copied(records, tmp_path)
    (tmp_path / "again.png").write_bytes((tmp_path / "1.png").read_bytes())
    records[-1] |= {"id": "again", "images": ["again.png"]}
    data = write_lines(tmp_path / "data.jsonl", records)
    assert findings_of(data)[0].counts == {"duplicate_sample": 1}
    assert findings_of(data, decode=False)[0].counts == {}


def test_headers_alone_do_not_show_that_a_picture_is_cut_off(records: Records, tmp_path: Path) -> None:
    picture(NOISE[: len(NOISE) // 2])(records, tmp_path)
    assert findings_of(write_lines(tmp_path / "data.jsonl", records), decode=False)[0].counts == {}


LLAVA = {
    "id": "one",
    "image": "0.png",
    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Some noise."}],
}


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no_conversation", {"conversations": None}),
        ("unknown_role", {"conversations": [{"from": "bot", "value": "Hello."}]}),
        ("more_places", {"image": None}),
        ("fewer_places", {"image": ["0.png", "1.png"]}),
        ("empty_conversation", {"conversations": [], "image": None}),
        ("refused_record", {"conversations": [{"from": "human", "value": 3}]}),
    ],
)
def test_records_of_other_formats(records: Records, tmp_path: Path, reason: str, change: Record) -> None:
    good = [{**LLAVA, "id": str(number), "image": f"{number}.png"} for number in range(4)]
    data = write_lines(tmp_path / "data.jsonl", [{**LLAVA, "id": "bad", **change}, *good[1:]])
    report, found = findings_of(data)
    assert report.dataset.format.name == "llava"
    assert report.counts == {reason: 1}, found
    assert found[0].id == "bad"


# --- what looks like a defect and is none ---


@pytest.mark.parametrize(
    "text",
    [
        "图里没有狗,有的是一只猫。",
        "I cannot see any dog in the image; there is a cat.",
        "I can't see the picture clearly because it is blurred, but there is a cat.",
        "我无法看到图片中有任何文字。",
        "Sorry, but I can't see a dog here.",
        "抱歉,我无法辨认招牌上的小字。",
        "对不起,我爱你。",
        "I can't even.",
        "The person is unable to open the photo album.",
        "<s>old</s> price: 3",
        "<ref name='a'>cat</ref> in <b>bold</b>, x < y and a > b",
        "<ref>the cat</ref><box>(0,0),(999,999)</box>",
        "<ref>cats</ref><box>[[0, 0, 500, 500], [500, 0, 1000, 1000]]</box>",
        "```python\nprint(1)\n```",
        "un café « très » bon…” déjà vu, São Paulo, MANHÃ",
        "联通 和 你好,世界",
        "烫烫烫的茶",
        "🙂 emoji \t tab\nline\r\n",
        "<svg><image href='a.png'/></svg>",
        "A",
    ],
)
def test_legitimate_answers_are_left_alone(records: Records, tmp_path: Path, text: str) -> None:
    answer(records, text)
    assert findings_of(write_lines(tmp_path / "data.jsonl", records))[1] == []


def test_legitimate_data_is_left_alone(records: Records, tmp_path: Path) -> None:
    for number in (0, 2, 4):
        # The same short question and answer about other pictures, and Chinese read in answer to English.
        records[number]["messages"][0]["content"][1]["text"] = "Is there text?"
        records[number]["messages"][1]["content"] = "Yes"
    answer(records, "禁止停车")
    # Another description of the same picture contradicts none.
    records[7]["messages"][0] = copy.deepcopy(records[6]["messages"][0])
    for number in (8, 9):
        records[number]["pair"] = "halves"
    records.append(
        {"id": "text", "messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好"}]}
    )
    # "继续" is said over and over.
    for reply in ("春天来了。", "夏天来了。"):
        records[-1]["messages"] += [{"role": "user", "content": "继续"}, {"role": "assistant", "content": reply}]
    assert findings_of(write_lines(tmp_path / "data.jsonl", records))[1] == []


# --- with a model ---


@pytest.fixture(scope="module")
def processor(toy_run: Path) -> TuwenProcessor:
    return TuwenProcessor.from_pretrained(toy_run / "model")


def test_a_model_says_what_is_too_long(records: Records, tmp_path: Path, processor: TuwenProcessor) -> None:
    answer(records, "word " * 200)
    data = write_lines(tmp_path / "data.jsonl", records)
    assert findings_of(data, processor=processor)[1] == []
    report, found = findings_of(data, processor=processor, max_tokens=200)
    assert report.counts == {"too_long": 1}
    dataset = open_data(data)
    sample = list(dataset)[2]
    rendered = processor.renderer.render(sample.messages, [processor.num_image_tokens(60, 40)])
    assert found[0].detail.startswith(f"{len(rendered.input_ids)} tokens, {processor.num_image_tokens(60, 40)} of")


def test_a_model_says_what_it_would_not_learn(records: Records, tmp_path: Path, processor: TuwenProcessor) -> None:
    records[2]["messages"].pop()
    report, _ = findings_of(write_lines(tmp_path / "data.jsonl", records), processor=processor)
    assert report.counts == {"unanswered": 1, "nothing_trained": 1}


def test_a_template_that_refuses_is_heard(records: Records, tmp_path: Path, processor: TuwenProcessor) -> None:
    template = "{{ raise_exception('two turns only') if messages | length > 2 }}" + processor.chat_template
    strict = TuwenProcessor(
        processor.image_processor, processor.tokenizer, template, processor.tokens_per_tile, processor.image_token
    )
    turns("user", "assistant", "user", "assistant")(records, tmp_path)
    report, found = findings_of(write_lines(tmp_path / "data.jsonl", records), processor=strict)
    assert report.counts == {"template_refuses": 1}
    assert "two turns only" in found[0].detail


# --- repairs ---


def test_good_samples_are_written_and_nothing_is_changed_in_silence(records: Records, tmp_path: Path) -> None:
    turns("user", "assistant", "user")(records, tmp_path)
    records[3]["messages"][1]["content"] = "a\x00 cat"
    records[4]["messages"][1]["content"] = ""
    records[5]["id"] = records[1]["id"]
    records.append(copy.deepcopy(records[0]))
    records.append('{"id": ')
    data = write_lines(tmp_path / "data.jsonl", records)
    report, _ = findings_of(data)
    fixed = write_good(report, tmp_path / "good.jsonl")
    assert (fixed.kept, fixed.left_out) == (9, 3)
    assert sum(fixed.changes.values()) == 3
    assert len(fixed.changes) == 3
    good = list(open_data(tmp_path / "good.jsonl"))
    assert [sample.id for sample in good] == [
        *(f"sample-{number}" for number in (0, 1, 2, 3)), "sample-1#5", *(f"sample-{number}" for number in (6, 7, 8, 9))
    ]  # fmt: skip
    assert [message.role for message in good[2].messages] == ["user", "assistant"]
    assert good[3].answer == "a cat"
    assert findings_of(tmp_path / "good.jsonl")[1] == []


def test_warnings_are_left_out_when_they_count(records: Records, tmp_path: Path) -> None:
    turns("user", "user", "assistant")(records, tmp_path)
    report, _ = findings_of(write_lines(tmp_path / "data.jsonl", records))
    assert write_good(report, tmp_path / "all.jsonl").kept == 10
    assert write_good(report, tmp_path / "strict.jsonl", strict=True).kept == 9


def test_data_is_not_written_over_itself(records: Records, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "data.jsonl", records)
    report, _ = findings_of(data)
    before = data.read_bytes()
    with pytest.raises(TuwenError, match="is what is read; choose another OUT"):
        write_good(report, data)
    assert data.read_bytes() == before


def test_pictures_of_cut_turns_go_with_them() -> None:
    one, two = Path("a.png"), Path("b.png")
    sample = Sample(
        id="x",
        messages=(
            Message.of("user", Image(), "What is it?"), Message.of("assistant", "A cat."), Message.of("user", Image())
        ),
        images=(one, two),
        regions=(Region(box=(0, 0, 1, 1), text="cat"), Region(box=(0, 0, 1, 1), text="dog", image=1)),
    )  # fmt: skip
    mended, done = repair(sample)
    assert mended.images == (one,)
    assert [region.text for region in mended.regions] == ["cat"]
    assert len(mended.messages) == 2
    assert len(done) == 1


# --- properties ---

HAN = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=2, max_size=12)


@given(HAN, st.sampled_from(["cp1252", "latin-1"]))
def test_chinese_read_as_western_is_found(text: str, encoding: str) -> None:
    mangled = "".join(
        byte.decode(encoding, errors="ignore") or byte.decode("latin-1")
        for byte in (bytes([value]) for value in text.encode())
    )
    assert mojibake_in(mangled)


@given(
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x7E)
        | st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF),
        max_size=60,
    )
)
def test_chinese_and_english_are_not_mistaken(text: str) -> None:
    assert not mojibake_in(text.replace("锟斤拷", ""))


@given(st.text(max_size=200))
def test_any_text_is_looked_at(text: str) -> None:
    assert isinstance(refusal_in(text) + declined(text) + mojibake_in(text) + unbalanced(text) + wrong_box(text), str)


@dataclass(frozen=True)
class _Row:
    id: int
    content: int
    question: int
    answer: int
    pair: int


_ROWS = st.lists(st.builds(_Row, *[st.integers(0, 3)] * 5), max_size=24)


@given(_ROWS)
def test_repeats_are_those_of_a_plain_search(rows: list[_Row]) -> None:
    table = np.zeros((len(rows), COLUMNS), dtype=np.uint64)
    for number, row in enumerate(rows):
        for column, value in (
            (ID, row.id), (CONTENT, row.content), (QUESTION, row.question), (ANSWER, row.answer), (PAIR, row.pair)
        ):  # fmt: skip
            table[number, column] = value
    found = {(repeat.entry, repeat.reason) for repeat in find_repeats(table)}
    expected = set()
    for number, row in enumerate(rows):
        before = rows[:number]
        if row.content and any(other.content == row.content for other in before):
            expected.add((number, "duplicate_sample"))
        elif row.id and any(other.id == row.id for other in before):
            expected.add((number, "duplicate_id"))
        closed = [other for other in rows if other.question == row.question and other.answer and row.answer]
        if row.question and any(other.answer != row.answer for other in closed):
            expected.add((number, "contradiction"))
        halves = {other.content for other in rows if other.pair == row.pair}
        if row.pair and halves == {row.content} and not any(other.pair == row.pair for other in before):
            expected.add((number, "lone_half"))
    assert found == expected
