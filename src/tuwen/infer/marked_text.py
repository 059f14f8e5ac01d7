"""A text with boxes as the page shows it: words in the colour of their box, and boxes that are drawn as they close."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tuwen.chat.grounding import Box, Grounding, parse_boxes
from tuwen.infer.drawing import COLOURS

# What may still become a box's markup is at most so long; nothing before it needs a look.
LONGEST = 300
_BEGUN = re.compile(r"(?:<ref>[^<]{0,200}(?:</ref>)?)?(?:<box>[0-9(), ]{0,40})?(?:<[/a-z]{0,4})?")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text.

    Attributes:
        text: literally; of a box without a label, nothing.
        boxes: numbers of the boxes that it names; none for plain text.
    """

    text: str
    boxes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box on a picture.

    Attributes:
        label: what is there; empty where the text does not say.
        box: left, top, right, bottom as fractions (0–1).
        colour: of the box and its words, ``#rrggbb``.
    """

    label: str
    box: Box
    colour: str


def segments(text: str, *, growing: bool = False) -> tuple[list[Segment], list[DrawnBox]]:
    """A text in pieces, and its boxes.

    Args:
        text: with boxes in it, in Qwen-VL's markup.
        growing: more of it will come: what looks like a markup's beginning at its end is not shown yet.

    Returns:
        Pieces in order, and boxes in order. Those with the same label share a colour, as in ``draw_boxes``.
    """
    found = parse_boxes(text)
    stop = _settled(text, found[-1].span[1] if found else 0) if growing else len(text)
    pieces: list[Segment] = []
    end = 0
    for number, grounding in enumerate(found):
        start, after = grounding.span
        if start > end:
            pieces.append(Segment(text[end:start]))
        # Boxes in a row share their words.
        if start == end and pieces and pieces[-1].boxes and not _has_label(text, start):
            pieces[-1] = Segment(pieces[-1].text, (*pieces[-1].boxes, number))
        else:
            pieces.append(Segment(grounding.label, (number,)))
        end = after
    if end < stop:
        pieces.append(Segment(text[end:stop]))
    return pieces, _coloured(found)


def _has_label(text: str, start: int) -> bool:
    return text.startswith("<ref>", start)


def _settled(text: str, end: int) -> int:
    """Where what may still become markup begins; the text's length where nothing may."""
    place = text.find("<", max(end, len(text) - LONGEST))
    while place >= 0:
        if _BEGUN.fullmatch(text, place):
            return place
        place = text.find("<", place + 1)
    return len(text)


def _coloured(found: list[Grounding]) -> list[DrawnBox]:
    """Boxes with colours; each that has no label stands for itself."""
    keys = [grounding.label or f"<{number}>" for number, grounding in enumerate(found)]
    colours = {key: COLOURS[place % len(COLOURS)] for place, key in enumerate(dict.fromkeys(keys))}
    return [
        DrawnBox(grounding.label, grounding.box, "#" + bytes(colours[key]).hex())
        for key, grounding in zip(keys, found, strict=True)
    ]
