"""From groups of samples to batches of a training step, in worker processes.

Shape legend: R rows, L tokens of a row, S samples, P tiles of all pictures, T connector tokens of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count as counted
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSample, BadSampleLog
from tuwen.data.fitting import TooLong, fit
from tuwen.data.media import fetch
from tuwen.data.pack import Packed, TokenSequence, pack, share_prefix
from tuwen.data.sample import Region, Sample, Stored
from tuwen.data.source import Group, Mixture
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import ImagePolicy
from tuwen.vision.pictures import PictureError

# So often in a row may the processes that prepare a step be killed.
MOST_KILLED = 3


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one forward and backward pass takes.

    Attributes:
        input_ids: [R, L].
        labels: the token that each place is trained to give, already shifted; -100 elsewhere. [R, L].
        owners: the sample that each trained place belongs to, -1 elsewhere. [R, L].
        position_ids: [R, L].
        segments: number of the piece of its row that a place belongs to, -2 for padding. [R, L].
        parents: number of the piece that it also sees, -1 for none. [R, L].
        trained: trained tokens of each sample, [S].
        names: what each sample is called in a message, S of them.
        tasks: of each sample, S of them.
        pixel_values: [P, 3, height, width].
        region_places: place of each region word among all connector tokens [P · T], [words].
        region_tokens: the word's token, [words].
        region_weights: its share of the place's target, [words].
        pictures: how many tiles its pictures have.
        notes: samples that were left out of it or shortened.
    """

    input_ids: Tensor
    labels: Tensor
    owners: Tensor
    position_ids: Tensor
    segments: Tensor
    parents: Tensor
    trained: Tensor
    names: list[str]
    tasks: list[str]
    pixel_values: Tensor
    region_places: Tensor
    region_tokens: Tensor
    region_weights: Tensor
    pictures: int
    notes: list[BadSample] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """How many samples the batch holds."""
        return len(self.names)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
        return Batch(**moved)


@dataclass(frozen=True, slots=True)
class _Item:
    """What goes into a row together: samples about the same pictures."""

    samples: list[Sample]
    sequences: list[TokenSequence]
    pixels: np.ndarray
    regions: tuple[Region, ...]


class Collator:
    """Groups of samples → ``Batch``.

    Args:
        processor: of the model that is trained.
        token_grid: rows and columns of a picture's tokens, where regions are trained; else None.
        answers: whether conversations are trained; without them a batch has pictures and regions alone.
        max_length: tokens of a row at most; as the longest group unless said.
        too_long: what becomes of a sample that is longer, see ``fit``.
    """

    def __init__(
        self,
        processor: TuwenProcessor,
        *,
        token_grid: tuple[int, int] | None = None,
        answers: bool = True,
        max_length: int | None = None,
        too_long: TooLong = "shorten",
    ) -> None:
        self.processor = processor
        self.token_grid = token_grid
        self.answers = answers
        self.max_length = max_length
        self.too_long = too_long
        self._word_tokens: dict[str, list[int]] = {}

    def __call__(self, groups: Sequence[Group]) -> Batch:
        """Render, pack and stack; a sample that cannot be used is left out and named in the batch's notes."""
        notes: list[BadSample] = []
        items = [item for whole in groups for same in _by_pictures(whole) for item in self._items(same, notes)]
        pad = self.processor.tokenizer.pad_token_id
        if not self.answers:
            packed = Packed.without_rows(len(items))
        elif not items:
            # Processes that train together must all call the model.
            packed = Packed.blank(pad)
        else:
            packed = pack(_numbered(items), pad, self.max_length)
        ordered = [items[place] for place in packed.items]
        words = self._region_words([item.regions for item in ordered], [len(item.pixels) for item in ordered])
        pixels = np.concatenate([self.processor.image_processor.no_pixels(), *(item.pixels for item in ordered)])
        return self._batch(packed, pixels, words, items=items, notes=notes)

    def _items(self, group: Group, notes: list[BadSample]) -> Iterator[_Item]:
        """Samples about the same pictures, in as many items as their length takes."""
        try:
            opened = [self.processor.policy.open(fetch(image)) for image in group[0].images]
        except PictureError as error:
            notes += [_note(sample, str(error)) for sample in group]
            return
        if not self.answers:
            yield _Item(list(group), [], self._pixels(opened, self.processor.policy), group[0].regions)
            return
        members: list[Sample] = []
        together: list[TokenSequence] = []
        for sample in group:
            try:
                fitted = fit(sample, opened, self.processor, self.max_length, self.too_long)
            except TuwenError as error:
                notes.append(_note(sample, str(error)))
                continue
            rendered = fitted.rendered
            sequence = TokenSequence(input_ids=rendered.input_ids, labels=rendered.labels, name=sample.id)
            if fitted.change:
                # Its pictures are fewer or cut otherwise than those of the others.
                notes.append(_note(sample, fitted.change, left_out=False))
                yield _Item(
                    [sample], [sequence], self._pixels(opened[: fitted.pictures], fitted.policy), sample.regions
                )
                continue
            if together and self.max_length is not None and _length([*together, sequence]) > self.max_length:
                yield _Item(members, together, self._pixels(opened, self.processor.policy), group[0].regions)
                members, together = [], []
            members.append(sample)
            together.append(sequence)
        if together:
            yield _Item(members, together, self._pixels(opened, self.processor.policy), group[0].regions)

    def _pixels(self, opened: Sequence[PIL.Image.Image], policy: ImagePolicy) -> np.ndarray:
        tiles = [policy.apply(image) for image in opened]
        return np.concatenate(tiles) if tiles else self.processor.image_processor.no_pixels()

    def _region_words(
        self, regions: Sequence[tuple[Region, ...]], tiles: Sequence[int]
    ) -> tuple[list[int], list[int], list[float]]:
        """Place among all connector tokens, token and share of every word of every region."""
        places: list[int] = []
        tokens: list[int] = []
        shares: list[float] = []
        if self.token_grid is None:
            return places, tokens, shares
        rows, columns = self.token_grid
        first = 0
        for here, count in zip(regions, tiles, strict=True):
            words: dict[int, list[int]] = {}
            for region in here:
                ids = self._tokens_of(region.text)
                for cell in cells_of(region, rows, columns):
                    words.setdefault(cell, []).extend(ids)
            for cell, ids in words.items():
                places += [first + cell] * len(ids)
                tokens += ids
                shares += [1.0 / len(ids)] * len(ids)
            first += count * rows * columns
        return places, tokens, shares

    def _tokens_of(self, text: str) -> list[int]:
        if text not in self._word_tokens:
            encode = self.processor.tokenizer.encode
            self._word_tokens[text] = [
                token for word in text.split() for token in encode(word, add_special_tokens=False)
            ]
        return self._word_tokens[text]

    def _batch(
        self,
        packed: Packed,
        pixels: np.ndarray,
        words: tuple[list[int], list[int], list[float]],
        *,
        items: Sequence[_Item],
        notes: list[BadSample],
    ) -> Batch:
        samples = [sample for item in items for sample in item.samples]
        trained = np.bincount(packed.owners[packed.owners >= 0], minlength=len(samples))
        return Batch(
            input_ids=torch.from_numpy(packed.input_ids),
            labels=torch.from_numpy(packed.labels),
            owners=torch.from_numpy(packed.owners),
            position_ids=torch.from_numpy(packed.position_ids),
            segments=torch.from_numpy(packed.segments),
            parents=torch.from_numpy(packed.parents),
            trained=torch.from_numpy(trained),
            names=[_called(sample) for sample in samples],
            tasks=[sample.task for sample in samples],
            pixel_values=torch.from_numpy(pixels),
            region_places=torch.tensor(words[0], dtype=torch.long),
            region_tokens=torch.tensor(words[1], dtype=torch.long),
            region_weights=torch.tensor(words[2], dtype=torch.float32),
            pictures=len(pixels),
            notes=notes,
        )


