"""What drawn things are made of: polygons in a box whose sides go from 0 to 1.

Every part of a thing has the colour of the thing, a shade of it, or is white, so that "the red house" holds nothing
that could be called by another colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from tuwen.data.sample import Language
from tuwen.data.synth.forms import Point

Polygon = tuple[Point, ...]
_CORNERS = 40


class Tone(Enum):
    """What a part does: it belongs to the outline, cuts a hole into it, or lies on it in white or a darker shade."""

    BODY = "body"
    HOLE = "hole"
    WHITE = "white"
    SHADE = "shade"


Part = tuple[Tone, Polygon]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing.

    Attributes:
        names: one of it, without an article.
        plural: several, in English.
        measure: the Chinese measure word.
        parts: polygons in a box whose sides go from 0 to 1, drawn in this order.
        aspect: width divided by height.
    """

    names: dict[Language, str]
    plural: str
    measure: str
    parts: tuple[Part, ...]
    aspect: float = 1.0


def arc(box: tuple[float, float, float, float], start: float = 0, stop: float = 360) -> Polygon:
    """Points of an ellipse in ``box`` between two angles in degrees, clockwise from the right."""
    left, top, right, bottom = box
    x, y, width, height = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    angles = [math.radians(start + (stop - start) * step / _CORNERS) for step in range(_CORNERS + 1)]
    return tuple((x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles)


def bar(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def body(*polygons: Polygon) -> tuple[Part, ...]:
    return tuple((Tone.BODY, polygon) for polygon in polygons)


def holes(*polygons: Polygon) -> tuple[Part, ...]:
    return tuple((Tone.HOLE, polygon) for polygon in polygons)


def white(*polygons: Polygon) -> tuple[Part, ...]:
    return tuple((Tone.WHITE, polygon) for polygon in polygons)


def shade(*polygons: Polygon) -> tuple[Part, ...]:
    return tuple((Tone.SHADE, polygon) for polygon in polygons)


def oval(left: float, top: float, right: float, bottom: float) -> Polygon:
    return arc((left, top, right, bottom))


def mirrored(polygon: Polygon) -> Polygon:
    return tuple((1 - x, y) for x, y in polygon)


def both(polygon: Polygon) -> tuple[Polygon, Polygon]:
    """A polygon and its mirror image."""
    return polygon, mirrored(polygon)


def eyes(left: float, top: float, right: float, bottom: float) -> tuple[Part, ...]:
    """The left eye of a face that looks ahead, and the right one like it."""
    x, y = (right - left) * 0.3, (bottom - top) * 0.3
    pupil = oval(left + x, top + y, right - x, bottom - y)
    return white(*both(oval(left, top, right, bottom))) + shade(*both(pupil))
