"""What counts alike in a step does so, however the step is split into batches and processes."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import TOY
from tuwen.config import parse_config
from tuwen.data.collator import Batch
from tuwen.train.recipe import Recipe
from tuwen.train.run import run_recipe
from tuwen.train.stage import Stage
from tuwen.train.weighting import sample_coefficients, task_sums

# A sample's task, its trained tokens, and their summed loss.
Drawn = tuple[str, int, float]
SAMPLES = st.lists(
    st.tuples(st.sampled_from(["ocr", "caption", "chart"]), st.integers(0, 40), st.floats(0, 50)),
    min_size=1,
    max_size=12,
)
FACTORS = st.dictionaries(st.sampled_from(["ocr", "caption"]), st.floats(0.1, 4))


def stage(**settings: Any) -> Stage:
    modules = {"connector": {"mode": "full", "learning_rate": 0.1}}
    return parse_config(Stage, {"name": "one", "steps": 1, "groups": 1, "modules": modules, **settings}, "test")


def batch_of(samples: Sequence[Drawn]) -> Batch:
    none = torch.zeros(0, 0, dtype=torch.long)
    return Batch(
        **dict.fromkeys(("input_ids", "labels", "owners", "position_ids", "segments", "parents"), none),
        trained=torch.tensor([trained for _, trained, _ in samples], dtype=torch.long),
        names=[str(place) for place in range(len(samples))],
        tasks=[task for task, _, _ in samples],
        pixel_values=torch.zeros(0, 3, 1, 1),
        **dict.fromkeys(("region_places", "region_tokens", "region_weights"), torch.zeros(0)),
        pictures=0,
    )


def step_loss(
    processes: Sequence[Sequence[Sequence[Drawn]]], chosen: Stage, factors: Mapping[str, float] | None = None
) -> float:
    """The loss of a step whose samples lie in these batches of these processes."""
    own: list[Mapping[str, float]] = []

    def note(counts: Mapping[str, float]) -> dict[str, float]:
        own.append(dict(counts))
        return dict(counts)

    def add_up(counts: Mapping[str, float]) -> dict[str, float]:
        total: defaultdict[str, float] = defaultdict(float)
        for one in own:
            for name, value in one.items():
                total[name] += value
        return dict(total)

    made = [[batch_of(samples) for samples in batches] for batches in processes]
    for batches in made:
        sample_coefficients(batches, chosen, note)
    loss = 0.0
    for batches, drawn in zip(made, processes, strict=True):
        for coefficients, samples in zip(sample_coefficients(batches, chosen, add_up, factors), drawn, strict=True):
            loss += float((coefficients.double() * sums_of(samples).double()).sum())
    return loss


def sums_of(samples: Sequence[Drawn]) -> Tensor:
    return torch.tensor([loss if trained else 0.0 for _, trained, loss in samples])


def mean_loss(samples: Sequence[Drawn], exponent: float) -> float:
    """The mean of tokens' losses, of which each counts as its sample's number of tokens to a power."""
    used = [(trained, loss) for _, trained, loss in samples if trained]
    weight = sum(trained ** (1 + exponent) for trained, _ in used)
    return sum(trained**exponent * loss for trained, loss in used) / weight if used else 0.0


@given(SAMPLES, st.sampled_from([None, -1.0, -0.5, 0.0, 0.5]), FACTORS)
def test_the_loss_is_the_mean_over_what_counts_alike(
    samples: list[Drawn], exponent: float | None, factors: dict[str, float]
) -> None:
    said = {} if exponent is None else {"length_exponent": exponent}
    for weighting, own in (("token", 0.0), ("sample", -1.0)):
        chosen = own if exponent is None else exponent
        loss = step_loss([[samples]], stage(weighting=weighting, **said))
        assert loss == pytest.approx(mean_loss(samples, chosen), rel=1e-5, abs=1e-6)
    tasks = {task: [one for one in samples if one[0] == task] for task, trained, _ in samples if trained}
    shares = {task: factors.get(task, 1.0) for task in tasks}
    expected = sum(shares[task] * mean_loss(own, exponent or 0.0) for task, own in tasks.items())
    loss = step_loss([[samples]], stage(weighting="task", **said), factors)
    assert loss == pytest.approx(expected / (sum(shares.values()) or 1), rel=1e-5, abs=1e-6)


@given(SAMPLES, st.sampled_from(["token", "sample", "task"]), st.randoms(), st.integers(1, 3), st.integers(1, 3))
def test_how_a_step_is_split_does_not_matter(
    samples: list[Drawn], weighting: str, chance: random.Random, batches: int, processes: int
) -> None:
    split: list[list[list[Drawn]]] = [[[] for _ in range(batches)] for _ in range(processes)]
    for sample in samples:
        chance.choice(chance.choice(split)).append(sample)
    factors = {"ocr": 0.5, "chart": 2.0}
    whole = step_loss([[samples]], stage(weighting=weighting), factors)
    assert step_loss(split, stage(weighting=weighting), factors) == pytest.approx(whole, rel=1e-5, abs=1e-6)


@given(SAMPLES, st.integers(0, 12))
def test_losses_of_tasks_are_theirs_in_all_batches(samples: list[Drawn], cut: int) -> None:
    parts = [samples[:cut], samples[cut:]]
    found = task_sums([batch_of(part) for part in parts], [sums_of(part) for part in parts])
    assert found.keys() == {task for task, trained, _ in samples if trained}
    for task, (loss, tokens) in found.items():
        assert tokens == sum(trained for name, trained, _ in samples if name == task)
        assert loss == pytest.approx(sum(own for name, n, own in samples if name == task and n), rel=1e-5)


@pytest.mark.parametrize("weighting", ["token", "sample", "task"])
def test_a_run_writes_the_curve_of_each_task(weighting: str, tmp_path: Path) -> None:
    values = {**TOY, "stages": [{**TOY["stages"][1], "weighting": weighting}]}
    run_recipe(parse_config(Recipe, values, "test"), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        assert len(line["tasks"]) > 1
        mean = sum(line["tasks"].values()) / len(line["tasks"])
        assert (line["answers"] == pytest.approx(mean, rel=1e-5)) == (weighting == "task")
        assert min(line["tasks"].values()) <= line["answers"] <= max(line["tasks"].values())
