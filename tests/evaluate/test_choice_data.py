"""Data of benchmarks with few answers and of OCRBench: prompts as published, pictures, refusals in a line."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuwen.chat.messages import Image
from tuwen.config import TuwenError
from tuwen.data.media import fetch
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Prediction
from tuwen.evaluate.score import score_files
from tuwen.vision import open_picture

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
NAMES = ("mme", "mmbench", "mmbench_cn", "pope", "seedbench", "scienceqa", "ocrbench")
SIZES = {"mme": 112, "mmbench": 93, "mmbench_cn": 93, "pope": 96, "seedbench": 48, "scienceqa": 48, "ocrbench": 50}
DIRECTLY = "Answer with the option's letter from the given choices directly."
PHRASE = "Answer the question using a single word or phrase."


def opened(name: str, style: str | None = None, data: Path | None = None) -> Benchmark:
    benchmark: Benchmark = BENCHMARKS.get(name)(data or GOLDEN / name, style)
    return benchmark


def prompts(name: str, style: str) -> dict[str, str]:
    return {item.id: item.messages[-1].text for item in opened(name, style).items()}


@pytest.mark.parametrize("name", NAMES)
def test_items_are_whole(name: str) -> None:
    for style in opened(name).styles:
        items = opened(name, style).items()
        assert len({item.id for item in items}) == len(items) == SIZES[name]
        for item in items:
            places = [part for part in item.messages[0].parts if isinstance(part, Image)]
            assert len(item.messages) == 1
            assert len(places) == len(item.images)
            assert not places or isinstance(item.messages[0].parts[0], Image)
            assert item.answer
            assert item.reference
            assert item.category
            assert item.cluster
            assert item.tokens > 0
            for image in item.images:
                assert min(open_picture(fetch(image)).size) > 0
    assert sum(not item.images for item in items) == (16 if name == "scienceqa" else 0)


@pytest.mark.parametrize(
    ("name", "style", "item", "prompt"),
    [
        ("mme", "llava", "OCR/0001.jpg#0", f'Is the word in the logo "cafe"?\n{PHRASE}'),
        ("mme", "qwen", "OCR/0001.jpg#0", 'Is the word in the logo "cafe"? Please answer yes or no.'),
        ("pope", "llava", "1", f"Is there a yellow square in the image?\n{PHRASE}"),
        (
            "mmbench",
            "llava",
            "797",
            f"Judge the whole image.\nIs the picture bright or dark?\nA. dark\nB. bright\n{DIRECTLY}",
        ),
        (
            "mmbench",
            "llava",
            "968",
            f"Which description of the image quality is right?\nA. blurred\nB. clear\n{DIRECTLY}",
        ),
        (
            "mmbench",
            "qwen",
            "968",
            "Context: N/A\nQuestion: Which description of the image quality is right?\n"
            "Options: A. blurred\nB. clear\nAnswer:",
        ),
        (
            "mmbench",
            "codefuse",
            "797",
            "Judge the whole image. Is the picture bright or dark? "
            "Please choose a correct option in the following choice.\nA. dark\nB. bright\n",
        ),
        (
            "mmbench",
            "codefuse",
            "1000968",
            "nan Which description of the image quality is right? "
            "Please choose a correct option in the following choice.\nA. clear\nB. blurred\n",
        ),
        ("mmbench_cn", "llava", "946", "图像质量如何？\nA. 清晰\nB. 模糊\n请直接回答选项字母。"),
        ("mmbench_cn", "codefuse", "946", "nan 图像质量如何？ 请从以下选项中选择一个正确选项。\nA. 清晰\nB. 模糊\n"),
        (
            "seedbench",
            "llava",
            "79386",
            f"What is the color of the star?\nA. purple\nB. red\nC. green\nD. blue\n{DIRECTLY}",
        ),
        (
            "seedbench",
            "qwen",
            "79386",
            "Question: What is the color of the star?\nOptions: A. purple\nB. red\nC. green\nD. blue\nAnswer:",
        ),
        (
            "scienceqa",
            "llava",
            "4091",
            f"Context: Look at the picture.\nWhich colour is the circle?\nA. red\nB. purple\n{DIRECTLY}",
        ),
        (
            "scienceqa",
            "qwen",
            "13658",
            "Context: N/A\nQuestion: Which colour is the circle?\nOptions: A. red\nB. green\nAnswer:",
        ),
        ("ocrbench", "llava", "4", "图中写的是什么？"),
    ],
)
def test_questions_are_put_as_each_system_puts_them(name: str, style: str, item: str, prompt: str) -> None:
    assert prompts(name, style)[item] == prompt


def test_prompts_are_those_that_llava_has_recorded() -> None:
    asked = prompts("scienceqa", "llava")
    for line in (GOLDEN / "scienceqa/llava_answers.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        assert asked[record["question_id"]] == record["prompt"].removeprefix("<image>\n")
    asked = prompts("pope", "llava")
    for line in (GOLDEN / "pope/llava_pope_test.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        assert asked[str(record["question_id"])] == record["text"]


def test_qwens_prompts_do_not_number_pictures() -> None:
    for style, label in (("qwen", ""), ("llava", None)):
        assert opened("mme", style).items()[0].messages[0].parts[0] == Image(label)


def test_scoring_decodes_no_picture_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> bytes:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(base64, "b64decode", refuse)
    score_files("mmbench", GOLDEN / "mmbench", [GOLDEN / "mmbench/predictions.jsonl"])


def test_rotations_of_a_question_show_its_picture_and_other_options() -> None:
    items = {item.id: item for item in opened("mmbench_cn").items()}
    first, second = items["946"], items["1000946"]
    assert first.images == second.images
    assert first.cluster == second.cluster
    assert (first.answer, second.answer) == ("A. 清晰", "B. 清晰")


def _table(folder: Path, change: Callable[[list[list[str]]], None]) -> Path:
    """A table like MMBench's with some cells changed; the first row holds the names of columns."""
    lines = (GOLDEN / "mmbench/mmbench_dev_en.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")[:4]
    rows = [line.split("\t") for line in lines]
    change(rows)
    (folder / "table.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n", encoding="utf-8")
    return folder


