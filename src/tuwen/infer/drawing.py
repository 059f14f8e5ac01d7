"""Boxes of an answer drawn onto the picture, with their labels."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
from PIL import ImageDraw

from tuwen.chat.grounding import Grounding
from tuwen.data.synth.fonts import open_font, require_glyphs

COLOURS = ((226, 61, 40), (36, 113, 204), (28, 143, 85), (146, 70, 190), (214, 122, 0), (0, 140, 150))
LEAST_FONT = 12


def draw_boxes(image: PIL.Image.Image, boxes: Sequence[Grounding], font: str | None = None) -> PIL.Image.Image:
    """A copy of a picture with boxes on it; those with the same label share a colour.

    Args:
        image: RGB.
        boxes: with sides as fractions of the picture's.
        font: a font file for the labels; one of the system's Chinese fonts unless said.

    Raises:
        TuwenError: when a label is to be written and there is no font, or it lacks a character of the label.
    """
    drawn = image.convert("RGB").copy()
    draw = ImageDraw.Draw(drawn)
    width, height = drawn.size
    line = max(2, round(min(width, height) / 150))
    labels = list(dict.fromkeys(box.label for box in boxes))
    for box in boxes:
        colour = COLOURS[labels.index(box.label) % len(COLOURS)]
        # Whole pixels, as Qwen-VL's own drawing has them; a side at the very end is the last pixel.
        left, right = (min(int(side * width), width - 1) for side in (box.box[0], box.box[2]))
        top, bottom = (min(int(side * height), height - 1) for side in (box.box[1], box.box[3]))
        pixels = (left, top, right, bottom)
        draw.rectangle(pixels, outline=colour, width=line)
        if box.label:
            _write(draw, box.label, (pixels[0], pixels[1]), colour, (width, height), font)
    return drawn


def _write(
    draw: ImageDraw.ImageDraw,
    label: str,
    corner: tuple[float, float],
    colour: tuple[int, int, int],
    size: tuple[int, int],
    font: str | None,
) -> None:
    """A label on its own ground above the corner, or below it where there is no room; never outside the picture."""
    require_glyphs(label, font)
    opened = open_font(max(LEAST_FONT, round(min(size) / 22)), font)
    left, top, right, bottom = opened.getbbox(label)
    text_width, text_height = right - left + 6, bottom - top + 6
    x = max(0.0, min(corner[0], size[0] - text_width))
    y = corner[1] - text_height if corner[1] >= text_height else corner[1]
    draw.rectangle((x, y, x + text_width, y + text_height), fill=colour)
    draw.text((x + 3 - left, y + 3 - top), label, fill="white", font=opened)
