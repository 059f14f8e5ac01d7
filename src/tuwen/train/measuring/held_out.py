"""Data that is measured and never trained on: which groups, in which batches, shared out over processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSampleLog
from tuwen.data.sample import Sample
from tuwen.data.source import Group, Mixture, parse_sources
from tuwen.train.recipe import Recipe
from tuwen.train.settings import Validation

# Stages are numbered from 0, and each draws by a seed that ends in its number.
SEED = 999


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The groups that a run is measured on: a pure function of the recipe, the same in every process.

    Attributes:
        settings: from the recipe.
        mixture: where the groups come from.
        seed: of the order in which they are drawn.
        indices: which of that order are measured.
        shown: samples whose answers people look at.
        bad: names what cannot be measured.
    """

    settings: Validation
    mixture: Mixture
    seed: int
    indices: tuple[int, ...]
    shown: tuple[Sample, ...]
    bad: BadSampleLog = field(repr=False)

    @property
    def batches(self) -> int:
        """How many batches there are, in all processes."""
        return -(-len(self.indices) // self.settings.batch)

    def batch(self, number: int) -> list[Group]:
        """The groups of a batch; none behind the last one."""
        first = number * self.settings.batch
        return [self.mixture.group(self.seed, index) for index in self.indices[first : first + self.settings.batch]]


@dataclass(frozen=True, slots=True)
class HeldOutShare:
    """A process's batches: as many in each, since all must call the model equally often.

    Attributes:
        held_out: what is shared out.
        rank: this process among those that measure.
        world: how many there are.
    """

    held_out: HeldOut
    rank: int
    world: int

    @property
    def calls(self) -> int:
        """Batches of every process; the last may be empty."""
        return -(-self.held_out.batches // self.world)

    def __call__(self, step: int) -> list[list[Group]]:
        """Batch number ``step`` of this process."""
        return [self.held_out.batch(step * self.world + self.rank)]


def open_held_out(recipe: Recipe, out: Path, accelerator: Accelerator) -> HeldOut | None:
    """Draw what a run is measured on, if its recipe says anything of it.

    Args:
        recipe: of the run.
        out: its folder.
        accelerator: knows the processes.

    Raises:
        TuwenError: naming the key that is wrong, or the data that cannot be read.
    """
    settings = recipe.validation
    if settings is None:
        return None
    mixture = parse_sources(settings.sources, "validation.sources")
    for place, share in enumerate(mixture.shares):
        for name in ("count", "repeat", "cap"):
            if getattr(share, name) is not None:
                raise TuwenError(f"validation.sources.{place}.{name}: has no effect here; say weight, and groups")
    seed = recipe.seed * 1000 + SEED
    found = list(_different(mixture, seed, settings.groups))
    own = "" if accelerator.is_main_process else f".{accelerator.process_index}"
    measured = sum(len(group) for _, group in found)
    size = measured if mixture.samples is None else mixture.samples
    bad = BadSampleLog(out / f"bad_samples.validation{own}.jsonl", recipe.bad_samples, size)
    if accelerator.is_main_process:
        bad.add(mixture.bad)
    count = settings.generate.count if settings.generate is not None else 0
    shown = _chosen([group for _, group in found], count)
    return HeldOut(settings, mixture, seed, tuple(index for index, _ in found), tuple(shown), bad)


def _different(mixture: Mixture, seed: int, groups: int) -> Iterator[tuple[int, Group]]:
    """The first groups of the mixture, each once where a source has fewer than are asked for."""
    seen = set()
    for index in range(groups):
        group = mixture.group(seed, index)
        key = tuple((sample.source, sample.id, sample.origin) for sample in group)
        if key not in seen:
            seen.add(key)
            yield index, group


def _chosen(groups: Sequence[Group], count: int) -> list[Sample]:
    """Samples to look at: with pictures where there are such, of as many tasks and about as many pictures as can be."""
    left = [
        (place, sample)
        for place, group in enumerate(groups)
        for sample in group
        if len(sample.messages) > 1 and sample.messages[-1].role == "assistant"
    ]
    of_task: Counter[str] = Counter()
    of_group: Counter[int] = Counter()
    chosen: list[Sample] = []
    while left and len(chosen) < count:
        best = min(left, key=lambda one: (not one[1].images, of_task[one[1].task], of_group[one[0]]))
        left.remove(best)
        place, sample = best
        of_task[sample.task] += 1
        of_group[place] += 1
        chosen.append(sample)
    return chosen
