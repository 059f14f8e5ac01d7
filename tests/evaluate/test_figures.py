"""Every figure of every scorer has an interval, which is what scoring bootstrap draws of the pictures would give."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import run_cli
from tuwen.evaluate import intervals as module
from tuwen.evaluate.benchmark import BENCHMARKS, Item, Parsed, Score
from tuwen.evaluate.figures import Count, Draws, Figure, Reckoned, count, mean, percent, quotient, rounded
from tuwen.evaluate.intervals import bootstrap, intervals, paired
from tuwen.evaluate.scoring.average_precision import average_precision
from tuwen.evaluate.scoring.captions import caption_scores
from tuwen.evaluate.scoring.judge_replies import review_summary
from tuwen.evaluate.scoring.yes_no import Counts

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))
# To draw answers anew makes them more alike, which is what this figure measures.
WITHOUT = {"distribution"}
# Judges' summaries round twice.
ROUNDING = 0.06
OTHER_FORMS = {"qwen_vl_strict": "predictions_option_index.json", "qwen_vl_vote": "predictions_option_index.json"}


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def draw(times: Mapping[str, int]) -> Draws:
    """A single draw, of items that are clusters of their own."""
    return Draws(dict(zip(times, range(len(times)), strict=True)), np.array([*times.values()])[:, None])


def again(figure: Any, times: Mapping[str, int]) -> float:
    return float(figure.again(draw(times))[0])


@golden
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_every_scorer_can_be_drawn_anew(name: str) -> None:
    benchmark = BENCHMARKS.get(name)(GOLDEN / name)
    scorers = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))["scorers"]
    for scorer in {*scorers, *benchmark.scorers} - {"human_grade_counts", "human_preferences"}:
        found = benchmark.read_predictions([GOLDEN / name / OTHER_FORMS.get(scorer, "")])
        score, items = benchmark.score(found, scorer), benchmark.items_for(found)
        once = {item.id: 1 for item in items}
        figures = {"headline": score.headline, "subtasks": score.subtasks, "scores": score.scores}
        for path, value in leaves(figures):
            if isinstance(value, Reckoned):
                assert again(value, once) == pytest.approx(value, abs=ROUNDING), (scorer, path)
            else:
                assert not isinstance(value, float) or path[-1] in WITHOUT, (scorer, path)
        known = intervals(items, score)
        assert set(known.headline) == set(score.headline), scorer
        for path, interval in leaves({"headline": known.headline, "scores": known.scores}):
            assert interval.low - 1e-9 <= interval.value <= interval.high + 1e-9, (scorer, path)


@golden
def test_json_has_intervals_where_they_are_asked_for() -> None:
    command = ("score", "pope", "--data", GOLDEN / "pope", "--predictions", GOLDEN / "pope/llava_answers.jsonl")
    plain = json.loads(run_cli(*command, "--json").stdout)
    assert set(plain) == {"benchmark", "scorer", "scores", "per_item"}
    found = json.loads(run_cli(*command, "--json", "--intervals").stdout)
    assert {**plain, "intervals": found["intervals"]} == found
    low, high = found["intervals"]["scores"]["random"]["f1"]
    assert low < found["scores"]["random"]["f1"] < high
    assert low == pytest.approx(found["intervals"]["headline"]["F1 random"][0] / 100)
    assert "95 %" in run_cli(*command).stdout


drawn_items = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 3)),
    min_size=2,
    max_size=12,
)


@given(drawn_items)
def test_a_figure_is_what_its_formula_makes_of_the_items_that_were_drawn(
    found: list[tuple[bool, bool, float, int]],
) -> None:
    items = {str(number): one for number, one in enumerate(found)}
    times = {name: one[3] for name, one in items.items()}
    repeated = {f"{name}/{copy}": one for name, one in items.items() for copy in range(one[3])}
    if not repeated:
        assert np.isnan(again(percent((name, one[0]) for name, one in items.items()), times))
        return
    first, second = (
        Counts.of((name, said, true) for name, (said, true, *_) in group.items()) for group in (items, repeated)
    )
    for figure in ("precision", "recall", "f1"):
        assert again(getattr(first, figure), times) == pytest.approx(getattr(second, figure))
    # Counts are of as many items as there were at first.
    assert again(first.tp, times) == pytest.approx(second.tp * len(items) / len(repeated))
    labels, scores = [one[1] for one in found], [one[2] for one in found]
    weighed = average_precision(labels, scores, draw(times).times(list(items)))[0]
    rows = repeated.values()
    assert weighed == pytest.approx(average_precision([one[1] for one in rows], [one[2] for one in rows])[0])


words = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "on", "grass"]), min_size=1, max_size=8).map(" ".join)


@given(st.lists(st.tuples(words, words, st.integers(0, 2)), min_size=2, max_size=6))
def test_bleu_is_of_all_captions_that_were_drawn_and_ciders_rarity_of_all_there_are(
    rows: list[tuple[str, str, int]],
) -> None:
    repeated = [row for row in rows for _ in range(row[2])]
    if not repeated:
        return
    times = {str(number): row[2] for number, row in enumerate(rows)}
    first = caption_scores([made for made, _, _ in rows], [[known] for _, known, _ in rows])
    second = caption_scores([made for made, _, _ in repeated], [[known] for _, known, _ in repeated])
    for name in ("Bleu_1", "Bleu_4", "ROUGE_L"):
        assert again(first.total[name], times) == pytest.approx(second.total[name], rel=1e-5, abs=1e-6)
    each = [score["CIDEr"] for score, (*_, often) in zip(first.each, rows, strict=True) for _ in range(often)]
    assert again(first.total["CIDEr"], times) == pytest.approx(sum(each) / len(each))


def test_a_judges_ratio_is_that_of_the_means() -> None:
    ratio = review_summary([("1", "x", (8.0, 4.0)), ("2", "x", (2.0, 6.0))])["all"]["ratio_percent"]
    assert ratio == 100.0
    assert again(ratio, {"1": 2, "2": 0}) == pytest.approx(50.0)
    assert again(ratio, {"1": 2, "2": 1}) == pytest.approx(100 * 14 / 18)


def test_what_is_made_of_figures_is_a_figure_and_a_number() -> None:
    items = {"1": 2, "2": 0, "3": 1}
    part, hits = mean([("1", 1.0), ("2", 0.0), ("3", 0.5)]), count([("1", True), ("2", True), ("3", False)])
    assert (float(part), int(hits), json.dumps([part, hits])) == (0.5, 2, "[0.5, 2]")
    made = 100 * part + hits / 4 - 1
    assert isinstance(made, Figure)
    assert isinstance(hits + hits, Count)
    assert made == 49.5
    assert again(made, items) == pytest.approx(100 * 2.5 / 3 + (2 / 3 * 3) / 4 - 1)
    assert quotient(hits, 0 * hits) == 0
    assert again(rounded(part, round), items) == pytest.approx(2.5 / 3)
    assert sum([part, part], 0.0) == 1.0
    # A copy goes to where the answers are not.
    assert (type(copy.deepcopy(made)), type(copy.deepcopy(hits))) == (float, int)


def test_intervals_are_those_of_theory_and_wider_for_clusters() -> None:
    rng = random.Random(0)
    values = [float(rng.random() < 0.7) for _ in range(400)]
    names = [str(number) for number in range(400)]
    alone = bootstrap(values, names)
    assert alone.low < alone.value < alone.high
    assert alone.value == pytest.approx(sum(values) / 400)
    # 1.96 standard errors to each side.
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 400) ** 0.5, rel=0.15)
    doubled = bootstrap(values * 2, names * 2)
    assert doubled.high - doubled.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert bootstrap(values, names) == alone
    same = paired(values, values, names)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def made_score(count_of: int) -> tuple[list[Item], Score]:
    items = [Item(id=str(number), messages=(), category="ab"[number % 2]) for number in range(count_of)]
    credits = {item.id: float(int(item.id) % 3 == 0) for item in items}
    parsed = {name: Parsed(value="x", credit=credit) for name, credit in credits.items()}
    accuracy = percent(credits.items())
    scores = {"accuracy": accuracy, "items": len(items), "of": {"nothing": None, "others": 1.5}}
    return items, Score(scores=scores, per_item=None, parsed=parsed, headline={"accuracy": accuracy})


def test_intervals_have_the_structure_of_the_scores() -> None:
    items, score = made_score(60)
    known = intervals(items, score)
    assert set(known.scores) == {"accuracy"}
    assert set(known.credits) == {"", "a", "b"}
    assert known.scores["accuracy"] == known.headline["accuracy"]
    assert known.credits[""].low == pytest.approx(known.headline["accuracy"].low / 100)
    nothing = intervals([], Score(scores={}, per_item=None, parsed={}, headline={}))
    assert (dict(nothing.headline), dict(nothing.credits)) == ({}, {})


def test_large_benchmarks_are_drawn_in_parts_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    items, score = made_score(60)
    known = intervals(items, score)
    monkeypatch.setattr(module, "LARGEST_TABLE", 60 * 70)
    assert intervals(items, score) == known
