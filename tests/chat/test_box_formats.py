"""Boxes in the words of one system in those of another."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.chat.box_formats import FORMATS, convert_boxes
from tuwen.chat.grounding import Grounding
from tuwen.config import TuwenError

SIZE = (1000, 500)
QWEN = "<ref>猫</ref><box>(100,200),(300,400)</box><ref>dog</ref><box>(0,0),(999,999)</box>"
INTERNVL = "<ref>猫</ref><box>[[100, 200, 300, 400]]</box><ref>dog</ref><box>[[0, 0, 999, 999]]</box>"
JSON = '[{"bbox_2d": [100, 100, 300, 200], "label": "猫"}, {"bbox_2d": [0, 0, 999, 500], "label": "dog"}]'


@pytest.mark.parametrize("source", [("qwen-vl", QWEN), ("internvl", INTERNVL), ("json", JSON)])
def test_each_form_becomes_each_other(source: tuple[str, str]) -> None:
    name, text = source
    assert convert_boxes(text, SIZE, source=name, target="internvl").startswith(
        "<ref>猫</ref><box>[[100, 200, 300, 400]]"
    )
    assert convert_boxes(text, SIZE, source=name, target="qwen-vl").startswith(
        "<ref>猫</ref><box>(100,200),(300,400)</box>"
    )
    assert convert_boxes(text, SIZE, source=name, target="json").startswith(
        '[{"bbox_2d": [100, 100, 300, 200], "label": "猫"}'
    )


sides = st.tuples(st.integers(0, 999), st.integers(0, 999)).map(sorted)


@given(
    st.lists(st.tuples(sides, sides, st.sampled_from(["", "a", "红色 圆"])), max_size=5),
    st.sampled_from(sorted(FORMATS)),
)
def test_written_and_read_is_the_same(drawn: list[tuple[list[int], list[int], str]], name: str) -> None:
    boxes = [Grounding(label, (x[0] / 1000, y[0] / 1000, x[1] / 1000, y[1] / 1000), (0, 0)) for x, y, label in drawn]
    size = (1000, 1000)
    found = FORMATS[name].parse(FORMATS[name].write(boxes, size), size)
    # InternVL's form gathers boxes of one label.
    one, other = (sorted((box.label, *(round(side, 4) for side in box.box)) for box in part) for part in (found, boxes))
    assert one == other


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize(
    "text",
    ["", "no boxes", "[", "[1, 2", '[{"bbox_2d": "x"}]', "<box>[[1,2,3]]</box>", "<box>[[9,9,1,1]]</box>", "[null, 3]"],
)
def test_what_is_no_box_is_passed_over(name: str, text: str) -> None:
    assert FORMATS[name].parse(text, SIZE) == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_long_nonsense_takes_no_time(name: str) -> None:
    for piece in ("<ref>", "<box>[[", "[" * 10 + "1,", "<ref>a</ref><box>[[1,2,3,4],"):
        started = time.monotonic()
        FORMATS[name].parse(piece * 20_000, SIZE)
        assert time.monotonic() - started < 5


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(TuwenError, match="unknown box format 'qwen': choose one of qwen-vl, internvl, json"):
        convert_boxes("", SIZE, source="qwen", target="json")
