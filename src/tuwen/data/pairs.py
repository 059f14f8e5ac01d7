"""A better and a worse answer to the same question as two sequences; of each its answer alone is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuwen.chat.messages import Message
from tuwen.chat.renderer import IGNORE_INDEX, Rendered
from tuwen.config import TuwenError
from tuwen.data.sample import Sample, count_places
from tuwen.models.processing import TuwenProcessor


def render_pair(sample: Sample, lengths: Sequence[int], processor: TuwenProcessor) -> tuple[Rendered, Rendered]:
    """A conversation with its answer, and with the rejected one in its place.

    Answers before the last one are as much a part of the question as the pictures are, and not trained.

    Args:
        sample: with a rejected answer.
        lengths: tokens of each picture.
        processor: of the model.

    Raises:
        TuwenError: naming the sample, when there is nothing to compare.
    """
    if sample.rejected is None:
        raise TuwenError(f"{sample.id}: it has no rejected answer to compare its answer with")
    if not sample.messages or sample.messages[-1].role != "assistant" or count_places(sample.messages[-1:]):
        raise TuwenError(f"{sample.id}: its last message must be a text of the assistant to be compared")
    worse = (*sample.messages[:-1], Message.of("assistant", sample.rejected))
    chosen, rejected = (
        _last_answer(processor.renderer.render(messages, lengths, name=sample.id))
        for messages in (sample.messages, worse)
    )
    if not all(any(label >= 0 for label in one.labels) for one in (chosen, rejected)):
        raise TuwenError(f"{sample.id}: no token of an answer is trained")
    if chosen.input_ids == rejected.input_ids:
        raise TuwenError(f"{sample.id}: its rejected answer is the same as its answer")
    return chosen, rejected


def _last_answer(rendered: Rendered) -> Rendered:
    """The same with the last trained stretch alone, which is the last message with the end of its turn."""
    labels = rendered.labels
    stop = max((place for place, label in enumerate(labels, start=1) if label >= 0), default=0)
    start = stop
    while start and labels[start - 1] >= 0:
        start -= 1
    rest = [IGNORE_INDEX] * len(labels)
    rest[start:stop] = labels[start:stop]
    return replace(rendered, labels=rest)
