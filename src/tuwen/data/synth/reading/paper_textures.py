"""Grounds that text is written on: paper with fibres, folds, stains and rulings, boards, and tables below them.

As in SynthDoG (Kim et al., Donut, arXiv 2111.15664), which takes photographs; here every texture is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFilter

from tuwen.data.synth.canvas import Colour

Size = tuple[int, int]
# Multiplies the colour of each pixel: (height, width, 1), about 1.
Shade = np.ndarray


def smooth_noise(rng: random.Random, size: Size, cells: Size) -> Shade:
    """Random values in cells, smoothly joined: 0–1, (height, width, 1).

    Args:
        rng: of the values.
        size: width and height in pixels.
        cells: in a row and in a column.
    """
    across, down = max(2, cells[0]), max(2, cells[1])
    grid = PIL.Image.frombytes("L", (across, down), rng.randbytes(across * down))
    return np.asarray(grid.resize(size, PIL.Image.Resampling.BICUBIC), np.float32)[:, :, None] / 255


def grain(rng: random.Random, size: Size) -> Shade:
    """A value for each pixel by itself, −1–1, small ones more often: (height, width, 1)."""
    width, height = size
    values = np.frombuffer(rng.randbytes(2 * width * height), np.uint8).astype(np.float32)
    return (values[::2] + values[1::2]).reshape(height, width, 1) / 255 - 1


def _plain(rng: random.Random, size: Size) -> Shade:
    return np.ones((size[1], size[0], 1), np.float32)


def _mottled(rng: random.Random, size: Size) -> Shade:
    cells = rng.randint(3, 12)
    return 1 + 0.1 * (smooth_noise(rng, size, (cells, cells)) - 0.5) + 0.015 * grain(rng, size)


def _fibres(rng: random.Random, size: Size) -> Shade:
    """Short bent hairs, as recycled and hand-made paper has them."""
    width, height = size
    layer = PIL.Image.new("L", size, 128)
    draw = ImageDraw.Draw(layer)
    for _ in range(width * height // rng.randint(500, 1500)):
        x, y, length = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(3, 14)
        dx, dy = rng.uniform(-1, 1) * length, rng.uniform(-1, 1) * length
        bend = rng.uniform(-3, 3)
        points = ((x, y), (x + dx / 2 + bend, y + dy / 2 - bend), (x + dx, y + dy))
        draw.line(points, fill=128 + rng.randint(-34, 16))
    return 1 + (np.asarray(layer, np.float32)[:, :, None] - 128) / 255 + 0.02 * grain(rng, size)


def _gradient(rng: random.Random, size: Size) -> Shade:
    width, height = size
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :, None] * rng.uniform(-1, 1)
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None, None] * rng.uniform(-1, 1)
    return 1 + 0.2 * (across + down)


def _folds(rng: random.Random, size: Size) -> Shade:
    """Creases with a light and a dark side."""
    shade = 1 + 0.02 * grain(rng, size)
    for axis, length in ((1, size[0]), (0, size[1])):
        for _ in range(rng.randint(0, 2)):
            distance = np.arange(length, dtype=np.float32) - rng.uniform(0.15, 0.85) * length
            reach = length * rng.uniform(0.03, 0.12)
            slope = np.clip(1 - np.abs(distance) / reach, 0, 1) * np.sign(distance) * rng.choice((-1, 1))
            crease = 1 + 0.09 * slope - 0.12 * (np.abs(distance) < 0.8)
            shade = shade * np.expand_dims(crease, (1 - axis, 2))
    return shade


def _stains(rng: random.Random, size: Size) -> Shade:
    """Rings and spots of tea, pale enough to read through."""
    width, height = size
    layer = PIL.Image.new("L", size, 0)
    draw = ImageDraw.Draw(layer)
    for _ in range(rng.randint(1, 4)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), min(size) * rng.uniform(0.04, 0.22)
        box = (x - radius, y - radius * rng.uniform(0.8, 1), x + radius, y + radius)
        draw.ellipse(box, fill=rng.choice((None, 40)), outline=rng.randint(50, 90), width=max(1, round(radius / 12)))
    blurred = layer.filter(ImageFilter.BoxBlur(min(size) / 250))
    # Tea takes more of the blue than of the red.
    return 1 - np.asarray(blurred, np.float32)[:, :, None] / 255 * np.array([0.5, 0.75, 1.0], np.float32)


def _ruled(rng: random.Random, size: Size) -> Shade:
    """Lines, squares or dots to write on."""
    width, height = size
    layer = PIL.Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(layer)
    step, pattern = round(max(size) / rng.uniform(14, 30)), rng.choice(("lines", "squares", "dots", "lines"))
    colour = rng.choice(((190, 215, 240), (205, 205, 205), (240, 205, 205), (195, 230, 205)))
    first = rng.randrange(step)
    for y in range(first, height, step):
        if pattern == "dots":
            for x in range(first, width, step):
                draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
        else:
            draw.line((0, y, width, y), fill=colour)
    if pattern == "squares":
        for x in range(first, width, step):
            draw.line((x, 0, x, height), fill=colour)
    return np.asarray(layer, np.float32) / 255


# A sheet has one or two of them.
TEXTURES: dict[str, Callable[[random.Random, Size], Shade]] = {
    "fibres": _fibres,
    "folds": _folds,
    "gradient": _gradient,
    "mottled": _mottled,
    "plain": _plain,
    "ruled": _ruled,
    "stains": _stains,
}


def textured(rng: random.Random, size: Size, colour: Colour) -> PIL.Image.Image:
    """A sheet of one colour with one or two textures.

    Args:
        rng: of everything that is chosen.
        size: width and height in pixels.
        colour: of the sheet before anything is on it.
    """
    shade = np.array(colour, np.float32)
    for name in rng.sample(sorted(TEXTURES), rng.randint(1, 2)):
        shade = shade * TEXTURES[name](rng, size)
    return PIL.Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8))


def surroundings(rng: random.Random, size: Size) -> PIL.Image.Image:
    """What a sheet lies on: wood, cloth, stone or nothing in particular, in any colour."""
    kind = rng.choice(("cloth", "plain", "stone", "wood"))
    colour = np.array([rng.randint(30, 235) for _ in range(3)], np.float32)
    shade: Shade
    match kind:
        case "wood":
            cells = (2, rng.randint(20, 60)) if rng.random() < 0.5 else (rng.randint(20, 60), 2)
            shade = 0.75 + 0.5 * smooth_noise(rng, size, cells)
        case "stone":
            shade = 0.8 + 0.4 * smooth_noise(rng, size, (40, 40)) * smooth_noise(rng, size, (7, 7))
        case "cloth":
            width, height = size
            step = rng.randint(3, 12)
            across = (np.arange(width) // step % 2)[None, :, None]
            down = (np.arange(height) // step % 2)[:, None, None]
            shade = 1 + 0.06 * (across + down - 1).astype(np.float32)
        case _:
            shade = _gradient(rng, size)
    pixels = colour * shade * (1 + 0.03 * grain(rng, size))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
