"""Short texts on pictures: broken into lines, as large as fits, readable on any ground."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont

from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.fonts import Typeface
from tuwen.data.synth.scenes.painting import Box

LINE_HEIGHT = 1.22
# Pixels of the picture below which letters cannot be read.
LEAST = 6
# Sizes of letters on the sheet, each a little larger than the one before: few, so that opened fonts are used again.
SIZES = tuple(round(LEAST * SCALE * 1.08**step) for step in range(75))
MEASURED = 64


@dataclass(frozen=True, slots=True)
class Style:
    """How a text is written.

    Attributes:
        ink: of the letters.
        edge: around them, or None.
    """

    ink: Colour
    edge: Colour | None = None


def broken(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines of ``width`` at most and of much the same length: English between words, Chinese anywhere."""
    lines = _filled(text, font, width)
    # The same number of lines, with nothing like a single character left for the last.
    narrow = sum(font.getlength(line) for line in lines) / len(lines)
    while len(evened := _filled(text, font, narrow)) > len(lines):
        narrow += font.size / 2
    return evened if narrow < width else lines


def _filled(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines that are filled one after another."""
    chinese = any(character > "\u2e7f" for character in text)
    lines = [""]
    for piece in list(text) if chinese else [f"{word} " for word in text.split()]:
        longer = lines[-1] + piece
        if lines[-1] and font.getlength(longer.rstrip()) > width and piece not in ",。!?%":
            lines.append(piece)
        else:
            lines[-1] = longer
    return [line.rstrip() for line in lines]


def write(draw: ImageDraw.ImageDraw, text: str, box: Box, face: Typeface, style: Style) -> list[tuple[Box, str]]:
    """Write a text into the middle of a box, as large as fits.

    Args:
        draw: on what is ``SCALE`` times as large as the picture.
        text: in one language.
        box: in pixels of ``draw``.
        face: of the letters.
        style: of the letters.

    Returns:
        Box in pixels of ``draw``, and text, of every line.
    """
    left, top, right, bottom = box
    # Letters fill at most the whole box.
    length = face.at(MEASURED).getlength(text) / MEASURED
    most = min((bottom - top) / LINE_HEIGHT, math.sqrt((right - left) * (bottom - top) / LINE_HEIGHT / length))
    for size in reversed(SIZES[: max(1, bisect_right(SIZES, most))]):
        font = face.at(size)
        lines = broken(text, font, right - left)
        widest = max(font.getlength(line) for line in lines)
        if widest <= right - left and len(lines) * size * LINE_HEIGHT <= bottom - top:
            break
    edge = max(1, size // 12) if style.edge is not None else 0
    x, y = (left + right) / 2, (top + bottom) / 2 - (len(lines) - 1) * size * LINE_HEIGHT / 2
    written = []
    for line in lines:
        draw.text((x, y), line, font=font, fill=style.ink, anchor="mm", stroke_width=edge, stroke_fill=style.edge)
        half = font.getlength(line) / 2
        written.append(((x - half, y - size * 0.55, x + half, y + size * 0.55), line))
        y += size * LINE_HEIGHT
    return written
