"""What a contender took: seconds, processor time and memory between two steps, each contender in its own process."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil
import torch

from tuwen.data.pack import TokenSequence, share_prefix
from tuwen.data.sample import Sample
from tuwen.models.processing import TuwenProcessor

# Steps before those that are measured: first uses of kernels, memory that is taken once.
WARM_UP = 2


@dataclass(slots=True)
class Amounts:
    """What was trained.

    Attributes:
        samples: conversations.
        answers: tokens that the loss is taken over.
        tokens: of the language model, padding left out, and what samples share counted once where it is computed once.
        squares: of lengths, which attention goes with.
        tiles: of pictures, in the same way.
    """

    samples: int = 0
    answers: int = 0
    tokens: int = 0
    squares: int = 0
    tiles: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(slots=True)
class Outcome:
    """What came of a contender's run.

    Attributes:
        amounts: what it trained in the measured steps.
        flops: operations that it needs, whatever is computed besides.
        seconds: of them, by the clock.
        processor: seconds that this process and those that read for it kept processors busy.
        peak: bytes at most: of the accelerator, or of this process's memory without one.
        before: bytes when training began.
    """

    amounts: Amounts
    flops: float
    seconds: float
    processor: float
    peak: int
    before: int

    def write(self, path: Path) -> None:
        """Keep it for the process that asked for it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """What ``write`` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "amounts": Amounts(**values["amounts"])})


class Meter:
    """Told of each step by the loop that is measured."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        self._before = self._peak = 0

    def begin(self) -> None:
        """The model is there and training begins."""
        self._before = (
            torch.cuda.memory_allocated() if torch.cuda.is_available() else psutil.Process().memory_info().rss
        )

    def step(self) -> None:
        """A step is over."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self._peak = torch.cuda.max_memory_allocated()
        else:
            self._peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._marks.append((time.perf_counter(), _processor_seconds()))

    def outcome(self, amounts: Amounts, flops: float) -> Outcome:
        """Of all steps after the warm-up, in which ``amounts`` were trained by so many operations."""
        first, last = self._marks[WARM_UP - 1], self._marks[-1]
        return Outcome(amounts, flops, last[0] - first[0], last[1] - first[1], self._peak, self._before)


def _processor_seconds() -> float:
    own = psutil.Process()
    times = own.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in own.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return float(total)


def amounts_of(groups: Iterable[Sequence[Sample]], processor: TuwenProcessor) -> Amounts:
    """What training these samples takes, those of a group computed together.

    Args:
        groups: samples about the same pictures, or single ones.
        processor: whose pictures are one tile each.
    """
    total = Amounts()
    for group in groups:
        sequences = [_sequence(sample, processor) for sample in group]
        segments = share_prefix(sequences)
        shared = len(segments[0].input_ids) if len(segments) > len(group) else 0
        lengths = [shared + len(segment.input_ids) for segment in segments if segment.parent or not shared]
        total += Amounts(
            samples=len(group),
            answers=sum(label >= 0 for one in sequences for label in one.labels),
            tokens=sum(len(segment.input_ids) for segment in segments),
            squares=sum(length**2 for length in lengths) - (len(lengths) - 1) * shared**2,
            tiles=len(group[0].images),
        )
    return total


def _sequence(sample: Sample, processor: TuwenProcessor) -> TokenSequence:
    rendered = processor.renderer.render(
        sample.messages, [processor.tokens_per_tile] * len(sample.images), name=sample.id
    )
    return TokenSequence(input_ids=rendered.input_ids, labels=rendered.labels)
