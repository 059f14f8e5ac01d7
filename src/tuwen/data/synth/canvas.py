"""What suites draw on: light paper, twice as large as the picture so that edges come out smooth."""

from __future__ import annotations

import random
from functools import lru_cache

import PIL.Image
from PIL import ImageDraw

SCALE = 2
LIGHT = 222

Colour = tuple[int, int, int]


def pale(rng: random.Random, least: int = LIGHT) -> Colour:
    """A light colour for a background."""
    return (rng.randint(least, 255), rng.randint(least, 255), rng.randint(least, 255))


def paper(rng: random.Random, size: int, least: int = LIGHT) -> PIL.Image.Image:
    """Light paper, ``SCALE`` times ``size``: plain, shaded from one side to the other, lined or squared.

    What is on it is too faint to be taken for something drawn.

    Args:
        rng: of everything that is chosen.
        size: sides of the picture that comes of it, in pixels.
        least: of each colour channel, 0–255.
    """
    side = size * SCALE
    colour = pale(rng, least)
    pattern = rng.choice(("plain", "shaded", "lined", "squared"))
    if pattern == "shaded":
        return PIL.Image.composite(
            PIL.Image.new("RGB", (side, side), colour),
            PIL.Image.new("RGB", (side, side), pale(rng, least)),
            _ramp(side, rng.choice((None, PIL.Image.Transpose.ROTATE_90))),
        )
    image = PIL.Image.new("RGB", (side, side), colour)
    if pattern == "plain":
        return image
    red, green, blue = (channel - rng.randint(4, 10) for channel in colour)
    step, first, width = rng.randint(side // 16, side // 7), rng.randrange(side // 16), max(1, side // 128)
    draw = ImageDraw.Draw(image)
    for place in range(first, side, step):
        draw.line((0, place, side, place), fill=(red, green, blue), width=width)
        if pattern == "squared":
            draw.line((place, 0, place, side), fill=(red, green, blue), width=width)
    return image


@lru_cache(maxsize=8)
def _ramp(side: int, turn: PIL.Image.Transpose | None) -> PIL.Image.Image:
    ramp = PIL.Image.linear_gradient("L").resize((side, side))
    return ramp if turn is None else ramp.transpose(turn)


def smooth(image: PIL.Image.Image) -> PIL.Image.Image:
    """The picture in its own size, from one drawn ``SCALE`` times as large."""
    return image.reduce(SCALE)


def scaled(*coordinates: float) -> tuple[float, ...]:
    """Pixels of the picture as pixels of what is drawn on."""
    return tuple(coordinate * SCALE for coordinate in coordinates)
