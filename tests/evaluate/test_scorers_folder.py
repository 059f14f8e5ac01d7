"""A folder of one's own questions: each is scored by the rule that its line names, and mistakes are named by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import refused, run_cli
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Prediction
from tuwen.evaluate.benchmarks.folder import CAPTION_METRICS, METRICS, Folder, read_question
from tuwen.evaluate.scoring.yes_no_zh import chinese_or_english

TEN = ["red"] * 3 + ["blue"] * 7
# Metric → a question's own keys, and replies with what they are read as and what they are worth.
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, Any, float]]]] = {
    "exact": ({"answer": ["Red", "红色"]}, [(" red. ", "red", 1), ("红色。", "红色", 1), ("reddish", "reddish", 0)]),
    "contains": ({"answer": "红"}, [("是红色的", "是红色的", 1), ("blue", "blue", 0), ("", None, 0)]),
    "vqa_accuracy": ({"answer": TEN}, [("Red!", "red", 0.9), ("blue", "blue", 1), ("green", "green", 0)]),
    "anls": ({"answer": ["hello"]}, [("hello", "hello", 1), ("helo", "helo", 0.8), ("x", "x", 0)]),
    "relaxed": ({"answer": "100"}, [("104", "104", 1), ("106", "106", 0), ("a hundred", "a hundred", 0)]),
    "choice": (
        {"answer": "B", "options": ["a cat", "a dog"]},
        [("B", "B", 1), ("(A).", "A", 0), ("It is a dog", "B", 1), ("不知道", None, 0)],
    ),
    "yes_no": ({"answer": "是"}, [("yes", "yes", 1), ("不是", "no", 0), ("是的。", "yes", 1), ("也许", None, 0)]),
    "iou": (
        {"answer": [0, 0, 100, 100]},
        [
            ("<box>(0,0),(100,100)</box>", [0.0, 0.0, 100.0, 100.0], 1),
            ("(0,0),(50,100)", [0.0, 0.0, 50.0, 100.0], 0.5),
            ("no box", None, 0),
        ],
    ),
    "iou_0.5": (
        {"answer": [0, 0, 100, 100]},
        [("(0,0),(60,100)", [0.0, 0.0, 60.0, 100.0], 1), ("(0,0),(40,100)", [0.0, 0.0, 40.0, 100.0], 0)],
    ),
}


def folder_of(path: Path, *lines: Any) -> Path:
    path.mkdir(exist_ok=True)
    texts = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    (path / "questions.jsonl").write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def benchmark_of(path: Path, *lines: Any) -> Benchmark:
    found: Benchmark = Folder(folder_of(path, *lines))
    return found


@pytest.mark.parametrize("metric", CASES)
def test_each_metric_reads_and_scores(metric: str, tmp_path: Path) -> None:
    own, replies = CASES[metric]
    benchmark = benchmark_of(tmp_path, *({"question": "?", "metric": metric, **own} for _ in replies))
    items = benchmark.items()
    score = benchmark.score([Prediction(item.id, reply) for item, (reply, _, _) in zip(items, replies, strict=True)])
    for item, (reply, value, credit) in zip(items, replies, strict=True):
        assert score.parsed[item.id].value == value
        assert score.parsed[item.id].credit == pytest.approx(credit)
        assert benchmark.parse(item, reply) == value
    mean = sum(credit for _, _, credit in replies) / len(replies)
    assert score.headline == {metric: pytest.approx(100 * mean)}
    unread = sum(value is None for _, value, _ in replies)
    assert score.scores["metrics"][metric]["unread"] == unread


def test_every_metric_has_a_case() -> None:
    assert set(CASES) == set(METRICS)


@pytest.mark.parametrize(
    ("metric", "captions", "other"),
    [
        ("cider", ["a dog runs on grass", "two cats by the water"], "A dog."),
        ("cider_zh", ["一只狗在草地上", "水边有两只猫"], "一只狗。"),
    ],
)
def test_captions_are_scored_together(metric: str, captions: list[str], other: str, tmp_path: Path) -> None:
    lines = ({"question": "?", "metric": metric, "answer": [caption]} for caption in captions)
    benchmark = benchmark_of(tmp_path, *lines)
    best = benchmark.score([Prediction("1", captions[0]), Prediction("2", captions[1] + "!")])
    # As papers write CIDEr, of which the most is 1000.
    assert best.headline == {metric: pytest.approx(1000)}
    worse = benchmark.score([Prediction("1", other), Prediction("2", "")])
    assert 0 < worse.headline[metric] < 1000
    assert worse.parsed["2"].value is None
    assert set(CAPTION_METRICS) == {"cider", "cider_zh"}


def test_a_folder_as_users_write_it(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    lines = [
        {
            "id": "colour",
            "image": "1.png",
            "question": "什么颜色?",
            "answer": "黑",
            "metric": "contains",
            "category": "zh",
        },
        {"question": "2+2?", "answer": "4", "metric": "exact", "tokens": 5},
        {"image": ["1.png", "1.png"], "question": "same?", "answer": "yes", "metric": "yes_no", "category": "en"},
    ]
    data = folder_of(tmp_path, *lines)
    answers = [("colour", "黑色"), ("2", "5"), ("3", "Yes")]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps({"id": name, "answer": text}) + "\n" for name, text in answers))
    result = run_cli("score", "folder", "--data", data, "--predictions", path, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["per_item"] == {"colour": 1.0, "2": 0.0, "3": 1.0}
    assert found["scores"]["categories"]["zh"] == {"mean": 1.0, "items": 1, "unread": 0}
    items = BENCHMARKS.get("folder")(data).items()
    assert [len(item.images) for item in items] == [1, 0, 2]
    assert items[1].tokens == 5
    assert items[0].cluster == items[2].cluster != items[1].cluster
    written = BENCHMARKS.get("folder")(data).write_predictions(
        [Prediction(*answer) for answer in answers], tmp_path / "out"
    )
    assert [json.loads(line) for line in written[0].read_text().splitlines()] == [
        {"id": name, "answer": text} for name, text in answers
    ]


GOOD = {"question": "?", "answer": "x", "metric": "exact"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no questions"),
        (["{"], "line 1: not valid JSON"),
        (["[]"], "line 1: expected keys and values"),
        ([GOOD, {**GOOD, "metric": "exakt"}], "line 2: unknown metric 'exakt'"),
        ([{**GOOD, "metric": None}], "line 1: metric: expected text"),
        ([{"question": "?", "answer": "x"}], "line 1: metric"),
        ([{"metric": "exact", "answer": "x"}], "line 1: question: expected text"),
        ([{**GOOD, "answer": 5}], "line 1: answer: expected a text or a list of texts, found 5"),
        ([{**GOOD, "answer": []}], "line 1: answer: expected a text"),
        ([{**GOOD, "image": 5}], "line 1: image: expected a path"),
        ([{**GOOD, "tokens": 0}], "line 1: tokens: expected a whole number"),
        ([{**GOOD, "metric": "choice"}], "line 1: answer: expected a letter of options"),
        ([{**GOOD, "metric": "choice", "options": [1]}], "line 1: options: expected a list of texts"),
        ([{**GOOD, "metric": "iou"}], "line 1: answer: expected a box of four numbers"),
        ([{**GOOD, "metric": "iou", "answer": [1, 2, 3, "4"]}], "line 1: answer: expected a box"),
        ([{**GOOD, "metric": "vqa_accuracy"}], "line 1: answer: vqa_accuracy takes ten people's answers"),
        ([{**GOOD, "metric": "yes_no"}], "line 1: answer: expected yes or no"),
        ([{**GOOD, "id": "a"}, {**GOOD, "id": "a"}], "line 2: id a is there twice"),
    ],
)
def test_mistakes_are_named_by_line(lines: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TuwenError) as error:
        benchmark_of(tmp_path, *lines).items()
    assert message in str(error.value)
    assert "questions.jsonl" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_cli_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused("score", "folder", "--data", tmp_path / "empty", "--predictions", tmp_path)
    assert "no predictions" in said or "questions.jsonl: not found" in said


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes, it is.", "yes"),
        ("no", "no"),
        ("yes and no", None),
        ("是", "yes"),
        ("不是", "no"),
        ("没有。", "no"),
        ("没错", "yes"),
        ("不知道", None),
        ("是否如此难以判断", None),
        ("无法判断", None),
        ("对", "yes"),
        ("对不起，我看不到", None),
        ("图中", None),
        ("", None),
    ],
)
def test_yes_and_no_in_two_languages(reply: str, said: str | None) -> None:
    assert chinese_or_english(reply) == said


@given(st.text(max_size=60))
def test_any_reply_has_a_credit_from_0_to_1(reply: str) -> None:
    for metric, (own, _) in CASES.items():
        question = read_question({"question": "?", "metric": metric, **own}, "1", Path(), "line 1")
        found = METRICS[metric](reply, question)
        assert found.credit is not None
        assert 0 <= found.credit <= 1
        json.dumps(found.value)
