"""Published corpora are read as they lie on disk, broken ones as far as they are whole, and written where they fit."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import refused, run_cli
from tests.data import corpora
from tests.data.corpora import SIZE, book, donut, draw, put, put_lines, reference
from tuwen.chat.grounding import parse_boxes
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS
from tuwen.data.containers.plain_pickle import read_plain_pickle
from tuwen.data.dataset import Dataset, Entry, open_data, write_data
from tuwen.data.formats.base import FORMATS, Reading
from tuwen.data.formats.published import pixel_box
from tuwen.data.indexing import open_index
from tuwen.data.media import PictureFolder, fetch
from tuwen.data.sample import Region, Sample
from tuwen.vision import open_picture
from tuwen.vision.pictures import PictureError

FIXTURES = Path(__file__).parents[2] / "../shared/fixtures/eval"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="no ../shared/fixtures beside the repository")

Build = Callable[[Path], Path]
CORPORA: dict[str, Build] = {
    "memes": corpora.memes,
    "emo-visual-data": corpora.emo_visual_data,
    "synthdog": corpora.synthdog,
    "visual_genome-1.0": lambda folder: corpora.visual_genome(folder, "1.0"),
    "visual_genome-1.4": corpora.visual_genome,
    "refcoco": corpora.refcoco,
    "ocr_vqa": corpora.ocr_vqa,
}


def split(dataset: Dataset) -> tuple[list[Sample], list[str]]:
    """What is read, and in one line each what is wrong."""
    entries: list[Entry] = list(dataset.scan())
    problems = [str(entry.error) for entry in entries if entry.error]
    assert not [problem for problem in problems if "\n" in problem]
    return [entry.sample for entry in entries if entry.sample], problems


def by_id(dataset: Dataset) -> dict[str, Sample]:
    samples = list(dataset)
    found = {sample.id: sample for sample in samples}
    assert len(found) == len(samples)
    return found


def turns(sample: Sample) -> list[str]:
    return [message.text for message in sample.messages]


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_known_by_its_files_and_any_sample_is_found_again(name: str, tmp_path: Path) -> None:
    dataset = open_data(CORPORA[name](tmp_path / "data"))
    assert dataset.format.name in (name.split("-")[0], "memes")
    entries = list(dataset.scan())
    random.Random(0).shuffle(entries)
    for entry in entries:
        assert entry.error is None
        assert entry.sample == dataset.sample(entry.place)
        assert entry.sample.task
        (picture,) = entry.sample.images
        assert open_picture(fetch(picture)).size == SIZE
    assert len({entry.sample.id for entry in entries if entry.sample}) == len(entries)


@pytest.mark.parametrize("name", CORPORA)
def test_one_of_its_files_is_enough(name: str, tmp_path: Path) -> None:
    whole = open_data(CORPORA[name](tmp_path / "data"), options={} if name != "synthdog" else {"split": "all"})
    for file in whole.files:
        alone = open_data(file, images=None if name != "emo-visual-data" else tmp_path / "data/emo")
        assert alone.format.name == whole.format.name
        assert len(list(alone)) > 0


@pytest.mark.parametrize("name", CORPORA)
def test_what_a_reader_chooses_goes_before_what_a_corpus_says(name: str, tmp_path: Path) -> None:
    dataset = open_data(CORPORA[name](tmp_path / "data"), task="mine", language="en")
    assert {(sample.task, sample.language) for sample in dataset} == {("mine", "en")}


def test_an_unknown_option_is_refused_with_the_choices(tmp_path: Path) -> None:
    place = corpora.refcoco(tmp_path)
    with pytest.raises(TuwenError, match=r"options of refcoco: splitt: unknown key 'splitt'.*did you mean 'split'\?"):
        open_data(place, options={"splitt": "val"})
    with pytest.raises(TuwenError, match="region_prompt: must hold {box}, found 'What is it"):
        open_data(place, options={"region_prompt": "What is it?"})
    with pytest.raises(TuwenError, match="options of tuwen: it has none, found split"):
        open_data(put_lines(tmp_path / "a.jsonl", [{"messages": []}]), format="tuwen", options={"split": "train"})


# memes


def test_memes_have_a_sample_for_every_model_and_their_pictures_in_any_topic(tmp_path: Path) -> None:
    found = by_id(open_data(corpora.memes(tmp_path)))
    name = "000ba939-ccf5-4071-af24-09c1d8829b0d.jpg"
    assert {sample.source for sample in found.values()} == {"gemini-1_5_pro", "yivision", "gemini-1.5-pro-latest"}
    one, other = found[f"gemini-1_5_pro/{name}"], found[f"yivision/{name}"]
    assert one.images == other.images == (tmp_path / "emo" / name,)
    assert turns(one) == ["描述这个表情包。", "这张图片说的是000b。"]
    topical = found["gemini-1.5-pro-latest/王冰冰00001-oh你很拽诶.jpg"]
    assert topical.images == (tmp_path / "ChineseBQB/065WangBingBing_王冰冰BQB/王冰冰00001-oh你很拽诶.jpg",)
    # The file of replies that say nothing is not among them.
    assert not any("抱歉" in sample.answer for sample in found.values())


def test_memes_can_be_asked_anything(tmp_path: Path) -> None:
    dataset = open_data(corpora.memes(tmp_path), options={"prompt": "这张图好笑在哪里?"})
    assert {turns(sample)[0] for sample in dataset} == {"这张图好笑在哪里?"}


def test_descriptions_may_lie_apart_from_the_pictures(tmp_path: Path) -> None:
    corpora.memes(tmp_path / "both")
    file = tmp_path / "texts" / "my.jsonl"
    lines = (tmp_path / "both/ChineseBQB-picked-gemini-1.5-pro-latest_cleaned.jsonl").read_text(encoding="utf-8")
    file.parent.mkdir()
    file.write_text(lines, encoding="utf-8")
    samples, problems = split(open_data(file, images=tmp_path / "both"))
    assert (len(samples), problems, samples[0].source) == (2, [], "")
    _, problems = split(open_data(file))
    assert len(problems) == 2
    assert all(problem.endswith("say where with --images") for problem in problems)


def test_pictures_without_descriptions_say_what_is_missing(tmp_path: Path) -> None:
    corpora.memes(tmp_path)
    with pytest.raises(TuwenError, match="ChineseBQB's pictures without descriptions; put those of chinese-meme"):
        open_data(tmp_path / "ChineseBQB")


def test_broken_memes_are_named_and_the_others_read(tmp_path: Path) -> None:
    place = corpora.memes(tmp_path)
    draw(tmp_path / "copy" / "滑稽大佬00001-360度鄙视你.gif")
    file = place / "emo-visual-data-gemini-1_5_flash.jsonl"
    good = {"picName": "00f61c15-f8f7-4640-bfe2-d45d519cac79.png", "description": "好。"}
    put_lines(
        file,
        [
            {"picName": "gone.jpg", "description": "没有。"},
            {"picName": "滑稽大佬00001-360度鄙视你.gif", "description": "两张。"},
            {**good, "description": " "},
            {**good, "picName": 7},
            ["picName"],
            good,
        ],
    )
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"picName": "half\n')
    samples, problems = split(open_data(file, images=tmp_path))
    assert [sample.answer for sample in samples] == ["好。"]
    for part, problem in zip(
        (
            f"record 0: no picture 'gone.jpg' in {tmp_path} or below",
            "record 1: two pictures are called '滑稽大佬00001-360度鄙视你.gif'",
            "record 2: description: expected a text, found ' '",
            "record 3: picName: expected a text, found 7",
            "line 5: expected keys and values, found list",
            "line 7: not valid JSON",
        ),
        problems,
        strict=True,
    ):
        assert part in problem


# SynthDoG and Donut


def test_pages_are_read_and_documents_answered(tmp_path: Path) -> None:
    found = by_id(open_data(corpora.synthdog(tmp_path)))
    assert set(found) == {f"train/image_{number}" for number in range(4)}
    chinese, english, fields, question = (found[f"train/image_{number}"] for number in range(4))
    assert (chinese.task, turns(chinese)) == ("ocr", ["读出图中的全部文字。", "春眠不觉晓 处处闻啼鸟"])
    assert turns(english) == ["Read all the text in the picture.", "Sleeping in spring, I missed the dawn"]
    assert (fields.task, json.loads(fields.answer)) == ("document_fields", corpora.PARSES[2]["gt_parse"])
    # Of two right answers the first is learnt.
    assert (question.task, turns(question)) == ("document_vqa", ["谁写的?", "孟浩然"])


def test_splits_of_pages(tmp_path: Path) -> None:
    place = corpora.synthdog(tmp_path)
    assert len(by_id(open_data(place, options={"split": "all"}))) == 12
    assert all(name.startswith("test/") for name in by_id(open_data(place, options={"split": "test"})))
    with pytest.raises(TuwenError, match="split: there is no 'val'; choose one of test, train, validation, or all"):
        open_data(place, options={"split": "val"})
    assert len(by_id(open_data(place / "test"))) == 4


def test_pages_in_two_languages(tmp_path: Path) -> None:
    for name in ("synthdog-en", "synthdog-zh"):
        corpora.synthdog(tmp_path / name)
    found = by_id(open_data(tmp_path))
    assert len(found) == 8
    assert found["synthdog-zh/train/image_0"].images == (tmp_path / "synthdog-zh/train/image_0.jpg",)


def test_pages_in_a_table(tmp_path: Path) -> None:
    corpora.synthdog(tmp_path / "pages")
    rows = [
        {
            "image": {"bytes": (tmp_path / f"pages/train/image_{number}.jpg").read_bytes(), "path": None},
            "ground_truth": donut(truth),
        }
        for number, truth in enumerate(corpora.PARSES)
    ]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    dataset = open_data(tmp_path / "train-00000-of-00001.parquet")
    assert dataset.format.name == "synthdog"
    assert [turns(sample) for sample in dataset] == [turns(sample) for sample in open_data(tmp_path / "pages")]


def test_broken_pages_are_named_and_the_others_read(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    truth = donut({"gt_parse": {"text_sequence": "甲"}})
    put_lines(
        tmp_path / "metadata.jsonl",
        [
            {"file_name": "a.jpg", "ground_truth": truth},
            {"file_name": "b.jpg", "ground_truth": truth},
            {"file_name": "a.jpg", "ground_truth": '{"gt_parse": {'},
            {"file_name": "a.jpg", "ground_truth": '{"gt_parse": 3}'},
            {"file_name": "a.jpg", "ground_truth": '{"gt_parses": []}'},
            {"file_name": ["a.jpg"], "ground_truth": truth},
        ],
    )
    samples, problems = split(open_data(tmp_path))
    assert [sample.id for sample in samples] == ["a"]
    assert f"record 1: no picture 'b.jpg' in {tmp_path}" in problems[0]
    assert "record 2: ground_truth: not valid JSON" in problems[1]
    assert all("expected gt_parse, or a list gt_parses" in problem for problem in problems[2:4])
    assert "a picture must be a path, a URL or bytes, found ['a.jpg']" in problems[4]


# Visual Genome


@pytest.mark.parametrize("release", ["1.0", "1.4"])
def test_regions_objects_and_questions(release: str, tmp_path: Path) -> None:
    found = by_id(open_data(corpora.visual_genome(tmp_path, release)))
    assert len(found) == 2 * (2 * 2 + 1 + 1)
    described, grounded = (found[f"vg-1-region-10-{end}"] for end in ("description", "grounding"))
    box = (0.1, 0.1, 0.6, 0.6)
    assert turns(described) == ["Describe the region <box>(100,100),(600,600)</box>.", "the clock is green in colour"]
    assert parse_boxes(grounded.answer)[0].box == box
    assert grounded.regions == described.regions == (Region(box=box, text="the clock is green in colour"),)
    assert described.images == (tmp_path / "VG_100K_2/1.jpg",)
    caption = found["vg-2317429-objects"]
    assert caption.images == (tmp_path / "VG_100K/2317429.jpg",)
    assert [(one.label, one.box[0]) for one in parse_boxes(caption.answer)] == [
        ("window", 0.1),
        ("window", 0.5),
        ("tree", 0.1),
    ]
    assert turns(found["vg-1-qa-5"]) == ["What colour is the clock?", "Green."]


def test_only_the_lists_that_tasks_need_are_opened(tmp_path: Path) -> None:
    place = corpora.visual_genome(tmp_path)
    (place / "objects.json").write_text("[{", encoding="utf-8")
    dataset = open_data(place, format="visual_genome", options={"tasks": "vqa"})
    assert [Path(file).name for file in dataset.files] == ["question_answers.json"]
    assert {sample.task for sample in dataset} == {"vqa"}
    (place / "question_answers.json").unlink()
    with pytest.raises(TuwenError, match="tasks: question_answers.json: not found beside"):
        open_data(place / "region_descriptions.json", options={"tasks": "vqa"})


def test_the_largest_objects_are_named(tmp_path: Path) -> None:
    dataset = open_data(corpora.visual_genome(tmp_path), options={"tasks": "grounded_caption", "most_objects": 1})
    assert [sample.answer for sample in dataset] == ["<ref>tree</ref><box>(100,100),(600,300)</box>"] * 2


def test_sizes_come_from_the_header_where_the_data_has_none(tmp_path: Path) -> None:
    place = corpora.visual_genome(tmp_path)
    whole = by_id(open_data(place))
    (place / "image_data.json").unlink()
    assert by_id(open_data(place)) == whole


def test_the_newest_release_in_a_folder_is_read(tmp_path: Path) -> None:
    for name, phrase in (("_v1", "one"), ("_v1_2", "two"), ("_v1_10", "three")):
        corpora.visual_genome(tmp_path)
        file = tmp_path / "region_descriptions.json"
        file.write_text(file.read_text(encoding="utf-8").replace("a tree", phrase), encoding="utf-8")
        file.rename(tmp_path / f"region_descriptions{name}.json")
    options = {"tasks": "region_description"}
    assert "three" in {sample.answer for sample in open_data(tmp_path, options=options)}
    corpora.visual_genome(tmp_path)
    assert "a tree" in {sample.answer for sample in open_data(tmp_path, options=options)}


def test_broken_regions_are_named_and_the_others_read(tmp_path: Path) -> None:
    place = corpora.visual_genome(tmp_path)
    regions = json.loads((place / "region_descriptions.json").read_text(encoding="utf-8"))
    good = regions[0]["regions"][0]
    regions[0]["regions"] = [
        {**good, "x": 60},
        {**good, "height": 0},
        {**good, "x": None},
        {**good, "x": 1e400, "y": "1"},
        {**good, "phrase": ""},
        {**good, "phrase": "a <box> of wood"},
        {**good, "image_id": 2},
        "region",
        {**good, "x": -1, "width": 82},
    ]
    regions += [
        {"id": 999, "regions": [good]},
        {"id": "1", "regions": [good]},
        {"id": 7, "regions": [good]},
        {"id": 8, "regions": [good]},
        {"id": 1, "regions": {}},
    ]
    put(place / "region_descriptions.json", regions)
    rows = json.loads((place / "image_data.json").read_text(encoding="utf-8"))
    put(place / "image_data.json", [*rows, {"image_id": 7, "width": 0, "height": 0}, {"image_id": 8}, 3, {"url": 3}])
    draw(place / "VG_100K/7.jpg")
    samples, problems = split(open_data(place, options={"tasks": "grounding"}))
    assert samples[0].regions[0].box == (0.0, 0.1, 1.0, 0.6)
    assert {sample.id.split("-")[1] for sample in samples} == {"1", "2317429"}
    for part, problem in zip(
        (
            "record 0: regions.0: box [60, 6, 100, 36] stands 20 pixels out of the picture of 80x60",
            "record 0: regions.1: box [8, 6, 48, 6] is empty",
            "record 0: regions.2: box [None, 6, 40, 30]: expected [left, top, width, height] in pixels",
            "record 0: regions.3: box",
            "record 0: regions.4: phrase: expected a text, found ''",
            "record 0: regions.5: label 'a <box> of wood': must not hold",
            "record 0: regions.6: image_id 2 in the record of picture 1",
            "record 0: regions.7: expected keys and values, found str",
            "record 2: image_id 999: not in image_data.json",
            "record 3: image_id: expected a number, found '1'",
            "record 4: width and height: expected pixels above 0, found 0 and 0",
            "record 5: no picture 'VG_100K/8.jpg'",
            "record 6: regions: expected a list, found dict",
        ),
        problems,
        strict=True,
    ):
        assert part in problem
    wide = open_data(place, options={"tasks": "grounding", "overhang": 20})
    assert len(split(wide)[1]) == len(problems) - 1


def test_visual_genome_is_not_written(tmp_path: Path) -> None:
    samples = list(open_data(corpora.visual_genome(tmp_path)))
    with pytest.raises(TuwenError, match=r"vg-1-objects: Visual Genome keeps all .* write the format tuwen"):
        write_data(samples, tmp_path / "out.json", format="visual_genome")


def test_rows_of_a_table_hold_their_picture(tmp_path: Path) -> None:
    folder = corpora.visual_genome(tmp_path / "vg")
    rows = []
    for record, row in zip(
        json.loads((folder / "region_descriptions.json").read_text(encoding="utf-8")),
        json.loads((folder / "image_data.json").read_text(encoding="utf-8")),
        strict=True,
    ):
        picture = (folder / row["url"].removeprefix(f"{corpora.VG_ADDRESS}/")).read_bytes()
        rows.append({"image": {"bytes": picture, "path": None}, **row, "regions": record["regions"]})
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    table = open_data(tmp_path / "train.parquet")
    assert table.format.name == "visual_genome"
    tasks = {"tasks": ["grounding", "region_description"]}
    assert [turns(sample) for sample in table] == [turns(sample) for sample in open_data(folder, options=tasks)]


# RefCOCO


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_references_of_every_pickle(protocol: int, tmp_path: Path) -> None:
    found = by_id(open_data(corpora.refcoco(tmp_path / "refcoco+", protocol)))
    assert set(found) == {
        f"refcoco+-ref-1-{place}-{task}" for place in (0, 1) for task in ("grounding", "region_description")
    }
    sample = found["refcoco+-ref-1-1-grounding"]
    assert turns(sample) == ["Give the box of: the green one", "<ref>the green one</ref><box>(100,100),(600,600)</box>"]
    assert (sample.images, sample.source) == (
        (tmp_path / "refcoco+/train2014/COCO_train2014_000000000001.jpg",),
        "refcoco+",
    )


def test_splits_and_who_made_them(tmp_path: Path) -> None:
    for folder in ("refcoco", "refcoco+"):
        corpora.refcoco(tmp_path / folder)
    corpora.refcoco(tmp_path / "refcoco", references=[reference(1, "train", "by google")], split_by="google")
    answers = {"tasks": "region_description"}

    def read(**options: str) -> list[str]:
        return sorted(sample.answer for sample in open_data(tmp_path, options={**answers, **options}))

    assert read() == sorted(["left clock", "the green one"] * 2)
    assert read(split="val") == ["tree on the right"] * 2
    assert len(read(split="all")) == 8
    assert read(split_by="google") == ["by google"]
    with pytest.raises(TuwenError, match="split_by: there is no 'umd'; choose one of google, unc"):
        read(split_by="umd")


def test_pictures_of_coco_are_found_where_they_usually_lie(tmp_path: Path) -> None:
    place = corpora.refcoco(tmp_path / "data/refcoco")
    shared = tmp_path / "data/images/mscoco/images/train2014"
    shared.parent.mkdir(parents=True)
    (place / "train2014").rename(shared)
    assert split(open_data(place))[1] == []
    assert split(open_data(place, images=shared))[1] == []


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "sung"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_something_is_refused(protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    bad = {**reference(1, "train", "left"), "sentences": Canary(canary)}
    place = corpora.refcoco(tmp_path / "refs", protocol, references=[reference(1, "train", "good"), bad])
    # It is a canary that sings.
    pickle.loads((place / "refs(unc).p").read_bytes())
    canary.unlink()
    with pytest.raises(
        TuwenError, match=r"^[^()]*refs\(unc\)\.p: not a pickle of basic types: instruction .* never read$"
    ) as refusal:
        list(open_data(place).scan())
    assert "\n" not in str(refusal.value)
    assert refused("data", "convert", place, tmp_path / "out.jsonl") == str(refusal.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch x'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x02\x82\x01.",
        b"Psomething\n.",
        b"(ios\nsystem\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"X\xff\xff\xff\x7fabc.",
        b"]r\xff\xff\xff\xff",
        b"((((",
        b"]a.",
        b"}]]s.",
        b"}K\x01K\x02s.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"",
    ],
)
def test_hostile_and_broken_pickles_are_refused_in_one_line(program: bytes) -> None:
    with pytest.raises(
        TuwenError, match=r"^refs: (not a pickle of basic types: instruction|broken pickle at byte)"
    ) as refusal:
        read_plain_pickle(program, "refs")
    assert "\n" not in str(refusal.value)


BASIC = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(BASIC, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_basic_types_are_read_as_they_were(value: Any, protocol: int) -> None:
    # Whole numbers of more than 255 bytes and texts of more than 4 GB are in no corpus.
    assert read_plain_pickle(pickle.dumps(value, protocol), "x") == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    refusal = "x: "
    try:
        read_plain_pickle(data, "x")
    except TuwenError as error:
        refusal = str(error)
    assert refusal.startswith("x: ")


def test_strings_of_python_2() -> None:
    # As Python 2 wrote it: strings in quotes, text in its own escapes, long integers.
    program = (
        b"(lp0\n(dp1\nS'sent'\np2\nVleft \\u732b\np3\nsS\"it's\"\np4\nS'a\\x20b\\n'\np5\n"
        b"sS'id'\np6\nI7\nsS'big'\np7\nL7L\nsa."
    )
    assert read_plain_pickle(program, "x") == [{"sent": "left 猫", "it's": "a b\n", "id": 7, "big": 7}]


def test_broken_references_are_named_and_the_others_read(tmp_path: Path) -> None:
    good = reference(1, "train", "left clock")
    references = [
        {**good, "ann_id": 999},
        {**good, "ann_id": "101"},
        {**good, "sentences": []},
        {**good, "sentences": [{"raw": "x"}]},
        "reference",
        {**good, "ref_id": 5, "sentences": [{"sent": "a <ref>"}, {"sent": "right"}]},
        reference(2, "train", "gone"),
        reference(3, "train", "no size"),
        good,
    ]
    place = corpora.refcoco(tmp_path, 2, references)
    (place / "train2014/COCO_train2014_000000000002.jpg").unlink()
    whole = json.loads((place / "instances.json").read_text(encoding="utf-8"))
    whole["images"][2]["width"] = 0
    put(place / "instances.json", {"info": {}, **whole, "images": [*whole["images"], "image"]})
    samples, problems = split(open_data(place, options={"tasks": "grounding"}))
    assert [sample.regions[0].text for sample in samples] == ["right", "left clock"]
    for part, problem in zip(
        (
            "record 0: ann_id 999: no annotation with this id in instances.json",
            "record 1: ann_id '101': no annotation",
            "record 2: sentences: expected a list of 1 to",
            "record 3: sentences: expected sent: a text",
            "record 4: expected keys and values, found str",
            "record 5: label 'a <ref>': must not hold any of",
            "record 6: no picture 'COCO_train2014_000000000002.jpg'",
            "record 7: width and height: expected pixels above 0, found 0 and 60",
        ),
        problems,
        strict=True,
    ):
        assert part in problem
    (place / "instances.json").unlink()
    with pytest.raises(TuwenError, match="instances.json: cannot be read"):
        list(open_data(place).scan())


def test_references_that_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuwen.data.containers.refs_files.LARGEST_TABLE", 100_000)
    sentences = [{"sent": "left " * 100, "sent_id": 1}] * 10
    references = [{**reference(1, "train", "x"), "sentences": sentences}] * 1000
    place = corpora.refcoco(tmp_path, 4, references)
    assert (place / "refs(unc).p").stat().st_size < 10_000
    with pytest.raises(TuwenError, match="its sentences and those before have more than 100,000 bytes"):
        list(open_data(place).scan())


@pytest.mark.parametrize(
    "record",
    [
        {"image": "data/coco/a.jpg", "sent": "左边的钟", "bbox": [8.0, 6.0, 48.0, 36.0], "height": 60, "width": 80},
        {"image": "a.jpg", "sent": "左边的钟", "bbox": [8, 6, 48, 36]},
        {
            "img_path": "a.jpg",
            "expression": "左边的钟",
            "bbox": [8, 6, 48, 36],
            "dataset_name": "refcocog",
            "height": 60,
            "width": 80,
        },
        {"image": "a.jpg", "answer": ["左边的钟"], "bbox": [8, 6, 40, 30], "file_name": "a.jpg", "question_id": "17"},
        {
            "sentences": [{"raw": "左边的钟", "sent": "左边的钟", "sent_id": 1, "tokens": []}],
            "file_name": "a_16.jpg",
            "ref_id": 3,
            "split": "train",
            "raw_anns": json.dumps({"bbox": [8, 6, 40, 30], "id": 4}),
            "raw_image_info": json.dumps({"file_name": "a.jpg", "width": 80, "height": 60}),
            "image_path": "coco/train2014/a.jpg",
            "bbox": [8, 6, 40, 30],
        },
    ],
    ids=["qwen-vl", "no size", "shikra", "lmms-eval", "jxu124"],
)
def test_other_forms_mean_the_same(record: dict[str, Any], tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    dataset = open_data(put_lines(tmp_path / "val.jsonl", [record]))
    assert dataset.format.name == "refcoco"
    grounding, description = dataset
    assert turns(grounding) == ["框出:左边的钟", "<ref>左边的钟</ref><box>(100,100),(600,600)</box>"]
    assert turns(description) == ["描述方框<box>(100,100),(600,600)</box>中的东西。", "左边的钟"]
    assert grounding.images == (tmp_path / "a.jpg",)
    assert grounding.regions == (Region(box=(0.1, 0.1, 0.6, 0.6), text="左边的钟"),)


@needs_fixtures
def test_the_lines_of_qwen_vl() -> None:
    file = FIXTURES / "refcoco/refcoco_val.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    samples = list(open_data(file, options={"tasks": "grounding"}))
    assert len(samples) == len(records) == 48
    for sample, record in zip(samples, records, strict=True):
        (grounding,) = parse_boxes(sample.answer)
        assert grounding.label == record["sent"]
        size = (record["width"], record["height"])
        for side, pixels, scale in zip(grounding.box, record["bbox"], size * 2, strict=True):
            assert abs(side * scale - pixels) <= scale / 1000 + 0.01


# OCR-VQA


def test_a_book_is_one_conversation(tmp_path: Path) -> None:
    found = by_id(open_data(corpora.ocr_vqa(tmp_path)))
    assert set(found) == {"0078119669", "1579546242"}
    short = "Answer the question using a single word or phrase."
    assert turns(found["0078119669"]) == [
        f"Who wrote this book?\n{short}",
        "Li Bai",
        "What is the title of this book?",
        "Seven Poems",
    ]
    assert found["1579546242"].images == (tmp_path / "images/1579546242.gif",)


def test_splits_and_questions_by_themselves(tmp_path: Path) -> None:
    place = corpora.ocr_vqa(tmp_path)
    assert set(by_id(open_data(place, options={"split": "test"}))) == {"B000BBBBBB"}
    assert len(by_id(open_data(place, options={"split": "all"}))) == 4
    single = by_id(open_data(place, options={"turns": "single", "prompt": ""}))
    assert turns(single["0078119669-1"]) == ["What is the title of this book?", "Seven Poems"]


def test_broken_books_are_named_and_the_others_read(tmp_path: Path) -> None:
    place = corpora.ocr_vqa(tmp_path)
    good = book(1, ("Who?", "Li Bai"))
    books = {
        "gone": good,
        "0078119669": {**good, "answers": []},
        "1579546242": {**good, "questions": [" "]},
        "B000AAAAAA": {**good, "split": 9},
        "list": [],
        "B000BBBBBB": {**good, "answers": [1962]},
    }
    put(place / "dataset.json", books)
    samples, problems = split(open_data(place))
    assert [sample.answer for sample in samples] == ["1962"]
    for part, problem in zip(
        (
            "record 0: no picture 'images/gone.jpg'",
            "record 1: expected as many answers as questions, found 1 questions, 0 answers",
            "record 2: expected a question and its answer, found ' ' and 'Li Bai'",
            "record 3: split: expected 1, 2 or 3 (train, validation, test), found 9",
            "'list': expected keys and values, found list",
        ),
        problems,
        strict=True,
    ):
        assert part in problem
    text = (place / "dataset.json").read_text(encoding="utf-8")
    (place / "dataset.json").write_text(text[:-40], encoding="utf-8")
    with pytest.raises(TuwenError, match="dataset.json: 'B000BBBBBB': not valid JSON"):
        list(open_data(place).scan())


def test_two_books_of_one_id_are_not_written(tmp_path: Path) -> None:
    samples = list(open_data(corpora.ocr_vqa(tmp_path / "books")))
    with pytest.raises(TuwenError, match="0078119669: a second record with this id; each must have its own"):
        write_data([*samples, samples[0]], tmp_path / "dataset.json", format="ocr_vqa")


def test_books_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(open_data(corpora.ocr_vqa(tmp_path)))
    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr("tuwen.data.containers.json_list.CHUNK", size)
        dataset = open_data(tmp_path)
        assert list(dataset) == whole
        assert [dataset.sample(entry.place) for entry in dataset.scan()] == whole


# Writing


def pair(tmp_path: Path, question: str, answer: str, **values: Any) -> Sample:
    picture = draw(tmp_path / "pictures/a.png")
    messages = (Message.of("user", Image(), question), Message.of("assistant", answer))
    return Sample(id="one", messages=messages, images=(picture,), **values)


WRITTEN = {
    name: [f"out{CONTAINERS.get(container).suffixes[0]}" for container in FORMATS.get(name).containers]
    for name in ("memes", "synthdog", "refcoco", "ocr_vqa")
}


@pytest.mark.parametrize(
    ("name", "corpus", "out", "options"),
    [
        *((name, name, out, {}) for name, files in WRITTEN.items() for out in files),
        ("memes", "emo-visual-data", "out.json", {"prompt": "说说这张图。"}),
        ("synthdog", "synthdog", "metadata.jsonl", {}),
        ("synthdog", "synthdog", "out.json", {"prompt": "OCR", "fields_prompt": "JSON"}),
        ("refcoco", "refcoco", "out.json", {"tasks": ["region_description"], "region_prompt": "{box}?"}),
        ("ocr_vqa", "ocr_vqa", "dataset.json", {}),
        ("ocr_vqa", "ocr_vqa", "out.jsonl", {"split": "all", "turns": "single", "prompt": ""}),
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_what_was_read_is_written_and_read_again(
    name: str, corpus: str, out: str, options: dict[str, Any], pack: bool, tmp_path: Path
) -> None:
    samples = list(open_data(CORPORA[corpus](tmp_path / "data"), options=options))
    file = tmp_path / "written" / out
    assert write_data(samples, file, format=name, options=options, pack=pack) == len(samples) > 0
    again = open_data(file, options=options)
    assert again.format.name == name
    read = list(again)
    if pack or file.suffix == ".tar":
        assert [open_picture(fetch(sample.images[0])) for sample in read] == [
            open_picture(fetch(sample.images[0])) for sample in samples
        ]
        read = [Sample(**{**fields(one), "images": other.images}) for one, other in zip(read, samples, strict=True)]
    assert read == samples


def fields(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in sample.__slots__}


@given(
    left=st.floats(0, 0.9),
    top=st.floats(0, 0.9),
    width=st.floats(0.02, 1),
    height=st.floats(0.02, 1),
    words=st.text(min_size=1),
)
@settings(max_examples=50)
def test_any_region_is_kept_exactly_or_refused(
    left: float, top: float, width: float, height: float, words: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("region")
    draw(folder / "a.jpg")
    lines = [{"image": "a.jpg", "sent": "x", "bbox": [8, 6, 48, 36]}]
    kind = FORMATS.get("refcoco")()
    box = (left, top, min(1.0, left + width), min(1.0, top + height))
    (template, _) = open_data(put_lines(folder / "in.jsonl", lines))
    try:
        question, answer = kind._turn("grounding", words, box)
    except TuwenError:
        return
    messages = (Message.of("user", Image(), question), Message.of("assistant", answer))
    region = Region(box=box, text=words)
    sample = Sample(id="7", messages=messages, images=template.images, task="mine", language="zh", regions=(region,))
    out = folder / "out.jsonl"
    if words != words.strip() or not words:
        with pytest.raises(TuwenError, match="in the way that is chosen here"):
            write_data([sample], out, format="refcoco")
    else:
        write_data([sample], out, format="refcoco")
        assert list(open_data(out)) == [sample]


@pytest.mark.parametrize(
    ("name", "out", "values", "why"),
    [
        (
            "memes",
            "a.jsonl",
            {"question": "几点了?", "answer": "三点。"},
            "it asks '几点了?'; this format keeps one prompt",
        ),
        (
            "memes",
            "a.jsonl",
            {"question": "描述这个表情包。", "answer": " 猫"},
            "its answer is empty or has blanks around it",
        ),
        ("synthdog", "a.jsonl", {"question": "读?", "answer": "字\n"}, "is empty or has blanks around it"),
        ("refcoco", "a.jsonl", {"question": "框出:猫", "answer": "猫"}, "this format keeps one region, found 0"),
        ("ocr_vqa", "a.json", {"question": "Who?", "answer": "Li Bai"}, "its first question does not end with 'Answer"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, out: str, values: dict[str, str], why: str, tmp_path: Path) -> None:
    with pytest.raises(TuwenError) as refusal:
        write_data([pair(tmp_path, **values)], tmp_path / out, format=name)
    assert why in str(refusal.value)
    assert str(refusal.value).endswith("write the format tuwen, which keeps everything")
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("name", ["memes", "synthdog", "refcoco"])
def test_longer_conversations_are_refused(name: str, tmp_path: Path) -> None:
    sample = pair(tmp_path, "一?", "二")
    longer = Sample(
        **{**fields(sample), "messages": (*sample.messages, Message.of("user", "三?"), Message.of("assistant", "四"))}
    )
    with pytest.raises(TuwenError, match="this format keeps one question, found 2"):
        write_data([longer], tmp_path / "a.jsonl", format=name)
    with pytest.raises(TuwenError, match="this format keeps one picture, which stands before the question"):
        write_data([Sample(**{**fields(sample), "images": sample.images * 2})], tmp_path / "a.jsonl", format=name)


def test_corpora_are_converted_on_the_command_line(tmp_path: Path) -> None:
    corpora.visual_genome(tmp_path / "vg")
    result = run_cli(
        "data", "convert", tmp_path / "vg", tmp_path / "vg.json", "--to", "llava", "--option", "tasks=grounding"
    )
    assert result.returncode == 0, result.stderr
    written = [turns(sample) for sample in open_data(tmp_path / "vg.json")]
    assert written == [turns(sample) for sample in open_data(tmp_path / "vg", options={"tasks": "grounding"})]
    assert refused("data", "convert", tmp_path / "vg", tmp_path / "a.json", "--option", "overhang=-1").startswith(
        "options of visual_genome: overhang: Input should be greater than or equal to 0"
    )


def test_both_formats_of_a_conversion_can_be_set(tmp_path: Path) -> None:
    there, back = tmp_path / "books.json", tmp_path / "books.parquet"
    books = ("data", "convert", corpora.ocr_vqa(tmp_path / "books"), there, "--option", "prompt=Answer in a word.")
    assert run_cli(*books, "--to", "llava").returncode == 0
    again = ("data", "convert", there, back, "--to", "ocr_vqa", "--pack")
    assert "its first question does not end with 'Answer the question" in refused(*again)
    result = run_cli(*again, "--to-option", "prompt=Answer in a word.")
    assert result.returncode == 0, result.stderr
    read = open_data(back, options={"prompt": "Answer in a word."})
    assert [turns(sample) for sample in read] == [turns(sample) for sample in open_data(there)]
    assert refused(*again, "--force", "--to-option", "promt=x").startswith(
        "options of ocr_vqa: promt: unknown key 'promt'"
    )


# Hostile data


@pytest.mark.parametrize("name", ["../outside.txt", "{root}/outside.txt", "sub/../../outside.txt"])
@pytest.mark.parametrize("form", ["memes", "synthdog", "refcoco", "ocr_vqa"])
def test_a_path_that_leads_outside_is_kept_in_sight_and_opened_as_a_picture_alone(
    name: str, form: str, tmp_path: Path
) -> None:
    (tmp_path / "outside.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "data/sub").mkdir(parents=True)
    path = name.format(root=tmp_path)
    record = {
        "memes": {"picName": path, "description": "猫。"},
        "synthdog": {"file_name": path, "ground_truth": donut(corpora.PARSES[0])},
        "refcoco": {"image": path, "sent": "x", "bbox": [8, 6, 48, 36], "width": 80, "height": 60},
        "ocr_vqa": {"image": path, "questions": ["Who?"], "answers": ["Li Bai"]},
    }[form]
    file = put_lines(tmp_path / "data/in.jsonl", [record])
    for sample in open_data(file, format=form):
        (picture,) = sample.images
        assert isinstance(picture, Path)
        assert picture.resolve() == (tmp_path / "outside.txt").resolve()
        with pytest.raises(PictureError, match="outside.txt: not a picture"):
            open_picture(picture)


@pytest.mark.parametrize(
    "name", ["", "a\0.jpg", "a\nb.jpg", "x" * 5000, "https://example.org/a.jpg", "data:image/png;base64,?"]
)
def test_names_that_are_none_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    records = [{"file_name": name, "ground_truth": donut(corpora.PARSES[0])}]
    samples, problems = split(open_data(put_lines(tmp_path / "in.jsonl", records), format="synthdog"))
    if name.startswith("https"):
        # An address is kept, and refused when it is opened.
        with pytest.raises(PictureError, match="nothing is fetched from the web"):
            fetch(samples[0].images[0])
    else:
        assert len(problems) == 1
        assert not samples
        assert len(problems[0]) < 600


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS: dict[str, list[str]] = {
    "memes": ["picName", "description", "filename", "content", "source", "id", "regions"],
    "synthdog": ["file_name", "image", "ground_truth", "id"],
    "visual_genome": ["image_id", "id", "image", "picture", "width", "height", "regions", "objects", "qas"],
    "refcoco": [
        "image",
        "sent",
        "bbox",
        "width",
        "height",
        "sentences",
        "raw_anns",
        "raw_image_info",
        "answer",
        "tasks",
        "regions",
        "split",
        "file_name",
        "img_path",
        "expression",
    ],
    "ocr_vqa": ["id", "image", "questions", "answers", "split", "imageURL", "language", "pair"],
}
GOOD: dict[str, dict[str, Any]] = {
    "memes": {"picName": "a.jpg", "description": "猫"},
    "synthdog": {"file_name": "a.jpg", "ground_truth": donut(corpora.PARSES[3])},
    "visual_genome": {
        "image_id": 1,
        "image": "a.jpg",
        "regions": [{"phrase": "x", "x": 1, "y": 1, "width": 9, "height": 9}],
    },
    "refcoco": {"image": "a.jpg", "sent": "x", "bbox": [8, 6, 48, 36]},
    "ocr_vqa": {"image": "a.jpg", "questions": ["q"], "answers": ["a"]},
}


@pytest.mark.parametrize("name", KEYS)
@given(data=st.data())
@settings(max_examples=150)
def test_no_record_makes_anything_but_samples_and_refusals(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "junk"
    if not folder.exists():
        draw(folder / "a.jpg")
    junk = data.draw(st.dictionaries(st.sampled_from(KEYS[name]), JUNK, max_size=4))
    kind = FORMATS.get(name)
    record = {**GOOD[name], **junk}
    kind.recognises(record)
    try:
        found = kind().samples(record, "here", Reading(PictureFolder(str(folder))))
    except TuwenError as error:
        found = [error]
    assert all("\n" not in str(one) for one in found if isinstance(one, TuwenError))


@given(st.lists(st.integers() | st.floats(), min_size=4, max_size=4), st.floats(0, 100))
def test_a_box_lies_in_its_picture_or_is_refused(sides: list[Any], overhang: float) -> None:
    with suppress(TuwenError):
        left, top, right, bottom = pixel_box(sides, SIZE, "x", overhang)
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


# The index


def test_an_index_knows_the_files_that_are_joined(tmp_path: Path) -> None:
    place = corpora.visual_genome(tmp_path / "vg")
    options = {"tasks": "grounding"}
    assert len(open_index(open_data(place, options=options), cache=tmp_path / "cache")) == 4
    put(place / "image_data.json", [])
    assert len(open_index(open_data(place, options=options), cache=tmp_path / "cache")) == 0
