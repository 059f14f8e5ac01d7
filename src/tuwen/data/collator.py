"""From groups of samples to what one forward and backward pass takes.

Shape legend: R rows, L tokens of a row, S samples, P tiles of all pictures, T connector tokens of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count as counted
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSample
from tuwen.data.fitting import Fitted, TooLong, fit
from tuwen.data.media import fetch
from tuwen.data.pack import Packed, TokenSequence, pack, packed_length
from tuwen.data.sample import Region, Sample, Stored
from tuwen.data.source import Group
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import ImagePolicy
from tuwen.vision.pictures import PictureError


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
        pairs: the numbers of a better and a worse answer to the same question, which count as two samples; [P, 2].
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
    pairs: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.long))

    @property
    def learnt(self) -> Tensor:
        """Trained tokens of each sample that is to be learnt from as it is, [S]; 0 for worse answers."""
        return self.trained.index_fill(0, self.pairs[:, 1], 0)

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
        pairs: whether answers are compared with rejected ones, which every sample must have then.
    """

    def __init__(
        self,
        processor: TuwenProcessor,
        *,
        token_grid: tuple[int, int] | None = None,
        answers: bool = True,
        max_length: int | None = None,
        too_long: TooLong = "shorten",
        pairs: bool = False,
    ) -> None:
        self.processor = processor
        self.token_grid = token_grid
        self.answers = answers
        self.max_length = max_length
        self.too_long = too_long
        self.pairs = pairs
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
        # Samples by what they begin with, which holds the pictures.
        together: dict[tuple[int, ...], tuple[list[Sample], list[TokenSequence]]] = {}
        for sample in group:
            try:
                fitted = fit(sample, opened, self.processor, self.max_length, self.too_long, pair=self.pairs)
                beginning = _beginning(sample, fitted)
            except TuwenError as error:
                notes.append(_note(sample, str(error)))
                continue
            sequences = fitted.sequences(sample.id)
            if fitted.change or beginning is None:
                # It shares no picture with others: its own are fewer, cut otherwise, or in what is trained.
                if fitted.change:
                    notes.append(_note(sample, fitted.change, left_out=False))
                pixels = self._pixels(opened[: fitted.pictures], fitted.policy)
                yield _Item([sample], sequences, pixels, sample.regions)
                continue
            alike = together.get(beginning, ([], []))
            if alike[0] and self.max_length and packed_length(alike[1] + sequences) > self.max_length:
                yield _Item(*alike, self._pixels(opened, self.processor.policy), group[0].regions)
                alike = ([], [])
            together[beginning] = (alike[0] + [sample], alike[1] + sequences)
        for alike in together.values():
            yield _Item(*alike, self._pixels(opened, self.processor.policy), group[0].regions)

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
        names, tasks = [_called(sample) for sample in samples], [sample.task for sample in samples]
        if self.pairs:
            names = [name for called in names for name in (called, f"{called}, rejected")]
            tasks = [task for task in tasks for _ in ("chosen", "rejected")]
        trained = np.bincount(packed.owners[packed.owners >= 0], minlength=len(names))
        return Batch(
            input_ids=torch.from_numpy(packed.input_ids),
            labels=torch.from_numpy(packed.labels),
            owners=torch.from_numpy(packed.owners),
            position_ids=torch.from_numpy(packed.position_ids),
            segments=torch.from_numpy(packed.segments),
            parents=torch.from_numpy(packed.parents),
            trained=torch.from_numpy(trained),
            names=names,
            tasks=tasks,
            pairs=torch.arange(len(names) if self.pairs else 0).view(-1, 2),
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


def _beginning(sample: Sample, fitted: Fitted) -> tuple[int, ...] | None:
    """All up to the end of the last picture, which other sequences can share; None where some of it is trained.

    Raises:
        TuwenError: when answers that are compared cannot share their pictures.
    """
    rendered = fitted.rendered
    stop = max((stop for _, stop in rendered.image_spans), default=0)
    # The place before the first trained token belongs to it.
    if not any(label >= 0 for label in rendered.labels[: stop + 1]):
        return tuple(rendered.input_ids[:stop])
    if fitted.rejected is not None:
        raise TuwenError(f"{sample.id}: its last picture must come before what is trained, with text in between")
    return None


def _called(sample: Sample) -> str:
    place = f" ({sample.origin.shard}, record {sample.origin.position})" if sample.origin else ""
    return f"{sample.id}{place}"


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
