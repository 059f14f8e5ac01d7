"""How VQAv2, GQA, TextVQA, VizWiz, ChartQA and DocVQA ask, and what data and predictions they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import refused, run_cli
from tuwen.chat.messages import Image, Text
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Prediction
from tuwen.evaluate.benchmarks.textvqa import asked_in
from tuwen.evaluate.score import score_files

NAMES = ("vqav2", "gqa", "textvqa", "vizwiz", "chartqa", "docvqa")
WORD = "Answer the question using a single word or phrase."
TEN = ["cat"] * 6 + ["dog"] * 4
QUESTION = {
    "question": "What color is the star?",
    "answer": "blue",
    "imageId": "n1",
    "isBalanced": True,
    "types": {"structural": "query", "semantic": "attr", "detailed": "directOf"},
    "groups": {"global": "color", "local": "x"},
    "semantic": [{"operation": "select", "dependencies": [], "argument": "star (0)"}],
    "entailed": [],
}
TESTDEV = "testdev_balanced_questions.json"
# Benchmark → path of a file → what it holds: one or two questions in the official form.
DATA: dict[str, dict[str, Any]] = {
    "vqav2": {
        "v2_OpenEnded_mscoco_val2014_questions.json": {
            "questions": [{"question_id": 70, "image_id": 7, "question": "What is it?"}]
        },
        "v2_mscoco_val2014_annotations.json": {
            "annotations": [
                {
                    "question_id": 70,
                    "image_id": 7,
                    "question_type": "what is",
                    "answer_type": "other",
                    "multiple_choice_answer": "cat",
                    "answers": [{"answer": one, "answer_id": place} for place, one in enumerate(TEN)],
                }
            ]
        },
    },
    "gqa": {TESTDEV: {"1": QUESTION}, "testdev_choices.json": {"1": {"valid": ["blue"], "plausible": ["blue"]}}},
    "textvqa": {
        "TextVQA_0.5.1_val.json": {
            "data": [{"question_id": 5, "image_id": "ab", "question": "What brand?", "answers": TEN}]
        },
        "TextVQA_Rosetta_OCR_v0.2_val.json": {"data": [{"image_id": "ab", "ocr_tokens": ["BUS", "42"]}]},
    },
    "vizwiz": {
        "Annotations/val.json": [
            {
                "image": "VizWiz_val_00000001.jpg",
                "question": "What is this?",
                "answers": [{"answer": one, "answer_confidence": "yes"} for one in TEN],
                "answer_type": "other",
                "answerable": 1,
            }
        ]
    },
    "chartqa": {
        "test/test_human.json": [{"imgname": "a.png", "query": "How many?", "label": "10"}],
        "test/test_augmented.json": [{"imgname": "b.png", "query": "Which year?", "label": "2019"}],
    },
    "docvqa": {
        "val/val_v1.0.json": {
            "data": [
                {"questionId": 9, "question": "Who?", "image": "documents/p_1.png", "answers": ["ACME", "Acme Co"]}
            ]
        }
    },
}
Damage = Callable[[dict[str, Any]], None]


def write(name: str, folder: Path, damage: Damage = lambda data: None) -> Path:
    data = json.loads(json.dumps(DATA[name]))
    damage(data)
    for file, content in data.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def opened(name: str, folder: Path, style: str | None = None) -> Benchmark:
    benchmark: Benchmark = BENCHMARKS.get(name)(write(name, folder), style)
    return benchmark


def asked(item: Item) -> str:
    """The prompt, in which ``[label]`` stands for the picture."""
    parts = item.messages[-1].parts
    assert isinstance(parts[0], Image)
    assert isinstance(parts[1], Text)
    return f"[{parts[0].label}]{parts[1].text}"


@pytest.mark.parametrize(
    ("name", "style", "prompt", "tokens"),
    [
        ("vqav2", None, f"[None]What is it?\n{WORD}", 64),
        ("vqav2", "qwen", "[]What is it? Answer:", 10),
        ("vqav2", "codefuse", "[None]What is it?", 64),
        ("gqa", None, f"[None]What color is the star?\n{WORD}", 64),
        ("gqa", "qwen", "[]What color is the star? Answer:", 10),
        ("gqa", "codefuse", "[None]What color is the star?", 64),
        ("textvqa", None, f"[None]What brand?\nReference OCR token: BUS, 42\n{WORD}", 64),
        ("textvqa", "llava_no_ocr", f"[None]What brand?\n{WORD}", 64),
        ("textvqa", "qwen", "[]What brand? Answer:", 10),
        ("textvqa", "codefuse", "[None]What brand?\nReference OCR token: BUS, 42", 64),
        (
            "vizwiz",
            None,
            "[None]What is this?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n" + WORD,
            64,
        ),
        ("vizwiz", "qwen", "[]What is this? Answer:", 10),
        ("vizwiz", "codefuse", "[None]What is this?", 64),
        ("chartqa", None, f"[None]How many?\n{WORD}", 64),
        ("chartqa", "qwen", "[]How many? Answer:", 100),
        ("docvqa", None, f"[None]Who?\n{WORD}", 64),
        ("docvqa", "qwen", "[]Who? Answer:", 100),
    ],
)
def test_prompts_are_those_of_the_systems(
    name: str, style: str | None, prompt: str, tokens: int, tmp_path: Path
) -> None:
    item = opened(name, tmp_path, style).items()[0]
    assert (asked(item), item.tokens) == (prompt, tokens)


@pytest.mark.parametrize(
    ("name", "id", "picture", "category", "answer"),
    [
        ("vqav2", "70", "val2014/COCO_val2014_000000000007.jpg", "other", "cat"),
        ("gqa", "1", "images/n1.jpg", "query", "blue"),
        ("textvqa", "5", "train_images/ab.jpg", "", "cat"),
        ("vizwiz", "VizWiz_val_00000001.jpg", "val/VizWiz_val_00000001.jpg", "other", "cat"),
        ("chartqa", "human/0", "test/png/a.png", "human", "10"),
        ("docvqa", "9", "val/documents/p_1.png", "", "ACME"),
    ],
)
def test_items_say_what_they_are(name: str, id: str, picture: str, category: str, answer: str, tmp_path: Path) -> None:
    item = opened(name, tmp_path).items()[0]
    assert (item.id, item.images, item.category, item.answer) == (id, (tmp_path / picture,), category, answer)
    assert item.cluster == Path(picture).name


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_have_names_that_scores_have(name: str, tmp_path: Path) -> None:
    benchmark = opened(name, tmp_path)
    score = benchmark.score([Prediction(item.id, item.answer) for item in benchmark.items()])
    assert benchmark.published
    assert all(set(one.values) <= set(score.headline) for one in benchmark.published)


def test_without_ocr_words_the_style_says_so(tmp_path: Path) -> None:
    write("textvqa", tmp_path, lambda data: data.pop("TextVQA_Rosetta_OCR_v0.2_val.json"))
    benchmark = BENCHMARKS.get("textvqa")(tmp_path)
    assert benchmark.style == "llava_no_ocr"
    assert asked(benchmark.items()[0]) == f"[None]What brand?\n{WORD}"
    with pytest.raises(TuwenError, match="OCR_v0.2_val.json: not found; style llava needs it, llava_no_ocr does not"):
        BENCHMARKS.get("textvqa")(tmp_path, "llava")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("vqav2", lambda data: data.pop("v2_mscoco_val2014_annotations.json"), "annotations.json: not found; expected"),
        (
            "vqav2",
            lambda data: data["v2_OpenEnded_mscoco_val2014_questions.json"].clear(),
            "questions.json: questions: expected a list of records",
        ),
        (
            "vqav2",
            lambda data: data["v2_mscoco_val2014_annotations.json"]["annotations"][0]["answers"][3].pop("answer_id"),
            "record 1: answers: expected answers with an answer_id each, all different",
        ),
        (
            "vqav2",
            lambda data: data["v2_mscoco_val2014_annotations.json"]["annotations"][0].update(question_id=71),
            "record 1: question_id: 71 is not in v2_OpenEnded",
        ),
        (
            "vqav2",
            lambda data: data["v2_mscoco_val2014_annotations.json"]["annotations"].append(
                data["v2_mscoco_val2014_annotations.json"]["annotations"][0]
            ),
            "2 annotations for 1 questions",
        ),
        (
            "vqav2",
            lambda data: data["v2_OpenEnded_mscoco_val2014_questions.json"]["questions"][0].update(image_id="7"),
            "record 1: image_id: expected a whole number, found '7'",
        ),
        ("gqa", lambda data: data.clear(), "no questions of GQA; expected testdev_balanced_questions.json"),
        (
            "gqa",
            lambda data: data[TESTDEV]["1"].pop("types"),
            "question 1: types: expected dict",
        ),
        (
            "gqa",
            lambda data: data[TESTDEV]["1"].update(entailed=[[1]]),
            "question 1: entailed: expected ids",
        ),
        (
            "gqa",
            lambda data: data[TESTDEV]["1"].update(semantic=[{"operation": "select"}]),
            "question 1: semantic: expected steps",
        ),
        (
            "gqa",
            lambda data: data.update({TESTDEV: "[1]"}),
            "expected questions of GQA by id",
        ),
        ("gqa", lambda data: data.update({TESTDEV: "{"}), "not valid JSON"),
        (
            "textvqa",
            lambda data: data["TextVQA_0.5.1_val.json"]["data"][0]["answers"].pop(),
            "record 1: answers: expected ten, found 9",
        ),
        (
            "textvqa",
            lambda data: data["TextVQA_0.5.1_val.json"]["data"].append(data["TextVQA_0.5.1_val.json"]["data"][0]),
            "question 5 is there twice",
        ),
        (
            "textvqa",
            lambda data: data["TextVQA_Rosetta_OCR_v0.2_val.json"]["data"].clear(),
            "OCR_v0.2_val.json: no record of picture ab",
        ),
        (
            "textvqa",
            lambda data: data["TextVQA_Rosetta_OCR_v0.2_val.json"]["data"][0].update(ocr_tokens="BUS"),
            "record 1: ocr_tokens: expected a list of texts",
        ),
        (
            "vizwiz",
            lambda data: data["Annotations/val.json"][0]["answers"].append({"answer": 3}),
            "00000001.jpg: answers: expected texts, found int",
        ),
        (
            "vizwiz",
            lambda data: data["Annotations/val.json"].append(data["Annotations/val.json"][0]),
            "record 2: image VizWiz_val_00000001.jpg is there twice",
        ),
        ("vizwiz", lambda data: data["Annotations/val.json"][0].pop("answer_type"), "answer_type: expected text"),
        ("chartqa", lambda data: data.clear(), "no questions of ChartQA"),
        ("chartqa", lambda data: data["test/test_human.json"][0].pop("label"), "record 1: label: expected text"),
        ("chartqa", lambda data: [data[file].clear() for file in data], "chartqa: no questions"),
        (
            "docvqa",
            lambda data: data["val/val_v1.0.json"]["data"][0].update(answers=[]),
            "record 1: answers: expected a list of answers",
        ),
        ("docvqa", lambda data: data["val/val_v1.0.json"]["data"][0].pop("questionId"), "record 1: questionId"),
    ],
)
def test_broken_data_is_refused_by_file_and_place(name: str, damage: Damage, message: str, tmp_path: Path) -> None:
    write(name, tmp_path, damage)
    with pytest.raises(TuwenError, match=message) as caught:
        BENCHMARKS.get(name)(tmp_path).items()
    assert "\n" not in str(caught.value)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every place in nested data, as what holds it and its key there."""
    keys = data.keys() if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [one for key in keys for one in [(data, key), *places(data[key])]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", [None, [], {}, 3, "x", [[]], [{}], {"a": []}, True, -1.5], ids=str)
def test_whatever_stands_in_the_data_is_taken_or_refused_in_one_line(name: str, junk: Any, tmp_path: Path) -> None:
    folder = write(name, tmp_path)
    benchmark = BENCHMARKS.get(name)(folder)
    predictions = [Prediction(item.id, item.answer) for item in benchmark.items()]
    refusals = []
    for file, content in DATA[name].items():
        for place in range(len(places(content))):
            data = json.loads(json.dumps(content))
            holder, key = places(data)[place]
            holder[key] = junk
            (folder / file).write_text(json.dumps(data), encoding="utf-8")
            broken = BENCHMARKS.get(name)(folder)
            for scorer in broken.scorers:
                try:
                    broken.items()
                    broken.score(predictions, scorer)
                except TuwenError as error:
                    refusals.append(str(error))
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    assert refusals
    assert not [one for one in refusals if "\n" in one]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vqav2", [], "no predictions to score"),
        ("vqav2", [{"question_id": 70}], "record 1: prediction or text"),
        ("vqav2", [{"answer": "cat"}], "record 1: question_id: this key is required"),
        ("vqav2", [{"question_id": 70, "answer": 3}], "expected a text, found 3"),
        ("vqav2", [["cat"]], "expected keys and values"),
        (
            "textvqa",
            [{"question_id": "ab", "prompt": "How many?\n" + WORD, "text": "2"}],
            "1 predictions are for no question of .*, the first is ab: how many\\?",
        ),
        ("textvqa", [{"question_id": "ab", "prompt": "What brand?", "text": "2"}], "not of a form that LLaVA's"),
        ("vizwiz", [{"image": "VizWiz_val_00000001.jpg", "answerable": "no"}], "expected a number from 0 to 1"),
        ("vizwiz", [{"image": "VizWiz_val_00000001.jpg", "answerable": 1.5}], "expected a number from 0 to 1"),
        (
            "chartqa",
            [{"imgname": "a.png", "query": "How much?", "answer": "1"}],
            "1 predictions are for no question of .*, the first is a.png: How much.",
        ),
        ("docvqa", [{"questionId": 9, "answer": ["ACME"]}], "expected a text"),
        ("gqa", [{"questionId": "2", "prediction": "blue"}], "no prediction is for a question of"),
    ],
)
def test_broken_predictions_are_refused(name: str, content: Any, message: str, tmp_path: Path) -> None:
    benchmark = opened(name, tmp_path)
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TuwenError, match=message) as caught:
        benchmark.score(benchmark.read_predictions([path]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_predictions_and_a_file_that_is_not_there_are_refused(name: str, tmp_path: Path) -> None:
    benchmark = opened(name, tmp_path)
    with pytest.raises(TuwenError, match="no predictions; expected .*predictions.jsonl"):
        benchmark.read_predictions([tmp_path])
    with pytest.raises(TuwenError, match=r"gone\.json: not found"):
        benchmark.read_predictions([tmp_path / "gone.json"])


def test_answerability_alone_and_an_answer_alone_are_scored(tmp_path: Path) -> None:
    benchmark = opened("vizwiz", tmp_path)
    image = "VizWiz_val_00000001.jpg"
    assert benchmark.score([Prediction(image, {"answerable": 0.2})]).scores == {
        "unanswerability": {"average_precision": 0.0, "f1_score": 0.0}
    }
    score = benchmark.score([Prediction(image, "cat")])
    assert score.scores == {"accuracy": {"overall": 100.0, "perAnswerType": {"other": 100.0}}}
    with pytest.raises(TuwenError, match="no answers to score, only answerability"):
        benchmark.score([Prediction(image, {"answerable": 0.2})], "qwen_vl")


def test_one_half_of_chartqa_is_scored_alone(tmp_path: Path) -> None:
    benchmark = opened("chartqa", tmp_path)
    score = benchmark.score([Prediction("human/0", "10.4")])
    assert score.scores == {"human": 100.0, "overall": 100.0, "mean_of_splits": 100.0}
    assert score.per_item == {"human": [True]}
    assert score.parsed["human/0"].value == 10.4


def test_questions_with_the_same_wording_are_told_apart_as_llavas_script_does(tmp_path: Path) -> None:
    def twin(data: dict[str, Any]) -> None:
        records = data["TextVQA_0.5.1_val.json"]["data"]
        records.append(records[0] | {"question_id": 6, "question": "what brand?", "answers": ["dog"] * 10})

    benchmark = BENCHMARKS.get("textvqa")(write("textvqa", tmp_path, twin))
    path = tmp_path / "answers.jsonl"
    record = {"question_id": "ab", "prompt": f"What brand?\n{WORD}", "text": "dog"}
    path.write_text((json.dumps(record) + "\n") * 2, encoding="utf-8")
    found = benchmark.read_predictions([path])
    assert [one.id for one in found] == ["5", "6"]
    # The script knows the last one of them only.
    assert benchmark.score(found).scores == {"accuracy": 100.0}
    assert benchmark.score(found, "lmms_eval").scores["accuracy"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        (f"What Brand?\n{WORD}", "what brand?"),
        (f"What Brand?\nReference OCR token: A, B\n{WORD}", "what brand?"),
        ("Reference OCR token: A\nWhat Brand?\nAnswer", "what brand?"),
        ("OCR tokens: A, B. Question: What\nBrand? Short answer:", "what\nbrand?"),
    ],
)
def test_llavas_prompts_hold_their_question(prompt: str, question: str) -> None:
    assert asked_in(prompt, "here") == question


def test_a_substring_is_enough_for_codefuses_rule_only(tmp_path: Path) -> None:
    for name, key in (("textvqa", "5"), ("vizwiz", "VizWiz_val_00000001.jpg"), ("gqa", "1")):
        benchmark = opened(name, tmp_path / name)
        said = [Prediction(key, "It looks like a CAT, or a blue bl\nueberry")]
        assert benchmark.score(said).headline["accuracy"] == 0
        assert benchmark.score(said, "codefuse_substring").headline["accuracy"] == 100
        assert any("codefuse_substring" in one.note for one in benchmark.published)


def test_two_empty_texts_stop_pix2structs_rule_alone(tmp_path: Path) -> None:
    data = write("docvqa", tmp_path, lambda data: data["val/val_v1.0.json"]["data"][0].update(answers=[""]))
    benchmark = BENCHMARKS.get("docvqa")(data)
    assert benchmark.score([Prediction("9", "")]).scores == {"anls": 1.0}
    with pytest.raises(TuwenError, match="question 9: reply and reference are both empty"):
        benchmark.score([Prediction("9", "")], "pix2struct")


def test_the_command_prints_json_a_table_or_what_is_wrong(tmp_path: Path) -> None:
    data, given = write("docvqa", tmp_path / "data"), tmp_path / "results.json"
    given.write_text(json.dumps([{"questionId": 9, "answer": "acme"}]), encoding="utf-8")
    arguments = ("score", "docvqa", "--data", data, "--predictions", given)
    assert json.loads(run_cli(*arguments, "--json").stdout) == {
        "benchmark": "docvqa",
        "scorer": "official_rrc",
        "scores": {"anls": 1.0},
        "per_item": {"9": 1.0},
    }
    table = run_cli(*arguments).stdout
    assert "100.00" in table
    assert "Qwen-VL" in table
    given.write_text("[]", encoding="utf-8")
    assert "items without a prediction (9)" in refused(*arguments)


def test_all_of_gqa_may_lie_in_the_folder_of_which_testdev_is_asked(tmp_path: Path) -> None:
    opened("gqa", tmp_path)
    # Files of questions1.2.zip that nobody asked about: a million questions each, which are not even read.
    for other in ("val_all_questions", "train_balanced_questions", "test_all_questions", "submission_all_questions"):
        (tmp_path / f"{other}.json").write_text("{", encoding="utf-8")
    (tmp_path / "train_all_questions").mkdir()
    assert [item.id for item in BENCHMARKS.get("gqa")(tmp_path).items()] == ["1"]
    predictions = tmp_path / "testdev_predictions.json"
    predictions.write_text(json.dumps([{"questionId": "1", "prediction": "blue"}]), encoding="utf-8")
    result = score_files("gqa", tmp_path, [predictions])
    assert result.coverage.whole
    assert set(result.score.scores) == {"testdev"}


def test_tiers_of_gqa_are_scored_that_there_are_predictions_for(tmp_path: Path) -> None:
    opened("gqa", tmp_path)
    val = {"2": {**QUESTION, "entailed": ["3"]}, "3": {**QUESTION, "isBalanced": False}}
    (tmp_path / "val_all_questions.json").write_text(json.dumps(val), encoding="utf-8")
    predictions = tmp_path / "predictions.jsonl"
    for tiers, ids in ((["val"], "23"), (["testdev", "val"], "123"), (["testdev"], "1")):
        predictions.write_text("".join(json.dumps({"id": one, "answer": "blue"}) + "\n" for one in ids))
        result = score_files("gqa", tmp_path, [predictions])
        assert (list(result.score.scores), [item.id for item in result.items]) == (tiers, list(ids))
    predictions.write_text(json.dumps({"id": "2", "answer": "blue"}) + "\n")
    with pytest.raises(TuwenError, match=r"1 items without a prediction \(3\); give --partial"):
        score_files("gqa", tmp_path, [predictions])
