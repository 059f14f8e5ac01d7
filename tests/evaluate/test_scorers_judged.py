"""What judges and people said is scored as by LLaVA's and CodeFuse-VLM's programs; what cannot be read is no guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import refused, run_cli
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Prediction
from tuwen.evaluate.score import score_files
from tuwen.evaluate.scoring.judge_replies import (
    codefuse,
    grade_counts,
    grade_credit,
    llava,
    outcome,
    preference_counts,
    review_summary,
    single,
    win_counts,
)

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
NAMES = ("llava_bench_zh", "owleval_zh")
READINGS = {"llava_review_summary": llava, "codefuse_parse_then_llava_summary": codefuse}


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    return found


@golden
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scorer", READINGS)
def test_summaries_and_verdicts_are_the_official_ones(name: str, scorer: str) -> None:
    wanted = expected(name)["scorers"][scorer]
    result = score_files(name, GOLDEN / name, [GOLDEN / name / "judge_replies.jsonl"], scorer=scorer)
    assert json.loads(json.dumps(result.score.scores)) == wanted["scores"]
    assert json.loads(json.dumps(result.score.per_item)) == wanted["per_item"]
    unread = [one for one in result.score.parsed.values() if one.value is None]
    assert len(unread) == wanted["parse_failures"] == result.score.headline["unread replies"]
    assert all(one.credit is None for one in unread)


@golden
@pytest.mark.parametrize("name", NAMES)
def test_the_cli_scores_stored_replies(name: str) -> None:
    result = run_cli("score", name, "--data", GOLDEN / name, "--predictions", GOLDEN / name, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["scorer"] == expected(name)["primary"]
    assert found["scores"] == expected(name)["scorers"][found["scorer"]]["scores"]


@golden
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scorer", READINGS)
def test_strange_first_lines_are_read_as_officially(name: str, scorer: str) -> None:
    replies = json.loads((GOLDEN / name / "judge_parse_extra.json").read_text(encoding="utf-8"))
    found = [READINGS[scorer](reply) for reply in replies]
    wanted = [[float(one) for one in pair] for pair in expected(name)["scorers"][scorer]["judge_parse_extra"]]
    assert [repr(list(pair) if pair else [-1.0, -1.0]) for pair in found] == [repr(pair) for pair in wanted]


@golden
def test_grades_of_people_are_counted() -> None:
    data = GOLDEN / "owleval_zh"
    result = score_files("owleval_zh", data, [data / "human_ratings.jsonl"], scorer="human_grade_counts")
    assert result.score.scores == expected("owleval_zh")["human_grade_counts"]["counts"]
    assert sum(result.score.headline.values()) == pytest.approx(100)


@golden
@pytest.mark.parametrize("name", NAMES)
def test_items_are_asked_as_they_are(name: str) -> None:
    benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    records = json.loads((GOLDEN / name / benchmark.questions_file).read_text(encoding="utf-8"))
    items = benchmark.items()
    assert [item.messages[0].text for item in items] == [record[benchmark.question_key] for record in records]
    assert [item.category for item in items] == [record["type"] for record in records]
    assert all(item.images[0].is_file() for item in items)
    assert benchmark.parse(items[0], " 好 ") == "好"
    assert benchmark.parse(items[0], " \n") is None


@golden
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_written_as_they_were_published(name: str, tmp_path: Path) -> None:
    benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    system, answers = benchmark.reference_answers()
    assert len(answers) == len(benchmark.items())
    written = benchmark.write_predictions([Prediction(*pair) for pair in answers.items()], tmp_path)
    published = json.loads((GOLDEN / name / f"{system}.json").read_text(encoding="utf-8"))
    found = json.loads(written[0].read_text(encoding="utf-8"))
    assert sorted(map(sorted, map(dict.items, found))) == sorted(map(sorted, map(dict.items, published)))
    assert benchmark.reference_answers(written[0]) == (system, answers)
    with pytest.raises(TuwenError, match="must be judged first"):
        benchmark.read_predictions(written)


@golden
def test_both_spellings_of_a_category_and_of_the_answer_are_taken(tmp_path: Path) -> None:
    questions = json.loads((GOLDEN / "owleval_zh/owl_test_zh_questions.json").read_text(encoding="utf-8"))[:2]
    for record in questions:
        record["type"] = record["type"].replace("knowledeg", "knowledge")
    (tmp_path / "owl_test_zh_questions.json").write_text(json.dumps(questions))
    answers = [{**record, key: "是"} for record, key in zip(questions, ("output", "outout"), strict=True)]
    (tmp_path / "owl_model_predictions.json").write_text(json.dumps(answers))
    benchmark = BENCHMARKS.get("owleval_zh")(tmp_path)
    assert [item.category for item in benchmark.items()] == ["reasoning", "knowledge vqa"]
    assert benchmark.reference_answers()[1] == {"1": "是", "2": "是"}


NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(NUMBER, NUMBER, st.text(max_size=20))
def test_two_numbers_and_an_explanation_are_read(first: float, second: float, rest: str) -> None:
    for reading in READINGS.values():
        assert reading(f"{first} {second}\n{rest}") == reading(f"{first},{second}") == (first, second)
    assert codefuse(f"{first}, {second}") == (first, second)
    assert llava(f"{first}, {second}") is None


@given(st.text(max_size=40))
def test_any_reply_is_read_or_not(reply: str) -> None:
    for reading in READINGS.values():
        pair = reading(reply)
        assert pair is None or all(isinstance(score, float) for score in pair)
    score = single(reply)
    assert score is None or 1 <= score <= 10


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("7\n好", 7.0),
        ("7.5", 7.5),
        (" 8 ", 8.0),
        ("8/10", None),
        ("11", None),
        ("0", None),
        ("nan", None),
        ("好", None),
    ],
)
def test_a_single_score_must_be_the_first_line(reply: str, score: float | None) -> None:
    assert single(reply) == score


@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.tuples(NUMBER, NUMBER))), max_size=20))
def test_no_reply_is_lost_or_guessed(rows: list[tuple[str, tuple[float, float] | None]]) -> None:
    counts = win_counts((str(number), category, outcome([pair])) for number, (category, pair) in enumerate(rows))
    read = [pair for _, pair in rows if pair is not None]
    total = counts.get("all", {"won": 0, "tied": 0, "lost": 0, "unread": 0})
    assert total["unread"] == len(rows) - len(read)
    assert total["won"] + total["tied"] + total["lost"] == len(read)
    assert total["won"] == sum(second > first for first, second in read)


def test_who_wins_in_one_order_only_is_tied() -> None:
    assert outcome([(3.0, 8.0), (4.0, 5.0)]) == "won"
    assert outcome([(3.0, 8.0), (6.0, 5.0)]) == "tied"
    assert outcome([(3.0, 8.0), None]) is None
    assert outcome([(float("nan"), 8.0)]) is None


def test_a_reply_that_cannot_be_read_counts_minus_one_in_llavas_summary_only() -> None:
    assert review_summary([("1", "x", (8.0, 4.0)), ("2", "x", None)])["all"] == {
        "ratio_percent": round(1.5 / 3.5 * 100, 1),
        "reference_x10": 35.0,
        "model_x10": 15.0,
    }
    assert win_counts([("1", "x", "lost"), ("2", "x", None)])["all"]["win_rate_percent"] == 0


def test_grades_and_preferences() -> None:
    assert grade_counts([("1", "ocr", ["A", "A", "D"])])["ocr"] == {"A": 2, "B": 0, "C": 0, "D": 1}
    assert grade_credit(["A", "D"]) == 0.5
    rows = [{"first": "x", "second": "y", "choice": "second"}, {"first": "y", "second": "x", "choice": "tied"}]
    assert preference_counts([("1", "ocr", rows)])["all"] == {"x": 0, "y": 1, "tied": 1, "both_bad": 0}


def small_data(folder: Path) -> Path:
    questions = [
        {"id": "1", "image": "1.jpg", "instruction": f"问题{number}", "type": kind, "question_id": number}
        for number, kind in enumerate(("conv", "detail"))
    ]
    (folder / "llava_test_zh_questions.json").write_text(json.dumps(questions))
    return folder


def replies(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_exchanged_answers_and_single_scores(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    both = replies(
        data,
        {"question_id": 0, "content": "3 8", "exchanged": "9 2"},
        {"question_id": 1, "content": "3 8", "exchanged": "2 9"},
    )
    scores = score_files("llava_bench_zh", data, [both], scorer="wins").score
    assert scores.per_item == {"0": "won", "1": "tied"}
    assert scores.headline["win rate"] == 75.0
    benchmark = BENCHMARKS.get("llava_bench_zh")(data)
    assert benchmark.score(benchmark.read_predictions([both])).scores == scores.scores
    alone = replies(data, *({"question_id": n, "content": text, "mode": "score"} for n, text in enumerate(("7", "七"))))
    found = benchmark.score(benchmark.read_predictions([alone]))
    assert found.scores["all"] == {"mean": 7.0, "read": 1, "unread": 1}
    assert found.parsed["1"].value is None
    with pytest.raises(TuwenError, match="scorer llava_review_summary is not for replies about one answer"):
        score_files("llava_bench_zh", data, [alone], scorer="llava_review_summary")


def test_answers_that_nobody_has_judged_are_not_taken_for_replies(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    with pytest.raises(TuwenError, match="question 0: the answers of a system must be judged first: give --judge"):
        BENCHMARKS.get("llava_bench_zh")(data).score([Prediction("0", "一只猫"), Prediction("1", "两只狗")])
    own = tmp_path / "own.jsonl"
    for answers, message in ((["一只猫", "两只狗"], "no answer begins with a judge's scores"), (["5 6", "7 8"], "")):
        own.write_text("".join(json.dumps({"id": n, "answer": text}) + "\n" for n, text in enumerate(answers)))
        if message:
            with pytest.raises(TuwenError, match=message):
                score_files("llava_bench_zh", data, [own])
        else:
            assert score_files("llava_bench_zh", data, [own]).score.per_item == {"0": [5, 6], "1": [7, 8]}


def test_grades_of_several_systems_are_kept_apart(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    said = [(0, "x", "A"), (1, "x", "B"), (0, "y", "D"), (1, "y", "D")]
    path = replies(
        data, *({"question_id": n, "rater": "r", "model": model, "grade": grade} for n, model, grade in said)
    )
    scores = score_files("llava_bench_zh", data, [path], scorer="human_grade_counts").score.scores
    assert scores["systems"]["x"]["all"] == {"A": 1, "B": 1, "C": 0, "D": 0}
    assert scores["systems"]["y"]["conv"] == {"A": 0, "B": 0, "C": 0, "D": 1}
    assert scores["all"] == {"A": 1, "B": 1, "C": 0, "D": 2}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"content": "8 9"}, "line 1: question_id"),
        ({"question_id": 0}, "line 1: expected content"),
        ({"question_id": 0, "content": 5}, "line 1: content: expected a text"),
        ({"question_id": 0, "grade": "E"}, "line 1: grade: expected A, B, C, D"),
        ({"question_id": 0, "choice": "left"}, "line 1: choice: expected first"),
        ({"question_id": 0, "choice": "first"}, "line 1: first"),
        ({"question_id": 7, "content": "8 9"}, "predictions for no item (7)"),
        ({"question_id": 0, "content": "8 9"}, "1 items without a prediction (1)"),
    ],
)
def test_broken_replies_are_refused_by_name(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = small_data(tmp_path)
    path = replies(data, record)
    assert message in refused("score", "llava_bench_zh", "--data", data, "--predictions", path)


def test_a_mean_of_zero_stops_the_summary_as_it_stops_the_program(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    path = replies(data, *({"question_id": number, "content": "0 8"} for number in (0, 1)))
    with pytest.raises(TuwenError, match="mean score of 0"):
        score_files("llava_bench_zh", data, [path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": 1}, "record 2: question 1 is there twice"),
        ({"instruction": 5}, "record 1: instruction: expected text"),
        ({"type": None}, "record 1: type: expected text"),
        ({"image": ["1.jpg"]}, "record 1: image: expected text"),
    ],
)
def test_broken_questions_are_refused_by_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = small_data(tmp_path)
    path = data / "llava_test_zh_questions.json"
    questions = json.loads(path.read_text())
    questions[0].update(change)
    path.write_text(json.dumps(questions))
    with pytest.raises(TuwenError) as error:
        BENCHMARKS.get("llava_bench_zh")(data).items()
    assert message in str(error.value)
