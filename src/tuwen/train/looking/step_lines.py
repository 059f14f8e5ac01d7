"""Lines of JSON that a run appends to while it trains, read as far as they can be."""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# A step beyond this is no count of steps, and floats could not tell it from the next.
MOST_STEPS = 2**53
NAN = float("nan")
# Sums of greater numbers, and quotients of smaller ones, could not be had.
HUGE, TINY = 1e150, 1e-150


class JsonLines:
    """The objects in a file, one a line.

    Args:
        path: the file; one that is not there holds nothing.
        tail: bytes at its end that are enough; 0 for the whole file.

    Attributes:
        broken: lines that hold no object, known after the last one. A last line without its end is still being
            written and does not count.
        problem: why the file cannot be read; empty where it can.
    """

    def __init__(self, path: Path, tail: int = 0) -> None:
        self.path, self.tail = path, tail
        self.broken = 0
        self.problem = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                if self.tail and file.seek(0, 2) > self.tail:
                    file.seek(-self.tail, 2)
                    file.readline()
                else:
                    file.seek(0)
                for line in file:
                    found = _parsed(line)
                    if found is not None:
                        yield found
                    elif line.endswith(b"\n") and line.strip():
                        self.broken += 1
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = f"{self.path.name}: cannot be read ({error.strerror})"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def number(value: Any) -> float | None:
    """A JSON number as a float that can be reckoned with, infinite or 0 beyond; None for anything else."""
    # What JSON gives is of just these types, and true is no number.
    if type(value) is not float and type(value) is not int:
        return None
    size = abs(value)
    if size > HUGE:
        return math.inf if value > 0 else -math.inf
    return 0.0 if size < TINY else float(value)


def place_of(line: Mapping[str, Any]) -> tuple[str, int] | None:
    """Stage and step that a line is about; None where it does not say."""
    stage, step = line.get("stage"), line.get("step")
    if not isinstance(stage, str) or not stage.isprintable():
        return None
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < MOST_STEPS:
        return None
    return stage, step


class Track:
    """The course of a run: what it wrote, in the order of its steps.

    A run that was resumed, or went back after a loss that exploded, writes steps a second time; what came from there
    on is then replaced, as it was in the run.

    Args:
        stages: different names in their order, where they are known; others follow as they come.

    Attributes:
        keys: place of the stage, and step, of each line that counts; they rise.
    """

    def __init__(self, stages: Sequence[str] = ()) -> None:
        self._places = {name: place for place, name in enumerate(stages)}
        self.keys: list[tuple[int, int]] = []

    @property
    def stages(self) -> list[str]:
        """Names in their order."""
        return list(self._places)

    def enter(self, stage: str, step: int) -> int:
        """Note a step and return how many of those before it still count."""
        key = (self._places.setdefault(stage, len(self._places)), step)
        kept = len(self.keys) if not self.keys or self.keys[-1] < key else bisect_left(self.keys, key)
        del self.keys[kept:]
        self.keys.append(key)
        return kept


class StepNumbers:
    """Numbers of each step, a column for each name; those in a mapping are called ``MAPPING/NAME``.

    Args:
        stages: see ``Track``.

    Attributes:
        track: stages and steps.
        times: Unix seconds of each line; NaN where it does not say.
        columns: values of each name, NaN where a line has none.
        families: names of the mappings.
    """

    def __init__(self, stages: Sequence[str] = ()) -> None:
        self.track = Track(stages)
        self.times = array("d")
        self.columns: dict[str, array[float]] = {}
        self.families: set[str] = set()

    def __len__(self) -> int:
        return len(self.track.keys)

    def add(self, line: Mapping[str, Any]) -> bool:
        """Take in a line; false where it says no stage or step."""
        place = place_of(line)
        if place is None:
            return False
        before, kept = len(self), self.track.enter(*place)
        if kept < before:
            for values in (self.times, *self.columns.values()):
                del values[kept:]
        time = number(line.get("time"))
        self.times.append(NAN if time is None else time)
        for name, value in self._values(line):
            column = self.columns.get(name)
            if column is None:
                if not name.isprintable():
                    continue
                column = self.columns[name] = array("d")
            if len(column) < kept:
                column.extend([NAN] * (kept - len(column)))
            # Two names may read the same, such as `a/b` and `b` in `a`.
            if len(column) == kept:
                column.append(value)
        return True

    def _values(self, line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        for name, value in line.items():
            if name in ("stage", "step", "time"):
                continue
            if isinstance(value, dict):
                for inner, part in value.items():
                    if (found := number(part)) is not None:
                        self.families.add(name)
                        yield f"{name}/{inner}", found
            elif (found := number(value)) is not None:
                yield name, found

    def column(self, name: str) -> array[float]:
        """The values of a name, one a line."""
        values = self.columns.get(name, array("d"))
        return values + array("d", [NAN] * (len(self) - len(values)))

    def recent(self, name: str, count: int = 1) -> float | None:
        """Mean of a name over the last ``count`` lines, of those of the last stage that have it."""
        if not self.track.keys:
            return None
        stage, values = self.track.keys[-1][0], self.column(name)
        first = max(len(self) - count, bisect_left(self.track.keys, (stage, 0)))
        found = [value for value in values[first:] if not math.isnan(value)]
        return sum(found) / len(found) if found else None
