"""What the model saw: its pictures after resizing and cutting, how many tokens they take, the exact prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.data.looking.page import png
from tuwen.infer.prompts import EncodedPrompt
from tuwen.infer.show import ShownPicture, denormalised, prompt_spans
from tuwen.infer.show_display import label, tiling
from tuwen.models.processing import Encoded, TuwenProcessor
from tuwen.serve.demo.conversation import Conversation


def seen(conversation: Conversation, place: int, speaker: int) -> dict[str, Any]:
    """What a speaker was given at a turn, as the page shows it.

    Args:
        conversation: of the visitor.
        place: of the turn, from 0.
        speaker: number of the speaker.

    Returns:
        Pictures (size, tiling, tokens, tiles as ``data:`` URLs), spans of the prompt, and counts of tokens.
    """
    chatter = conversation.speakers[speaker].chatter
    encoded = conversation.prompt(place, speaker)
    ids = encoded.rendered.input_ids
    places = image_places(encoded, chatter.model.config)
    labels = [IGNORE_INDEX] * len(ids)
    spans = [{"text": label(span), "kind": span.kind} for span in prompt_spans(ids, labels, places, chatter.processor)]
    sizes = [picture.image.size for picture in conversation.opened(place, speaker)]
    pictures = list(_pictures(sizes, encoded, chatter.processor))
    return {
        "pictures": pictures or [{"size": _size(size)} for size in sizes],
        "cut": bool(pictures) or not sizes,
        "spans": spans,
        "tokens": len(ids),
        "imageTokens": sum(stop - start for start, stop in places),
    }


def image_places(encoded: EncodedPrompt, config: Any) -> list[tuple[int, int]]:
    """Where pictures stand among the tokens; runs of the image token where the processor does not say."""
    if encoded.rendered.image_spans:
        return list(encoded.rendered.image_spans)
    token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    return [] if token is None else list(_runs(encoded.rendered.input_ids, token))


def _runs(ids: Sequence[int], token: int) -> Iterator[tuple[int, int]]:
    start = None
    for place, index in enumerate([*ids, None]):
        if index == token and start is None:
            start = place
        elif index != token and start is not None:
            yield start, place
            start = None


def _pictures(sizes: Sequence[tuple[int, int]], encoded: EncodedPrompt, processor: Any) -> Iterator[dict[str, Any]]:
    """Pictures as they come out of the normalised pixels; none for processors that keep to themselves how they cut."""
    if not isinstance(encoded, Encoded) or not isinstance(processor, TuwenProcessor):
        return
    first, policy = 0, processor.policy
    for size, count in zip(sizes, encoded.image_tiles, strict=True):
        tiles = tuple(denormalised(encoded.pixel_values[first : first + count], policy))
        shown = ShownPicture("", size, policy.plan(*size), tiles, count * processor.tokens_per_tile)
        first += count
        yield {
            "size": _size(size),
            "tiling": tiling(shown),
            "columns": shown.grid.columns,
            "tokens": shown.tokens,
            "tiles": [png(tile) for tile in tiles],
        }


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
