"""Samples that are longer than a row may be: made to fit by a stated policy, or left out; pictures are never cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import PIL.Image

from tuwen.chat.messages import Message
from tuwen.chat.renderer import Rendered
from tuwen.config import TuwenError
from tuwen.data.pack import TokenSequence, packed_length
from tuwen.data.pairs import render_pair
from tuwen.data.sample import Sample, count_places
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import ImagePolicy

TooLong = Literal["shorten", "reject"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A sample as it is trained on.

    Attributes:
        rendered: no longer than a row.
        policy: that its pictures are cut by.
        pictures: how many of its pictures are left.
        change: what was done to it; empty for nothing.
        rejected: the same with the rejected answer, where answers are compared.
    """

    rendered: Rendered
    policy: ImagePolicy
    pictures: int
    change: str = ""
    rejected: Rendered | None = None

    def sequences(self, name: str) -> list[TokenSequence]:
        """What stands in a row, one behind the other."""
        both = [self.rendered] if self.rejected is None else [self.rendered, self.rejected]
        return [TokenSequence(input_ids=one.input_ids, labels=one.labels, name=name) for one in both]


def fit(
    sample: Sample,
    images: Sequence[PIL.Image.Image],
    processor: TuwenProcessor,
    max_length: int | None,
    too_long: TooLong = "shorten",
    *,
    pair: bool = False,
) -> Fitted:
    """Render a sample, shortened where it has to be: first its pictures have fewer tiles, then its last turns are
    dropped, a question with its answer each time. A picture's tokens are all there or none of them.

    Answers that are compared are the last turns, so those are not dropped.

    Args:
        sample: what is rendered.
        images: its pictures, opened.
        processor: of the model.
        max_length: tokens of a row; None for no limit.
        too_long: ``reject`` refuses what does not fit as it is.
        pair: whether its answer is compared with the rejected one, see ``render_pair``.

    Raises:
        TuwenError: naming the sample, when it does not fit or nothing of it is trained.
    """
    limit = max_length or sys.maxsize
    policies = (
        [processor.policy, *_fewer_tiles(processor.policy)] if images and too_long == "shorten" else [processor.policy]
    )
    whole = 0
    for policy in policies:
        change = "" if policy is processor.policy else f"{policy.most_tiles} tiles a picture at most"
        fitted = _fitted(sample, images, policy, processor, change=change, pair=pair)
        length = packed_length(fitted.sequences(sample.id))
        whole = whole or length
        if length <= limit:
            return fitted
    for kept in _fewer_turns(sample.messages) if too_long == "shorten" and not pair else ():
        pictures = count_places(kept)
        rendered = _render(sample, kept, images[:pictures], policies[-1], processor)
        if len(rendered.input_ids) <= limit:
            change = f"the last {len(sample.messages) - len(kept)} of {len(sample.messages)} turns dropped"
            return Fitted(rendered, policies[-1], pictures, change)
    raise TuwenError(f"{sample.id}: it takes {whole} tokens, more than max_length {max_length}")


def _fitted(
    sample: Sample,
    images: Sequence[PIL.Image.Image],
    policy: ImagePolicy,
    processor: TuwenProcessor,
    *,
    change: str,
    pair: bool,
) -> Fitted:
    """All of a sample, with its pictures cut by ``policy``."""
    if not pair:
        rendered = _render(sample, sample.messages, images, policy, processor)
        return Fitted(rendered, policy, len(images), change)
    chosen, rejected = render_pair(sample, _lengths(images, policy, processor), processor)
    return Fitted(chosen, policy, len(images), change, rejected)


def _lengths(images: Sequence[PIL.Image.Image], policy: ImagePolicy, processor: TuwenProcessor) -> list[int]:
    return [policy.plan(*image.size).tiles * processor.tokens_per_tile for image in images]


def _render(
    sample: Sample,
    messages: Sequence[Message],
    images: Sequence[PIL.Image.Image],
    policy: ImagePolicy,
    processor: TuwenProcessor,
) -> Rendered:
    rendered = processor.renderer.render(messages, _lengths(images, policy, processor), name=sample.id)
    if not any(label >= 0 for label in rendered.labels):
        raise TuwenError(f"{sample.id}: no token of it is trained; its last message must be the assistant's")
    return rendered


def _fewer_tiles(policy: ImagePolicy) -> Iterator[ImagePolicy]:
    while (fewer := policy.with_fewer_tiles()) is not None:
        yield fewer
        policy = fewer


def _fewer_turns(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The beginnings of a conversation that end with an answer, the longest first."""
    for stop in range(len(messages) - 1, 0, -1):
        if messages[stop - 1].role == "assistant":
            yield messages[:stop]
