"""Packing of a histogram: items of equal length are packed by the thousand, whatever their number.

Planning takes time by how many different lengths there are, not by how many items (arXiv 2107.02027).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np

MOST_DRAWS, FEWEST_DRAWS = 2048, 8
# Numbers drawn in a round at most, whatever the budget: memory.
DRAWN_NUMBERS = 1 << 21


class Placements(NamedTuple):
    """Where items go, by length: each row puts one item of a length into each pack of a range, at the same place.

    Attributes:
        length: of the items.
        place: in the packs, from 0.
        first: number of the range's first pack.
        packs: how many packs the range has.
    """

    length: np.ndarray
    place: np.ndarray
    first: np.ndarray
    packs: np.ndarray


def pack_histogram(histogram: np.ndarray, budget: int) -> tuple[Placements, int]:
    """Packs for all items of a histogram, never more than best-fit decreasing makes; a pure function of both.

    Args:
        histogram: how many items there are of each length from 0 to ``budget``; none of length 0. [budget + 1].
        budget: sum of a pack's lengths at most.

    Returns:
        Where the items go, shortest first, and the number of packs.
    """
    plain, plain_packs = _best_fit_decreasing(histogram, budget)
    filled, left, filled_packs = _exact_fills(histogram, budget)
    rest, rest_packs = _best_fit_decreasing(left, budget)
    if plain_packs <= filled_packs + rest_packs:
        return _by_length([plain]), plain_packs
    rest = rest._replace(first=rest.first + filled_packs)
    return _by_length([*filled, rest]), filled_packs + rest_packs


def _by_length(placements: list[Placements]) -> Placements:
    columns = [np.concatenate(column) for column in zip(*placements, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Placements(*(column[order] for column in columns))


def _exact_fills(histogram: np.ndarray, budget: int) -> tuple[list[Placements], np.ndarray, int]:
    """Packs that are full to the last token, as many as are found; what is left over; the number of packs.

    Where lengths cluster, as beside a picture's fixed number of tokens, taking the longest first ends with items that
    are all alike and of which no number fills a sequence. So combinations are drawn at random from the lengths that
    are left, which keeps their mixture as it was, each is completed by the one length that fills it, and each is used
    many times at once (cutting stock by patterns, Haessler 1971).
    """
    # Not the epoch's seed: the number of packs must follow from the lengths.
    rng = np.random.default_rng(0)
    left = histogram.copy()
    found: list[Placements] = []
    packs, draws = 0, MOST_DRAWS
    while draws >= FEWEST_DRAWS and left.any():
        patterns = _draw_patterns(left, budget, draws, rng)
        uses = np.bincount(patterns.ravel(), minlength=len(left))
        uses[0] = 0
        # Half of what there is for each use of a length, and one where there is one for each.
        share = np.min(left[patterns] / np.maximum(uses[patterns], 1), axis=1, where=patterns > 0, initial=np.inf)
        times = np.maximum(share // 2, share >= 1).astype(np.int64)
        patterns, times = patterns[times > 0], times[times > 0]
        if len(times) * 16 < draws:
            draws //= 2
        if not len(times):
            continue
        first = packs + np.cumsum(times) - times
        rows, places = np.nonzero(patterns)
        found.append(Placements(patterns[rows, places], places, first[rows], times[rows]))
        np.subtract.at(left, found[-1].length, found[-1].packs)
        packs += int(times.sum())
    return found, left, packs


def _draw_patterns(histogram: np.ndarray, budget: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Combinations of lengths that add up to the budget, one a row, padded with 0."""
    ends = np.cumsum(histogram)
    total = int(ends[-1])
    mean = float(histogram @ np.arange(len(histogram))) / total
    columns = int(1.3 * budget / mean) + 3
    draws = max(1, min(draws, DRAWN_NUMBERS // columns))
    drawn = np.searchsorted(ends, rng.integers(0, total, (draws, columns)), side="right")
    room = budget - np.cumsum(drawn, axis=1)
    fills = (room == 0) | ((room > 0) & (histogram[np.maximum(room, 0)] > 0))
    rows = np.flatnonzero(fills.any(axis=1))
    last = fills[rows].argmax(axis=1)
    patterns = np.zeros((len(rows), columns + 1), dtype=np.int64)
    patterns[:, :-1] = np.where(np.arange(columns) <= last[:, None], drawn[rows], 0)
    patterns[np.arange(len(rows)), last + 1] = room[rows, last]
    return patterns


def _best_fit_decreasing(histogram: np.ndarray, budget: int) -> tuple[Placements, int]:
    """Longest items first, each into the open pack with the least room for it; and the number of packs."""
    placed: list[tuple[int, int, int, int]] = []
    open_packs: dict[int, list[tuple[int, int, int]]] = {}  # room → ranges of packs: first, how many, items in each
    rooms: list[int] = []  # the keys, sorted
    packs = 0

    def put_back(room: int, first: int, many: int, held: int) -> None:
        if room and many:
            if room not in open_packs:
                insort(rooms, room)
            open_packs.setdefault(room, []).append((first, many, held))

    for length in np.flatnonzero(histogram)[::-1].tolist():
        left = int(histogram[length])
        while left:
            at = bisect_left(rooms, length)
            if at == len(rooms):
                room, first, many, held = budget, packs, -(-left // (budget // length)), 0
                packs += many
            else:
                room = rooms[at]
                first, many, held = open_packs[room].pop()
                if not open_packs[room]:
                    del open_packs[room], rooms[at]
            each = min(room // length, left)
            full = min(many, left // each)
            placed += [(length, held + item, first, full) for item in range(each)]
            left -= each * full
            put_back(room - each * length, first, full, held + each)
            put_back(room, first + full, many - full, held)
    return Placements(*np.array(placed, dtype=np.int64).reshape(-1, 4).T), packs


def slots(placements: Placements) -> tuple[np.ndarray, np.ndarray]:
    """Pack of each item, and its place in the pack, the items in order of length."""
    ends = np.cumsum(placements.packs)
    total = int(ends[-1]) if len(ends) else 0
    kind = np.int32 if total <= np.iinfo(np.int32).max else np.int64
    pack: np.ndarray = np.arange(total, dtype=kind)
    pack += np.repeat((placements.first - ends + placements.packs).astype(kind), placements.packs)
    return pack, np.repeat(placements.place.astype(kind), placements.packs)
