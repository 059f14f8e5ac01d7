"""A run's folder on the disk, read without torch and as far as it can be: the run may still be going on."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml

from tuwen.config import TuwenError, first_line
from tuwen.train.looking.step_lines import JsonLines, StepNumbers, Track, number, place_of

MARKS = ("recipe.yaml", "metrics.jsonl")
LOGS = ("metrics.jsonl", "validation.jsonl", "samples.jsonl")
State = Literal["running", "done", "stopped", "failed"]
# Enough lines for means, at any number of modules and tasks.
TAIL = 2**16
# A run may be quiet while it validates or saves.
QUIET_SECONDS, QUIET_STEPS = 600, 20
DEEPEST = 3
# Of runs whose recipe cannot be read.
LOSSES = ("answers", "regions", "preference", "loss")


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as the recipe has it.

    Attributes:
        name: of the stage.
        steps: that it has; None where the recipe does not say.
        objectives: names of its losses.
    """

    name: str
    steps: int | None
    objectives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model said about a validation sample at a step.

    Attributes:
        name: of the sample.
        picture: path inside the run's folder; empty for text alone.
        prompt: the question.
        expected: the answer in the data.
        generated: the model's.
    """

    name: str
    picture: str
    prompt: str
    expected: str
    generated: str


@dataclass(frozen=True, slots=True)
class Generations:
    """What the model said at a step of a stage."""

    stage: str
    step: int
    samples: tuple[Generation, ...]


@dataclass(slots=True)
class BadCounts:
    """How many samples could not be used as they are, and why."""

    left_out: int = 0
    shortened: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class RunFolder:
    """What a run has left so far; each part is read when it is first asked for.

    Args:
        path: the folder that `tuwen train` writes.
        name: what to call it; the folder's name unless said.

    Attributes:
        problems: what could not be read, a line each; complete once all that is wanted has been asked for.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = shown(name or path.absolute().name)
        self.problems: list[str] = []

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as plain values; empty where it cannot be read."""
        return self._plain("recipe.yaml", yaml.safe_load)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions and machine; empty where they cannot be read."""
        return self._plain("environment.json", json.loads)

    def _plain(self, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            # The way through JSON leaves nothing but plain values that can be shown, and none inside itself.
            values = parse((self.path / name).read_text(encoding="utf-8"))
            found = json.loads(json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", errors="replace"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.problems.append(f"{name}: cannot be read ({error.strerror})")
            return {}
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            self.problems.append(f"{name}: cannot be read ({first_line(error)})")
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def stages(self) -> list[StagePlan]:
        """Stages of the recipe, in their order."""
        listed = self.recipe.get("stages")
        plans: dict[str, StagePlan] = {}
        for stage in listed if isinstance(listed, list) else []:
            if isinstance(stage, dict) and isinstance(name := stage.get("name"), str):
                steps, objectives = stage.get("steps"), stage.get("objectives")
                plans[name] = StagePlan(
                    name,
                    steps if isinstance(steps, int) else None,
                    tuple(objectives) if isinstance(objectives, dict) else (),
                )
        return list(plans.values())

    @cached_property
    def losses(self) -> list[str]:
        """Names of the losses that the recipe trains with, in the metrics."""
        return list(dict.fromkeys([*LOSSES, *(name for stage in self.stages for name in stage.objectives)]))

    @cached_property
    def metrics(self) -> StepNumbers:
        """Numbers of all training steps."""
        return self._numbers("metrics.jsonl")

    @cached_property
    def latest(self) -> StepNumbers:
        """Numbers of the last training steps; quick, however long the run is."""
        return self._numbers("metrics.jsonl", TAIL)

    @cached_property
    def validation(self) -> StepNumbers:
        """Losses on validation data, whole and of each task."""
        return self._numbers("validation.jsonl")

    def _numbers(self, name: str, tail: int = 0) -> StepNumbers:
        lines = JsonLines(self.path / name, tail)
        numbers = StepNumbers([stage.name for stage in self.stages])
        nowhere = sum(not numbers.add(line) for line in lines)
        self._note(lines, nowhere)
        return numbers

    def _note(self, lines: JsonLines, nowhere: int = 0) -> None:
        if lines.problem and lines.problem not in self.problems:
            self.problems.append(lines.problem)
        # What the end of a file holds is counted with the whole of it.
        if not lines.tail and (broken := lines.broken + nowhere):
            self.problems.append(f"{lines.path.name}: lines that cannot be read and are left out: {broken}")

    @cached_property
    def samples(self) -> list[Generations]:
        """What was said about the validation samples, step by step."""
        lines = JsonLines(self.path / "samples.jsonl")
        track, found, nowhere = Track([stage.name for stage in self.stages]), list[Generations](), 0
        for line in lines:
            place = place_of(line)
            if place is None or not isinstance(line.get("samples"), list):
                nowhere += 1
                continue
            del found[track.enter(*place) :]
            samples = tuple(_generation(sample) for sample in line["samples"] if isinstance(sample, dict))
            found.append(Generations(*place, samples))
        self._note(lines, nowhere)
        return found

    @cached_property
    def bad_samples(self) -> BadCounts:
        """Samples that were left out or shortened, by all processes."""
        counts = BadCounts()
        for path in sorted(self.path.glob("bad_samples*.jsonl")):
            lines = JsonLines(path)
            for line in lines:
                if line.get("left_out", True):
                    counts.left_out += 1
                    counts.reasons[_text(line.get("reason"))] += 1
                else:
                    counts.shortened += 1
            self._note(lines)
        return counts

    @cached_property
    def checkpoints(self) -> list[Path]:
        """Folders of checkpoints, the newest last."""
        return sorted(_folders(self.path / "checkpoints"), key=lambda path: (_modified(path), path.name))

    @cached_property
    def starts(self) -> dict[str, int]:
        """Steps of the whole run that came before each stage."""
        last: dict[str, int] = {}
        for numbers in (self.metrics, self.validation):
            stages = numbers.track.stages
            for place, step in numbers.track.keys:
                last[stages[place]] = max(step, last.get(stages[place], 0))
        for said in self.samples:
            last[said.stage] = max(said.step, last.get(said.stage, 0))
        starts, before = {}, 0
        for stage in dict.fromkeys([*self.metrics.track.stages, *last]):
            starts[stage] = before
            before += last.get(stage, 0)
        return starts

    def last_sign(self) -> float:
        """When the run last wrote a line, in Unix seconds; 0 where there is no sign of it."""
        signs = []
        for name in LOGS:
            said = [number(line.get("time")) for line in JsonLines(self.path / name, TAIL)]
            signs += [sign for sign in said[-1:] if sign is not None and math.isfinite(sign)]
        # The times in its lines are those of the run, also where its folder was copied.
        return max(signs) if signs else max(_modified(self.path / name) for name in (*LOGS, *MARKS))

    def state(self, now: float | None = None) -> State:
        """Whether it is still going on, as far as its files tell.

        Args:
            now: Unix seconds; the clock's unless said.

        Returns:
            ``done`` with a finished model; ``running`` while lines come; ``stopped`` when they come no more and there
            is a checkpoint to go on from; ``failed`` when there is none.
        """
        if (self.path / "model" / "config.json").is_file():
            return "done"
        times = [time for time in self.latest.times if math.isfinite(time)]
        apart = [later - earlier for earlier, later in pairwise(times) if later > earlier]
        patience = max(QUIET_SECONDS, QUIET_STEPS * median(apart)) if apart else QUIET_SECONDS
        if (time.time() if now is None else now) - self.last_sign() <= patience:
            return "running"
        return "stopped" if self.checkpoints else "failed"


def _generation(sample: dict[str, Any]) -> Generation:
    return Generation(*(_text(sample.get(key)) for key in ("name", "picture", "prompt", "expected", "generated")))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown(path: Path | str) -> str:
    """A path for people; bytes in it that are no text are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _folders(path: Path) -> list[Path]:
    """Folders in a folder; those that are being written are hidden."""
    try:
        return [found for found in path.iterdir() if found.is_dir() and not found.name.startswith(".")]
    except OSError:
        return []


def open_run(path: Path, name: str | None = None) -> RunFolder:
    """The run in a folder.

    Raises:
        TuwenError: when it is not one.
    """
    if not any((path / mark).is_file() for mark in MARKS):
        found = "not a run's folder, it has neither recipe.yaml nor metrics.jsonl" if path.is_dir() else "not found"
        raise TuwenError(f"{path}: {found}; give a folder that `tuwen train` wrote, see `tuwen runs`")
    return RunFolder(path, name)


def open_runs(paths: list[Path]) -> list[RunFolder]:
    """The runs in some folders, each once, by names that tell them apart.

    Raises:
        TuwenError: when one is not a run's folder.
    """
    runs = [open_run(path) for path in {path.resolve(): path for path in paths}.values()]
    for run in runs:
        parts = run.path.resolve().parts
        others = [other.path.resolve().parts for other in runs if other is not run]
        length = next(n for n in range(1, len(parts) + 1) if not any(other[-n:] == parts[-n:] for other in others))
        run.name = shown("/".join(parts[-length:]))
    return runs


def find_runs(folder: Path) -> list[RunFolder]:
    """All runs in a folder or in folders of it, the one with the newest sign of life first.

    Raises:
        TuwenError: when there is no such folder.
    """
    if not folder.is_dir():
        raise TuwenError(f"{folder}: not found; give the folder that holds the runs")
    found = [RunFolder(path, str(path.relative_to(folder)) if path != folder else None) for path in _runs_in(folder)]
    return sorted(found, key=lambda run: (-run.last_sign(), run.name))


def _runs_in(folder: Path, deepest: int = DEEPEST) -> Iterator[Path]:
    if any((folder / mark).is_file() for mark in MARKS):
        yield folder
    elif deepest:
        for inner in sorted(_folders(folder)):
            yield from _runs_in(inner, deepest - 1)
