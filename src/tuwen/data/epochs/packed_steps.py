"""Training steps made of whole epochs: which samples, packed into which sequences, for which process.

Everything is a pure function of the seed, the number of the step and the indices of the data, so a run goes on from any
step, at any number of workers or processes, without reading what came before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSample
from tuwen.data.data_source import MOST_TOGETHER, DataSource
from tuwen.data.epochs.epoch import epoch_samples
from tuwen.data.epochs.mixture import EpochSource, MixtureSettings, SourceShare
from tuwen.data.epochs.plan import PackingPlan, count_packs, plan_packs, share_of_rank, steps_in_epoch
from tuwen.data.fitting import TooLong
from tuwen.data.sample import Sample
from tuwen.data.source import Group
from tuwen.models.processing import TuwenProcessor

# The plan of an epoch and that of the next one, around its beginning.
PLANS_KEPT = 2


class PackedEpochs:
    """Epochs of a mixture, packed.

    Args:
        sources: samples on disk, indexed with the lengths of ``processor``.
        shares: how much of each an epoch takes.
        settings: of the whole mixture.
        processor: of the model that is trained.
        budget: tokens of a sequence at most.
        seed: of everything.
        too_long: what becomes of longer samples: ``shorten`` gives them a sequence of their own, in which they are
            made to fit when they are read; ``reject`` leaves them out.

    Raises:
        TuwenError: when the shares contradict each other or a source is empty.
    """

    def __init__(
        self,
        sources: Sequence[DataSource],
        shares: Sequence[SourceShare],
        settings: MixtureSettings,
        processor: TuwenProcessor,
        *,
        budget: int,
        seed: int,
        too_long: TooLong = "shorten",
    ) -> None:
        self.sources, self.budget, self.seed = list(sources), budget, seed
        self._settings = settings
        self._shares = [EpochSource(len(source.index), share) for source, share in zip(sources, shares, strict=True)]
        self._offsets = np.concatenate([[0], np.cumsum([len(source.index) for source in sources])])
        self._text = np.concatenate([source.index.column("text_tokens") for source in sources]).astype(np.int32)
        shared = np.concatenate([source.index.column("shared_tokens") for source in sources])
        # Beside others about the same pictures, both answers of a sample have its question before them.
        self._text_beside = self._text + shared.astype(np.int32)
        whole = np.concatenate([source.index.lengths(processor) for source in sources])
        self._pictures = (whole - self._text).astype(np.int32)
        # Sources that name the same picture are few, and packing each by itself costs next to nothing.
        self._keys = np.concatenate(
            [source.index.column("pictures") ^ np.uint64(number) for number, source in enumerate(sources)]
        )
        self._has_pictures = np.concatenate([source.index.has_pictures for source in sources])
        self._longer = np.flatnonzero(whole > budget)
        self._too_long = too_long
        self._plans: dict[int, tuple[PackingPlan, np.ndarray, np.ndarray]] = {}

    @property
    def rejected(self) -> list[BadSample]:
        """Samples that are left out because they are too long; none where they are shortened."""
        if self._too_long == "shorten":
            return []
        return [self._rejection(int(number)) for number in self._longer]

    def _rejection(self, number: int) -> BadSample:
        source, row = self._source(number)
        place = source.index.place(row)
        tokens = int(self._text[number] + self._pictures[number])
        reason = f"it takes {tokens} tokens, more than max_length {self.budget}"
        return BadSample(sample="", shard=source.dataset.files[place.file], position=place.offset, reason=reason)

    def _source(self, number: int) -> tuple[DataSource, int]:
        place = int(np.searchsorted(self._offsets, number, side="right")) - 1
        return self.sources[place], number - int(self._offsets[place])

    def _items(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The epoch's items, each samples about the same pictures: members, where each begins, and their lengths."""
        samples = epoch_samples(self._shares, self._settings, self.seed, epoch, has_pictures=self._has_pictures)
        if self._too_long == "reject":
            samples = samples[self._text[samples] + self._pictures[samples] <= self.budget]
        order = np.argsort(self._keys[samples], kind="stable")
        members = samples[order]
        begins = self._boundaries(members)
        alone = np.diff(np.append(begins, len(members))) == 1
        beside = np.add.reduceat(self._text_beside[members], begins, dtype=np.int64)
        text = np.where(alone, self._text[members[begins]], beside)
        lengths = np.minimum(text + self._pictures[members[begins]], self.budget)
        return members, np.append(begins, len(members)), lengths

    def _boundaries(self, members: np.ndarray) -> np.ndarray:
        """Where an item begins: at other pictures, or where the item would grow too long or too many."""
        keys, text = self._keys[members], self._text_beside[members]
        places = np.arange(len(members))
        fresh = np.ones(len(members), dtype=bool)
        alone = ~self._has_pictures[members]
        fresh[1:] = (keys[1:] != keys[:-1]) | alone[1:] | alone[:-1]
        begins = np.flatnonzero(fresh)
        run = np.cumsum(fresh) - 1
        # A stretch whose members begin within ``room`` is at most ``room`` and its longest member long.
        longest = np.maximum.reduceat(text, begins)
        room = np.maximum(1, self.budget - self._pictures[members[begins]] - longest)[run]
        before = np.cumsum(text, dtype=np.int64) - text
        stretch = (before - before[begins][run]) // room
        fresh[1:] |= stretch[1:] != stretch[:-1]
        first = np.maximum.accumulate(np.where(fresh, places, 0))
        fresh |= (places - first) % MOST_TOGETHER == 0
        return np.flatnonzero(fresh)

    def _planned(self, epoch: int) -> tuple[PackingPlan, np.ndarray, np.ndarray]:
        if epoch not in self._plans:
            while len(self._plans) >= PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
            members, bounds, lengths = self._items(epoch)
            self._plans[epoch] = (plan_packs(lengths, self.budget, self.seed, epoch), members, bounds)
        return self._plans[epoch]

    def plan(self, epoch: int) -> PackingPlan:
        """The plan of an epoch."""
        return self._planned(epoch)[0]

    def steps(self, epoch: int, sequences_per_step: int) -> int:
        """Steps of an epoch, without planning it.

        Raises:
            TuwenError: when it has less than one.
        """
        packs = count_packs(self._items(epoch)[2], self.budget)
        if packs < sequences_per_step:
            raise TuwenError(
                f"an epoch has {packs} sequences of {self.budget} tokens, and a step takes {sequences_per_step}; "
                "take fewer a step, or shorter ones"
            )
        return packs // sequences_per_step

    def groups(self, epoch: int, pack: int) -> list[Group]:
        """The samples of a pack, those about the same pictures together."""
        plan, members, bounds = self._planned(epoch)
        return [
            tuple(self._read(int(number)) for number in members[bounds[item] : bounds[item + 1]])
            for item in plan.pack(pack)
        ]

    def _read(self, number: int) -> Sample:
        source, row = self._source(number)
        return source.sample(row)


