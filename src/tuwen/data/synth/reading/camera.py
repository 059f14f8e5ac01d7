"""What a camera does to a picture: uneven light, shadows, blur, noise, and JPEG's blocks."""

from __future__ import annotations

import io
import random

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFilter

from tuwen.data.synth.reading.paper_textures import grain


def photographed(image: PIL.Image.Image, rng: random.Random, strength: float) -> PIL.Image.Image:
    """The picture as a camera might give it; nothing moves.

    Args:
        image: RGB.
        rng: of everything that is chosen.
        strength: 0 for a scanner, 1 for a hasty hand in bad light.
    """
    pixels: np.ndarray = np.asarray(image, np.float32)
    if rng.random() < 0.7 * strength:
        pixels = pixels * _light(rng, image.size, strength)
    if rng.random() < 0.3 * strength:
        pixels = pixels * _shadow(rng, image.size)
    if rng.random() < 0.5:
        gain, lift = 1 - rng.uniform(0, 0.25) * strength, rng.uniform(0, 22) * strength
        pixels = pixels * gain + lift
    if rng.random() < 0.6:
        pixels = pixels + grain(rng, image.size) * rng.uniform(2, 22) * strength
    result = PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        result = result.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.75) * strength * max(image.size) / 448))
    return compressed(result, rng.randint(round(92 - 52 * strength), 95)) if rng.random() < 0.6 else result


def compressed(image: PIL.Image.Image, quality: int) -> PIL.Image.Image:
    """The picture after JPEG of a quality (1–95)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return PIL.Image.open(buffer).convert("RGB")


def _light(rng: random.Random, size: tuple[int, int], strength: float) -> np.ndarray:
    """Brighter towards one place: (height, width, 1)."""
    width, height = size
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    across = (np.arange(width, dtype=np.float32)[None, :, None] - x) / max(size)
    down = (np.arange(height, dtype=np.float32)[:, None, None] - y) / max(size)
    return 1.04 - rng.uniform(0.1, 0.45) * strength * np.minimum(across**2 + down**2, 1)


def _shadow(rng: random.Random, size: tuple[int, int]) -> np.ndarray:
    """A soft-edged half-plane, as of a hand or a phone held over the sheet: (height, width, 1)."""
    width, height = size
    layer = PIL.Image.new("L", size, 255)
    dark = rng.randint(130, 215)
    upright = rng.random() < 0.5
    along, across = (height, width) if upright else (width, height)
    edge, tilt = rng.uniform(0.2, 0.8) * across, rng.uniform(-0.3, 0.3) * across
    side = rng.choice((-across, 2 * across))
    shape: list[tuple[float, float]] = [(0, edge), (along, edge + tilt), (along, side), (0, side)]
    if upright:
        shape = [(x, y) for y, x in shape]
    ImageDraw.Draw(layer).polygon(shape, fill=dark)
    blurred = layer.filter(ImageFilter.BoxBlur(rng.uniform(1, 12)))
    return np.asarray(blurred, np.float32)[:, :, None] / 255
