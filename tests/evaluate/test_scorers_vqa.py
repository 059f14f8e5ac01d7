"""Scores of VQAv2, GQA, TextVQA, VizWiz, ChartQA and DocVQA are those of the official programs, to the last digit."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Prediction, Score
from tuwen.evaluate.score import score_files
from tuwen.evaluate.scoring.vqa_normalise import NORMALISERS

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")

# Benchmark → its scorers in golden sets, the usual one first.
SCORERS = {
    "vqav2": (
        "official",
        "qwen_vl",
        "llava_submission_then_official",
        "vlmevalkit_v0_2",
        "vlmevalkit_head",
        "lmms_eval",
    ),
    "gqa": ("llava_convert_then_official", "official_on_raw_text", "qwen_vl", "codefuse_substring"),
    "textvqa": ("llava_m4c", "vlmevalkit_v0_2", "vlmevalkit_head", "lmms_eval", "qwen_vl"),
    "vizwiz": ("official", "llava_submission_then_official", "lmms_eval", "qwen_vl"),
    "chartqa": ("pix2struct", "qwen_vl", "vlmevalkit_head", "vlmevalkit_v0_2", "lmms_eval"),
    "docvqa": ("official_rrc", "pix2struct", "vlmevalkit_head"),
}
PAIRS = [(name, scorer) for name, scorers in SCORERS.items() for scorer in scorers]
# Official forms of the same predictions; an empty name is the folder.
FORMS = [
    ("vqav2", ("v2_OpenEnded_mscoco_val2014_model_results.json",)),
    ("vqav2", ("",)),
    ("gqa", ("testdev_answers.jsonl", "val_answers.jsonl")),
    ("gqa", ("val_predictions.json", "testdev_predictions.json")),
    ("gqa", ("",)),
    ("textvqa", ("llava_answers.jsonl",)),
    ("textvqa", ("predictions.json",)),
    ("textvqa", ("",)),
    ("vizwiz", ("results_answerability.json", "results_vqa.json")),
    ("vizwiz", ("",)),
    ("chartqa", ("predictions_augmented.json", "predictions_human.json")),
    ("chartqa", ("",)),
    ("docvqa", ("results.json",)),
    ("docvqa", ("",)),
]
# Made by a Java program; not computed here.
LEFT_OUT = {"caption_metrics_optional"}


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    return found


def opened(name: str) -> tuple[Benchmark, list[Prediction]]:
    benchmark: Benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    return benchmark, benchmark.read_predictions([GOLDEN / name])


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, Mapping):
        wanted = {key: value for key, value in wanted.items() if key not in LEFT_OUT}
        assert set(found) == set(wanted), where
        for key, value in wanted.items():
            assert_same(found[key], value, f"{where}/{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for place, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert_same(mine, theirs, f"{where}/{place}")
    elif isinstance(wanted, bool | str):
        assert found == wanted, where
    else:
        assert found == pytest.approx(wanted, abs=1e-9, rel=0), where


def as_json(score: Score) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps({"scores": score.scores, "per_item": score.per_item}))
    return found


@pytest.mark.parametrize("name", SCORERS)
def test_all_scorers_are_there_and_the_usual_one_first(name: str) -> None:
    benchmark, _ = opened(name)
    assert next(iter(benchmark.scorers)) == SCORERS[name][0] == expected(name)["primary"]
    assert set(expected(name)["scorers"]) == set(SCORERS[name]) <= set(benchmark.scorers)


@pytest.mark.parametrize(("name", "scorer"), PAIRS)
def test_scores_and_verdicts_are_the_official_ones(name: str, scorer: str) -> None:
    wanted = expected(name)["scorers"][scorer]
    result = json.loads(json.dumps(score_files(name, GOLDEN / name, [GOLDEN / name], scorer=scorer).to_dict()))
    assert (result["benchmark"], result["scorer"]) == (name, scorer)
    assert_same(result["scores"], wanted["scores"])
    assert_same(result["per_item"], wanted["per_item"])


@pytest.mark.parametrize(("name", "files"), FORMS)
def test_all_official_forms_of_predictions_are_read(name: str, files: tuple[str, ...]) -> None:
    result = score_files(name, GOLDEN / name, [GOLDEN / name / file for file in files])
    assert result.coverage.whole
    assert_same(as_json(result.score)["scores"], expected(name)["scorers"][SCORERS[name][0]]["scores"])


@pytest.mark.parametrize("name", SCORERS)
def test_tuwens_form_and_what_is_written_give_the_same_scores(name: str, tmp_path: Path) -> None:
    benchmark, predictions = opened(name)
    random.Random(1).shuffle(predictions)
    own = tmp_path / "own.jsonl"
    lines = (json.dumps({"id": one.id, "answer": one.text}, ensure_ascii=False) + "\n" for one in predictions)
    own.write_text("".join(lines), encoding="utf-8")
    official = benchmark.write_predictions(predictions, tmp_path / "official")
    assert all(path.is_file() for path in official)
    for scorer in benchmark.scorers:
        wanted = as_json(benchmark.score(predictions, scorer))
        assert as_json(score_files(name, GOLDEN / name, [own], scorer=scorer).score) == wanted
        assert as_json(score_files(name, GOLDEN / name, [tmp_path / "official"], scorer=scorer).score) == wanted


@pytest.mark.parametrize(("name", "scorer"), PAIRS)
def test_credit_is_what_the_score_is_made_of(name: str, scorer: str) -> None:
    benchmark, predictions = opened(name)
    score = benchmark.score(predictions, scorer)
    credits = [one.credit for one in score.parsed.values() if one.credit is not None]
    assert set(score.parsed) <= {item.id for item in benchmark.items_for(predictions)}
    assert all(0 <= credit <= 1 for credit in credits)
    if name == "gqa":
        right = [score.scores[tier]["accuracy"] * len(score.per_item[tier]) for tier in score.scores]
        mean = sum(right) / len(credits)
    else:
        mean = score.scores["overall"] if name == "chartqa" else next(iter(score.headline.values()))
    assert 100 * sum(credits) / len(credits) == pytest.approx(mean, abs=0.005 + 1e-9)


@pytest.mark.parametrize("name", SCORERS)
def test_the_parser_reads_what_the_usual_scorer_reads(name: str) -> None:
    benchmark, predictions = opened(name)
    score = benchmark.score(predictions)
    items = {item.id: item for item in benchmark.items_for(predictions)}
    for one in predictions:
        answer = one.text["answer"] if isinstance(one.text, dict) else one.text
        assert benchmark.parse(items[one.id], answer) == score.parsed[one.id].value


@pytest.mark.parametrize(
    ("name", "file", "scorer", "variant"),
    [
        ("vqav2", "duplicates.json", "official", ("duplicates", "official")),
        ("textvqa", "missing_three_llava_answers.jsonl", "llava_m4c", ("missing_three_llava_answers", "llava_m4c")),
        ("textvqa", "duplicate_llava_answers.jsonl", "llava_m4c", ("duplicate_llava_answers", "llava_m4c")),
        ("vizwiz", "duplicate_results_vqa.json", "official", ("duplicate_results_vqa", "official")),
        (
            "gqa",
            "testdev_duplicate_predictions.json",
            "official_on_raw_text",
            ("testdev_duplicate_predictions",),
        ),
        (
            "gqa",
            "val_balanced_only_predictions.json",
            "official_on_raw_text",
            ("val_balanced_only_predictions", "without_consistency"),
        ),
    ],
)
def test_damaged_predictions_count_as_the_official_program_counts_them(
    name: str, file: str, scorer: str, variant: tuple[str, ...]
) -> None:
    result = score_files(name, GOLDEN / name, [GOLDEN / name / "variants" / file], scorer=scorer, partial=True)
    wanted = expected(name)["variants"]
    for key in variant:
        wanted = wanted[key]
    wanted = {key: value for key, value in wanted.items() if key != "denominator"}
    found = result.score.scores
    inner = {"gqa": file.split("_")[0], "vizwiz": "accuracy"}.get(name)
    assert_same(as_json(result.score)["scores"][inner] if inner else found, wanted)
    assert not result.coverage.whole


@pytest.mark.parametrize(
    ("name", "file", "scorer", "message"),
    [
        ("vqav2", "missing_one.json", "official", "1 questions have no prediction, the first is"),
        ("vqav2", "unknown_id.json", "official", "1 predictions are for no question of .* the first is 999999999"),
        ("gqa", "testdev_missing_one_predictions.json", "official_on_raw_text", "1 balanced questions of"),
        ("vizwiz", "missing_one_results_vqa.json", "official", "the first is VizWiz_val_00002523.jpg"),
        ("docvqa", "missing_one.json", "official_rrc", "the competition's script stops there"),
    ],
)
def test_what_stops_the_official_program_is_refused(name: str, file: str, scorer: str, message: str) -> None:
    benchmark, _ = opened(name)
    damaged = benchmark.read_predictions([GOLDEN / name / "variants" / file])
    with pytest.raises(TuwenError, match=message) as caught:
        benchmark.score(damaged, scorer)
    assert "\n" not in str(caught.value)
    with pytest.raises(TuwenError, match="give --partial to score what is there"):
        score_files(name, GOLDEN / name, [GOLDEN / name / "variants" / file], scorer=scorer)


def test_docvqa_takes_one_prediction_for_each_question() -> None:
    benchmark, predictions = opened("docvqa")
    with pytest.raises(TuwenError, match="1 questions have another prediction"):
        benchmark.score([*predictions, predictions[0]])


def test_balanced_questions_alone_are_scored_without_consistency(tmp_path: Path) -> None:
    for file in ("val_balanced_questions.json", "val_choices.json"):
        (tmp_path / file).symlink_to((GOLDEN / "gqa" / file).resolve())
    result = score_files(
        "gqa", tmp_path, [GOLDEN / "gqa/val_predictions.json"], scorer="official_on_raw_text", partial=True
    )
    assert_same(as_json(result.score)["scores"]["val"], expected("gqa")["variants"]["val_balanced_questions_file"])


def test_questions_in_parts_are_one_tier(tmp_path: Path) -> None:
    questions = json.loads((GOLDEN / "gqa/val_all_questions.json").read_text(encoding="utf-8"))
    folder = tmp_path / "val_all_questions"
    folder.mkdir()
    for part in range(3):
        some = {name: record for place, (name, record) in enumerate(questions.items()) if place % 3 == part}
        (folder / f"val_all_questions_{part}.json").write_text(json.dumps(some), encoding="utf-8")
    (tmp_path / "val_choices.json").symlink_to((GOLDEN / "gqa/val_choices.json").resolve())
    score = score_files("gqa", tmp_path, [GOLDEN / "gqa/val_answers.jsonl"]).score
    assert_same(as_json(score)["scores"]["val"], expected("gqa")["scorers"][SCORERS["gqa"][0]]["scores"]["val"])


@pytest.mark.parametrize("name", NORMALISERS)
def test_normalisers_give_what_the_programs_give(name: str) -> None:
    cases = json.loads((GOLDEN / "vqav2/normalisation_cases.json").read_text(encoding="utf-8"))
    wanted = expected("vqav2")["normalisation_cases"][name]
    assert [NORMALISERS[name](case) for case in cases] == wanted


def test_more_digits_than_the_official_programs_print() -> None:
    benchmark, predictions = opened("vqav2")
    credits = benchmark.score(predictions).parsed
    exact = expected("vqav2")["scorers"]["official"]["scores_8_digits"]["overall"]
    assert 100 * sum(one.credit or 0 for one in credits.values()) / len(credits) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "scorer", "key"),
    [
        ("textvqa", "llava_m4c", "processed_prediction"),
        ("vqav2", "llava_submission_then_official", "processed_answer"),
    ],
)
def test_llavas_processor_gives_what_llava_uploads(name: str, scorer: str, key: str) -> None:
    _, predictions = opened(name)
    processed = {one.id: NORMALISERS["m4c_textvqa"](one.text) for one in predictions}
    assert processed == expected(name)["scorers"][scorer][key]


def test_an_answer_of_which_nothing_is_left_was_not_read() -> None:
    benchmark, predictions = opened("vqav2")
    read = benchmark.score(predictions, "vlmevalkit_v0_2").parsed
    blank = {one.id for one in predictions if not one.text.strip()}
    assert blank
    assert all(read[name].value is None for name in blank)
