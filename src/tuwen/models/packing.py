"""Rows that hold many conversations: who sees whom.

A row is cut into *segments*, numbered from 0; padding has a number below 0. A place sees what stands before it in its own
segment and all of that segment's *parent*, a beginning that several segments share.

Shape legend: R rows, L places of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor


def packed_mask(segments_RL: Tensor, parents_RL: Tensor) -> Tensor:
    """Who sees whom: bool [R, 1, L, L], true where the row's place sees the column's place.

    Args:
        segments_RL: the segment that each place belongs to.
        parents_RL: the segment that it also sees, -1 for none.
    """
    same = segments_RL[:, :, None] == segments_RL[:, None, :]
    parent = parents_RL[:, :, None] == segments_RL[:, None, :]
    length = segments_RL.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments_RL.device).tril()
    return ((same | parent) & causal)[:, None]
