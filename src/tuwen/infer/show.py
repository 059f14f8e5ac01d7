"""A sample as the model is trained on it: token ids, what of them is trained, and the pixels of its pictures.

All of it is taken from a batch of the collator that trains; where that leaves the sample out, the renderer alone says
what it would have been.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL.Image

from tuwen.chat.encoding import text_vocabulary
from tuwen.chat.renderer import IGNORE_INDEX, Rendered
from tuwen.config import TuwenError
from tuwen.data.collator import Collator
from tuwen.data.fitting import fit
from tuwen.data.media import fetch
from tuwen.data.sample import Sample
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import Grid, ImagePolicy

Kind = Literal["text", "control", "image"]


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens in a row that are shown together.

    Attributes:
        kind: text, control tokens, or the places of one picture.
        start: of the first one in the sample.
        ids: of the tokens.
        trained: whether the model is trained to give them.
        text: what they stand for; of a picture, its number.
    """

    kind: Kind
    start: int
    ids: tuple[int, ...]
    trained: bool
    text: str


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture as the model sees it.

    Attributes:
        name: of its file.
        size: width and height in pixels, as it lies there.
        grid: how it is cut.
        tiles: RGB, as they come out of the normalised pixels.
        tokens: that it takes up.
    """

    name: str
    size: tuple[int, int]
    grid: Grid
    tiles: tuple[PIL.Image.Image, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample as the model is trained on it.

    Attributes:
        sample: as it was read.
        ids: token ids [length].
        labels: the same where they are trained, else -100; not shifted.
        spans: all of ``ids``, in order.
        pictures: those that are left.
        change: what was done to make it fit; empty for nothing.
        refused: why training leaves it out; empty where it does not.
    """

    sample: Sample
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    spans: tuple[Span, ...]
    pictures: tuple[ShownPicture, ...]
    change: str = ""
    refused: str = ""

    @property
    def trained(self) -> int:
        """How many tokens are trained."""
        return sum(label != IGNORE_INDEX for label in self.labels)

    @property
    def image_tokens(self) -> int:
        """How many tokens are places of pictures."""
        return sum(picture.tokens for picture in self.pictures)


def look_at(sample: Sample, processor: TuwenProcessor, *, max_length: int | None = None) -> Shown:
    """A sample as the model with this processor is trained on it.

    Args:
        sample: what is looked at.
        processor: of the model.
        max_length: tokens of a row; longer samples are made to fit as training does it.

    Raises:
        TuwenError: when a picture cannot be opened, or the chat template refuses the sample.
    """
    opened = [processor.policy.open(fetch(image)) for image in sample.images]
    batch = Collator(processor, max_length=max_length)([(sample,)])
    notes = [note for note in batch.notes if note.left_out]
    if notes:
        rendered, policy, change = _rendered(sample, opened, processor), processor.policy, ""
        pixels = [policy.apply(image) for image in opened]
        ids, labels = rendered.input_ids, rendered.labels
        tiles = np.concatenate(pixels) if pixels else processor.image_processor.no_pixels()
    else:
        fitted = fit(sample, opened, processor, max_length)
        rendered, policy, change = fitted.rendered, fitted.policy, fitted.change
        length = len(rendered.input_ids)
        opened = opened[: fitted.pictures]
        ids = batch.input_ids[0, :length].tolist()
        # In a batch each place has the label of the next one.
        labels = [IGNORE_INDEX, *batch.labels[0, : length - 1].tolist()]
        tiles = batch.pixel_values.numpy()
        assert ids == rendered.input_ids, "the batch holds the sample as it was rendered"
    return Shown(
        sample=sample,
        ids=tuple(ids),
        labels=tuple(labels),
        spans=tuple(prompt_spans(ids, labels, rendered.image_spans, processor)),
        pictures=tuple(_pictures(sample, opened, tiles, policy, processor.tokens_per_tile)),
        change=change,
        refused=notes[0].reason if notes else "",
    )


def _rendered(sample: Sample, opened: Sequence[PIL.Image.Image], processor: TuwenProcessor) -> Rendered:
    lengths = [processor.num_image_tokens(*image.size) for image in opened]
    return processor.renderer.render(sample.messages, lengths, name=sample.id)


def _pictures(
    sample: Sample, opened: Sequence[PIL.Image.Image], pixels: np.ndarray, policy: ImagePolicy, tokens_per_tile: int
) -> Iterator[ShownPicture]:
    first = 0
    for picture, image in zip(sample.images, opened, strict=False):
        grid = policy.plan(*image.size)
        name = f"{len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
        tiles = tuple(denormalised(pixels[first : first + grid.tiles], policy))
        yield ShownPicture(name, image.size, grid, tiles, grid.tiles * tokens_per_tile)
        first += grid.tiles
    assert first == len(pixels), "every tile belongs to a picture"


def denormalised(pixels: np.ndarray, policy: ImagePolicy) -> Iterator[PIL.Image.Image]:
    """What the model sees, as pictures: the bytes that normalising made ``pixels`` of.

    Args:
        pixels: float32 [tiles, 3, height, width].
        policy: that normalised them.
    """
    std, mean = (np.asarray(values, dtype=np.float64)[:, None, None] for values in (policy.std, policy.mean))
    for tile in pixels:
        levels = np.clip(np.rint((tile * std + mean) * 255), 0, 255).astype(np.uint8)
        yield PIL.Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def prompt_spans(
    ids: Sequence[int], labels: Sequence[int], pictures: Sequence[tuple[int, int]], processor: TuwenProcessor
) -> Iterator[Span]:
    """Tokens together that are of one kind, and trained or not; ``pictures`` are their places (start, stop)."""
    vocabulary = text_vocabulary(processor.tokenizer)
    known = (vocabulary.token_to_id(content) for content in vocabulary.added)
    control = {index for index in known if index is not None}
    number = {place: which for which, (start, stop) in enumerate(pictures) for place in range(start, stop)}

    def group(place: int) -> tuple[Kind, bool, int]:
        kind: Kind = "image" if place in number else "control" if ids[place] in control else "text"
        return kind, labels[place] != IGNORE_INDEX, number.get(place, -1)

    start = 0
    for place in range(1, len(ids) + 1):
        if place < len(ids) and group(place) == group(start):
            continue
        kind, trained, picture = group(start)
        here = tuple(ids[start:place])
        text = str(picture + 1) if kind == "image" else decoded(processor, here, ids[start - 1 : start])
        yield Span(kind, start, here, trained, text)
        start = place


def decoded(processor: TuwenProcessor, ids: Sequence[int], before: Sequence[int] = ()) -> str:
    """The text of tokens, of which SentencePiece's would lose a blank at the beginning without one before them."""

    def decode(some: Sequence[int]) -> str:
        text: str = processor.tokenizer.decode(
            list(some), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    whole, first = decode([*before, *ids]), decode(before)
    return whole[len(first) :] if whole.startswith(first) else decode(ids)


def nth_sample(entries: Iterator[Sample | TuwenError], index: int, data: str) -> Sample:
    """The sample at a place among all entries of some data.

    Args:
        entries: samples, or what is wrong in their place.
        index: from 0.
        data: what to call the data in a message.

    Raises:
        TuwenError: when there is no such entry, or it is broken.
    """
    count = 0
    for entry in entries:
        if count == index:
            if isinstance(entry, TuwenError):
                raise entry
            return entry
        count += 1
    raise TuwenError(f"{data}: has {count} samples; --index counts them from 0 to {count - 1}")
