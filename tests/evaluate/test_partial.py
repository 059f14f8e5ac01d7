"""Predictions that are missing, doubled or of nothing are named and counted; ``--partial`` scores the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import refused, run_cli
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Prediction
from tuwen.evaluate.files import by_id
from tuwen.evaluate.score import score_files

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
# Of several splits by name; people's ratings are scored as they are.
NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))
BY_OPTION = ("qwen_vl_strict", "qwen_vl_vote")
OF_PEOPLE = ("human_grade_counts", "human_preferences")


def own(predictions: list[Prediction], folder: Path) -> Path:
    path = folder / "own.jsonl"
    lines = (json.dumps({"id": one.id, "answer": one.text}, ensure_ascii=False) + "\n" for one in predictions)
    path.write_text("".join(lines), encoding="utf-8")
    return path


@golden
@pytest.mark.parametrize("name", NAMES)
def test_every_scorer_scores_what_is_there(name: str, tmp_path: Path) -> None:
    benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    for scorer in benchmark.scorers:
        if scorer in OF_PEOPLE:
            continue
        files = [GOLDEN / name / ("predictions_option_index.json" if scorer in BY_OPTION else "")]
        whole = benchmark.read_predictions(files)
        if any(isinstance(one.text, dict) and "content" in one.text for one in whole):
            whole = [Prediction(one.id, one.text["content"]) for one in whole]
        first, second, *others = whole
        left = {one.id for one in (second, *others)}
        # ScienceQA's set leaves a question without an answer.
        missing = [item.id for item in benchmark.items_for(whole) if item.id not in left]
        assert first.id in missing
        damaged = own([second, *others, second, Prediction("nothing", second.text)], tmp_path)
        with pytest.raises(TuwenError) as caught:
            score_files(name, GOLDEN / name, [damaged], scorer=scorer)
        assert f"{len(missing)} items without a prediction ({', '.join(missing)})" in str(caught.value)
        assert "1 predictions for no item (nothing)" in str(caught.value)
        assert f"1 items with several predictions ({second.id})" in str(caught.value)
        result = score_files(name, GOLDEN / name, [damaged], scorer=scorer, partial=True)
        assert result.to_dict()["coverage"] == {
            "missing": missing,
            "unknown": ["nothing"],
            "doubled": [second.id],
            "pictures": [],
        }
        assert set(result.intervals().headline) == set(result.score.headline), scorer


@golden
def test_half_a_pair_of_mme_leaves_its_picture_out(tmp_path: Path) -> None:
    data, damaged = GOLDEN / "mme", GOLDEN / "mme/variants/missing_line"
    said = refused("score", "mme", "--data", data, "--predictions", damaged)
    assert "1 items without a prediction (count/000000150952.jpg#1); give --partial to score what is there" in said
    found = json.loads(run_cli("score", "mme", "--data", data, "--predictions", damaged, "--partial", "--json").stdout)
    assert found["coverage"]["missing"] == ["count/000000150952.jpg#1"]
    whole = json.loads(run_cli("score", "mme", "--data", data, "--predictions", data / "results", "--json").stdout)
    tasks: dict[str, Any] = found["scores"]["per_task"]
    assert {task for task in tasks if tasks[task] != whole["scores"]["per_task"][task]} == {"count"}
    # Three pictures are left.
    assert tasks["count"]["acc_plus"] % (100 / 3) == pytest.approx(0, abs=1e-9)
    assert sum(tasks["count"][key] for key in ("TP", "FN", "TN", "FP", "other_num")) == 6


def test_ids_that_are_there_twice_are_counted() -> None:
    rows = [(f"line {number}", name, number) for number, name in enumerate("abcabdeefghijijk")]
    with pytest.raises(TuwenError) as caught:
        by_id(rows, "question")
    assert str(caught.value) == "line 3: question a is there twice, and 4 others (b, e, i, j)"
    assert by_id(rows[:3], "question") == {"a": 0, "b": 1, "c": 2}


@golden
def test_ids_are_shown_as_they_are(tmp_path: Path) -> None:
    data = GOLDEN / "docvqa"
    whole = BENCHMARKS.get("docvqa")(data).read_predictions([data])
    path = own([*whole, Prediction("[/bold] [red]", "x")], tmp_path)
    said = run_cli("score", "docvqa", "--data", data, "--predictions", path, "--partial")
    assert said.returncode == 0, said.stderr
    assert "1 predictions for no item ([/bold] [red])" in said.stdout
