"""Pictures that stand in the text as ``<image>``, as LLaVA, LLaMA-Factory and ms-swift write them."""

from __future__ import annotations

from tuwen.chat.messages import Image, Part, Text
from tuwen.data.formats.base import refusal
from tuwen.data.sample import Sample

PLACE = "<image>"


def split_places(text: str, *, breaks: bool) -> list[Part]:
    """Parts of a text in which ``<image>`` stands for a picture.

    Args:
        text: of a turn.
        breaks: whether one line break on each side of a picture belongs to the format and not to the question.
    """
    parts: list[Part] = []
    pieces = text.split(PLACE)
    for number, piece in enumerate(pieces):
        if number:
            parts.append(Image())
            piece = piece.removeprefix("\n") if breaks else piece
        if breaks and number < len(pieces) - 1:
            piece = piece.removesuffix("\n")
        parts.append(Text(piece))
    return parts


def join_places(parts: tuple[Part, ...], sample: Sample, *, breaks: bool) -> str:
    """The text from which ``split_places`` gives these parts again.

    Raises:
        TuwenError: when a text holds ``<image>`` itself, or a picture has a label, which it cannot say.
    """
    text = ""
    for number, part in enumerate(parts):
        if isinstance(part, Image):
            if part.label is not None:
                raise refusal(sample, f"the label {part.label!r} of a picture has no place in this format")
            text += PLACE
            continue
        if PLACE in part.text:
            raise refusal(sample, f"its text holds {PLACE}, which would become the place of a picture")
        if breaks:
            before = "\n" if number else ""
            after = "\n" if number < len(parts) - 1 else ""
            text += before + part.text + after
        else:
            text += part.text
    return text
