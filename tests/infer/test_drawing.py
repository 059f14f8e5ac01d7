"""Boxes on the picture, where the original draws them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tuwen.chat.grounding import parse_boxes
from tuwen.config import TuwenError
from tuwen.infer.drawing import COLOURS, draw_boxes

QWEN = Path(__file__).parents[2].parent / "shared" / "fixtures" / "qwen_vl"


def painted(before: PIL.Image.Image, after: PIL.Image.Image) -> np.ndarray:
    return np.argwhere((np.asarray(before) != np.asarray(after)).any(axis=-1))


@pytest.mark.parametrize("text", ["<box>(100,200),(500,800)</box>", "<ref>猫 cat</ref><box>(100,200),(500,800)</box>"])
def test_a_box_is_drawn_on_its_sides(text: str) -> None:
    image = PIL.Image.new("RGB", (200, 100), "white")
    drawn = draw_boxes(image, parse_boxes(text))
    assert drawn.size == image.size
    places = painted(image, drawn)
    assert abs(int(places[:, 0].max()) - 80) <= 1
    assert abs(int(places[:, 1].min()) - 20) <= 1
    assert drawn.getpixel((20, 50)) == COLOURS[0]
    assert image.getpixel((20, 50)) == (255, 255, 255)


def test_the_same_label_has_one_colour_and_another_a_second() -> None:
    text = (
        "<ref>a</ref><box>(0,0),(300,300)</box><box>(400,400),(600,600)</box><ref>b</ref><box>(700,700),(999,999)</box>"
    )
    drawn = draw_boxes(PIL.Image.new("RGB", (300, 300), "white"), parse_boxes(text))
    assert drawn.getpixel((0, 60)) == drawn.getpixel((120, 150)) == COLOURS[0]
    assert drawn.getpixel((299, 250)) == COLOURS[1]


def test_a_label_without_a_glyph_is_refused() -> None:
    with pytest.raises(TuwenError, match="has no glyph for"):
        draw_boxes(PIL.Image.new("RGB", (80, 80)), parse_boxes("<ref>\U000eff01</ref><box>(1,1),(500,500)</box>"))


@pytest.mark.skipif(not QWEN.is_dir(), reason=f"the fixtures are not there: {QWEN}")
def test_boxes_are_where_the_original_has_them() -> None:
    cases = json.loads((QWEN / "belle_expected.json").read_text(encoding="utf-8"))["draw_bbox"]
    checked = 0
    for case in cases:
        if case["returned_none"]:
            continue
        width, height = case["size_wh"]
        pixels = [call[1] for call in case["draw_calls"] if call[0] == "box"]
        for box, wanted in zip(parse_boxes(case["response"]), pixels, strict=True):
            got = [side * scale for side, scale in zip(box.box, (width, height) * 2, strict=True)]
            assert [int(side) for side in got] == wanted
            checked += 1
    assert checked >= 4
