"""From groups of samples to batches of a training step, in worker processes.

Shape legend: R rows, L tokens of a row, P tiles of all pictures, T connector tokens of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tuwen.config import TuwenError
from tuwen.data.pack import Packed, TokenSequence, pack
from tuwen.data.sample import Region, Sample
from tuwen.data.source import Group, Mixture
from tuwen.models.processing import TuwenProcessor


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one forward and backward pass takes.

    Attributes:
        input_ids: [R, L].
        labels: the token that each place is trained to give, already shifted; -100 elsewhere. [R, L].
        weights: of each trained place, [R, L].
        position_ids: [R, L].
        attention_mask: bool, [R, 1, L, L].
        pixel_values: [P, 3, height, width].
        region_places: place of each region word among all connector tokens [P · T], [words].
        region_tokens: the word's token, [words].
        region_weights: its share of the place's target, [words].
        samples: how many samples the batch holds.
        pictures: how many pictures.
    """

    input_ids: Tensor
    labels: Tensor
    weights: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor
    region_places: Tensor
    region_tokens: Tensor
    region_weights: Tensor
    samples: int
    pictures: int

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
        return Batch(**moved)


class Collator:
    """Groups of samples → ``Batch``.

    Args:
        processor: of the model that is trained.
        token_grid: rows and columns of a picture's tokens, where regions are trained; else None.
        answers: whether conversations are trained; without them a batch has pictures and regions alone.
        max_length: tokens of a row at most; as the longest group unless said.
        length_exponent: a sample's weight is the number of its trained tokens to this power; 0 gives each token
            the same weight, -1 each sample, -0.5 lies between.
    """

    def __init__(
        self,
        processor: TuwenProcessor,
        *,
        token_grid: tuple[int, int] | None = None,
        answers: bool = True,
        max_length: int | None = None,
        length_exponent: float = 0.0,
    ) -> None:
        self.processor = processor
        self.token_grid = token_grid
        self.answers = answers
        self.max_length = max_length
        self.length_exponent = length_exponent
        self._word_tokens: dict[str, list[int]] = {}

    def __call__(self, groups: Sequence[Group]) -> Batch:
        """Render, pack and stack.

        Raises:
            TuwenError: naming a sample without a trained token, with pictures that differ in number from
                their places, or too long; or the file of a picture that cannot be opened.
        """
        sequences: list[list[TokenSequence]] = []
        pixels: list[np.ndarray] = []
        regions: list[tuple[Region, ...]] = []
        for group in (part for whole in groups for part in _by_pictures(whole)):
            opened = [self.processor.policy.open(image) for image in group[0].images]
            lengths = [self.processor.num_image_tokens(*image.size) for image in opened]
            sequences.append([self._sequence(sample, lengths) for sample in group] if self.answers else [])
            tiles = [self.processor.policy.apply(image) for image in opened]
            pixels.append(np.concatenate(tiles) if tiles else self.processor.image_processor.no_pixels())
            regions.append(group[0].regions)
        if self.answers:
            packed = pack(sequences, self.processor.tokenizer.pad_token_id, self.max_length)
        else:
            packed = Packed.without_rows(len(sequences))
        ordered = [pixels[item] for item in packed.items]
        words = self._region_words([regions[item] for item in packed.items], [len(tiles) for tiles in ordered])
        return self._batch(packed, np.concatenate(ordered), words, sum(len(group) for group in groups))

    def _sequence(self, sample: Sample, lengths: Sequence[int]) -> TokenSequence:
        rendered = self.processor.renderer.render(sample.messages, lengths, name=sample.id)
        trained = sum(label >= 0 for label in rendered.labels)
        if not trained:
            raise TuwenError(f"{sample.id}: no token of it is trained; its last message must be the assistant's")
        weight = float(trained) ** self.length_exponent
        return TokenSequence(input_ids=rendered.input_ids, labels=rendered.labels, weight=weight, name=sample.id)

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
        samples: int,
    ) -> Batch:
        return Batch(
            input_ids=torch.from_numpy(packed.input_ids),
            labels=torch.from_numpy(packed.labels),
            weights=torch.from_numpy(packed.weights),
            position_ids=torch.from_numpy(packed.position_ids),
            attention_mask=torch.from_numpy(packed.attention_mask()),
            pixel_values=torch.from_numpy(pixels),
            region_places=torch.tensor(words[0], dtype=torch.long),
            region_tokens=torch.tensor(words[1], dtype=torch.long),
            region_weights=torch.tensor(words[2], dtype=torch.float32),
            samples=samples,
            pictures=len(pixels),
        )


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
    found: dict[tuple[Path | bytes | int, ...], list[Sample]] = {}
    for sample in group:
        if not sample.images:
            yield (sample,)
            continue
        key = tuple(image if isinstance(image, Path | bytes) else id(image) for image in sample.images)
        found.setdefault(key, []).append(sample)
    yield from (tuple(samples) for samples in found.values())


class _Steps(Dataset["list[Batch] | TuwenError"]):
    """Step number → its batches; a pure function of the seed and the number."""

    def __init__(
        self, mixture: Mixture, collator: Collator, *, seed: int, groups: int, batches: int, rank: int, world: int
    ) -> None:
        self.mixture, self.collator, self.seed = mixture, collator, seed
        self.groups, self.batches, self.rank, self.world = groups, batches, rank, world

    def __getitem__(self, step: int) -> list[Batch] | TuwenError:
        # Raised in a worker, it would arrive with that worker's traceback inside its one line.
        try:
            return self._batches(step)
        except TuwenError as error:
            return error

    def _batches(self, step: int) -> list[Batch]:
        result = []
        for number in range(self.batches):
            first = ((step * self.batches + number) * self.world + self.rank) * self.groups
            here = [self.mixture.group(self.seed, index) for index in range(first, first + self.groups)]
            result.append(self.collator(here))
        return result


def step_batches(
    mixture: Mixture,
    collator: Collator,
    *,
    steps: range,
    seed: int,
    groups: int,
    batches: int = 1,
    rank: int = 0,
    world: int = 1,
    workers: int = 1,
) -> Iterator[list[Batch]]:
    """The batches of each step, made ahead of time in worker processes.

    Args:
        mixture: where groups come from.
        collator: makes batches of them.
        steps: which steps; any may be the first, and none before it is computed.
        seed: of the order.
        groups: groups (mostly pictures) in a batch.
        batches: batches of a step that this process accumulates.
        rank: this process among those that train.
        world: how many there are.
        workers: processes that make batches; 0 makes them in this one.

    Raises:
        TuwenError: when a sample or picture cannot be used, naming it.
    """
    dataset = _Steps(mixture, collator, seed=seed, groups=groups, batches=batches, rank=rank, world=world)
    loader: DataLoader[list[Batch] | TuwenError] = DataLoader(
        dataset,
        sampler=steps,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for made in loader:
        if isinstance(made, TuwenError):
            raise made
        yield made
