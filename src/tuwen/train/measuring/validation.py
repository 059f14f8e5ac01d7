"""What is measured on held-out data while a stage is trained, without a trace in the training that goes on after it.

Shape legend: S samples of a batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from accelerate.utils import gather_object
from rich.markup import escape
from torch import nn

from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import TuwenError
from tuwen.data.collator import Batch, Collator
from tuwen.data.loader import noted, step_batches
from tuwen.train.balance import TaskBalance
from tuwen.train.engines.base import Engine
from tuwen.train.keeping.rng import random_states, restore_random
from tuwen.train.measuring.generations import ShownAnswers
from tuwen.train.measuring.held_out import HeldOut, HeldOutShare
from tuwen.train.metrics import MetricsLog
from tuwen.train.preference import PreferenceObjective
from tuwen.train.progress import RunDisplay
from tuwen.train.stage import Stage

# What is known of a sample, a picture or a pair: name of the figure, task, what it is divided by, and its sum.
Part = tuple[str, str, float, float]
# Tasks in a line for people.
NAMED = 6


@contextmanager
def undisturbed(model: nn.Module, engine: Engine) -> Iterator[None]:
    """While this lasts the model may be used for anything but training; afterwards it is as it was.

    Nothing has a gradient or dropout within, and all random numbers that are drawn are drawn again.
    """
    rank = engine.accelerator.process_index
    states = random_states(rank)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        engine.give_back()
        for module in training:
            module.training = True
        restore_random(states, rank, seed=0, step=0)


class HeldOutLoss:
    """Measures a stage's losses on held-out data.

    The overall loss is the mean over all trained tokens of the data, and each task's that over its own tokens, however
    training weighs them. A stage that trains preference or regions alone has its loss in place of both, the mean over
    pairs or regions.

    Args:
        held_out: the data.
        collator: makes batches of it, as of those that are trained.
        engine: holds the model and its losses.
        workers: processes that prepare batches.
        stage: that is trained; all that the engine gives sums of is measured unless said.
        preference: compares answers, where the stage does.
    """

    def __init__(
        self,
        held_out: HeldOut,
        collator: Collator,
        engine: Engine,
        *,
        workers: int,
        stage: Stage | None = None,
        preference: PreferenceObjective | None = None,
    ) -> None:
        self._wanted = stage.wanted if stage is not None else engine.trained.objectives
        self._preference = preference
        self.held_out, self._collator, self.engine, self._workers = held_out, collator, engine, workers
        accelerator = engine.accelerator
        self._share = HeldOutShare(held_out, accelerator.process_index, accelerator.num_processes)

    def measure(self) -> dict[str, Any]:
        """``loss``, ``tasks`` by name, and the means of what is measured beside them; equal in all processes.

        Raises:
            TuwenError: when nothing of the data can be used, or a batch does not fit into memory.
        """
        steps = range(self._share.calls)
        batches = step_batches(self._share, self._collator, steps=steps, workers=self._workers)
        parts = [part for here in noted(batches, self.held_out.bad) for batch in here for part in self._parts(batch)]
        sums: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        whole: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for name, task, weight, total in gather_object(parts):
            sums[name, task].append((weight, total))
            whole[name].append((weight, total))
        overall = {name: _mean(found) for name, found in whole.items()}
        if not overall:
            wanted = " and ".join(self._wanted)
            left_out = f"; {self.held_out.bad.path} says what was left out" if self.held_out.bad.left_out else ""
            raise TuwenError(f"validation.sources: nothing in them has what {wanted} are measured on{left_out}")
        # What the loss is, and its tasks' losses, is said of one of them.
        main = next((name for name in ("answers", "preference") if name in self._wanted and name in overall), "regions")
        beside = {name: mean for name, mean in overall.items() if name != main}
        tasks = {task: _mean(found) for (name, task), found in sorted(sums.items()) if name == main}
        return {"loss": overall[main], "tasks": tasks, **beside}

    def _parts(self, batch: Batch) -> Iterator[Part]:
        batch = batch.to(self.engine.accelerator.device)
        try:
            reference_S = self._preference.reference_losses(batch) if self._preference is not None else None
            sums = self.engine.losses(batch)
        except torch.OutOfMemoryError:
            raise TuwenError(
                f"validation.batch: out of memory with {len(batch.input_ids)} rows and {batch.pictures} tiles; lower it"
            ) from None
        if "answers" in sums:
            for task, trained, loss in zip(batch.tasks, batch.learnt.tolist(), sums["answers"].tolist(), strict=True):
                if trained:
                    yield "answers", task, float(trained), loss
        weight = float(batch.region_weights.sum())
        if "regions" in sums and weight:
            yield "regions", "regions", weight, float(sums["regions"].sum())
        if self._preference is not None:
            tasks = [batch.tasks[chosen] for chosen in batch.pairs[:, 0].tolist()]
            compared = self._preference.compare(sums["answers"], reference_S, batch)
            for name, values_P in compared.figures().items():
                for task, value in zip(tasks, values_P.tolist(), strict=True):
                    yield name, task, 1.0, value


def _mean(found: list[tuple[float, float]]) -> float:
    """The same in whatever order processes give their parts."""
    return math.fsum(loss for _, loss in found) / math.fsum(weight for weight, _ in found)


class StageValidation:
    """Measures a stage now and then, shows it to people, and lets it settle how much each task counts.

    Args:
        stage: that is trained.
        folder: model and processor.
        engine: holds the model and its losses.
        collator: of the stage.
        held_out: what it is measured on.
        log: of the run's figures.
        display: what people see.
        workers: processes that prepare batches.
        preference: compares answers, where the stage does.
    """

    def __init__(
        self,
        stage: Stage,
        folder: ModelFolder,
        engine: Engine,
        collator: Collator,
        *,
        held_out: HeldOut,
        log: MetricsLog,
        display: RunDisplay,
        workers: int,
        preference: PreferenceObjective | None = None,
    ) -> None:
        self._stage, self._model, self._engine, self._log, self._display = stage, folder.model, engine, log, display
        self._every = held_out.settings.every
        self._loss = HeldOutLoss(held_out, collator, engine, workers=workers, stage=stage, preference=preference)
        self._balance = TaskBalance(stage.balance, f"stages.{stage.name}") if stage.balance is not None else None
        self._shown: ShownAnswers | None = None
        if held_out.shown and held_out.settings.generate is not None and "answers" in stage.sums:
            settings = held_out.settings.generate
            self._shown = ShownAnswers(held_out.shown, settings, folder, engine=engine, out=log.folder)
        self._measured: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether it is time to measure after so many steps."""
        return step % self._every == 0

    def measure(self, step: int, weights: AbstractContextManager[None] | None = None) -> None:
        """Measure the model as it is after so many steps, once for each of them; every process must call it.

        Args:
            step: how many were taken.
            weights: puts the weights that are to be measured into the model.

        Raises:
            TuwenError: when nothing can be measured.
        """
        if self._measured == step:
            return
        self._measured = step
        with undisturbed(self._model, self._engine), weights or nullcontext():
            record = self._loss.measure()
            answers = self._shown.generate() if self._shown is not None else []
        if self._balance is not None:
            self._balance.note(record["tasks"])
            record["weights"] = self._balance.factors
        self._log.validation(self._stage.name, step, record)
        if answers:
            self._log.samples(self._stage.name, step, [asdict(answer) for answer in answers])
        self._display.say(escape(f"{self._stage.name} {step}: {described(record)}"))

    def factors(self) -> Mapping[str, float]:
        """How much each task counts in the next step; alike where nothing is said."""
        return self._balance.factors if self._balance is not None else {}

    @property
    def state(self) -> dict[str, Any]:
        """What a run needs to go on, of JSON's types."""
        return {"step": self._measured, "balance": self._balance.state if self._balance is not None else None}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what ``state`` gave, or from nothing where the run was not measured before."""
        self._measured = state["step"] if state is not None else None
        if self._balance is not None:
            self._balance.restore((state or {}).get("balance") or {})


def described(record: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    weights = record.get("weights", {})
    worst = sorted(record["tasks"].items(), key=lambda one: -one[1])[:NAMED]
    tasks = [f"{name} {loss:.4g}" + (f" × {weights[name]:.3g}" if name in weights else "") for name, loss in worst]
    rest = len(record["tasks"]) - len(worst)
    preferred = f", preferred 偏好 {record['preferred']:.1%}" if "preferred" in record else ""
    return f"validation 验证 {record['loss']:.4g} ({', '.join(tasks)}{f' and {rest} lower' if rest else ''}){preferred}"
