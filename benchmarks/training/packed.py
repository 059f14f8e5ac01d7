"""Tuwen by its own door: a recipe with the same data, packed epochs, and the run that `tuwen train` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console

from training.measure import WARM_UP, Meter, Outcome, amounts_of
from training.models import planned
from training.task import Task
from tuwen.config import parse_config
from tuwen.data.epochs.packed_steps import PackedSteps
from tuwen.data.source import parse_sources
from tuwen.train.feeding import stage_feed
from tuwen.train.progress import RunDisplay
from tuwen.train.recipe import Recipe
from tuwen.train.run import run_recipe

STAGE = "measured"
# Tokens of a row, in longest samples.
ROW = 2


class Alone(NamedTuple):
    """A process that trains by itself."""

    process_index: int = 0
    num_processes: int = 1


class MeasuredDisplay(RunDisplay):
    """Tells a meter of each step.

    Args:
        meter: is told.
        steps: of the run.
    """

    def __init__(self, meter: Meter, steps: int) -> None:
        super().__init__([(STAGE, steps)], Console(quiet=True))
        self._meter = meter

    def __enter__(self) -> MeasuredDisplay:
        """Where memory counts from."""
        self._meter.begin()
        super().__enter__()
        return self

    def update(
        self, stage: str, step: int, place: float, record: Mapping[str, Any], rates: Mapping[str, float]
    ) -> None:
        """One step more."""
        self._meter.step()


def recipe_of(task: Task, *, sequences: int, steps: int) -> Recipe:
    """The run as a recipe says it."""
    longest = max(length for length, _ in task.corpus.lengths())
    stage = {
        "name": STAGE,
        "steps": steps,
        "sequences": sequences,
        "max_length": ROW * longest,
        "modules": {name: policy.model_dump(exclude_unset=True) for name, policy in task.size.modules.items()},
    }
    source = {"type": "data", "path": str(task.corpus.data), "format": "llava", "images": str(task.corpus.pictures)}
    values = {
        "model": task.corpus.model(task.size),
        "sources": [source],
        "stages": [stage],
        "precision": task.precision,
        "workers": task.workers,
        "seed": task.seed,
    }
    return parse_config(Recipe, values, "benchmark")


def feed(recipe: Recipe, task: Task) -> PackedSteps:
    """The samples of each step."""
    _, processor = planned(task.corpus.model(task.size))
    _, steps = stage_feed(recipe, 0, parse_sources(recipe.sources), processor, Alone())
    assert isinstance(steps, PackedSteps)
    return steps


def train(task: Task) -> Outcome:
    """Train an epoch, with as many rows a step as hold about ``task.batch`` samples."""
    one = feed(recipe_of(task, sequences=1, steps=1), task)
    rows = one.steps(1)
    sequences = max(1, round(rows * task.batch / task.samples))
    steps = max(1, rows // sequences)
    recipe = recipe_of(task, sequences=sequences, steps=WARM_UP + steps)
    meter = Meter()
    run_recipe(recipe, task.place / "run", display=MeasuredDisplay(meter, WARM_UP + steps))
    _, processor = planned(task.corpus.model(task.size))
    fed = feed(recipe, task)
    groups = [group for step in range(WARM_UP, WARM_UP + steps) for batch in fed(step) for group in batch]
    return task.outcome(meter, amounts_of(groups, processor))
