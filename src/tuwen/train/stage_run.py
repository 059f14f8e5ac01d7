"""One stage of a run: adapters, groups, engine, loop; saved on the way, gone on with, and folded at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor

from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSampleLog
from tuwen.data.collator import Batch
from tuwen.data.loader import StepGroups, noted, step_batches
from tuwen.models.attention import check_packed
from tuwen.train.engines.base import start_engine
from tuwen.train.feeding import stage_collator
from tuwen.train.guards import RollBack, StepGuard
from tuwen.train.keeping.checkpoint import Checkpoint, SavedCheckpoint, base_digest, open_checkpoint
from tuwen.train.keeping.checkpoint_store import Checkpoints
from tuwen.train.keeping.rng import random_states, restore_random
from tuwen.train.keeping.saving import gathered_model, save_trained
from tuwen.train.loop import SAVE, STOP, Position, StageLoop
from tuwen.train.losses import TrainedModel
from tuwen.train.measuring.held_out import HeldOut
from tuwen.train.measuring.validation import StageValidation
from tuwen.train.metrics import MetricsLog
from tuwen.train.modules.ema import MovingAverage
from tuwen.train.modules.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.modules.lora import add_lora
from tuwen.train.modules.optimizer import GroupedOptimizer, make_groups
from tuwen.train.modules.placement import DTYPES, place_weights
from tuwen.train.plan import describe_groups
from tuwen.train.preference import PreferenceObjective
from tuwen.train.processes import Interruption, Processes
from tuwen.train.progress import RunDisplay
from tuwen.train.recipe import Recipe
from tuwen.train.stage import Stage
from tuwen.train.utilisation import find_utilisation


class Stopped(Exception):
    """The run was asked to end and has saved where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What the stages of a run share.

    Attributes:
        recipe: of the run.
        out: its folder.
        accelerator: devices, processes and precision.
        checkpoints: of the run; the main process alone has them.
        log: of figures.
        display: what people see.
        interruption: whether the run is asked to end.
        held_out: data that it is measured on, if any.
    """

    recipe: Recipe
    out: Path
    accelerator: Accelerator
    checkpoints: Checkpoints | None
    log: MetricsLog
    display: RunDisplay
    interruption: Interruption
    held_out: HeldOut | None = None


class StageRun:
    """A stage, ready to be trained.

    Args:
        parts: of the run.
        stage: with its steps counted.
        folder: the model that the stage begins with.
        groups: the samples of each step.
        bad: names what is left out.
    """

    def __init__(
        self, parts: RunParts, stage: Stage, folder: ModelFolder, *, groups: StepGroups, bad: BadSampleLog
    ) -> None:
        self.parts, self.stage, self.folder, self.bad = parts, stage, folder, bad
        self.number = [one.name for one in parts.recipe.stages].index(stage.name)
        self._samples, self._processes = groups, Processes(parts.accelerator)
        self._collator = stage_collator(stage, folder.processor, folder.model.config)
        self._start_engine()
        self._validation = self._start_validation()
        self._utilisation = find_utilisation(
            folder.model.config, stage, folder.processor.policy, parts.accelerator.device, parts.recipe.precision
        )
        self.position = Position()
        self._saved_at = time.monotonic()

    def _start_engine(self) -> None:
        model, stage, accelerator = self.folder.model, self.stage, self.parts.accelerator
        # A stage begins alike whether the one before was trained just now or long ago, and in all processes.
        seed = self.parts.recipe.seed + self.number
        set_seed(seed)
        if "answers" in stage.sums:
            check_packed(model)
        self.adapter = add_lora(model, stage)
        self.groups = make_groups(model, stage)
        settings = self.parts.recipe.distribution
        # An engine that splits the model puts each process's part onto its device by itself.
        place_weights(model, stage, self.parts.recipe.precision, accelerator.device if settings.type == "ddp" else None)
        set_gradient_checkpointing(model, stage)
        self.parts.display.console.print(describe_groups(model, self.groups, stage))
        trained = {name for group in self.groups for name in group.names}
        self._base = base_digest(
            (name, value)
            for name, value in chain(model.named_parameters(), model.named_buffers())
            if name not in trained
        )
        self.engine = start_engine(TrainedModel(model, stage.sums), settings, accelerator)
        if self.engine.splits:
            # Splitting puts other tensors in the place of those that there were.
            self.groups = make_groups(model, stage)
        self.optimizer = GroupedOptimizer(self.groups, stage)
        self.engine.bind(self.optimizer)
        self._preference: PreferenceObjective | None = None
        if "preference" in stage.wanted:
            self._preference = PreferenceObjective(stage.preference, self.engine, self.groups)
            self.parts.display.say(f"{stage.name}: {self._preference.describe()}")
        self._average = MovingAverage(self.groups, stage.ema, self.engine.held) if stage.ema is not None else None
        # From here on each process draws its own, e.g. for dropout.
        set_seed(seed, device_specific=True)

    def _start_validation(self) -> StageValidation | None:
        parts = self.parts
        if parts.held_out is None:
            return None
        return StageValidation(
            self.stage,
            self.folder,
            self.engine,
            self._collator,
            held_out=parts.held_out,
            log=parts.log,
            display=parts.display,
            workers=parts.recipe.workers,
            preference=self._preference,
        )

    def go(self, start: SavedCheckpoint | None = None) -> None:
        """Train to the stage's end, from a checkpoint if there is one.

        Raises:
            TuwenError: when the run must stop.
            Stopped: when it was asked to, and is saved.
        """
        self.folder.model.train()
        guards = self.parts.recipe.guards
        if start is not None:
            self._restore(start)
        else:
            self._measure()
            if "roll_back" in (guards.not_finite, guards.on_spike):
                self._checkpoint()
        guard = StepGuard(guards, f"stages.{self.stage.name}")
        while True:
            loop = StageLoop(
                self.engine,
                self.groups,
                self.stage,
                accelerator=self.parts.accelerator,
                log=self.parts.log,
                display=self.parts.display,
                guard=guard,
                preference=self._preference,
                average=self._average,
                utilisation=self._utilisation,
                factors=self._validation.factors if self._validation is not None else dict,
                wishes=self._wishes,
            )
            try:
                loop.run(self._batches(), self.position, self._after_step)
                break
            except RollBack as back:
                self._go_back(back)
        self._measure()
        self.folder.model.eval()

    def _batches(self) -> Iterator[list[Batch]]:
        assert self.stage.steps is not None, "a stage that is run has its steps counted"
        steps = range(self.position.step, self.stage.steps)
        display = self.parts.display
        batches = step_batches(
            self._samples, self._collator, steps=steps, workers=self.parts.recipe.workers, say=display.say
        )
        return noted(batches, self.bad)

    def _wishes(self, position: Position) -> dict[str, float]:
        """What this process asks of all: to stop, and the main one whether it is time to save."""
        settings = self.parts.recipe.checkpoints
        due = False
        if self.parts.accelerator.is_main_process and position.step < (self.stage.steps or 0):
            if settings.steps:
                due = position.step % settings.steps == 0
            elif settings.every_minutes is not None:
                due = time.monotonic() - self._saved_at > 60 * settings.every_minutes
        return {SAVE: float(due), STOP: float(self.parts.interruption.asked)}

    def _measure(self) -> None:
        if self._validation is not None:
            averaged = self._average.swapped() if self._average is not None else nullcontext()
            self._validation.measure(self.position.step, averaged)

    def _after_step(self, wishes: Mapping[str, float]) -> bool:
        if self._validation is not None and self._validation.is_due(self.position.step):
            self._measure()
        if wishes[STOP]:
            self._checkpoint(last=True)
            raise Stopped(f"{self.stage.name}: stopped after step {self.position.step}")
        if wishes[SAVE]:
            self._checkpoint()
        return True

    def _checkpoint(self, *, last: bool = False) -> None:
        """Write down where the stage is; all processes take part, the main one writes.

        Args:
            last: whether the run ends here, so that it must be on the disk.

        Raises:
            TuwenError: when it is the last one and cannot be written.
        """
        self._saved_at = time.monotonic()
        checkpoint = self._captured()
        store = self.parts.checkpoints
        failures: list[TuwenError] = []
        if store is not None and checkpoint is not None:
            # What became of the one before is heard first, so that it does not keep this one from being written.
            for attempt in (store.wait, lambda: store.save(checkpoint), *([store.wait] if last else [])):
                try:
                    attempt()
                except TuwenError as error:
                    failures.append(error)
                    self.parts.display.say(f"[red]{error}[/]")
        if last:
            self._processes.all_or_none(str(failures[-1]) if failures else None)

    def _captured(self) -> Checkpoint | None:
        """All that the stage needs to go on from here; in the main process alone."""
        accelerator, engine = self.parts.accelerator, self.engine
        main = accelerator.is_main_process

        def kept(held: Tensor, tensor: Tensor) -> Tensor:
            whole = engine.whole(held, tensor)
            if not engine.splits:
                return whole
            # One at a time: all of them together may be more than a device holds.
            return whole.cpu() if main else whole.new_empty(0)

        pairs = (pair for group in self.groups for pair in zip(group.names, group.tensors, strict=True))
        trained = {name: kept(engine.held(tensor), tensor) for name, tensor in pairs}
        optimizer = self.optimizer.state_tensors(kept)
        average = {} if self._average is None else {"ema": self._average.state_tensors(kept)}
        own = random_states(accelerator.process_index)
        everyone = [own] if accelerator.num_processes == 1 else gather_object([own])
        if not main:
            return None
        rng = {name: state for states in everyone for name, state in states.items()}
        state = {
            "seconds": self.position.seconds,
            "passed_over": sorted(self.position.passed_over),
            "base": self._base,
            "validation": self._validation.state if self._validation is not None else None,
        }
        tensors = {"trained": trained, "optimizer": optimizer, "rng": rng, **average}
        return Checkpoint(self.stage.name, self.position.step, tensors, state)

    def _restore(self, saved: SavedCheckpoint) -> None:
        """Take the place of a run that was where ``saved`` is."""
        if saved.state["base"] != self._base:
            raise TuwenError(f"{saved.path}: the weights that are not trained are not those that it was made with")
        trained = saved.load("trained")
        for group in self.groups:
            for name, tensor in zip(group.names, group.tensors, strict=True):
                shape = self.engine.shape(tensor)
                if name not in trained or trained[name].shape != shape:
                    raise TuwenError(f"{saved.path}: trained: {name} is not there in shape {tuple(shape)}")
                self.engine.assign(tensor, trained[name])
        self.optimizer.load_state_tensors(saved.load("optimizer"), self.engine.as_held)
        if self._average is not None:
            self._average.load_state_tensors(saved.load("ema"), self.engine.as_held)
        self.position = Position(saved.step, saved.state["seconds"], set(saved.state["passed_over"]))
        if self._validation is not None:
            self._validation.restore(saved.state.get("validation"))
        rank = self.parts.accelerator.process_index
        seeded = restore_random(saved.load("rng"), rank, seed=self.parts.recipe.seed, step=saved.step)
        if seeded is not None:
            self.parts.display.say(seeded)
        names = [stage.name for stage in self.parts.recipe.stages]
        self.parts.log.cut(names[: names.index(self.stage.name) + 1], saved.step)
        self.parts.display.say(f"{self.stage.name}: goes on after step {saved.step}, from {saved.path}")

    def _go_back(self, back: RollBack) -> None:
        def newest() -> Path | None:
            found = self.parts.checkpoints.latest() if self.parts.checkpoints is not None else None
            return found.path if found is not None else None

        path = self._processes.decided(newest)
        if path is None:
            raise TuwenError(
                f"stages.{self.stage.name}: step {back.step} went wrong, and there is no checkpoint before it"
            )
        passed_over = {*self.position.passed_over, back.step}
        self.engine.forget()
        self.parts.display.say(f"{self.stage.name}: step {back.step} went wrong: back to {path}, to pass over it")
        self._restore(open_checkpoint(path, verify=False))
        self.position.passed_over |= passed_over

    def save(self, place: Path) -> None:
        """Write the model that has come of the stage; every process must call it."""
        accelerator = self.parts.accelerator
        if self._average is not None:
            self._average.take()
        model = gathered_model(self.engine, self.folder.model, self.stage, accelerator.is_main_process)
        if model is not None:
            # What another stage begins with must be what this one has in memory.
            last = self.number == len(self.parts.recipe.stages) - 1
            dtype = DTYPES[self.parts.recipe.save_precision if last else "fp32"]
            save_trained(model, self.folder.processor, self.adapter, place, dtype)
        accelerator.wait_for_everyone()
        self.engine.release()
