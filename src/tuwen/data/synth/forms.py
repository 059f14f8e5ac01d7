"""The eight forms, each drawn so that it fills its box to all four sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import ImageDraw

from tuwen.data.sample import Language

Point = tuple[float, float]

FORMS: tuple[dict[Language, str], ...] = (
    {"zh": "圆形", "en": "circle"},
    {"zh": "方块", "en": "square"},
    {"zh": "三角", "en": "triangle"},
    {"zh": "菱形", "en": "diamond"},
    {"zh": "星星", "en": "star"},
    {"zh": "十字", "en": "cross"},
    {"zh": "爱心", "en": "heart"},
    {"zh": "圆环", "en": "ring"},
)


def _filling(points: Sequence[Point]) -> tuple[Point, ...]:
    """A polygon stretched to fill the unit square."""
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = min(y for _, y in points), max(y for _, y in points)
    return tuple(((x - low_x) / (high_x - low_x), (y - low_y) / (high_y - low_y)) for x, y in points)


def _star() -> tuple[Point, ...]:
    points = []
    for number in range(10):
        radius, angle = (0.42 if number % 2 else 1.0), math.pi * number / 5
        points.append((radius * math.sin(angle), -radius * math.cos(angle)))
    return _filling(points)


def _heart() -> tuple[Point, ...]:
    points = []
    for number in range(36):
        angle = math.tau * number / 36
        height = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        points.append((math.sin(angle) ** 3, -height))
    return _filling(points)


_THIRD, _TWO_THIRDS = 1 / 3, 2 / 3
POLYGONS: dict[str, tuple[Point, ...]] = {
    "square": ((0, 0), (1, 0), (1, 1), (0, 1)),
    "triangle": ((0.5, 0), (1, 1), (0, 1)),
    "diamond": ((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),
    "star": _star(),
    "cross": (
        (_THIRD, 0),
        (_TWO_THIRDS, 0),
        (_TWO_THIRDS, _THIRD),
        (1, _THIRD),
        (1, _TWO_THIRDS),
        (_TWO_THIRDS, _TWO_THIRDS),
        (_TWO_THIRDS, 1),
        (_THIRD, 1),
        (_THIRD, _TWO_THIRDS),
        (0, _TWO_THIRDS),
        (0, _THIRD),
        (_THIRD, _THIRD),
    ),
    "heart": _heart(),
}


def draw_form(
    draw: ImageDraw.ImageDraw, form: int, box: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> None:
    """Draw form number ``form`` of ``FORMS``.

    Args:
        draw: where.
        form: 0–7.
        box: left, top, right, bottom, in pixels.
        colour: of all of it.
    """
    left, top, right, bottom = box
    name = FORMS[form]["en"]
    if name in POLYGONS:
        width, height = right - left, bottom - top
        draw.polygon([(left + x * width, top + y * height) for x, y in POLYGONS[name]], fill=colour)
    elif name == "ring":
        draw.ellipse(box, outline=colour, width=round((right - left) / 5))
    else:
        draw.ellipse(box, fill=colour)
