"""The one training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.data.loader import Batch
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.losses import OBJECTIVES, Objective, image_tokens
from tuwen.train.optimizer import Group, GroupedOptimizer, clip_gradients
from tuwen.train.progress import RunDisplay
from tuwen.train.stage import ObjectiveName, Stage


@dataclass(slots=True)
class Meter:
    """Throughput since the last reading."""

    tokens: int = 0
    pictures: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def read(self) -> dict[str, float]:
        """Answer tokens and pictures a second, and the share of time spent waiting for data."""
        seconds = max(1e-9, time.monotonic() - self.since)
        result = {
            "tokens/s": self.tokens / seconds,
            "images/s": self.pictures / seconds,
            "data wait": self.waited / seconds,
        }
        self.tokens, self.pictures, self.waited, self.since = 0, 0, 0.0, time.monotonic()
        return result


class StageLoop:
    """Trains one stage.

    Args:
        model: what is trained.
        groups: what is trained.
        stage: how.
        accelerator: precision, devices and processes.
        metrics: JSONL file that each step is appended to.
    """

    def __init__(
        self,
        model: TuwenForConditionalGeneration,
        groups: list[Group],
        stage: Stage,
        *,
        accelerator: Accelerator,
        metrics: Path,
    ) -> None:
        self.model, self.groups, self.stage = model, groups, stage
        assert stage.steps is not None, "a stage that is run has its steps counted"
        self.steps = stage.steps
        self.accelerator, self.metrics = accelerator, metrics
        self.optimizer = GroupedOptimizer(groups, stage)
        # Tensors that no loss reaches, by id; known after the first step that has pictures.
        self._unreached: set[int] | None = None

    def run(
        self,
        batches: Iterator[list[Batch]],
        display: RunDisplay,
        *,
        first_step: int = 0,
        after_step: Callable[[int], None] | None = None,
    ) -> None:
        """Go through the stage's steps; ``after_step`` is called with the number of steps done.

        Raises:
            TuwenError: when the loss is not finite, or a module that is to be trained gets no gradient.
        """
        meter = Meter()
        step, started = first_step, time.monotonic()
        with self.metrics.open("a", encoding="utf-8") as log:
            while (place := self._place(step, started)) < self.steps:
                waiting = time.monotonic()
                here = [batch.to(self.accelerator.device) for batch in next(batches)]
                meter.waited += time.monotonic() - waiting
                losses = self._backward(here)
                self._audit(here, display)
                self._add_up_over_processes()
                norm = clip_gradients(self.groups, self.stage.clip)
                if not math.isfinite(norm):
                    raise TuwenError(
                        f"stages.{self.stage.name}: the gradient of step {step + 1} is not finite; "
                        "lower the learning rate or raise the warm-up"
                    )
                rates = self.optimizer.step(place)
                step += 1
                meter.tokens += self._total(sum(int((batch.labels >= 0).sum()) for batch in here))
                meter.pictures += self._total(sum(batch.pictures for batch in here))
                record = {**losses, "grad norm": norm, **meter.read()}
                line = {"stage": self.stage.name, "step": step, **record, "lr": rates}
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
                log.flush()
                self.accelerator.log({**record, **{f"lr/{name}": rate for name, rate in rates.items()}}, step=step)
                display.update(self.stage.name, step, max(step, place), record, rates)
                if after_step is not None:
                    after_step(step)
        display.end(self.stage.name, step)

    def _place(self, step: int, started: float) -> float:
        """How far the stage is, in steps: as many as were done, or as the time that is spent amounts to."""
        if self.stage.minutes is None:
            return step
        spent = torch.tensor([time.monotonic() - started], device=self.accelerator.device)
        # One process must not stop while another goes on.
        longest = float(self.accelerator.gather(spent).max())
        return max(step, self.steps * longest / (60 * self.stage.minutes))

    def _backward(self, batches: list[Batch]) -> dict[str, float]:
        """Gradients of the step's loss: each objective over its weight in the whole step, all processes."""
        weights = self._step_weights(batches)
        shown: dict[ObjectiveName, Tensor] = {}
        for batch in batches:
            with self.accelerator.autocast():
                parts = self._objectives(batch)
            loss = torch.zeros((), device=self.accelerator.device)
            for name, part in parts.items():
                mean = part.total / weights[name]
                shown[name] = shown.get(name, torch.zeros_like(mean.detach())) + mean.detach()
                loss = loss + self.stage.objectives[name] * mean
            # Text alone does not reach a connector that is trained behind a frozen language model.
            if loss.requires_grad:
                self.accelerator.backward(loss)
        return {name: float(self.accelerator.reduce(value, "sum")) for name, value in shown.items()}

    def _add_up_over_processes(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        for group in self.groups:
            for tensor in group.tensors:
                if self._unreached and id(tensor) in self._unreached:
                    continue
                # A process whose share held no picture has no gradient for the vision encoder.
                mine = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                tensor.grad = self.accelerator.reduce(mine, "sum")

    def _objectives(self, batch: Batch) -> dict[ObjectiveName, Objective]:
        tokens_PTH = image_tokens(self.model, batch)
        return {
            name: OBJECTIVES[name](self.model, batch, tokens_PTH)
            for name, weight in self.stage.objectives.items()
            if weight > 0
        }

    def _step_weights(self, batches: list[Batch]) -> dict[ObjectiveName, Tensor]:
        device = self.accelerator.device
        sums: dict[ObjectiveName, Tensor] = {
            "answers": torch.stack([batch.weights.sum() for batch in batches]).sum(),
            "regions": torch.stack([batch.region_weights.sum() for batch in batches]).sum(),
        }
        return {name: self.accelerator.reduce(value.to(device), "sum").clamp(min=1e-6) for name, value in sums.items()}

    def _audit(self, batches: list[Batch], display: RunDisplay) -> None:
        """Every trained module must get a gradient, or what the recipe says is not what happens.

        Single tensors may get none: a vision encoder has layers behind the one whose features are taken.
        """
        if self._unreached is not None or not self._can_audit(batches):
            return
        reached: dict[str, bool] = {}
        unreached: dict[int, str] = {}
        for group in self.groups:
            for name, tensor in zip(group.names, group.tensors, strict=True):
                if not self._total(tensor.grad is not None):
                    unreached[id(tensor)] = name
                reached[group.module] = reached.get(group.module, False) or id(tensor) not in unreached
        for module, found_any in reached.items():
            if not found_any:
                raise TuwenError(
                    f"stages.{self.stage.name}.modules.{module}: it gets no gradient from the objectives "
                    f"{', '.join(self.stage.objectives)}; freeze it or add an objective that reaches it"
                )
        self._unreached = set(unreached)
        if unreached:
            names = list(unreached.values())
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            display.console.print(f"{self.stage.name}: not reached by the loss, so left as they are: {names[0]}{rest}")

    def _can_audit(self, batches: list[Batch]) -> bool:
        if all(group.module == "language" for group in self.groups):
            return True
        return self._total(sum(len(batch.pixel_values) for batch in batches)) > 0

    def _total(self, count: int) -> int:
        """Sum over all processes."""
        return int(self.accelerator.reduce(torch.tensor(count, device=self.accelerator.device), "sum"))
