"""The batches of each training step, made ahead of time in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSampleLog
from tuwen.data.collator import Batch, Collator
from tuwen.data.source import Group, Mixture

# So often in a row may the processes that prepare a step be killed.
MOST_KILLED = 3


class StepGroups(Protocol):
    """Says of which groups the batches of a step are made; a pure function of its number."""

    def __call__(self, step: int) -> Sequence[Sequence[Group]]:
        """The groups of each batch of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSteps:
    """Steps of an endless mixture, so many groups a batch.

    Attributes:
        mixture: where groups come from.
        seed: of the order.
        groups: groups (mostly pictures) in a batch.
        batches: batches of a step that this process accumulates.
        rank: this process among those that train.
        world: how many there are.
    """

    mixture: Mixture
    seed: int
    groups: int
    batches: int = 1
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> list[list[Group]]:
        """The groups of each batch."""
        result = []
        for number in range(self.batches):
            first = ((step * self.batches + number) * self.world + self.rank) * self.groups
            result.append([self.mixture.group(self.seed, index) for index in range(first, first + self.groups)])
        return result


class _Steps(Dataset["list[Batch] | TuwenError"]):
    """Step number → its batches."""

    def __init__(self, groups: StepGroups, collator: Collator) -> None:
        self.groups, self.collator = groups, collator

    def __getitem__(self, step: int) -> list[Batch] | TuwenError:
        # Raised in a worker, it would arrive with that worker's traceback inside its one line.
        try:
            return [self.collator(groups) for groups in self.groups(step)]
        except TuwenError as error:
            return error


def step_batches(
    groups: StepGroups,
    collator: Collator,
    *,
    steps: range,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[list[Batch]]:
    """The batches of each step, made ahead of time in worker processes.

    Where such a process is killed, others take its place and begin with the step that is due.

    Args:
        groups: says what a step is made of.
        collator: makes batches of it.
        steps: which steps; any may be the first, and none before it is computed.
        workers: processes that make batches; 0 makes them in this one.
        say: is told of processes that were killed.

    Raises:
        TuwenError: when a step cannot be made, saying why.
    """
    due, killed = steps.start, 0
    while due < steps.stop:
        loader: DataLoader[list[Batch] | TuwenError] = DataLoader(
            _Steps(groups, collator),
            sampler=range(due, steps.stop),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            # It would draw from the random numbers of the training, each time it is begun anew.
            generator=torch.Generator(),
        )
        try:
            for made in loader:
                if isinstance(made, TuwenError):
                    raise made
                yield made
                due, killed = due + 1, 0
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            killed += 1
            line = f"a process that prepares batches was killed before step {due + 1} was there"
            if killed > MOST_KILLED:
                raise TuwenError(
                    f"{line}, {killed} times; memory may be short: give the recipe fewer workers"
                ) from None
            say(f"{line}; others take its place")


def noted(steps: Iterable[list[Batch]], log: BadSampleLog) -> Iterator[list[Batch]]:
    """The same batches, while ``log`` is told of what was left out of them.

    Raises:
        TuwenError: when it was too much.
    """
    seen = 0
    for batches in steps:
        seen += sum(batch.samples - len(batch.pairs) for batch in batches)
        log.add([note for batch in batches for note in batch.notes], seen)
        yield batches