def _cell(row: int, column: str, value: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][rows[0].index(column)] = value

    return change


def _without(column: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        place = rows[0].index(column)
        for row in rows:
            del row[place]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("image"), "column image: this column is required and missing"),
        (_without("question"), "column question: this column is required and missing"),
        (_cell(1, "image", "?" * 80), "index 121: image: not base64"),
        (_cell(2, "image", "abc=" + "A" * 80), "index 122: image: not base64"),
        (_cell(3, "image", "99"), "index 447: image: refers to row '99', which has none"),
        (_cell(3, "image", ""), "index 447: image: this cell is empty"),
        (_cell(2, "index", "121"), "row 2: index 121 is there twice"),
        (_cell(1, "index", "x7"), "row 1: index: expected a whole number, found 'x7'"),
        (_cell(1, "answer", "F"), "row 1: answer: expected a letter that has an option, found 'F'"),
        (_cell(2, "question", ""), "row 2: no question or no options"),
        (lambda rows: rows[1].append("more"), "15 cells; expected 14"),
    ],
)
def test_broken_tables_are_refused(change: Callable[[list[list[str]]], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(TuwenError) as caught:
        opened("mmbench", data=_table(tmp_path, change)).items()
    assert message in str(caught.value)
    assert "table.tsv" in str(caught.value)


def test_answers_that_are_not_published_are_no_wrong_ones(tmp_path: Path) -> None:
    benchmark = opened("mmbench", data=_table(tmp_path, _without("answer")))
    predictions = [Prediction(item.id, "A") for item in benchmark.items()]
    with pytest.raises(TuwenError, match="index 121: no answer; this split is scored by MMBench's server"):
        benchmark.score(predictions)
    (path,) = benchmark.write_predictions(predictions, tmp_path / "out")
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header.split("\t")[-1] == "prediction"
    assert "image" not in header
    assert [row.split("\t")[-1] for row in rows] == ["A"] * 3


def test_options_that_say_none_are_missing_to_vlmevalkit_and_end_llavas_list(tmp_path: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        _cell(1, "B", "None")(rows)
        _cell(1, "answer", "D")(rows)

    benchmark = opened("mmbench", data=_table(tmp_path, change))
    item = benchmark.items()[0]
    assert "A. dark red\nAnswer" in item.messages[0].text
    assert benchmark.parse(item, "B") is None
    assert benchmark.parse(item, "D") == "D"


def test_one_table_at_a_time(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tsv"):
        shutil.copyfile(GOLDEN / "mmbench/mmbench_dev_en.tsv", tmp_path / name)
    with pytest.raises(TuwenError, match=r"a.tsv, b.tsv; expected one .tsv here, or the table itself as data"):
        opened("mmbench", data=tmp_path).items()
    assert len(opened("mmbench", data=tmp_path / "a.tsv").items()) == SIZES["mmbench"]


def _copied(name: str, folder: Path) -> Path:
    shutil.copytree(GOLDEN / name, folder / name, copy_function=shutil.copyfile)
    for path in (folder / name).rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / name


def _edited(path: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(data: Path) -> None:
        (data / path).write_text(json.dumps(change(json.loads((data / path).read_text()))))

    return edit


def _appended(path: str, text: str) -> Callable[[Path], None]:
    def edit(data: Path) -> None:
        (data / path).write_text((data / path).read_text().rstrip("\n") + "\n" + text)

    return edit


def _removed(path: str) -> Callable[[Path], None]:
    return lambda data: (data / path).unlink()


def _first(key: str, value: Any) -> Callable[[Any], Any]:
    """Change or (with None) remove a key of the first question."""

    def change(records: Any) -> Any:
        questions = records["questions"] if isinstance(records, dict) else records
        if value is None:
            del questions[0][key]
        else:
            questions[0][key] = value
        return records

    return change


def _doubled(data: Any) -> Any:
    data["questions"].append(data["questions"][0])
    return data


RELEASE = "MME_Benchmark_release_version"


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("mme", lambda data: (data / "Your_Results/colour.txt").write_text("x"), "unknown subtask of MME 'colour'"),
        ("mme", _appended("Your_Results/count.txt", "a.jpg\tHow?\tYes\n"), "a.jpg has 1 questions; expected 2"),
        ("mme", _appended("Your_Results/count.txt", "a.jpg\tHow?"), "count.txt: line 9: 2 columns; expected 3"),
        ("mme", _appended("Your_Results/count.txt", "a.jpg\tHow?\tMaybe"), "the answer is 'Maybe'; expected Yes or No"),
        ("pope", lambda data: shutil.rmtree(data / "coco"), "no coco_pope_*.json in coco"),
        ("pope", _removed("coco/coco_pope_random.json"), "no category of POPE"),
        ("pope", _appended("coco/coco_pope_random.json", '{"question_id": 99}'), "33 questions, and 32 of random"),
        ("seedbench", _removed("SEED-Bench.json"), "SEED-Bench.json: not found"),
        ("seedbench", _edited("SEED-Bench.json", _first("answer", "E")), "answer: expected A, B, C or D, found 'E'"),
        ("seedbench", _edited("SEED-Bench.json", _first("question_type_id", 99)), "question_type_id 99 is not in"),
        ("seedbench", _edited("SEED-Bench.json", _first("choice_b", None)), "choice_b: this key is required"),
        ("seedbench", _edited("SEED-Bench.json", _doubled), "question_id 79386 is there twice"),
        ("scienceqa", _edited("problems.json", lambda data: data.pop("4091") and data), "question 4091 of the split"),
        ("scienceqa", _edited("pid_splits.json", lambda data: {"train": []}), "test: expected a list"),
        ("ocrbench", _edited("OCRBench.json", _first("type", "Text Recognition")), "unknown type 'Text Recognition'"),
        ("ocrbench", _edited("OCRBench.json", _first("answers", [1])), "answers: expected a text or a list of texts"),
        ("ocrbench", _edited("OCRBench.json", lambda data: {}), "expected a list of questions"),
    ],
)
def test_broken_data_is_refused_in_a_line(name: str, edit: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    data = _copied(name, tmp_path)
    edit(data)
    with pytest.raises(TuwenError) as caught:
        score_files(name, data, [data if name != "pope" else data / "answers_official"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("mme", "count.txt", "a.jpg\tb\tYes\n", "count.txt: line 1: 3 columns; expected 4"),
        ("mme", "counts.txt", "a.jpg\tb\tYes\tno\n", "unknown subtask of MME 'counts'"),
        ("mme", "count.txt", "a.jpg\tb\tYes\tno\n", "1 predictions for no item (count/a.jpg: b)"),
        (
            "mme",
            "OCR.txt",
            '0001.jpg\tIs the word in the logo "cafe"? Please answer yes or no.\tNo\tno\n',
            "the right answer is given as No, and as Yes in the data",
        ),
        ("mme", "p.jsonl", '{"task": "OCR", "image": "0001.jpg", "prediction": "no"}', "record 1: question: this key"),
        ("mmbench", "p.jsonl", '{"index": 121}', "record 1: prediction or text or output or response or answer"),
        ("mmbench", "p.json", "[3]", "record 1: expected keys and values, found int"),
        ("mmbench", "p.xlsx", "", "save it as one"),
        ("mmbench", "p.tsv", "index\tquestion\n121\tWhich?\n", "column prediction: this column is required"),
        ("pope", "coco_pope_random_answers.json", '{"question": "Why?"}', "answer or text: this key is required"),
        ("pope", "other.json", '{"answer": "no"}', "no category of POPE"),
        ("seedbench", "p.jsonl", "{", "line 1: not valid JSON"),
        ("seedbench", "p.jsonl", '{"question_id": 79386, "text": "A"}', "47 items without a prediction"),
        ("ocrbench", "p.json", '[{"image_path": "x", "predict": "y"}]', "predictions for no item"),
    ],
)
def test_broken_predictions_are_refused_in_a_line(
    name: str, file: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(TuwenError) as caught:
        score_files(name, GOLDEN / name, [tmp_path / file])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_answers_that_are_no_text_and_to_no_item_are_refused(name: str) -> None:
    benchmark = opened(name)
    items: list[Item] = list(benchmark.items())
    for scorer in benchmark.scorers:
        with pytest.raises(TuwenError, match="found"):
            benchmark.score([Prediction(item.id, ["A"]) for item in items], scorer)
        with pytest.raises(TuwenError, match="the data has no such item"):
            benchmark.score([Prediction("nothing", "A")], scorer)


@pytest.mark.parametrize("name", NAMES)
def test_scoring_takes_no_pictures(name: str, tmp_path: Path) -> None:
    data = _copied(name, tmp_path)
    for folder in (RELEASE, "val2014", "SEED-Bench-image", "SEED-Bench-video-image", "images", "OCRBench_Images"):
        shutil.rmtree(data / folder, ignore_errors=True)
    found = score_files(name, data, [data], partial=True)
    assert found.score.scores == score_files(name, GOLDEN / name, [GOLDEN / name], partial=True).score.scores
