"""A packing plan loses nothing, keeps its bounds, and gives every step the same sequences however many ranks train."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.config import TuwenError
from tuwen.data.epochs.histogram_packing import pack_histogram
from tuwen.data.epochs.plan import (
    PackCost,
    PackingPlan,
    count_packs,
    global_step,
    plan_packs,
    share_of_rank,
    steps_in_epoch,
)

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "packing.py"


@pytest.fixture(scope="module")
def mix() -> tuple[np.ndarray, np.ndarray]:
    """Lengths of 200,000 samples as in LLaVA's mix, and who has a picture."""
    spec = importlib.util.spec_from_file_location("benchmarks_packing", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.llava_mix(200_000)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of ``plan_packs``: few or many items, alike or not, some of them too long."""
    count = draw(st.integers(0, 400))
    budget = draw(st.integers(1, 300))
    longest = draw(st.sampled_from([budget // 10 + 1, budget // 2 + 1, budget, budget + budget // 3 + 1]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from([np.uint16, np.int32, np.int64]))
    arguments: dict[str, Any] = {
        "lengths": rng.integers(draw(st.integers(1, longest)), longest + 1, count).astype(kind),
        "budget": budget,
        "seed": draw(st.integers(0, 2**40)),
        "epoch": draw(st.integers(0, 9)),
        "worst_first": draw(st.booleans()),
    }
    if draw(st.booleans()):
        arguments["max_tiles"] = draw(st.integers(1, 12))
        arguments["tiles"] = rng.integers(0, draw(st.integers(1, 15)), count).astype(
            draw(st.sampled_from([np.int8, int]))
        )
    return arguments


def same(one: PackingPlan, other: PackingPlan) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("items", "offsets", "refused", "tokens", "tiles", "costs")
    )


@given(items())
def test_every_item_is_in_one_pack_or_refused_and_no_pack_is_above_its_bounds(arguments: dict[str, Any]) -> None:
    plan = plan_packs(**arguments)
    lengths, budget = arguments["lengths"].astype(np.int64), arguments["budget"]
    tiles, most = arguments.get("tiles", np.zeros(len(lengths), int)), arguments.get("max_tiles", 0)
    too_much = (lengths > budget) | (tiles > most)
    assert plan.refused.tolist() == np.flatnonzero(too_much).tolist()
    assert sorted(plan.items.tolist()) == np.flatnonzero(~too_much).tolist()
    packs = [plan.pack(number) for number in range(len(plan))]
    assert all(len(pack) for pack in packs)
    assert plan.tokens.tolist() == [lengths[pack].sum() for pack in packs]
    assert plan.tiles.tolist() == [tiles[pack].sum() for pack in packs]
    assert not len(plan) or plan.tokens.max() <= budget
    assert not len(plan) or plan.tiles.max() <= most


@given(items())
def test_a_plan_is_a_pure_function(arguments: dict[str, Any]) -> None:
    assert same(plan_packs(**arguments), plan_packs(**arguments))


@given(items(), st.randoms(use_true_random=False))
def test_how_many_packs_there_are_follows_from_the_lengths_alone(arguments: dict[str, Any], random: Any) -> None:
    seed, epoch, _ = (arguments.pop(name) for name in ("seed", "epoch", "worst_first"))
    packs = count_packs(**arguments)
    assert packs == len(plan_packs(**arguments, seed=seed, epoch=epoch))
    order = list(range(len(arguments["lengths"])))
    random.shuffle(order)
    for name in ("lengths", "tiles"):
        if name in arguments:
            arguments[name] = arguments[name][order]
    assert packs == count_packs(**arguments)


@given(items())
def test_a_plan_is_never_larger_than_best_fit_decreasing(arguments: dict[str, Any]) -> None:
    rooms: list[int] = []
    for length in sorted(arguments["lengths"].tolist(), reverse=True):
        if length <= arguments["budget"]:
            room = min((room for room in rooms if room >= length), default=None)
            if room is not None:
                rooms.remove(room)
            rooms.append((arguments["budget"] if room is None else room) - length)
    assert count_packs(arguments["lengths"], arguments["budget"]) <= len(rooms)


def test_seeds_and_epochs_differ_in_companions_and_in_order(mix: tuple[np.ndarray, np.ndarray]) -> None:
    lengths = mix[0][:3000]
    plans = [plan_packs(lengths, 4096, seed, epoch) for seed in range(2) for epoch in range(2)]
    assert len({plan.items.tobytes() for plan in plans}) == 4
    companions = [{frozenset(plan.pack(number).tolist()) for number in range(len(plan))} for plan in plans]
    assert all(len(companions[0] & other) < len(plans[0]) / 10 for other in companions[1:])


@pytest.mark.parametrize(("budget", "waste"), [(3072, 0.02), (4096, 0.005), (8192, 0.001), (16384, 0.001)])
def test_little_is_wasted_on_a_mix_as_of_llava(mix: tuple[np.ndarray, np.ndarray], budget: int, waste: float) -> None:
    lengths, pictures = mix
    plan = plan_packs(lengths, budget, 0, 0, tiles=pictures.astype(np.int8), max_tiles=budget // 512)
    assert len(plan.refused) == 0
    assert plan.waste == pytest.approx(1 - lengths.sum(dtype=np.int64) / (len(plan) * budget))
    assert plan.waste <= waste


def test_tiles_bound_packs_of_short_items() -> None:
    # Resampled pictures: 64 tokens each, so that tiles and not tokens fill a pack.
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 5, 20_000)
    plan = plan_packs(pictures * 64 + rng.integers(10, 60, 20_000), 4096, 0, 0, tiles=pictures, max_tiles=16)
    assert plan.tiles.max() == 16
    assert plan.tiles.sum() / (16 * len(plan)) > 0.95


def test_tiles_that_do_not_divide_the_budget_are_bounded_too() -> None:
    one = np.ones(100, dtype=int)
    plan = plan_packs(one, 20, 0, 0, tiles=one, max_tiles=7)
    assert plan.tiles.max() <= 7


def test_packs_of_a_kind_are_spread_over_the_epoch(mix: tuple[np.ndarray, np.ndarray]) -> None:
    plan = plan_packs(mix[0], 4096, 0, 0)
    for kind in (plan.tokens < 4096, np.diff(plan.offsets) < 5):
        assert kind.sum() > 500
        assert 0.45 < np.flatnonzero(kind).mean() / len(plan) < 0.55


def test_planning_takes_no_more_work_for_more_items_of_the_same_lengths(mix: tuple[np.ndarray, np.ndarray]) -> None:
    histogram = np.bincount(mix[0], minlength=4097)
    rows = [len(pack_histogram(histogram * times, 4096)[0].length) for times in (1, 50, 2500)]
    assert rows[1] < 4 * rows[0]
    assert rows[2] < 2 * rows[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": np.array([3, 0, 5])}, "item 1: it has 0 tokens, and must have at least 1"),
        (
            {"lengths": np.array([3, 4]), "tiles": np.array([1, -1])},
            "item 1: it has -1 tiles, and must have at least 0",
        ),
    ],
)
def test_impossible_items_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        plan_packs(budget=10, seed=0, epoch=0, **arguments)


@given(items().filter(lambda arguments: len(arguments["lengths"]) > 0))
def test_the_worst_pack_comes_first(arguments: dict[str, Any]) -> None:
    lengths, cost = arguments["lengths"].astype(float), PackCost(attention=0.5, tile=3.0)
    tiles = arguments.get("tiles", np.zeros(len(lengths)))
    plan = plan_packs(**{**arguments, "worst_first": True}, cost=cost)
    by_hand = [
        lengths[pack].sum() + 0.5 * (lengths[pack] ** 2).sum() + 3 * tiles[pack].sum()
        for pack in (plan.pack(number) for number in range(len(plan)))
    ]
    np.testing.assert_allclose(plan.costs, by_hand)
    assert not len(plan) or plan.costs[0] == plan.costs.max()


@st.composite
def steps(draw: st.DrawFn) -> tuple[PackingPlan, int]:
    """A plan, and the number of sequences of its steps."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    count = draw(st.integers(1, 300))
    plan = plan_packs(rng.integers(1, 60, count), 64, 1, 0, tiles=rng.integers(0, 4, count))
    return plan, draw(st.sampled_from([8, 12, 13, 24]))


@given(steps(), st.sampled_from([(1, 1), (1, 8), (2, 1), (2, 3), (4, 1), (4, 2), (8, 1), (3, 2)]))
def test_ranks_share_out_each_step_whoever_they_are(drawn: tuple[PackingPlan, int], ranks: tuple[int, int]) -> None:
    (plan, sequences), (world, accumulate) = drawn, ranks
    everything = []
    for step in range(steps_in_epoch(plan, sequences, drop_last=False)):
        wanted = global_step(plan, step, sequences)
        shares = [
            share_of_rank(plan, step, sequences, rank=rank, world=world, accumulate=accumulate) for rank in range(world)
        ]
        calls = {len(share) for share in shares}
        assert len(calls) == 1, "a rank that calls the model once more waits for ever"
        assert calls == {accumulate} or len(wanted) < sequences
        assert sorted(pack for share in shares for batch in share for pack in batch.tolist()) == wanted.tolist()
        sizes = [len(batch) for share in shares for batch in share]
        assert max(sizes) <= -(-sequences // (world * accumulate))
        assert min(sizes) > 0 or len(wanted) < sequences
        everything += wanted.tolist()
    assert everything == list(range(len(plan)))


@given(steps(), st.integers(0, 40))
def test_a_step_does_not_depend_on_those_before_it(drawn: tuple[PackingPlan, int], first: int) -> None:
    plan, sequences = drawn
    whole = [global_step(plan, step, sequences).tolist() for step in range(steps_in_epoch(plan, sequences))]
    resumed = [global_step(plan, step, sequences).tolist() for step in range(first, steps_in_epoch(plan, sequences))]
    assert resumed == whole[first:]
    assert all(len(step) == sequences for step in whole)
    assert len(plan) - sum(len(step) for step in whole) == len(plan) % sequences


def test_sharing_out_evens_the_work_of_every_call_and_of_the_step() -> None:
    rng = np.random.default_rng(0)
    # Up to 9 tiles an item, whatever its length: full sequences whose work differs.
    plan = plan_packs(rng.integers(100, 3000, 4000), 4096, 0, 0, tiles=rng.integers(0, 10, 4000))
    dealt, plain = [], []
    for step in range(steps_in_epoch(plan, 64)):
        shares = [share_of_rank(plan, step, 64, rank=rank, world=8, accumulate=4) for rank in range(8)]
        dealt.append([[plan.costs[batch].sum() for batch in share] for share in shares])
        plain.append(plan.costs[global_step(plan, step, 64)].reshape(8, 4, 2).sum(axis=2))

    def waiting(costs: np.ndarray) -> float:
        """Part of the ranks' time that is not work, over [steps, ranks, meetings]."""
        return 1 - costs.sum() / (8 * costs.max(axis=1).sum())

    each_call, whole_step = np.array(dealt), np.array(dealt).sum(axis=2, keepdims=True)
    assert waiting(each_call) < waiting(np.array(plain)) / 2
    assert waiting(whole_step) < waiting(np.array(plain).sum(axis=2, keepdims=True)) * 0.75


def test_impossible_steps_and_shares_are_refused() -> None:
    plan = plan_packs(np.full(20, 10), 10, 0, 0)
    assert [steps_in_epoch(plan, 8), steps_in_epoch(plan, 8, drop_last=False)] == [2, 3]
    assert len(global_step(plan, 2, 8)) == 4
    for step in (-1, 3):
        with pytest.raises(TuwenError, match=f"step {step}: the epoch has 3 steps of 8 sequences, from 0"):
            global_step(plan, step, 8)
    with pytest.raises(
        TuwenError, match="8 sequences a step are too few for 4 ranks with 3 batches each: take at least 12"
    ):
        share_of_rank(plan, 0, 8, rank=0, world=4, accumulate=3)


@pytest.mark.parametrize(
    ("packs", "ranks", "sizes"),
    [
        (19, (4, 2), [[1], [1], [1], [0]]),
        # Two packs in one batch would need more memory than any full step does.
        (21, (4, 2), [[1, 1], [1, 0], [1, 0], [0, 1]]),
        (20, (2, 2), [[1, 1], [1, 1]]),
        (21, (2, 2), [[2, 1], [1, 1]]),
    ],
)
def test_batches_of_a_short_last_step_are_no_larger_than_others(
    packs: int, ranks: tuple[int, int], sizes: list[list[int]]
) -> None:
    plan = plan_packs(np.full(packs, 10), 10, 0, 0)
    world, accumulate = ranks
    shares = [share_of_rank(plan, 2, 8, rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    assert [[len(batch) for batch in share] for share in shares] == sizes
