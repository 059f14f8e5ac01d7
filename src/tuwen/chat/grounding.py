"""Boxes in text, in the markup of Qwen-VL (arXiv 2308.12966).

``<ref>the cat</ref><box>(120,80),(540,999)</box>``: left, top, right, bottom on a grid of 1000 × 1000 cells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuwen.config import TuwenError

GRID = 1000
_TAGS = ("<ref>", "</ref>", "<box>", "</box>")
# All repetition is bounded, so matching takes time linear in the text.
_NUMBER = r" {0,2}([0-9]{1,3}) {0,2}"
_POINT = rf"\({_NUMBER},{_NUMBER}\)"
_BOX = re.compile(rf"<box>{_POINT} ?, ?{_POINT}</box>")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Grounding:
    """A box that a text names.

    Attributes:
        label: what is there; empty where the box follows no ``<ref>``. Boxes in a row share a label.
        box: left, top, right, bottom as fractions (0–1) of the picture's width and height.
        span: (start, stop) of its markup in the text, the label's included.
    """

    label: str
    box: Box
    span: tuple[int, int]


def parse_boxes(text: str) -> list[Grounding]:
    """All boxes in ``text``, in order.

    Markup that is not closed, or whose numbers are above 999 or in the wrong order, is text like any other.
    Time is linear in the length of the text, whatever it holds.
    """
    found: list[Grounding] = []
    end, label = 0, ""
    for match in _BOX.finditer(text):
        left, top, right, bottom = (int(number) for number in match.groups())
        if left > right or top > bottom:
            continue
        start = match.start()
        if start > end or not found:
            label, start = _label_before(text, end, start)
        end = match.end()
        found.append(Grounding(label, (left / GRID, top / GRID, right / GRID, bottom / GRID), (start, end)))
    return found


def _label_before(text: str, low: int, high: int) -> tuple[str, int]:
    """The label whose markup ends at ``high``, and where the markup starts; no label starts at ``high``."""
    if not text.endswith("</ref>", low, high):
        return "", high
    closing = high - len("</ref>")
    opening = text.rfind("<ref>", low, closing)
    if opening < 0:
        return "", high
    label = text[opening + len("<ref>") : closing]
    if any(tag in label for tag in _TAGS):
        return "", high
    return label.strip(), opening


def format_box(label: str, box: Sequence[float]) -> str:
    """The markup of a box; without a label only the box.

    Args:
        label: what is there.
        box: left, top, right, bottom as fractions (0–1).

    Raises:
        TuwenError: for a box outside 0–1 or with sides in the wrong order, and a label with markup in it.
    """
    if len(box) != 4 or not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
        raise TuwenError(f"box {list(box)}: expected left ≤ right, top ≤ bottom, all of them fractions 0–1")
    if any(tag in label for tag in _TAGS):
        raise TuwenError(f"label {label!r}: must not hold any of {' '.join(_TAGS)}")
    left, top, right, bottom = (min(GRID - 1, round(side * GRID)) for side in box)
    reference = f"<ref>{label}</ref>" if label else ""
    return f"{reference}<box>({left},{top}),({right},{bottom})</box>"
