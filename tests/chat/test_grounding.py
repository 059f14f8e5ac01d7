"""Boxes in text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.chat.grounding import Grounding, format_box, parse_boxes
from tuwen.config import TuwenError

cells = st.integers(0, 999)
PIECES = [
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
    "(1,2),(3,4)",
    "(1,2)",
    ",",
    "猫",
    "<box>(1,2),(3,4)</box>",
    " ",
    "9",
]


def test_labels_boxes_and_spans():
    text = "看<ref>the cat</ref><box>(120,80),(540,999)</box>和<box>(0,0),(1,1)</box>"
    first, second = parse_boxes(text)
    assert first == Grounding("the cat", (0.12, 0.08, 0.54, 0.999), (1, text.index("和")))
    assert second == Grounding("", (0.0, 0.0, 0.001, 0.001), (text.index("和") + 1, len(text)))


def test_boxes_in_a_row_share_their_label():
    found = parse_boxes("<ref>猫</ref><box>(1,2),(3,4)</box><box>(5,6),(7,8)</box> <box>(5,6),(7,8)</box>")
    assert [one.label for one in found] == ["猫", "猫", ""]


@pytest.mark.parametrize(
    "text",
    [
        "<box>(1,2),(3,4)",
        "<box>(1,2),(3,1000)</box>",
        "<box>(3,2),(1,4)</box>",
        "<box>(-1,2),(3,4)</box>",
        "<box>(1.5,2),(3,4)</box>",
        "<box>(1,2)</box>",
        "<box>(١,2),(3,4)</box>",
        "<ref>a</ref>",
    ],
)
def test_what_is_not_a_box_is_text(text):
    assert parse_boxes(text) == []


@pytest.mark.parametrize("before", ["<ref>a", "a</ref>", "<ref>a</ref> ", "<ref>a</ref>b</ref>"])
def test_unclosed_references_are_text(before):
    (found,) = parse_boxes(before + "<box>(1,2),(3,4)</box>")
    assert (found.label, found.span[0]) == ("", len(before))


@settings(max_examples=100, deadline=None)
@given(label=st.text(max_size=6).map(str.strip), columns=st.tuples(cells, cells), rows=st.tuples(cells, cells))
def test_what_is_written_is_read_back(label, columns, rows):
    (left, right), (top, bottom) = sorted(columns), sorted(rows)
    box = (left / 1000, top / 1000, right / 1000, bottom / 1000)
    text = format_box(label, box)
    assert parse_boxes(f"x {text} y") == [Grounding(label, box, (2, 2 + len(text)))]


@settings(max_examples=100, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_gives_ordered_boxes_within_bounds(text):
    end = 0
    for one in parse_boxes(text):
        assert end <= one.span[0] < one.span[1]
        assert text[: one.span[1]].endswith("</box>")
        assert all(0 <= side < 1 for side in one.box)
        end = one.span[1]


@pytest.mark.parametrize("unit", ["<ref>", "<box>", "</ref><box>(1,2),(3,4)</box>", "<box>(9,9),(1,1)</box>", "("])
def test_time_is_linear(unit):
    def spent(repeats: int) -> float:
        start = time.process_time()
        parse_boxes(unit * repeats)
        return time.process_time() - start

    # Eight times the text takes eight times as long; a square would take 64 times, and the rest is noise.
    assert min(spent(80_000) for _ in range(3)) < 30 * max(min(spent(10_000) for _ in range(3)), 1e-3)


@pytest.mark.parametrize("box", [(0, 0, 1.1, 1), (0.5, 0, 0.4, 1), (0, float("nan"), 1, 1), (0, 0, 1)])
def test_bad_boxes_are_refused(box):
    with pytest.raises(TuwenError, match="expected left"):
        format_box("a", box)


def test_a_label_cannot_hold_markup():
    with pytest.raises(TuwenError, match="must not hold"):
        format_box("a</ref>", (0, 0, 1, 1))
