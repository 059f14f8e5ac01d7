"""Operations are those that the model needs, whatever the packing."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tuwen.data.pack import TokenSequence, pack
from tuwen.models.packing import packed_mask
from tuwen.train.utilisation import seen_pairs


@given(st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_pairs_are_those_of_the_mask(lengths: list[list[int]]) -> None:
    groups = [
        [TokenSequence(input_ids=[7] * 5 + list(range(length)), labels=[-100] * 5 + [1] * length) for length in group]
        for group in lengths
    ]
    packed = pack(groups, 0, max_length=200)
    segments, parents = torch.from_numpy(packed.segments), torch.from_numpy(packed.parents)
    here = segments >= 0
    mask = packed_mask(segments, parents)[:, 0].clone()
    seen = int((mask & here[:, :, None] & here[:, None, :]).sum())
    # A place sees itself, which a pair of it and another does not count.
    assert seen_pairs(segments, parents) == 2 * seen - int(here.sum())
