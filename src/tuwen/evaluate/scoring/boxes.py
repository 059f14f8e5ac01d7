"""Boxes in replies, and how well they meet: Qwen-VL's rule for RefCOCO (Bai et al. 2023, arXiv 2308.12966)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The program divides by the largest coordinate, though the grid has a thousand.
LARGEST = 999
RIGHT_FROM = 0.5


def qwen_vl(reply: str) -> tuple[float, float, float, float] | None:
    """The first ``(x1,y1),(x2,y2)`` of a reply, as it is written; None where there is none, or it holds other than
    four numbers.

    Nothing may stand between ``)`` and ``(`` but the comma. What looks like a box and is none is not passed over.
    """
    found = _first_pair(reply)
    if found is None:
        return None
    try:
        (left, top), (right, bottom) = ([float(number) for number in point.split(",")] for point in found)
    except ValueError:
        return None
    return left, top, right, bottom


def _first_pair(reply: str) -> tuple[str, str] | None:
    """What stands in the first ``(…),(…)`` of one line; found by hand, since a pattern would take quadratic time."""
    for line in reply.split("\n"):
        opening = line.find("(")
        middle = line.find("),(", opening + 1) if opening >= 0 else -1
        closing = line.find(")", middle + 3) if middle >= 0 else -1
        if closing >= 0:
            return line[opening + 1 : middle], line[middle + 3 : closing]
    return None


def in_pixels(boxes: Sequence[Sequence[float] | None], sizes: Sequence[tuple[float, float]]) -> np.ndarray:
    """Boxes of replies in pixels of their pictures.

    Args:
        boxes: left, top, right, bottom on a grid; None for a reply without one, which becomes a box of nothing.
        sizes: width and height of each picture.

    Returns:
        Array (n, 4) of float32, in which the program reckons.
    """
    written = np.asarray([box or (0.0,) * 4 for box in boxes], dtype=np.float64).reshape(-1, 4)
    scale = np.asarray(sizes, dtype=np.float32).reshape(-1, 2)
    with np.errstate(over="ignore"):
        return written.astype(np.float32) / np.float32(LARGEST) * np.concatenate([scale, scale], axis=1)


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of boxes in pairs; not a number where both are empty.

    Args:
        first: left, top, right, bottom, (n, 4), in which right may be left of left: its area then is negative.
        second: the same.
    """
    with np.errstate(all="ignore"):
        sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
        common = np.prod(np.maximum(sides, 0), axis=1, dtype=first.dtype)
        return common / (_area(first) + _area(second) - common)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
