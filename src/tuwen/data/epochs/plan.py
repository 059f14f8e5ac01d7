"""Packing plan: which items of an epoch stand in which sequence, and who trains it; a pure function of (seed, epoch).

An item is what must stay whole in one sequence: a sample, or samples that share their pictures. A *pack* is what one
sequence holds. Lengths are known before a picture is decoded, so a whole epoch is planned at once, on counts of
lengths and not on items (histogram packing, arXiv 2107.02027).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.epochs.histogram_packing import pack_histogram, slots

# Third number of the generator's seed, beside those of `epoch`.
_PACKING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PackCost:
    """What a pack costs to train, in tokens' worth of the language model.

    A decoder of hidden size d spends 24·d² operations on a token in matrix products, and 4·d on each of the length²/2
    pairs that causal attention joins: 1/(12·d) of a token for each. A tile costs what its encoder's parameters and
    patches do: ViT-L/14-336 with 577 patches beside a language model of 7 B is 0.3/7 · 577.

    Attributes:
        attention: of each item's length squared; the default is for d = 4096.
        tile: of each tile; the default is for ViT-L/14-336 beside 7 B.
    """

    attention: float = 1 / (12 * 4096)
    tile: float = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingPlan:
    """An epoch in packs, in the order in which they are trained.

    Attributes:
        items: of all packs, one pack behind the other, as indices into the planned lengths. int32 where those fit.
        offsets: where each pack begins in ``items``, and the end of the last. int64 [packs + 1].
        refused: items in no pack, because they are longer than the budget or have more tiles than ``max_tiles``;
            in rising order. What becomes of them is for the caller to say.
        tokens: of each pack, int64 [packs].
        tiles: of each pack, int64 [packs].
        costs: of each pack, see ``PackCost``, float64 [packs].
        budget: tokens of a pack at most.
    """

    items: np.ndarray
    offsets: np.ndarray
    refused: np.ndarray
    tokens: np.ndarray
    tiles: np.ndarray
    costs: np.ndarray
    budget: int

    def __len__(self) -> int:
        """How many packs there are."""
        return len(self.offsets) - 1

    def pack(self, number: int) -> np.ndarray:
        """The items of a pack, without a copy."""
        return self.items[self.offsets[number] : self.offsets[number + 1]]

    @property
    def waste(self) -> float:
        """Part (0–1) of all places that no token stands in, when every sequence is as long as the budget."""
        return 1 - float(self.tokens.sum()) / (len(self) * self.budget) if len(self) else 0.0


def plan_packs(
    lengths: np.ndarray,
    budget: int,
    seed: int,
    epoch: int,
    *,
    tiles: np.ndarray | None = None,
    max_tiles: int | None = None,
    cost: PackCost = PackCost(),
    worst_first: bool = True,
) -> PackingPlan:
    """Pack an epoch's items into sequences, each item whole in one of them.

    How many packs there are, and how long the items of each are, follows from the lengths alone. The seed and the
    epoch say which of the items of a length goes where, and the order of the packs.

    Args:
        lengths: tokens of each item, at least 1. Integers [items].
        budget: tokens of a pack at most.
        seed: at least 0.
        epoch: from 0.
        tiles: of each item, at least 0. Integers [items].
        max_tiles: tiles of a pack at most. An item takes up the larger of its parts of both bounds, so that a pack of
            long items without tiles and short ones with many counts as full before it is.
        cost: what packs are weighed by.
        worst_first: whether the pack with the highest cost comes first, so that a run that does not fit into memory
            stops at its first step, as in Prismatic VLMs (arXiv 2402.07865).

    Raises:
        TuwenError: when an item has no token, or fewer than no tiles.
    """
    effective = _effective_lengths(lengths, budget, tiles, max_tiles)
    fits = effective <= budget
    accepted = np.flatnonzero(fits).astype(np.int32 if len(lengths) <= np.iinfo(np.int32).max else np.int64)
    placements, packs = pack_histogram(np.bincount(effective[accepted], minlength=budget + 1), budget)
    rng = np.random.default_rng([seed, epoch, _PACKING])
    rng.shuffle(accepted)
    # Every sort here is stable: another one puts equal lengths in an order that depends on the processor.
    by_length = accepted[np.argsort(effective[accepted], kind="stable")]
    del effective, accepted
    pack, place = slots(placements)
    own_lengths = lengths[by_length]
    tokens = _totals(pack, own_lengths, packs)
    own_tiles = _totals(pack, tiles[by_length], packs) if tiles is not None else np.zeros(packs, dtype=np.int64)
    squares = _totals(pack, own_lengths.astype(np.float64) ** 2, packs)
    costs = tokens + cost.attention * squares + cost.tile * own_tiles
    order = rng.permutation(packs)
    if worst_first and packs:
        worst = int(np.flatnonzero(order == costs.argmax())[0])
        order[[0, worst]] = order[[worst, 0]]
    items, offsets = _lay_out(by_length, pack, place, order)
    return PackingPlan(
        items=items,
        offsets=offsets,
        refused=np.flatnonzero(~fits),
        tokens=tokens[order],
        tiles=own_tiles[order],
        costs=costs[order],
        budget=budget,
    )


def count_packs(
    lengths: np.ndarray, budget: int, *, tiles: np.ndarray | None = None, max_tiles: int | None = None
) -> int:
    """How many packs ``plan_packs`` makes of the same arguments, in any epoch: what a schedule needs to know.

    Raises:
        TuwenError: as ``plan_packs``.
    """
    effective = _effective_lengths(lengths, budget, tiles, max_tiles)
    return pack_histogram(np.bincount(effective[effective <= budget], minlength=budget + 1), budget)[1]


def _effective_lengths(lengths: np.ndarray, budget: int, tiles: np.ndarray | None, max_tiles: int | None) -> np.ndarray:
    """Tokens of each item, or the part of the budget that its tiles are of ``max_tiles``, where that is more."""
    assert budget >= 1, "a pack holds at least one token"
    for name, values, least in (("tokens", lengths, 1), ("tiles", tiles, 0)):
        if values is not None and len(values) and values.min() < least:
            place = int(values.argmin())
            raise TuwenError(f"item {place}: it has {values[place]} {name}, and must have at least {least}")
    effective = lengths
    if max_tiles is not None:
        assert tiles is not None, "max_tiles bounds tiles, which must be given"
        assert max_tiles >= 1, "a pack holds at least one tile; items without any may have none"
        # Rounded up, so that parts that add up to the budget add up to no more than max_tiles.
        effective = np.maximum(lengths, -(-tiles.astype(np.int64) * budget // max_tiles))
    # 16 bits are sorted by radix, several times as fast.
    return np.minimum(effective, np.int64(budget + 1)).astype(np.uint16 if budget + 1 < 1 << 16 else np.uint32)


def _lay_out(
    by_length: np.ndarray, pack: np.ndarray, place: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Items pack by pack with the packs in an order, and where each pack begins."""
    offsets = np.zeros(len(order) + 1, dtype=np.int64)
    np.cumsum(np.bincount(pack, minlength=len(order))[order], out=offsets[1:])
    begins = np.empty(len(order), dtype=np.int64)
    begins[order] = offsets[:-1]
    items = np.empty_like(by_length)
    items[begins[pack] + place] = by_length
    return items, offsets