class PackedSteps:
    """The groups of each optimiser step of a run over ``epochs``, for one process.

    Args:
        epochs: what is trained.
        sequences: packs of a batch of one process.
        batches: batches of a step that a process accumulates.
        rank: this process among those that train.
        world: how many there are.
    """

    def __init__(
        self, epochs: PackedEpochs, *, sequences: int, batches: int = 1, rank: int = 0, world: int = 1
    ) -> None:
        self.epochs, self.rank, self.world, self.batches = epochs, rank, world, batches
        self.sequences_per_step = sequences * batches * world
        self._begins = [0]

    def steps(self, epochs: float) -> int:
        """Steps of so many epochs; of a part of one, that part of its steps."""
        whole = int(epochs)
        self._reach(epoch=whole)
        part = epochs - whole
        return self._begins[whole] + (round(part * self._length(whole)) if part else 0)

    def _length(self, epoch: int) -> int:
        return self.epochs.steps(epoch, self.sequences_per_step)

    def _reach(self, epoch: int) -> None:
        while len(self._begins) <= epoch:
            self._begins.append(self._begins[-1] + self._length(len(self._begins) - 1))

    def __call__(self, step: int) -> list[list[Group]]:
        """The batches of a step."""
        while self._begins[-1] <= step:
            self._reach(len(self._begins))
        epoch = int(np.searchsorted(self._begins, step, side="right")) - 1
        plan = self.epochs.plan(epoch)
        assert step - self._begins[epoch] < steps_in_epoch(plan, self.sequences_per_step)
        shares = share_of_rank(
            plan,
            step - self._begins[epoch],
            self.sequences_per_step,
            rank=self.rank,
            world=self.world,
            accumulate=self.batches,
        )
        return [[group for pack in share for group in self.epochs.groups(epoch, int(pack))] for share in shares]
