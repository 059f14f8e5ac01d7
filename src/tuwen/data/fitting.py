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
    """

    rendered: Rendered
    policy: ImagePolicy
    pictures: int
    change: str = ""


def fit(
    sample: Sample,
    images: Sequence[PIL.Image.Image],
    processor: TuwenProcessor,
    max_length: int | None,
    too_long: TooLong = "shorten",
) -> Fitted:
    """Render a sample, shortened where it has to be: first its pictures have fewer tiles, then its last turns are
    dropped, a question with its answer each time. A picture's tokens are all there or none of them.

    Args:
        sample: what is rendered.
        images: its pictures, opened.
        processor: of the model.
        max_length: tokens of a row; None for no limit.
        too_long: ``reject`` refuses what does not fit as it is.

    Raises:
        TuwenError: naming the sample, when it does not fit or nothing of it is trained.
    """
    limit = max_length or sys.maxsize
    policies = (
        [processor.policy, *_fewer_tiles(processor.policy)] if images and too_long == "shorten" else [processor.policy]
    )
    whole = 0
    for policy in policies:
        rendered = _render(sample, sample.messages, images, policy, processor)
        length = len(rendered.input_ids)
        whole = whole or length
        if length <= limit:
            change = "" if policy is processor.policy else f"{policy.most_tiles} tiles a picture at most"
            return Fitted(rendered, policy, len(images), change)
    for kept in _fewer_turns(sample.messages) if too_long == "shorten" else ():
        pictures = count_places(kept)
        rendered = _render(sample, kept, images[:pictures], policies[-1], processor)
        if len(rendered.input_ids) <= limit:
            change = f"the last {len(sample.messages) - len(kept)} of {len(sample.messages)} turns dropped"
            return Fitted(rendered, policies[-1], pictures, change)
    raise TuwenError(f"{sample.id}: it takes {whole} tokens, more than max_length {max_length}")


def _render(
    sample: Sample,
    messages: Sequence[Message],
    images: Sequence[PIL.Image.Image],
    policy: ImagePolicy,
    processor: TuwenProcessor,
) -> Rendered:
    lengths = [policy.plan(*image.size).tiles * processor.tokens_per_tile for image in images]
    rendered = processor.renderer.render(messages, lengths, name=sample.id)
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
