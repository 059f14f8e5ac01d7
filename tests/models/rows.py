"""Packed rows to try attention on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor


class Item(NamedTuple):
    """Lengths of a beginning and of its branches."""

    beginning: int
    branches: tuple[int, ...] = ()


class Rows(NamedTuple):
    """What a batch says of its places, each [R, L]."""

    segments: Tensor
    parents: Tensor
    positions: Tensor


def lay_out(items: list[list[Item]]) -> Rows:
    """The items of each row one behind the other, then padding."""
    length = max(sum(item.beginning + sum(item.branches) for item in row) for row in items)
    segments = torch.full((len(items), length), -2)
    parents = torch.full_like(segments, -1)
    positions = torch.zeros_like(segments)
    for row, members in enumerate(items):
        place = number = 0
        for item in members:
            root = number
            for branch, size in enumerate((item.beginning, *item.branches)):
                here = (row, slice(place, place + size))
                segments[here] = number
                parents[here] = root if branch else -1
                positions[here] = torch.arange(size) + (item.beginning if branch else 0)
                place, number = place + size, number + 1
    return Rows(segments, parents, positions)


def conversations(layout: Rows) -> Iterator[tuple[int, Tensor]]:
    """The row and the places of each conversation: a branch with its beginning, or a beginning without branches."""
    for row, (segments, parents) in enumerate(zip(layout.segments, layout.parents, strict=True)):
        for number in range(int(segments.max()) + 1):
            here = segments == number
            parent = int(parents[here][0])
            if parent >= 0 or not (parents == number).any():
                yield row, (here | (segments == parent if parent >= 0 else here)).nonzero()[:, 0]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Rows of a few items, of single tokens and of some hundreds, with and without branches and padding."""
    size = st.one_of(st.integers(1, 9), st.integers(60, 140))
    branches = st.lists(size, max_size=2).map(tuple)
    item = st.builds(Item, beginning=size, branches=branches)
    return lay_out(draw(st.lists(st.lists(item, min_size=1, max_size=3), min_size=1, max_size=2)))
