"""Packing: many conversations in few rows, each seeing only itself.

Samples about the same pictures begin with the same tokens. Those are written once, and what differs stands behind
them as branches that see the shared beginning and themselves, with positions that go on from it. In a causal
language model this computes exactly what separate rows would, for one encoding of the picture instead of many
(prefix sharing as in RadixAttention, arXiv 2312.07104, here in training).

Shape legend: R rows, L tokens of a row, P tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.config import TuwenError

NO_PARENT = -1
PADDING = -2
NO_OWNER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSequence:
    """A rendered sample.

    Attributes:
        input_ids: token ids.
        labels: the same where trained, else -100.
        owner: the sample's number among those of the batch.
        name: what to call it in a message.
    """

    input_ids: Sequence[int]
    labels: Sequence[int]
    owner: int = 0
    name: str = "sample"


@dataclass(slots=True)
class Segment:
    """A stretch of a row that is one causal piece; a branch also sees all of its parent."""

    input_ids: list[int]
    labels: list[int]
    owner: int
    first_position: int = 0
    parent: Segment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Rows of packed conversations.

    Attributes:
        input_ids: [R, L].
        labels: the token to be predicted *at the next place of the same segment* has been moved here, so that
            place i is trained to give ``labels[i]``; -100 elsewhere. [R, L].
        owners: the sample that each trained place belongs to, -1 elsewhere. [R, L].
        position_ids: [R, L].
        segments: number of the segment a place belongs to; -2 for padding. [R, L].
        parents: number of the segment it also sees; -1 for none. [R, L].
        items: the rows' groups in order of appearance, as indices into what was packed; pictures follow it.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    owners: np.ndarray
    position_ids: np.ndarray
    segments: np.ndarray
    parents: np.ndarray
    items: list[int] = field(default_factory=list)

    @classmethod
    def without_rows(cls, items: int) -> Packed:
        """No rows at all, for so many groups whose conversations are not wanted."""
        none = np.zeros((0, 0), dtype=np.int64)
        return cls(
            input_ids=none,
            labels=none,
            owners=none,
            position_ids=none,
            segments=none,
            parents=none,
            items=list(range(items)),
        )

    @classmethod
    def blank(cls, pad_token_id: int) -> Packed:
        """One row of one place that is not trained, where no sample of a batch can be used."""
        ids = np.full((1, 1), pad_token_id, dtype=np.int64)
        return cls(
            input_ids=ids,
            labels=np.full((1, 1), IGNORE_INDEX, dtype=np.int64),
            owners=np.full((1, 1), NO_OWNER, dtype=np.int64),
            position_ids=np.zeros((1, 1), dtype=np.int64),
            segments=np.zeros((1, 1), dtype=np.int64),
            parents=np.full((1, 1), NO_PARENT, dtype=np.int64),
        )


def share_prefix(sequences: Sequence[TokenSequence]) -> list[Segment]:
    """Sequences of one group as a shared beginning and its branches.

    The beginning ends before the first trained token and leaves every branch at least one token.
    """
    if len(sequences) == 1:
        only = sequences[0]
        return [Segment(list(only.input_ids), list(only.labels), only.owner)]
    shared = _shared_length(sequences)
    if shared == 0:
        return [Segment(list(one.input_ids), list(one.labels), one.owner) for one in sequences]
    first = sequences[0]
    root = Segment(list(first.input_ids[:shared]), [IGNORE_INDEX] * shared, NO_OWNER)
    branches = [
        Segment(list(one.input_ids[shared:]), list(one.labels[shared:]), one.owner, shared, root) for one in sequences
    ]
    return [root, *branches]


def packed_length(sequences: Sequence[TokenSequence]) -> int:
    """Places of a row that sequences of one group take."""
    return sum(len(segment.input_ids) for segment in share_prefix(sequences))


def _shared_length(sequences: Sequence[TokenSequence]) -> int:
    shortest = min(len(one.input_ids) for one in sequences)
    trained = min(_first_trained(one.labels) for one in sequences)
    # The place before the first trained token predicts it, so it must belong to the branch.
    limit = max(0, min(shortest - 1, trained - 1))
    rows = np.array([list(one.input_ids[:limit]) for one in sequences])
    differs = (rows != rows[0]).any(axis=0)
    return int(np.argmax(differs)) if differs.any() else limit


def _first_trained(labels: Sequence[int]) -> int:
    return next((place for place, label in enumerate(labels) if label != IGNORE_INDEX), len(labels))


def pack(groups: Sequence[Sequence[TokenSequence]], pad_token_id: int, max_length: int | None = None) -> Packed:
    """Rows that hold all groups, each group whole in one row, longest first (first fit decreasing).

    Args:
        groups: rendered samples; those of a group share their pictures.
        pad_token_id: written at the end of rows.
        max_length: tokens of a row at most; as the longest group unless said.

    Raises:
        TuwenError: naming the group that is longer than ``max_length``.
    """
    trees = [share_prefix(group) for group in groups]
    lengths = [sum(len(segment.input_ids) for segment in tree) for tree in trees]
    capacity = max_length or max(lengths)
    for group, length in zip(groups, lengths, strict=True):
        if length > capacity:
            raise TuwenError(
                f"{group[0].name}: its {len(group)} samples take {length} tokens, more than "
                f"max_length {capacity}: raise it or shorten them"
            )
    rows: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(trees)), key=lambda one: -lengths[one]):
        row = next((place for place, free in enumerate(room) if free >= lengths[item]), None)
        if row is None:
            rows.append([item])
            room.append(capacity - lengths[item])
        else:
            rows[row].append(item)
            room[row] -= lengths[item]
    return _lay_out(rows, trees, pad_token_id)


def _lay_out(rows: list[list[int]], trees: list[list[Segment]], pad_token_id: int) -> Packed:
    width = max(sum(len(s.input_ids) for item in row for s in trees[item]) for row in rows)
    shape = (len(rows), width)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    owners = np.full(shape, NO_OWNER, dtype=np.int64)
    position_ids = np.zeros(shape, dtype=np.int64)
    segments = np.full(shape, PADDING, dtype=np.int64)
    parents = np.full(shape, NO_PARENT, dtype=np.int64)
    for row, items in enumerate(rows):
        start, number = 0, 0
        for item in items:
            numbers: dict[int, int] = {}
            for segment in trees[item]:
                stop = start + len(segment.input_ids)
                place = (row, slice(start, stop))
                input_ids[place] = segment.input_ids
                labels[row, start : stop - 1] = segment.labels[1:]
                owners[place] = np.where(labels[place] != IGNORE_INDEX, segment.owner, NO_OWNER)
                position_ids[place] = np.arange(len(segment.input_ids)) + segment.first_position
                segments[place] = numbers[id(segment)] = number
                if segment.parent is not None:
                    parents[place] = numbers[id(segment.parent)]
                start, number = stop, number + 1
    return Packed(
        input_ids=input_ids,
        labels=labels,
        owners=owners,
        position_ids=position_ids,
        segments=segments,
        parents=parents,
        items=[item for row in rows for item in row],
    )
