"""How a thing of a scene is painted: its outline as a mask, filled with a pattern, details on top."""

from __future__ import annotations

from collections.abc import Callable

import PIL.Image
from PIL import ImageChops, ImageDraw

from tuwen.data.synth.canvas import Colour
from tuwen.data.synth.scenes.figures import Kind, Polygon, Tone

SOLID, STRIPED, DOTTED, OUTLINED = range(4)
WHITE: Colour = (255, 255, 255)
Box = tuple[float, float, float, float]


def paint(
    image: PIL.Image.Image,
    kind: Kind,
    box: Box,
    colour: Colour,
    *,
    pattern: int = SOLID,
    mirrored: bool = False,
    rim: int = 0,
) -> None:
    """Paint a thing so that it fills its box.

    Args:
        image: what is painted on.
        kind: what it is.
        box: left, top, right, bottom, in pixels of ``image``.
        colour: of it.
        pattern: ``SOLID``, ``STRIPED``, ``DOTTED`` or ``OUTLINED``; all but the first are white between the colour.
        mirrored: left and right changed about.
        rim: width of a white rim around it, in pixels.
    """
    left, top, right, bottom = (round(side) for side in box)
    width, height = right - left, bottom - top
    line = max(2, round(min(width, height) / 22))
    pad = max(line, rim) + 1

    def placed(polygon: Polygon) -> list[tuple[float, float]]:
        return [(pad + (1 - x if mirrored else x) * (width - 1), pad + y * (height - 1)) for x, y in polygon]

    mask = PIL.Image.new("L", (width + 2 * pad, height + 2 * pad))
    draw = ImageDraw.Draw(mask)
    for tone, polygon in kind.parts:
        if tone in (Tone.BODY, Tone.HOLE):
            draw.polygon(placed(polygon), fill=255 if tone is Tone.BODY else 0)
    tile = PIL.Image.new("RGB", mask.size, colour)
    if pattern != SOLID:
        tile.paste(WHITE, (0, 0), _between(mask, pattern, line))
    _paint_details(ImageDraw.Draw(tile), kind, placed, colour, pattern=pattern, line=line)
    corner = (left - pad, top - pad)
    if rim:
        image.paste(WHITE, corner, _around(mask, rim, ImageChops.lighter))
    image.paste(tile, corner, mask)


def _paint_details(
    draw: ImageDraw.ImageDraw,
    kind: Kind,
    placed: Callable[[Polygon], list[tuple[float, float]]],
    colour: Colour,
    *,
    pattern: int,
    line: int,
) -> None:
    for tone, polygon in kind.parts:
        if tone not in (Tone.WHITE, Tone.SHADE):
            continue
        if pattern == SOLID:
            draw.polygon(placed(polygon), fill=WHITE if tone is Tone.WHITE else shade(colour))
        elif pattern == OUTLINED or tone is Tone.WHITE:
            draw.polygon(placed(polygon), fill=WHITE, outline=colour, width=max(1, line * 2 // 3))
        else:
            draw.polygon(placed(polygon), fill=colour)


def shade(colour: Colour) -> Colour:
    """A colour for details: a little darker, or lighter where it is black, and never another colour by name."""
    red, green, blue = (channel + 30 if sum(colour) < 120 else channel * 17 // 20 for channel in colour)
    return red, green, blue


def _between(mask: PIL.Image.Image, pattern: int, line: int) -> PIL.Image.Image:
    """Where a thing is white: between its stripes or dots, never at its edge."""
    inside = _around(mask, line, ImageChops.darker)
    if pattern == OUTLINED:
        return inside
    width, height = mask.size
    white = PIL.Image.new("L", mask.size, 255)
    draw = ImageDraw.Draw(white)
    step = max(6, round((width * height) ** 0.5 / 6))
    if pattern == STRIPED:
        for place in range(0, width + height, step):
            draw.line((place, 0, place - height, height), fill=0, width=step // 2)
    else:
        for row, y in enumerate(range(step // 2, height, step)):
            for x in range(step // 2 * (1 + row % 2), width, step):
                draw.ellipse((x - step * 0.3, y - step * 0.3, x + step * 0.3, y + step * 0.3), fill=0)
    return ImageChops.darker(white, inside)


def _around(
    mask: PIL.Image.Image, distance: int, join: Callable[[PIL.Image.Image, PIL.Image.Image], PIL.Image.Image]
) -> PIL.Image.Image:
    """A mask joined with itself moved to all sides: wider with ``lighter``, narrower with ``darker``."""
    result, diagonal = mask, max(1, round(distance * 0.7))
    for x, y in ((distance, 0), (0, distance), (diagonal, diagonal), (diagonal, -diagonal)):
        for sign in (-1, 1):
            result = join(result, ImageChops.offset(mask, sign * x, sign * y))
    return result
