"""What memes are drawn on: plain, rays, dots or two colours, strong under white letters and pale under dark ones."""

from __future__ import annotations

import math
import random

import PIL.Image
from PIL import ImageDraw

from tuwen.data.synth.canvas import Colour

STRONG: tuple[Colour, ...] = (
    (86, 140, 200),
    (96, 168, 120),
    (210, 120, 110),
    (150, 120, 190),
    (206, 160, 80),
    (110, 120, 134),
)
PALE: tuple[Colour, ...] = (
    (252, 252, 250),
    (255, 240, 214),
    (226, 242, 252),
    (232, 246, 226),
    (252, 230, 236),
    (238, 232, 250),
)


def ground(rng: random.Random, size: tuple[int, int], strong: bool) -> PIL.Image.Image:
    """A background.

    Args:
        rng: of colour and pattern.
        size: width and height in pixels.
        strong: whether white letters stand on it.
    """
    first = rng.choice(STRONG if strong else PALE)
    shift = 14 if strong else -9
    red, green, blue = (max(0, min(255, channel + shift)) for channel in first)
    image = PIL.Image.new("RGB", size, first)
    pattern = rng.choice((None, _draw_rays, _draw_dots, _draw_halves))
    if pattern is not None:
        pattern(ImageDraw.Draw(image), size, (red, green, blue))
    return image


def _draw_rays(draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    x, y, reach = size[0] / 2, size[1] / 2, sum(size)
    for step in range(0, 24, 2):
        angles = (math.tau * step / 24, math.tau * (step + 1) / 24)
        tips = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle in angles]
        draw.polygon([(x, y), *tips], fill=colour)


def _draw_dots(draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    step = max(size) // 12
    for row, y in enumerate(range(step // 2, size[1] + step, step)):
        for x in range(step // 2 * (row % 2), size[0] + step, step):
            draw.ellipse((x - step / 4, y - step / 4, x + step / 4, y + step / 4), fill=colour)


def _draw_halves(draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    draw.polygon([(0, size[1] * 0.62), (size[0], size[1] * 0.55), size, (0, size[1])], fill=colour)
