"""CoBa gives tasks that lag behind more weight, takes it from those that get worse, and goes on where it stopped."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TOY, refused
from tuwen.config import TuwenError, parse_config
from tuwen.train.balance import Coba, TaskBalance, softmax, task_factors
from tuwen.train.recipe import Recipe

NAMES = ["ocr", "caption", "chart", "grounding", "reading"]
# From tasks that cannot be better to those that are lost.
LOSS = st.floats(0, 1e4)
SETTINGS = st.builds(
    Coba, window=st.integers(2, 6), warmup=st.integers(2, 5), temperature=st.floats(0.1, 20, allow_subnormal=False)
)


@st.composite
def histories(draw: st.DrawFn) -> dict[str, list[float]]:
    tasks, measurements = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    row = st.lists(LOSS, min_size=measurements, max_size=measurements)
    return {name: draw(row) for name in NAMES[:tasks]}


@given(histories(), SETTINGS)
def test_factors_are_numbers_above_nothing_with_a_mean_of_one(losses: dict[str, list[float]], settings: Coba) -> None:
    factors = task_factors(losses, settings)
    assert factors.keys() == losses.keys()
    assert all(math.isfinite(factor) and factor >= 0 for factor in factors.values())
    assert sum(factors.values()) == pytest.approx(len(losses))


@given(histories(), SETTINGS, st.randoms())
def test_the_order_of_tasks_does_not_matter(losses: dict[str, list[float]], settings: Coba, random: Any) -> None:
    names = list(losses)
    random.shuffle(names)
    assert task_factors({name: losses[name] for name in names}, settings) == task_factors(losses, settings)


@given(st.lists(LOSS, min_size=1, max_size=12), st.integers(1, 5), SETTINGS)
def test_equal_tasks_count_alike(losses: list[float], tasks: int, settings: Coba) -> None:
    factors = task_factors(dict.fromkeys(NAMES[:tasks], losses), settings)
    assert list(factors.values()) == pytest.approx([1.0] * tasks)


@given(histories(), SETTINGS, st.floats(0.1, 10))
def test_the_unit_of_a_loss_does_not_matter(losses: dict[str, list[float]], settings: Coba, unit: float) -> None:
    losses = {name: [1 + loss for loss in row] for name, row in losses.items()}
    scaled = {name: [unit * loss for loss in row] for name, row in losses.items()}
    assert task_factors(scaled, settings) == pytest.approx(task_factors(losses, settings), abs=1e-6)


def test_all_tasks_count_alike_until_the_warm_up_is_over() -> None:
    losses = {"fast": [4.0, 2.0, 1.0], "slow": [4.0, 3.9, 3.8]}
    assert task_factors({name: row[:2] for name, row in losses.items()}, Coba(warmup=3)) == {"fast": 1.0, "slow": 1.0}
    assert task_factors(losses, Coba(warmup=3))["slow"] > 1.3


def falling(pace: float, measurements: int) -> list[float]:
    return [4.0 - pace * step for step in range(measurements)]


def test_while_all_tasks_learn_the_slower_counts_more() -> None:
    losses = {"fast": falling(0.3, 8), "middle": falling(0.2, 8), "slow": falling(0.1, 8)}
    factors = task_factors(losses, Coba())
    assert factors["slow"] > factors["middle"] > factors["fast"]


@pytest.mark.parametrize("then", [0.0, 0.2])
def test_a_task_that_has_converged_or_gets_worse_counts_less_than_one_that_learns(then: float) -> None:
    learning, other = falling(0.1, 10), falling(0.1, 6)
    other += [other[-1] + then * step for step in range(1, 5)]
    factors = task_factors({"learning": learning, "other": other}, Coba(window=3))
    assert factors["other"] < factors["learning"]
    # Before, they were alike.
    assert task_factors({"learning": learning[:6], "other": other[:6]}, Coba(window=3))["other"] == pytest.approx(1)


def test_it_is_the_paper_s_formula() -> None:
    """Computed by hand for three measurements of two tasks, with a window and a warm-up of two."""
    losses = {"a": [2.0, 1.0, 0.8], "b": [4.0, 3.0, 3.2]}
    # Ratios are 1, 0.5, 0.4 and 1, 0.75, 0.8; a line through two points has their difference as its slope.
    slopes = {"a": [-0.5, -0.1], "b": [-0.25, 0.05]}
    relative = softmax([2 * -0.1 / 0.15, 2 * 0.05 / 0.15])
    absolute = softmax([-2 * -0.1 / 0.6, -2 * 0.05 / 0.3])
    worst = [max(pair) for pair in zip(*slopes.values(), strict=True)]
    assert worst == [-0.25, 0.05]
    divergence = min(1.0, 2 * softmax([-5 * 2 * -0.25 / 0.3, -5 * 2 * 0.05 / 0.3])[-1])
    expected = [2 * (divergence * r + (1 - divergence) * a) for r, a in zip(relative, absolute, strict=True)]
    factors = task_factors(losses, Coba(window=2, warmup=2, temperature=5))
    assert list(factors.values()) == pytest.approx(expected)
    assert factors["a"] > factors["b"]


@given(histories(), SETTINGS, st.integers(0, 12))
def test_it_goes_on_where_it_stopped(losses: dict[str, list[float]], settings: Coba, stop: int) -> None:
    whole, before = TaskBalance(settings, "stages.one"), TaskBalance(settings, "stages.one")
    moments = [dict(zip(losses, row, strict=True)) for row in zip(*losses.values(), strict=True)]
    for moment in moments:
        whole.note(moment)
    for moment in moments[:stop]:
        before.note(moment)
    after = TaskBalance(settings, "stages.one")
    after.restore(before.state)
    assert after.factors == before.factors
    for moment in moments[stop:]:
        after.note(moment)
    assert after.factors == whole.factors
    assert after.state == whole.state


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_as_bad_as_the_worst(wrong: float) -> None:
    balance, other = TaskBalance(Coba(), "stages.one"), TaskBalance(Coba(), "stages.one")
    for loss in (3.0, 2.0, wrong, 2.5):
        balance.note({"a": 1.0, "b": loss})
        other.note({"a": 1.0, "b": 3.0 if loss is wrong else loss})
    assert balance.factors == other.factors


def test_other_tasks_than_before_are_refused() -> None:
    balance = TaskBalance(Coba(), "stages.one")
    balance.note({"a": 1.0, "b": 2.0})
    with pytest.raises(TuwenError, match=r"stages.one.balance: task 'b' was not measured each time"):
        balance.note({"a": 1.0})


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        (1, {"balance": {}}, "stages.1: balance has an effect on answers with weighting task only"),
        (0, {"balance": {}, "weighting": "task"}, "stages.0: balance has an effect on answers with weighting task"),
        (1, {"balance": {"warm": 3}, "weighting": "task"}, "stages.1.balance.warm: unknown key"),
        (1, {"balance": {"window": 1}, "weighting": "task"}, "stages.1.balance.window: Input should be"),
        (1, {"balance": {"type": "mft"}, "weighting": "task"}, "stages.1.balance.type: Input should be 'coba'"),
    ],
)
def test_what_cannot_be_balanced_is_refused(stage: int, settings: dict[str, Any], message: str) -> None:
    values = copy.deepcopy(TOY)
    values["stages"][stage] |= settings
    with pytest.raises(TuwenError) as error:
        parse_config(Recipe, values, "test")
    assert message in str(error.value)


def test_balancing_without_validation_is_refused(toy_recipe: Path) -> None:
    assert refused("train", toy_recipe, "--plan", "stages.1.balance={}", "stages.1.weighting=task") == (
        f"{toy_recipe}: stages.1.balance: it is found out from validation losses; say validation"
    )
