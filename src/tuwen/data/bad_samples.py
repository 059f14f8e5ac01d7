"""Samples that cannot be used: left out, counted and named in a file, until there are too many to go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tuwen.config import StrictConfig, TuwenError

SHOWN = 3


class BadSamplePolicy(StrictConfig):
    """How many samples may be left out.

    Attributes:
        share: of all samples (0–1) that may be unusable before the run stops with the list of them.
    """

    share: float = Field(default=0.001, ge=0, le=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSample:
    """A sample that was left out, or shortened.

    Attributes:
        sample: its id; empty where not even that could be read.
        shard: file that it is in.
        position: of its record in the file, see the container.
        reason: what is wrong with it, or what was done.
        left_out: false for one that was shortened and used.
    """

    sample: str
    shard: str
    position: int
    reason: str
    left_out: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Keys and values for JSON."""
        return asdict(self)


class BadSampleLog:
    """Writes what was left out to a file and stops the run when it is too much.

    Args:
        path: a JSONL file, made when there is something to write.
        policy: how much is allowed.
        size: samples in the data, where that is known.
    """

    def __init__(self, path: Path, policy: BadSamplePolicy, size: int | None = None) -> None:
        self.path, self.policy, self.size = path, policy, size
        self.left_out = 0
        self.shortened = 0
        self._named: set[tuple[str, int, str]] = set()
        self._first: list[str] = []

    def add(self, found: Iterable[BadSample], seen: int = 0) -> None:
        """Count and name samples; each is named once, however often it comes.

        Args:
            found: what was left out or shortened.
            seen: samples that have been gone through so far.

        Raises:
            TuwenError: when more were left out than the policy allows.
        """
        fresh = [bad for bad in found if (bad.shard, bad.position, bad.sample) not in self._named]
        if fresh:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                for bad in fresh:
                    self._named.add((bad.shard, bad.position, bad.sample))
                    file.write(json.dumps(bad.to_dict(), ensure_ascii=False) + "\n")
        lost = [bad for bad in fresh if bad.left_out]
        self.left_out += len(lost)
        self.shortened += len(fresh) - len(lost)
        self._first = [*self._first, *(bad.reason for bad in lost)][:SHOWN]
        allowed = int(self.policy.share * max(self.size or 0, seen))
        if self.left_out > allowed:
            raise TuwenError(
                f"{self.left_out} samples cannot be used, {allowed} of {max(self.size or 0, seen)} may be left out "
                f"(bad_samples.share {self.policy.share:g}): {'; '.join(self._first)}; all are named in {self.path}"
            )