def _totals(pack: np.ndarray, values: np.ndarray, packs: int) -> np.ndarray:
    """Sum of the items' values in each pack."""
    totals = np.bincount(pack, weights=values, minlength=packs)
    return totals if values.dtype.kind == "f" else totals.astype(np.int64)


def steps_in_epoch(plan: PackingPlan, sequences_per_step: int, *, drop_last: bool = True) -> int:
    """How many optimiser steps a plan lasts.

    Args:
        plan: of the epoch.
        sequences_per_step: packs of a step, over all ranks and accumulated batches.
        drop_last: whether packs that do not fill a step at the end are left out: ``len(plan) % sequences_per_step``
            of them, others in every epoch. If not, the last step is a short one.
    """
    assert sequences_per_step >= 1, "a step has at least one sequence"
    return len(plan) // sequences_per_step if drop_last else -(-len(plan) // sequences_per_step)


def global_step(plan: PackingPlan, step: int, sequences_per_step: int) -> np.ndarray:
    """Numbers of the packs of an optimiser step, whoever trains them; fewer in a short last step.

    Nothing before the step is computed, so that a run goes on from any.

    Raises:
        TuwenError: when the epoch has no such step.
    """
    steps = steps_in_epoch(plan, sequences_per_step, drop_last=False)
    if not 0 <= step < steps:
        raise TuwenError(f"step {step}: the epoch has {steps} steps of {sequences_per_step} sequences, from 0")
    return np.arange(step * sequences_per_step, min(len(plan), (step + 1) * sequences_per_step))


def share_of_rank(
    plan: PackingPlan, step: int, sequences_per_step: int, *, rank: int, world: int, accumulate: int = 1
) -> list[np.ndarray]:
    """The packs of a step that one rank trains, a batch for each time it calls the model.

    The packs of the step are sorted by cost and cut into as many stretches as there are calls, so that ranks that
    wait for each other at every call have about equal work there. Of each stretch, every rank gets one pack in turn,
    the costliest going to whom has least so far. The packs of a step are the same for any ``world`` and ``accumulate``.

    Every rank gets equally many batches, since collective operations must meet, and those of a call differ by one
    pack at most. In a full step there are ``accumulate`` of them and none is empty. A short last step may have fewer;
    its batches are no larger than those of a full step, and some ranks' may be empty: they must call the model all
    the same, on any pack with weight 0.

    Args:
        plan: of the epoch.
        step: in the epoch, from 0.
        sequences_per_step: packs of a step, at least ``world`` · ``accumulate``.
        rank: this process, from 0.
        world: how many processes train.
        accumulate: batches of a step that a rank trains one after the other.

    Returns:
        Numbers of packs, costliest first, for each batch.

    Raises:
        TuwenError: when a step has fewer packs than batches, or the epoch has no such step.
    """
    assert 0 <= rank < world, "ranks are counted from 0"
    if sequences_per_step < world * accumulate:
        raise TuwenError(
            f"{sequences_per_step} sequences a step are too few for {world} ranks with {accumulate} batches each: "
            f"take at least {world * accumulate}"
        )
    packs = global_step(plan, step, sequences_per_step)
    packs = packs[np.argsort(-plan.costs[packs], kind="stable")]
    rows = -(-sequences_per_step // (world * accumulate))
    calls = max(-(-len(packs) // (world * rows)), min(accumulate, len(packs) // world))
    totals = np.zeros(world)
    batches = []
    for stretch in np.array_split(packs, calls):
        loads = np.zeros(world)
        mine = []
        for begin in range(0, len(stretch), world):
            row = stretch[begin : begin + world]
            lightest = np.lexsort((totals, loads))[: len(row)]
            loads[lightest] += plan.costs[row]
            mine.append(row[lightest == rank])
        totals += loads
        batches.append(np.concatenate(mine))
    return batches
