"""The one training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from tuwen.data.collator import Batch
from tuwen.train.audit import GradientAudit
from tuwen.train.engines.base import Engine
from tuwen.train.guards import StepGuard, out_of_memory
from tuwen.train.metrics import MetricsLog, StepFigures
from tuwen.train.modules.ema import MovingAverage
from tuwen.train.modules.optimizer import Group
from tuwen.train.preference import PreferenceObjective, pair_sums
from tuwen.train.processes import Processes
from tuwen.train.progress import RunDisplay
from tuwen.train.stage import ObjectiveName, Stage
from tuwen.train.utilisation import Utilisation
from tuwen.train.weighting import sample_coefficients, task_sums

# What a process may ask of all of them after a step, as numbers that are added up.
SAVE, STOP = "save", "stop"


@dataclass(slots=True)
class Position:
    """How far a stage is; with the weights, everything that goes on from it needs.

    Attributes:
        step: steps that are done.
        seconds: that they took, for stages that are bound by time.
        passed_over: steps that went wrong and are not taken.
    """

    step: int = 0
    seconds: float = 0.0
    passed_over: set[int] = field(default_factory=set)


class StageLoop:
    """Trains one stage.

    Args:
        engine: holds the model, its losses and the optimiser.
        groups: what is trained.
        stage: how.
        accelerator: precision, devices and processes.
        log: where each step's figures go.
        display: what people see.
        guard: judges each step.
        preference: compares answers, where the stage does.
        average: of the trained weights, kept up to date where there is one.
        utilisation: counts operations, where it is known what the device could do.
        factors: how much each task counts in the next step.
        wishes: what this process asks of all of them after a step.
    """

    def __init__(
        self,
        engine: Engine,
        groups: Sequence[Group],
        stage: Stage,
        *,
        accelerator: Accelerator,
        log: MetricsLog,
        display: RunDisplay,
        guard: StepGuard,
        preference: PreferenceObjective | None = None,
        average: MovingAverage | None = None,
        utilisation: Utilisation | None = None,
        factors: Callable[[], Mapping[str, float]] = dict,
        wishes: Callable[[Position], Mapping[str, float]] = lambda position: {},
    ) -> None:
        self.engine, self.groups, self.stage = engine, groups, stage
        assert stage.steps is not None, "a stage that is run has its steps counted"
        self.steps = stage.steps
        self.accelerator, self.log, self.display, self.guard = accelerator, log, display, guard
        self.processes = Processes(accelerator)
        self._factors, self._wishes, self._average = factors, wishes, average
        self._utilisation, self._preference = utilisation, preference
        self._audit = GradientAudit(groups, stage, accelerator, display.console, engine.reached)

    def run(
        self,
        batches: Iterator[list[Batch]],
        position: Position,
        after_step: Callable[[Mapping[str, float]], bool] = lambda wishes: True,
    ) -> None:
        """Go on from a position to the stage's end.

        Args:
            batches: of each step from ``position.step`` on.
            position: is kept up to date.
            after_step: is given what processes ask for after each step; the loop ends when it says false.

        Raises:
            TuwenError: when a step cannot be taken, or a module that is to be trained gets no gradient.
            RollBack: when a step went wrong and the recipe wants to go back.
        """
        before, started, updating = position.seconds, time.monotonic(), 0.0
        while (place := self._place(position)) < self.steps:
            figures = StepFigures(self._utilisation, updating)
            here = next(batches)
            figures.data_is_there()
            number = position.step + 1
            coefficients = sample_coefficients(here, self.stage, self.processes.add_up, self._factors())
            here = [batch.to(self.accelerator.device) for batch in here]
            if number in position.passed_over:
                own: dict[str, float] = {}
            else:
                own = self._backward(number, here, coefficients)
            position.step, position.seconds = number, before + time.monotonic() - started
            totals = self.processes.add_up({**own, **figures.own(here), **self._wishes(position)})
            if number not in position.passed_over:
                line, known = figures.line(totals), time.monotonic()
                self._take(number, place, here, line)
                updating = time.monotonic() - known
            if not after_step(totals):
                return
        self.display.end(self.stage.name, position.step)

    def _place(self, position: Position) -> float:
        """How far the stage is, in steps: as many as were done, or as the time that is spent amounts to."""
        if self.stage.minutes is None:
            return position.step
        spent = torch.tensor([position.seconds], device=self.accelerator.device)
        # One process must not stop while another goes on.
        longest = float(self.accelerator.gather(spent).max())
        return max(position.step, self.steps * longest / (60 * self.stage.minutes))

    def _take(self, number: int, place: float, batches: Sequence[Batch], record: dict[str, Any]) -> None:
        """Change the model by the gradients, if the step may."""
        norm = self.engine.clip(self.groups, self.stage.clip)
        loss = sum(weight * record.get(name, 0.0) for name, weight in self.stage.objectives.items())
        names = [name for batch in batches for name in batch.names]
        wrong = self.guard.judge(number, loss, norm, names)
        rates: dict[str, float] = {}
        if wrong is None:
            rates = self.engine.update(place)
            if self._average is not None:
                self._average.update()
        else:
            self.engine.forget()
            self.display.say(f"{wrong}; passed over")
        record["grad norm"] = norm
        self.log.step(self.stage.name, number, record, rates)
        self.display.update(self.stage.name, number, max(number, place), record, rates)

    def _backward(self, number: int, batches: Sequence[Batch], coefficients: Sequence[Tensor]) -> dict[str, float]:
        """Gradients of the step's loss, and this process's part of its figures."""
        regions = sum(float(batch.region_weights.sum()) for batch in batches)
        totals = self.processes.add_up({"regions": regions, "pairs": float(sum(len(batch.pairs) for batch in batches))})
        figures: dict[str, float] = dict.fromkeys(self.stage.wanted, 0.0)
        losses, compared = [], []
        for place, (batch, coefficients_S) in enumerate(zip(batches, coefficients, strict=True)):
            try:
                reference_S = self._preference.reference_losses(batch) if self._preference is not None else None
                with self.engine.accumulating(last=place == len(batches) - 1):
                    sums: dict[ObjectiveName, Tensor] = dict(self.engine.losses(batch).items())
                    if self._preference is not None:
                        compared.append(self._preference.compare(sums["answers"], reference_S, batch))
                        sums["preference"] = compared[-1].losses_P
                    parts = self._weighted(sums, coefficients_S, totals)
                    self.engine.backward(sum(parts.values(), torch.zeros((), device=self.accelerator.device)))
            except torch.OutOfMemoryError:
                raise out_of_memory(f"stages.{self.stage.name}", number, batch) from None
            losses.append(sums["answers"].detach() if "answers" in sums else torch.zeros(batch.samples))
            for name, part in parts.items():
                figures[name] += float(part.detach()) / self.stage.objectives[name]
        self._audit.check(sum(batch.pictures for batch in batches))
        for task, (loss, tokens) in task_sums(batches, losses).items():
            figures[f"loss of {task}"], figures[f"tokens of {task}"] = loss, tokens
        return figures | {name: total / max(1.0, totals["pairs"]) for name, total in pair_sums(compared).items()}

    def _weighted(
        self, sums: Mapping[ObjectiveName, Tensor], coefficients_S: Tensor, totals: Mapping[str, float]
    ) -> dict[ObjectiveName, Tensor]:
        scale: dict[ObjectiveName, Tensor | float] = {
            "answers": coefficients_S.to(self.accelerator.device),
            "regions": 1 / max(totals["regions"], 1e-6),
            "preference": 1 / max(totals["pairs"], 1.0),
        }
        return {name: self.stage.objectives[name] * (sums[name] * scale[name]).sum() for name in self.stage.wanted}
