"""The same boxes in the words of different systems: Qwen-VL, InternVL, and plain JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuwen.chat.grounding import GRID, Box, Grounding, format_box, parse_boxes
from tuwen.config import TuwenError, unknown_name

_NUMBER = r" {0,2}([0-9]{1,4}(?:\.[0-9]{1,6})?) {0,2}"
_QUADRUPLE = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
# InternVL writes all boxes of a label into one list.
_INTERNVL = re.compile(r"(?:<ref>([^<]{0,200})</ref>)?<box>(\[[][0-9., ]{1,2000}\])</box>")
_JSON_BOXES = ("bbox_2d", "bbox", "box", "box_2d")
_JSON_LABELS = ("label", "ref", "name")


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """One system's way to write boxes.

    Attributes:
        parse: text and size of the picture (width, height) in pixels → boxes; what is no box is passed over.
        write: boxes and size of the picture → text.
    """

    parse: Callable[[str, tuple[int, int]], list[Grounding]]
    write: Callable[[Sequence[Grounding], tuple[int, int]], str]


def convert_boxes(text: str, size: tuple[int, int], *, source: str, target: str) -> str:
    """Boxes in one system's words in those of another.

    Args:
        text: with boxes in it.
        size: width and height of the picture in pixels; JSON counts in pixels, the others on a grid of 1000.
        source: ``qwen-vl``, ``internvl`` or ``json``.
        target: the same.

    Raises:
        TuwenError: for an unknown format.
    """
    for name in (source, target):
        if name not in FORMATS:
            raise TuwenError(unknown_name("box format", name, list(FORMATS)))
    return FORMATS[target].write(FORMATS[source].parse(text, size), size)


def _grounding(label: str, numbers: Sequence[float], scale: tuple[float, float], span: tuple[int, int]) -> Grounding:
    sides = (numbers[0] / scale[0], numbers[1] / scale[1], numbers[2] / scale[0], numbers[3] / scale[1])
    left, top, right, bottom = (min(1.0, max(0.0, side)) for side in sides)
    box: Box = (left, top, right, bottom)
    return Grounding(label.strip(), box, span)


def _ordered(numbers: Sequence[float]) -> bool:
    return numbers[0] <= numbers[2] and numbers[1] <= numbers[3]


def _parse_qwen_vl(text: str, size: tuple[int, int]) -> list[Grounding]:
    return parse_boxes(text)


def _write_qwen_vl(boxes: Sequence[Grounding], size: tuple[int, int]) -> str:
    written: list[str] = []
    before = ""
    for box in boxes:
        # Boxes in a row share a label; a blank ends the row.
        written.append((" " if before and not box.label else "") + format_box(box.label, box.box))
        before = box.label
    return "".join(written)


def _parse_internvl(text: str, size: tuple[int, int]) -> list[Grounding]:
    found: list[Grounding] = []
    for match in _INTERNVL.finditer(text):
        for one in _QUADRUPLE.finditer(match[2]):
            numbers = [float(number) for number in one.groups()]
            if _ordered(numbers) and max(numbers) <= GRID:
                found.append(_grounding(match[1] or "", numbers, (GRID, GRID), match.span()))
    return found


def _write_internvl(boxes: Sequence[Grounding], size: tuple[int, int]) -> str:
    lists: dict[str, list[list[int]]] = {}
    for box in boxes:
        lists.setdefault(box.label, []).append([round(side * GRID) for side in box.box])
    return "".join(
        (f"<ref>{label}</ref>" if label else "") + f"<box>{json.dumps(numbers)}</box>"
        for label, numbers in lists.items()
    )


def _parse_json(text: str, size: tuple[int, int]) -> list[Grounding]:
    start, end = text.find("["), text.rfind("]")
    try:
        values = json.loads(text[start : end + 1]) if start >= 0 else []
    except json.JSONDecodeError:
        return []
    found = []
    for value in values:
        numbers = _json_value(value, _JSON_BOXES)
        if (
            isinstance(numbers, list)
            and len(numbers) == 4
            and all(isinstance(number, int | float) for number in numbers)
            and _ordered(numbers)
        ):
            label = _json_value(value, _JSON_LABELS)
            found.append(_grounding(str(label or ""), numbers, (float(size[0]), float(size[1])), (start, end + 1)))
    return found


def _json_value(value: Any, keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if key in value), None) if isinstance(value, dict) else None


def _write_json(boxes: Sequence[Grounding], size: tuple[int, int]) -> str:
    width, height = size
    values = [
        {
            "bbox_2d": [round(side * scale) for side, scale in zip(box.box, (width, height) * 2, strict=True)],
            "label": box.label,
        }
        for box in boxes
    ]
    return json.dumps(values, ensure_ascii=False)


FORMATS: dict[str, BoxFormat] = {
    "qwen-vl": BoxFormat(_parse_qwen_vl, _write_qwen_vl),
    "internvl": BoxFormat(_parse_internvl, _write_internvl),
    "json": BoxFormat(_parse_json, _write_json),
}
