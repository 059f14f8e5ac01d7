"""Captions are scored as by the COCO caption program, Stanford's tokenizer included; boxes as by Qwen-VL's."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import refused, run_cli
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Prediction
from tuwen.evaluate.score import score_files
from tuwen.evaluate.scoring import characters, ptb
from tuwen.evaluate.scoring.boxes import in_pixels, intersection_over_union, qwen_vl
from tuwen.evaluate.scoring.captions import caption_scores, cider, longest_common, rouge_l

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
CAPTIONS, BOXES = GOLDEN / "flickr30k", GOLDEN / "refcoco"


def expected(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return found


def close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(close(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return bool(found == wanted if isinstance(wanted, bool | str) else abs(found - wanted) <= 1e-9)


def without_java(scores: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_java(value) if isinstance(value, dict) else value
        for key, value in scores.items()
        if key != "METEOR"
    }


@golden
def test_captions_are_tokenised_as_by_the_java_program() -> None:
    wanted = expected(CAPTIONS)["ptb_tokenised"]
    data = json.loads((CAPTIONS / "flickr30k_karpathy_test.json").read_text(encoding="utf-8"))
    made = ptb.tokenise([annotation["caption"] for annotation in data["annotations"]])
    found: dict[str, list[str]] = {}
    for annotation, tokens in zip(data["annotations"], made, strict=True):
        found.setdefault(str(annotation["image_id"]), []).append(tokens)
    assert found == wanted["references"]
    results = json.loads((CAPTIONS / "results.json").read_text(encoding="utf-8"))
    tokens = ptb.tokenise([result["caption"] for result in results])
    assert {str(result["image_id"]): one for result, one in zip(results, tokens, strict=True)} == wanted["predictions"]


@golden
@pytest.mark.parametrize("files", [["results.json"], [""]], ids=["results", "folder"])
def test_caption_scores_are_the_official_ones(files: list[str]) -> None:
    wanted = without_java(expected(CAPTIONS)["scorers"]["pycocoevalcap"])
    result = score_files("flickr30k", CAPTIONS, [CAPTIONS / file for file in files])
    assert result.scorer == expected(CAPTIONS)["primary"]
    assert close(result.score.scores, wanted["scores"])
    assert close(result.score.per_item, wanted["per_item"])
    assert result.score.headline["CIDEr"] == pytest.approx(100 * wanted["scores"]["CIDEr"])
    unread = [name for name, one in result.score.parsed.items() if one.value is None]
    empty = expected(CAPTIONS)["ptb_tokenised"]["predictions"]
    assert unread == [name for name in empty if not empty[name]]
    assert all(0 <= (one.credit or 0) <= 1 for one in result.score.parsed.values())


@golden
def test_box_scores_are_the_official_ones() -> None:
    wanted = expected(BOXES)["scorers"]["qwen_vl"]
    result = run_cli("score", "refcoco", "--data", BOXES, "--predictions", BOXES / "predictions.json", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["benchmark"], found["scorer"]) == ("refcoco", "qwen_vl")
    assert close(found["scores"], wanted["scores"])
    assert close(found["per_item"], wanted["per_item"])


@golden
@pytest.mark.parametrize(("name", "folder"), [("flickr30k", CAPTIONS), ("refcoco", BOXES)])
def test_order_and_form_of_predictions_do_not_matter(name: str, folder: Path, tmp_path: Path) -> None:
    benchmark: Benchmark = BENCHMARKS.get(name)(folder)
    predictions = benchmark.read_predictions([folder])
    wanted = benchmark.score(predictions).scores
    random.Random(3).shuffle(predictions)
    assert close(benchmark.score(predictions).scores, wanted)
    official = benchmark.write_predictions(predictions, tmp_path / "official")
    assert close(score_files(name, folder, official).score.scores, wanted)
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"id": one.id, "answer": one.text}) + "\n" for one in predictions))
    assert close(score_files(name, folder, [own]).score.scores, wanted)


@golden
def test_prompts_are_those_of_the_systems() -> None:
    captions = BENCHMARKS.get("flickr30k")(CAPTIONS, "qwen").items()[0]
    assert captions.messages[0].text == "Describe the image in English:"
    assert captions.tokens == 30
    assert captions.images[0].is_file()
    assert BENCHMARKS.get("flickr30k")(CAPTIONS, "zh").items()[0].messages[0].text == "用一句话描述这张图片。"
    found = BENCHMARKS.get("refcoco")(BOXES).items()
    assert found[1].messages[0].text == "<ref>the left one</ref><box>"
    assert found[1].images[0].is_file()
    assert {item.tokens for item in found} == {28}
    asked = [item.messages[0].text for item in BENCHMARKS.get("refcoco")(BOXES, "words").items()[:2]]
    assert "左边的图形" in asked[0]
    assert "the left one" in asked[1]
    assert all("<ref>" not in text for text in asked)


@golden
def test_what_an_answer_is_read_as() -> None:
    boxes = BENCHMARKS.get("refcoco")(BOXES)
    item = boxes.items()[1]
    assert boxes.parse(item, "<ref>x</ref><box>(0,0),(999,999)</box>") == [0.0, 0.0, 500.0, 375.0]
    assert boxes.parse(item, "on the left") is None
    captions = BENCHMARKS.get("flickr30k")(CAPTIONS)
    assert captions.parse(captions.items()[0], "A dog.") == "a dog"
    assert captions.parse(captions.items()[0], " . ") is None


# What the Java program (Stanford CoreNLP 3.4.1 with -preserveLines -lowerCase) says of captions people write.
TOKENISED = {
    "A man's dog doesn't go.": "a man 's dog does n't go",
    "They can't, won't and cannot; it isn't.": "they ca n't wo n't and can not it is n't",
    "He's gonna wanna gimme it": "he 's gon na wan na gim me it",
    "'Tis y'all's o'clock, ma'am": "'t is y' all 's o'clock ma'am",
    "A t-shirt, black-and-white, 3-year-old.": "a t-shirt black-and-white 3-year-old",
    "At 3:30pm on 12/25/2010, 1,000 people paid $5.00": "at 3:30 pm on 12/25/2010 1,000 people paid $ 5.00",
    "1 1/2 cups, ½ cup; 10%": "1\u00a01/2 cups 1/2 cup 10 %",
    "Call (555) 123-4567!": "call -lrb-555-rrb-\u00a0123-4567",
    "Mr. Smith, Ph.D., of the U.S. at St. Mary": "mr. smith ph.d. of the u.s. at st. mary",
    "He says no. 5 dogs": "he says no. 5 dogs",
    "Plan B. The dog": "plan b the dog",
    "Plan B. A dog": "plan b a dog",
    "Plan B. Dogs": "plan b. dogs",
    '“Quoted” and ‘single’ and "double"': "quoted and single and double",
    "a (small) [dog] {here}": "a -lrb- small -rrb- -lsb- dog -rsb- -lcb- here -rcb-",
    "rock 'n' roll in the '90s": "rock 'n' roll in the '90s",
    "wow!! what... is -- that - ?": "wow !! what is that",
    "AT&T & R&B, C++ and C#": "at&t & r&b c++ and c#",
    "see www.google.com or a@b.com, #tag @me :)": "see www.google.com or a@b.com, #tag @me :-rrb-",
    "£5 and €5 and 5¢": "# 5 and $ 5 and 5 cents",
    "a café, naïve — déjà vu…": "a café naïve déjà vu",
    "图中有一个人在sitting，好的。": "图中有一个人在sitting ， 好的 。",
    "a 😀 dog😀": "a dog",
    "<b>bold</b> &amp; x": "<b> bold </b> & x",
    "end.Start of a.m. and 5 p.m.": "end.start of a.m. and 5 p.m.",
    "two\nlines\there": "two lines here",
    "soft\u00adhyphen": "softhyphen",
    "": "",
}


@pytest.mark.parametrize("caption", TOKENISED, ids=str)
def test_captions_as_people_write_them(caption: str) -> None:
    assert ptb.tokenise([caption, "x"])[0] == TOKENISED[caption]


def test_hundreds_of_strange_lines_are_tokenised_as_by_the_java_program() -> None:
    # Written by hand and drawn from pieces that matter to its rules; the tokens are what the program gave for the file.
    text = (Path(__file__).parent / "stanford_tokens.jsonl").read_text(encoding="utf-8")
    cases = [json.loads(line) for line in text.split("\n") if line]
    found = ptb.tokenise([case["caption"] for case in cases])
    wrong = [(case, tokens) for case, tokens in zip(cases, found, strict=True) if tokens != case["tokens"]]
    assert len(cases) > 400
    assert not wrong


def test_what_follows_a_caption_can_change_its_last_token_as_it_does_in_java() -> None:
    assert ptb.tokenise(["plan B.", "The dog"])[0] == "plan b"
    assert ptb.tokenise(["plan B.", "dogs"])[0] == "plan b."
    assert ptb.tokenise(["it says no.", "5 dogs"])[0] == "it says no."


@given(st.lists(st.text(max_size=40), max_size=5))
def test_tokenising_keeps_captions_apart(captions: list[str]) -> None:
    lines = ptb.tokenise(captions)
    assert len(lines) == len(captions)
    assert not any(set(line.split(" ")) & ptb.DROPPED for line in lines)


@pytest.mark.parametrize("text", ["a,b@" * 3000, "(" * 9000, "<a " * 3000, "a.b" * 5000, "1-" * 5000, "'" * 9000])
def test_hostile_captions_end(text: str) -> None:
    assert isinstance(ptb.tokenise([text])[0], str)


def test_chinese_by_character() -> None:
    assert characters.tokenise(["图中有两个人，在sitting。", "A dog's 〇"]) == [
        "图 中 有 两 个 人 在 sitting",
        "a dog 's 零",
    ]
    close_one, far = "一只狗在草地上。", "两个人站在海边"
    references = [["一只狗站在草地上", "草地上有一只小狗"], ["一个人站在海边。", "海边有两个人"]]
    known = [characters.tokenise(captions) for captions in references]
    good = caption_scores(characters.tokenise([close_one, far]), known).total
    bad = caption_scores(characters.tokenise([far, close_one]), known).total
    assert good["CIDEr"] > bad["CIDEr"]
    assert good["Bleu_4"] > bad["Bleu_4"]
    # Without characters as tokens, a Chinese sentence is one word that no reference shares.
    assert caption_scores(ptb.tokenise([close_one, far]), [ptb.tokenise(known) for known in references]).total[
        "CIDEr"
    ] == pytest.approx(0)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=9)


@given(WORDS, WORDS)
def test_longest_common_subsequence(first: list[str], second: list[str]) -> None:
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first, start=1):
        for j, other in enumerate(second, start=1):
            rows[i][j] = rows[i - 1][j - 1] + 1 if one == other else max(rows[i - 1][j], rows[i][j - 1])
    assert longest_common(first, second) == rows[-1][-1]


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_caption_scores_stay_in_their_ranges(rows: list[tuple[list[str], list[list[str]]]]) -> None:
    predictions = [" ".join(words) for words, _ in rows]
    references = [[" ".join(words) for words in known] for _, known in rows]
    found = caption_scores(predictions, references)
    for scores in [found.total, *found.each]:
        assert all(-1e-9 <= score <= (10 if name == "CIDEr" else 1) + 1e-6 for name, score in scores.items())
    assert found.total["CIDEr"] == pytest.approx(sum(one["CIDEr"] for one in found.each) / len(rows))


def test_a_caption_alone_has_no_cider_and_its_own_reference_has_the_most() -> None:
    assert cider(["a dog"], [["a dog"]]) == [0.0]
    captions = ["a dog runs on grass", "two cats sit by water"]
    assert cider(captions, [[caption] for caption in captions]) == pytest.approx([10.0, 10.0])
    assert rouge_l("a dog", ["a dog"]) == pytest.approx(1.0)


def qwen_pattern(reply: str) -> tuple[float, ...] | None:
    import re

    found = re.findall(r"\((.*?)\),\((.*?)\)", reply)
    try:
        (left, top), (right, bottom) = ([float(number) for number in point.split(",")] for point in found[0])
    except (ValueError, IndexError):
        return None
    return left, top, right, bottom


@given(st.text(st.sampled_from("()(),,,,1234 .-\nxn"), max_size=30))
def test_boxes_are_read_as_by_qwen_vls_pattern(reply: str) -> None:
    assert qwen_vl(reply) == qwen_pattern(reply)


@given(st.lists(st.integers(0, 999), min_size=4, max_size=4), st.integers(1, 4000), st.integers(1, 4000))
def test_a_box_meets_itself(sides: list[int], width: int, height: int) -> None:
    box = [min(sides[0], sides[2]), min(sides[1], sides[3]), max(sides[0], sides[2]), max(sides[1], sides[3])]
    pixels = in_pixels([box], [(width, height)])
    overlap = intersection_over_union(pixels, pixels)[0]
    empty = box[0] == box[2] or box[1] == box[3]
    assert math.isnan(overlap) if empty else overlap == pytest.approx(1)
    assert not intersection_over_union(pixels, pixels + 5000)[0] > 0


def refcoco_data(folder: Path, lines: dict[str, list[dict[str, Any]]]) -> Path:
    for split, records in lines.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


LINE = {"image": "data/refcoco/images/1.jpg", "sent": "a dog", "bbox": [0, 0, 100, 100], "width": 200, "height": 100}


def test_several_splits_have_a_figure_each(tmp_path: Path) -> None:
    data = refcoco_data(tmp_path, {"refcoco_testA": [LINE], "refcoco+_val": [LINE, LINE]})
    right, wrong = "(0,0),(500,999)", "(900,0),(999,999)"
    (tmp_path / "predictions_refcoco_testA.json").write_text(json.dumps([{"index": 0, "answer": right}]))
    (tmp_path / "predictions_refcoco+_val.json").write_text(
        json.dumps([{"index": 0, "answer": right}, {"index": 1, "answer": wrong}])
    )
    result = score_files("refcoco", data, [data])
    assert result.coverage.whole
    assert result.score.headline == {"refcoco_testA": 100.0, "refcoco+_val": 50.0}
    assert result.score.scores["correct"] == 2
    assert [item.category for item in result.benchmark.items()] == ["refcoco_testA", "refcoco+_val", "refcoco+_val"]
    written = result.benchmark.write_predictions(result.benchmark.read_predictions([data]), tmp_path / "out")
    assert score_files("refcoco", data, written).score.scores == result.score.scores


def coco_data(folder: Path, **changes: Any) -> Path:
    data = {
        "images": [{"id": 1, "file_name": "COCO_val2014_000000000001.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "annotations": [{"image_id": number, "id": number, "caption": f"a dog {number}"} for number in (1, 2, 1)],
        **changes,
    }
    (folder / "captions_val2014.json").write_text(json.dumps(data))
    return folder


def test_coco_captions_in_both_layouts(tmp_path: Path) -> None:
    first = BENCHMARKS.get("coco_caption")(coco_data(tmp_path))
    assert [item.reference for item in first.items()] == [("a dog 1", "a dog 1"), ("a dog 2",)]
    records = [{"image": "val2014/COCO_val2014_000000000042.jpg", "caption": ["a cat", "one cat"]}]
    (tmp_path / "coco_karpathy_test.json").write_text(json.dumps(records))
    second = BENCHMARKS.get("coco_caption")(tmp_path)
    assert [(item.id, item.reference) for item in second.items()] == [("42", ("a cat", "one cat"))]


def test_captions_that_are_there_can_be_scored_alone(tmp_path: Path) -> None:
    benchmark = BENCHMARKS.get("coco_caption")(coco_data(tmp_path))
    assert list(benchmark.score([Prediction("2", "a dog 2")]).per_item) == ["2"]
    with pytest.raises(TuwenError, match="image 1 has several captions"):
        benchmark.score([Prediction("1", "a"), Prediction("1", "b")])
    with pytest.raises(TuwenError, match="prediction of 9"):
        benchmark.score([Prediction("9", "a")])


def put(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return write


BROKEN = {
    "no data": ("refcoco", lambda folder: None, "expected refcoco_val.jsonl"),
    "no references": ("flickr30k", lambda folder: None, "expected flickr30k_karpathy_test.json"),
    "no box": ("refcoco", put("refcoco_val.jsonl", '{"image": "1.jpg", "sent": "x"}\n'), "line 1: bbox"),
    "box of three": (
        "refcoco",
        put("refcoco_val.jsonl", json.dumps({**LINE, "bbox": [1, 2, 3]}) + "\n"),
        "line 1: bbox: expected left, top, right and bottom",
    ),
    "box of texts": (
        "refcoco",
        put("refcoco_val.jsonl", json.dumps({**LINE, "bbox": ["1", 2, 3, 4]}) + "\n"),
        "line 1: bbox",
    ),
    "not json": ("refcoco", put("refcoco_val.jsonl", "{\n"), "line 1: not valid JSON"),
    "picture without captions": ("coco_caption", lambda folder: coco_data(folder, annotations=[]), "image 1 has no"),
    "picture twice": (
        "coco_caption",
        lambda folder: coco_data(folder, images=[{"id": 1, "file_name": "1.jpg"}] * 2),
        "image 1 is there twice",
    ),
    "caption is a number": (
        "coco_caption",
        lambda folder: coco_data(folder, annotations=[{"image_id": 1, "caption": 5}]),
        "annotation 1: caption: expected text",
    ),
    "no annotations": ("coco_caption", put("captions_val2014.json", "{}"), "annotations: expected a list"),
    "list without images": ("coco_caption", put("coco_karpathy_test.json", '[{"caption": []}]'), "record 1: image"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, write, message = BROKEN[case]
    write(tmp_path)
    with pytest.raises(TuwenError) as error:
        BENCHMARKS.get(name)(tmp_path).items()
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@golden
@pytest.mark.parametrize(
    ("name", "folder", "record", "message"),
    [
        ("flickr30k", CAPTIONS, {"caption": "x"}, "record 1: image_id"),
        ("flickr30k", CAPTIONS, {"image_id": 1}, "record 1: caption"),
        ("flickr30k", CAPTIONS, {"image_id": 1, "caption": "x"}, "24 items without a prediction"),
        ("refcoco", BOXES, {"answer": "x"}, "record 1: index"),
        ("refcoco", BOXES, {"index": 0, "answer": "x"}, "47 items without a prediction"),
    ],
)
def test_broken_predictions_are_refused_by_name(
    name: str, folder: Path, record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([record]))
    assert message in refused("score", name, "--data", folder, "--predictions", path)
