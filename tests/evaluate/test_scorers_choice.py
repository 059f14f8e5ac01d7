"""Scores of MME, MMBench, POPE, SEED-Bench, ScienceQA and OCRBench are those of the official programs."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import run_cli
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Prediction
from tuwen.evaluate.score import score_files
from tuwen.evaluate.scoring.choice_letters import EXTRACTIONS, science_qa_llava
from tuwen.evaluate.scoring.circular import Verdict, accuracy, circular
from tuwen.evaluate.scoring.table_cells import as_pandas_reads
from tuwen.evaluate.scoring.yes_no import (
    Counts,
    mme_lmms_eval,
    mme_official,
    pope_first_sentence,
    vlmevalkit_words,
)

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")

KIT = ("vlmevalkit_v0_2", "vlmevalkit_2026_02", "vlmevalkit_head")
QWEN = ("qwen_vl_strict", "qwen_vl_vote")
# Benchmark → its scorers in golden sets, the usual one first.
SCORERS = {
    "mme": ("official", "vlmevalkit_head", "lmms_eval"),
    "mmbench": (*KIT, *QWEN),
    "mmbench_cn": (*KIT, *QWEN),
    "pope": ("llava_eval_pope", "pope_official", "vlmevalkit_head", "lmms_eval"),
    "seedbench": ("llava_exact", "vlmevalkit_v0_2", "vlmevalkit_head"),
    "scienceqa": ("llava",),
    "ocrbench": ("official", "vlmevalkit_head"),
}
OPTIONS = "predictions_option_index.json"
FORMS = [
    ("mme", "results"),
    ("mme", "predictions.jsonl"),
    ("mmbench", "predictions.jsonl"),
    ("mmbench_cn", "predictions.jsonl"),
    ("pope", "llava_answers.jsonl"),
    ("pope", "answers_official"),
    ("seedbench", "llava_answers.jsonl"),
    ("scienceqa", "llava_answers.jsonl"),
    ("ocrbench", "results_model.json"),
]


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    return found


def files_for(name: str, scorer: str) -> list[Path]:
    return [GOLDEN / name / OPTIONS if scorer in QWEN else GOLDEN / name]


def opened(name: str, scorer: str = "") -> tuple[Benchmark, list[Prediction]]:
    benchmark: Benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    return benchmark, benchmark.read_predictions(files_for(name, scorer))


def scored(name: str, predictions: Sequence[Path], scorer: str, data: Path | None = None) -> dict[str, Any]:
    # ScienceQA's set leaves a question without an answer.
    result = score_files(name, data or GOLDEN / name, predictions, scorer=scorer, partial=name == "scienceqa")
    found: dict[str, Any] = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return found


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, Mapping):
        assert set(found) == set(wanted), where
        for key, value in wanted.items():
            assert_same(found[key], value, f"{where}/{key}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-9, rel=0), where
    else:
        assert found == wanted, where


@pytest.mark.parametrize("name", SCORERS)
def test_all_scorers_are_there_and_the_usual_one_first(name: str) -> None:
    benchmark, _ = opened(name)
    assert next(iter(benchmark.scorers)) == SCORERS[name][0] == expected(name)["primary"]
    assert set(benchmark.scorers) == set(SCORERS[name]) == set(expected(name)["scorers"])


@pytest.mark.parametrize(("name", "scorer"), [(name, scorer) for name, all_ in SCORERS.items() for scorer in all_])
def test_scores_and_verdicts_are_the_official_ones(name: str, scorer: str) -> None:
    wanted = expected(name)["scorers"][scorer]
    found = scored(name, files_for(name, scorer), scorer)
    assert_same(found["scores"], wanted["scores"])
    if "per_item" in wanted:
        assert_same(found["per_item"], wanted["per_item"])


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_all_official_forms_of_predictions_are_read(name: str, form: str) -> None:
    scorer = SCORERS[name][0]
    assert_same(scored(name, [GOLDEN / name / form], scorer)["scores"], expected(name)["scorers"][scorer]["scores"])


@pytest.mark.parametrize(
    ("name", "scorer"), [*((name, all_[0]) for name, all_ in SCORERS.items()), ("mmbench", "qwen_vl_vote")]
)
def test_tuwens_form_and_what_is_written_give_the_same_scores(name: str, scorer: str, tmp_path: Path) -> None:
    benchmark, predictions = opened(name, scorer)
    wanted = json.loads(json.dumps(benchmark.score(predictions, scorer).scores))
    if name == "ocrbench":
        predictions = [one for one in predictions if one.text is not None]
    written = benchmark.write_predictions(predictions, tmp_path / "official")
    assert written
    assert all(path.is_file() for path in written)
    random.Random(1).shuffle(predictions)
    own = tmp_path / "own.jsonl"
    lines = (json.dumps({"id": one.id, "answer": one.text}, ensure_ascii=False) + "\n" for one in predictions)
    own.write_text("".join(lines), encoding="utf-8")
    partial = name in ("scienceqa", "ocrbench")
    for form in (own, tmp_path / "official"):
        result = score_files(name, GOLDEN / name, [form], scorer=scorer, partial=partial)
        assert_same(json.loads(json.dumps(result.score.scores)), wanted)


VARIANTS = [
    ("mme", "shuffled_lines", "variants/shuffled_lines", "official"),
    ("mme", "duplicated_pair", "variants/duplicated_pair", "official"),
    *(
        (name, "missing_rows", "variants/missing_rows/predictions.jsonl", kit)
        for name in ("mmbench", "mmbench_cn")
        for kit in KIT
    ),
    ("pope", "missing_one_llava_answers", "variants/missing_one_llava_answers.jsonl", "llava_eval_pope"),
    ("seedbench", "missing_one_llava_answers", "variants/missing_one_llava_answers.jsonl", "llava_exact"),
    ("seedbench", "duplicate_llava_answers", "variants/duplicate_llava_answers.jsonl", "llava_exact"),
]


@pytest.mark.parametrize(("name", "variant", "file", "scorer"), VARIANTS)
def test_damaged_predictions_count_as_the_official_program_counts_them(
    name: str, variant: str, file: str, scorer: str
) -> None:
    wanted = expected(name)["variants"][variant][scorer]
    wanted = {key: value for key, value in wanted.get("scores", wanted).items() if key != "official_raises"}
    result = score_files(name, GOLDEN / name, [GOLDEN / name / file], scorer=scorer, partial=True)
    assert_same(json.loads(json.dumps(result.score.scores)), wanted)
    if variant != "shuffled_lines":
        with pytest.raises(TuwenError, match="give --partial"):
            score_files(name, GOLDEN / name, [GOLDEN / name / file], scorer=scorer)


@pytest.mark.parametrize("scorer", SCORERS["mme"])
def test_mme_cannot_be_scored_with_half_a_pair(scorer: str) -> None:
    benchmark = BENCHMARKS.get("mme")(GOLDEN / "mme")
    damaged = benchmark.read_predictions([GOLDEN / "mme/variants/missing_line"])
    with pytest.raises(TuwenError, match=r"MME: count: (7|1|one) answers?"):
        benchmark.score(damaged, scorer)


@pytest.mark.parametrize(
    ("name", "parser", "read"),
    [
        ("mme", "official", mme_official),
        ("mme", "lmms_eval", mme_lmms_eval),
        ("mme", "vlmevalkit_head", vlmevalkit_words),
        ("pope", "llava_eval_pope", pope_first_sentence),
        ("pope", "vlmevalkit_head", vlmevalkit_words),
    ],
)
def test_yes_and_no_are_read_as_the_programs_read_them(name: str, parser: str, read: Any) -> None:
    cases = json.loads((GOLDEN / name / "parse_cases.json").read_text(encoding="utf-8"))
    assert {case: read(case) for case in cases} == dict(zip(cases, expected(name)["parse_cases"][parser], strict=True))


@pytest.mark.parametrize("name", ["mmbench", "mmbench_cn"])
@pytest.mark.parametrize("version", EXTRACTIONS)
def test_letters_are_read_as_each_version_reads_them(name: str, version: str) -> None:
    cases = json.loads((GOLDEN / name / "extraction_cases.json").read_text(encoding="utf-8"))
    found = {str(case["id"]): EXTRACTIONS[version](case["prediction"], case["choices"]) for case in cases}
    assert found == expected(name)["extraction_cases"][version]


@pytest.mark.parametrize(
    ("name", "scorer", "headline"),
    [
        ("mmbench", "vlmevalkit_v0_2", "circular"),
        ("mmbench_cn", "qwen_vl_vote", "circular"),
        ("pope", "llava_eval_pope", "accuracy"),
        ("seedbench", "llava_exact", "all"),
        ("scienceqa", "llava", "accuracy"),
    ],
)
def test_credit_is_what_the_score_is_made_of(name: str, scorer: str, headline: str) -> None:
    benchmark, predictions = opened(name, scorer)
    score = benchmark.score(predictions, scorer)
    credits = [one.credit for one in score.parsed.values() if one.credit is not None]
    assert 100 * sum(credits) / len(credits) == pytest.approx(score.headline[headline], abs=1e-9)
    assert set(score.parsed) <= {item.id for item in benchmark.items()}


@pytest.mark.parametrize("name", SCORERS)
def test_the_parser_reads_what_the_usual_scorer_reads(name: str) -> None:
    benchmark, predictions = opened(name)
    parsed = benchmark.score(predictions).parsed
    items = {item.id: item for item in benchmark.items()}
    read = {one.id: benchmark.parse(items[one.id], one.text) for one in predictions if one.text is not None}
    assert read == {name: parsed[name].value for name in read}
    # POPE's program reads every reply as one of the two.
    assert (None in read.values()) == (name != "pope")


@pytest.mark.parametrize("name", SCORERS)
def test_published_figures_stand_under_names_of_ours(name: str) -> None:
    benchmark, predictions = opened(name)
    names = {*benchmark.score(predictions).headline, *(item.category for item in benchmark.items())}
    for published in benchmark.published:
        assert set(published.values) <= names


def test_belle_vl_s_subtasks_add_up_to_its_totals() -> None:
    benchmark, _ = opened("mme")
    belle, qwen = benchmark.published[:2]
    for published in (belle, qwen):
        tasks = {name: score for name, score in published.values.items() if name not in ("perception", "cognition")}
        perception = sum(list(tasks.values())[:10])
        assert perception == pytest.approx(published.values["perception"], abs=0.01)
        assert sum(tasks.values()) - perception == pytest.approx(published.values["cognition"], abs=0.01)


def test_the_command_line_gives_the_official_scores() -> None:
    result = run_cli("score", "mme", "--data", GOLDEN / "mme", "--predictions", GOLDEN / "mme/results", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["benchmark"], found["scorer"]) == ("mme", "official")
    assert_same(found["scores"], expected("mme")["scorers"]["official"]["scores"])


def test_mme_scored_without_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "eval_tool").mkdir()
    (tmp_path / "eval_tool/Your_Results").symlink_to((GOLDEN / "mme/Your_Results").resolve())
    found = scored("mme", [GOLDEN / "mme/results"], "official", tmp_path)
    assert_same(found["scores"], expected("mme")["scorers"]["official"]["scores"])


def test_mme_scored_without_the_official_lists(tmp_path: Path) -> None:
    release = GOLDEN / "mme/MME_Benchmark_release_version"
    found = scored("mme", [GOLDEN / "mme/results"], "official", release)
    assert_same(found["scores"], expected("mme")["scorers"]["official"]["scores"])


def test_mme_takes_llavas_answers_to_llavas_prompts(tmp_path: Path) -> None:
    request = "\nAnswer the question using a single word or phrase."
    lines = []
    for record in map(json.loads, (GOLDEN / "mme/predictions.jsonl").read_text(encoding="utf-8").splitlines()):
        prompt = record["question"].replace("Please answer yes or no.", "").strip() + request
        answer = {"question_id": f"{record['task']}/{record['image']}", "prompt": prompt, "text": record["prediction"]}
        lines.append(json.dumps(answer))
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    found = scored("mme", [tmp_path / "answers.jsonl"], "official")
    assert_same(found["scores"], expected("mme")["scorers"]["official"]["scores"])


def test_a_model_that_denies_everything_has_a_score_in_pope() -> None:
    benchmark, _ = opened("pope")
    score = benchmark.score([Prediction(item.id, "no") for item in benchmark.items()])
    random_ = score.scores["random"]
    assert (random_["accuracy"], random_["precision"], random_["recall"], random_["f1"]) == (0.5, None, 0.0, None)
    assert score.headline["F1"] == 0.0


def test_a_dimension_of_seedbench_without_a_right_answer_has_a_score() -> None:
    benchmark, _ = opened("seedbench")
    score = benchmark.score([Prediction(item.id, "no idea") for item in benchmark.items()])
    assert set(score.scores.values()) == {0.0}
    assert all(one.value is None for one in score.parsed.values())


def test_options_chosen_by_likelihood_can_be_scored_by_any_rule() -> None:
    benchmark, predictions = opened("mmbench", "qwen_vl_strict")
    score = benchmark.score(predictions, "vlmevalkit_v0_2")
    strict = benchmark.score(predictions, "qwen_vl_strict")
    assert score.headline["circular"] == pytest.approx(strict.headline["circular"])


def test_free_replies_are_no_options() -> None:
    benchmark, predictions = opened("mmbench")
    with pytest.raises(TuwenError, match="prediction of 121: expected the number of an option, 0 to 3, found 'D.'"):
        benchmark.score(predictions, "qwen_vl_strict")


def test_ccbench_reports_plain_accuracy_by_category_and_circular_where_it_can(tmp_path: Path) -> None:
    table = (GOLDEN / "mmbench_cn/mmbench_dev_cn.tsv").read_text(encoding="utf-8").split("\n")
    first = [line for line in table if not line.split("\t")[0].isdigit() or int(line.split("\t")[0]) < 1_000_000]
    (tmp_path / "CCBench.tsv").write_text("\n".join(first) + "\n", encoding="utf-8")
    wanted = expected("mmbench_cn")["scorers"]["vlmevalkit_v0_2"]["scores"]
    alone = score_files("ccbench", tmp_path, [GOLDEN / "mmbench_cn/predictions.jsonl"], partial=True).score
    assert alone.headline["plain"] == pytest.approx(100 * wanted["vanilla"]["circ0"]["all_splits"]["accuracy"])
    assert {"ocr", "image_topic"} < set(alone.headline)
    assert "circular" not in alone.headline
    whole = score_files("ccbench", GOLDEN / "mmbench_cn", [GOLDEN / "mmbench_cn/predictions.jsonl"]).score
    assert whole.headline["circular"] == pytest.approx(100 * wanted["circular_all_splits"]["accuracy"])
    assert whole.headline["plain"] == alone.headline["plain"]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_a_question_is_never_easier_in_all_rotations_than_in_its_first(firsts: list[bool], data: st.DataObject) -> None:
    rows = [Verdict(index, right) for index, right in enumerate(firsts)]
    for index in range(len(firsts)):
        copies = data.draw(st.lists(st.booleans(), max_size=3))
        rows += [Verdict(place * 1_000_000 + index, right) for place, right in enumerate(copies, start=1)]
    random.Random(0).shuffle(rows)
    questions = circular(rows)
    assert len(questions) == len(firsts)
    assert (accuracy(questions) or 0) <= sum(firsts) / len(firsts)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_counts_count_everything_once(pairs: list[tuple[bool, bool]]) -> None:
    counts = Counts.of((str(number), said, true) for number, (said, true) in enumerate(pairs))
    assert counts.tp + counts.fp + counts.tn + counts.fn == len(pairs)
    assert counts.tp + counts.fn == sum(true for _, true in pairs)
    assert counts.f1 <= max(counts.precision, counts.recall) + 1e-12
    assert (counts.f1 > 0) == (counts.tp > 0)


@given(
    st.sampled_from("ABCD"), st.sampled_from(["{}", "{}.", "({})", " {}\n", "Answer: {}", "[{}]", "The answer is {}."])
)
def test_a_plain_letter_is_read_by_every_version(letter: str, form: str) -> None:
    options = dict(zip("ABCD", ("cat", "dog", "bird", "fish"), strict=True))
    assert {read(form.format(letter), options) for read in EXTRACTIONS.values()} == {letter}


@given(st.text(max_size=40))
def test_no_reply_stops_a_parser(reply: str) -> None:
    options = {"A": "cat", "B": "Dog"}
    assert all(read(reply, options) in ("A", "B", "Z", None) for read in EXTRACTIONS.values())
    assert mme_official(reply) in ("yes", "no", "other")
    assert mme_lmms_eval(reply) in ("yes", "no", "other")
    assert vlmevalkit_words(reply) in ("Yes", "No", "Unknown")
    assert pope_first_sentence(reply) in ("yes", "no")
    assert science_qa_llava(reply) == "FAILED" or len(science_qa_llava(reply)) == 1


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (["2", "10"], ["2", "10"]),
        (["2", "", "10"], ["2.0", None, "10.0"]),
        (["007", "+1"], ["7", "1"]),
        (["None", "two"], [None, "two"]),
        (["1e5", "0.5"], ["100000.0", "0.5"]),
        (["2", "two", "N/A"], ["2", "two", None]),
        (["TRUE", "nan"], ["True", None]),
        ([None, "1 2"], [None, "1 2"]),
    ],
)
def test_cells_are_what_pandas_makes_of_them(column: list[str | None], read: list[str | None]) -> None:
    assert as_pandas_reads(column) == read