def _numbered(items: Sequence[_Item]) -> list[list[TokenSequence]]:
    """The items' sequences, each with its number among all of them."""
    numbers = counted()
    return [[replace(sequence, owner=next(numbers)) for sequence in item.sequences] for item in items]


def _called(sample: Sample) -> str:
    place = f" ({sample.origin.shard}, record {sample.origin.position})" if sample.origin else ""
    return f"{sample.id}{place}"


def _length(sequences: Sequence[TokenSequence]) -> int:
    return sum(len(segment.input_ids) for segment in share_prefix(sequences))


def _note(sample: Sample, reason: str, *, left_out: bool = True) -> BadSample:
    shard, position = (sample.origin.shard, sample.origin.position) if sample.origin else (sample.source, -1)
    return BadSample(sample=sample.id, shard=shard, position=position, reason=reason, left_out=left_out)


def cells_of(region: Region, rows: int, columns: int) -> list[int]:
    """Cells of a picture's token grid whose centre lies in the region's box, or else the nearest one."""
    left, top, right, bottom = region.box
    inside = [
        row * columns + column
        for row in range(rows)
        for column in range(columns)
        if left <= (column + 0.5) / columns <= right and top <= (row + 0.5) / rows <= bottom
    ]
    if inside:
        return inside
    column = min(columns - 1, max(0, int((left + right) / 2 * columns)))
    row = min(rows - 1, max(0, int((top + bottom) / 2 * rows)))
    return [row * columns + column]


def _by_pictures(group: Group) -> Iterator[Group]:
    """Samples of a group that have the very same pictures, and each text-only sample alone."""
    found: dict[tuple[Path | bytes | Stored | int, ...], list[Sample]] = {}
    for sample in group:
        if not sample.images:
            yield (sample,)
            continue
        key = tuple(id(image) if isinstance(image, PIL.Image.Image) else image for image in sample.images)
        found.setdefault(key, []).append(sample)
    yield from (tuple(samples) for samples in found.values())


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
            line = f"step {due + 1}: a process that prepares batches was killed"
            if killed > MOST_KILLED:
                raise TuwenError(f"{line} {killed} times; it may lack memory: give the recipe fewer workers") from None
            say(f"{line}; others take its place")


def noted(steps: Iterable[list[Batch]], log: BadSampleLog) -> Iterator[list[Batch]]:
    """The same batches, while ``log`` is told of what was left out of them.

    Raises:
        TuwenError: when it was too much.
    """
    seen = 0
    for batches in steps:
        seen += sum(batch.samples for batch in batches)
        log.add([note for batch in batches for note in batch.notes], seen)
        yield batches
