"""Packing plans beside padding and other packings: wasted places, balance of ranks, time and memory.

    python benchmarks/packing.py [--samples 200000] [--planned 10000000]

Lengths are drawn from a model of LLaVA-1.5's 665k instruction mix (``llava_mix``), since all ways see only lengths.
Waste is the part of all places of a forward pass that no token stands in. The padded ways batch 16 samples for each
of 8 ranks, as LLaVA's script does, and their largest batch is given over the average one, since memory must hold it;
packed sequences are all as long as the budget. Memory is what numpy had at most above its inputs (tracemalloc).
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from tuwen.data.epochs.epoch import epoch_samples
from tuwen.data.epochs.mixture import EpochSource, MixtureSettings
from tuwen.data.epochs.plan import PackingPlan, plan_packs, share_of_rank

BUDGETS = (2048, 3072, 4096, 8192, 16384)
BATCH, WORLD, ACCUMULATE = 16, 8, 4
PICTURE_TOKENS, PROMPT_TOKENS, LONGEST = 576, 35, 2048


class Part(NamedTuple):
    """One data set of the mix.

    Attributes:
        samples: how many thousands the mix has.
        turns: question and answer pairs of a sample, on average.
        most: of them at most.
        tokens: of a pair, on average, with the names of the roles.
        spread: standard deviation of those tokens.
    """

    samples: float
    turns: float
    most: int
    tokens: float
    spread: float


PARTS = {
    "LLaVA conversation": Part(58, 3.5, 9, 70, 30),
    "LLaVA detail": Part(23, 1, 1, 130, 35),
    "LLaVA reasoning": Part(77, 1, 1, 190, 50),
    "VQAv2": Part(83, 5.4, 30, 21, 4),
    "GQA": Part(72, 13, 60, 24, 5),
    "OKVQA": Part(9, 1, 1, 34, 6),
    "OCR-VQA": Part(80, 5, 9, 28, 8),
    "A-OKVQA": Part(66, 1, 1, 60, 10),
    "TextCaps": Part(22, 1, 1, 90, 35),
    "RefCOCO": Part(48, 8, 10, 45, 8),
    "Visual Genome": Part(86, 9.5, 10, 38, 10),
}
TEXT_ONLY = 40.0


def llava_mix(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in tokens, and whether there is a picture, of samples modelled on LLaVA-1.5's 665k mix.

    From the paper (arXiv 2310.03744): how many samples each data set has; the questions about a picture in one
    conversation; at most 10 of RefCOCO's and Visual Genome's; 576 tokens a picture; 40k conversations of ShareGPT
    without pictures, cut at 2048 tokens. From the data sets' own papers: 443,757 questions about 82,783 pictures
    (VQAv2), 943,000 about 72,000 (GQA), about 5 a picture (OCR-VQA). Tokens of a pair, and ShareGPT's log-normal with
    its median at 1100, are estimates. It is not the mix itself.
    """
    rng = np.random.default_rng(seed)
    thousands = np.array([*(part.samples for part in PARTS.values()), TEXT_ONLY])
    kinds = rng.choice(len(thousands), samples, p=thousands / thousands.sum())
    lengths = np.empty(samples, dtype=np.int32)
    for kind, part in enumerate(PARTS.values()):
        mine = np.flatnonzero(kinds == kind)
        turns = np.clip(rng.poisson(part.turns, len(mine)), 1, part.most)
        text = rng.normal(turns * part.tokens, np.sqrt(turns) * part.spread)
        lengths[mine] = PICTURE_TOKENS + PROMPT_TOKENS + np.maximum(text, 8 * turns)
    alone = np.flatnonzero(kinds == len(PARTS))
    lengths[alone] = np.clip(rng.lognormal(np.log(1100), 0.9, len(alone)), PROMPT_TOKENS, LONGEST)
    return lengths, kinds != len(PARTS)


def padded(lengths: np.ndarray, order: np.ndarray) -> tuple[float, float]:
    """Waste when each 16 samples of an order are padded to their longest, and the largest batch over the average."""
    batches = lengths[order[: len(order) // BATCH * BATCH]].reshape(-1, BATCH)
    longest = batches.max(axis=1)
    return 1 - float(batches.mean() / longest.mean()), float(longest.max() / longest.mean())


def grouped(lengths: np.ndarray, pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """LLaVA's ``group_by_modality_length``: global batches of one modality, in each the lengths dealt out evenly."""
    batches = []
    for side in (np.flatnonzero(pictures), np.flatnonzero(~pictures)):
        whole = rng.permutation(side)[: len(side) // (BATCH * WORLD) * BATCH * WORLD].reshape(-1, BATCH * WORLD)
        for batch in whole:
            ranks: list[list[int]] = [[] for _ in range(WORLD)]
            sums = [0] * WORLD
            for sample in batch[np.argsort(-lengths[batch], kind="stable")].tolist():
                rank = min((one for one in range(WORLD) if len(ranks[one]) < BATCH), key=sums.__getitem__)
                ranks[rank].append(sample)
                sums[rank] += int(lengths[sample])
            batches.append([sample for rank in ranks for sample in rank])
    return np.array(batches)[rng.permutation(len(batches))].ravel()


def sorted_in_blocks(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``group_by_length`` of `transformers`: sorted within blocks of 50 batches."""
    blocks = np.array_split(rng.permutation(len(lengths)), max(1, len(lengths) // (50 * BATCH * WORLD)))
    return np.concatenate([block[np.argsort(-lengths[block], kind="stable")] for block in blocks])


def first_fit(lengths: np.ndarray, budget: int) -> int:
    """Packs when each item goes into the first that has room, in the order in which items come."""
    room = np.full(len(lengths), budget)
    packs = 0
    for length in lengths.tolist():
        place = int((room[: packs + 1] >= length).argmax())
        room[place] -= length
        packs = max(packs, place + 1)
    return packs


def best_fit_decreasing(lengths: np.ndarray, budget: int) -> int:
    """Packs when the longest go first, each to where least room is left."""
    rooms: list[int] = []
    packs = 0
    for length in np.sort(lengths)[::-1].tolist():
        place = bisect_left(rooms, length)
        packs += place == len(rooms)
        room = rooms.pop(place) if place < len(rooms) else budget
        insort(rooms, room - length)
    return packs


def in_blocks(lengths: np.ndarray, budget: int) -> int:
    """Packs when each 1,000 samples are packed for themselves, as on-the-fly packing in LLaMA-Factory and ms-swift."""
    blocks = np.array_split(lengths, max(1, len(lengths) // 1000))
    return sum(best_fit_decreasing(block, budget) for block in blocks)


def ours(lengths: np.ndarray, budget: int) -> int:
    """Packs of Tuwen's plan."""
    return len(plan_packs(lengths, budget, 0, 0))


def waste_table(samples: int) -> Table:
    """Waste of every way."""
    lengths, pictures = llava_mix(samples)
    rng = np.random.default_rng(1)
    table = Table(title=f"waste, {samples:,} samples of {lengths.mean():.0f} tokens on average")
    table.add_column("way")
    for heading in ("padded", "largest batch", *(f"packed to {budget}" for budget in BUDGETS)):
        table.add_column(heading, justify="right")
    orders = {
        "random batches": rng.permutation(samples),
        "group_by_modality_length (LLaVA)": grouped(lengths, pictures, rng),
        "group_by_length (transformers)": sorted_in_blocks(lengths, rng),
    }
    for name, order in orders.items():
        waste, largest = padded(lengths, order)
        table.add_row(name, f"{waste:.1%}", f"{largest:.1f} x", *["" for _ in BUDGETS])
    packings: dict[str, Callable[[np.ndarray, int], int]] = {
        "first fit, as they come": first_fit,
        "best fit decreasing in blocks of 1,000": in_blocks,
        "best fit decreasing": best_fit_decreasing,
        "tuwen": ours,
    }
    total = float(lengths.sum(dtype=np.int64))
    for name, way in packings.items():
        table.add_row(name, "", "", *(f"{1 - total / (way(lengths, budget) * budget):.2%}" for budget in BUDGETS))
    return table


def waiting(plan: PackingPlan, sequences: int, *, dealt: bool) -> float:
    """Part of all ranks' time spent waiting for the costliest rank, when they meet at every call of the model."""
    spent = worked = 0.0
    for step in range(min(500, len(plan) // sequences)):
        if dealt:
            shares = [
                share_of_rank(plan, step, sequences, rank=rank, world=WORLD, accumulate=ACCUMULATE)
                for rank in range(WORLD)
            ]
            costs = np.array([[plan.costs[batch].sum() for batch in share] for share in shares])
        else:
            costs = plan.costs[step * sequences : (step + 1) * sequences].reshape(WORLD, ACCUMULATE, -1).sum(axis=2)
        spent += float(costs.max(axis=0).sum()) * WORLD
        worked += float(costs.sum())
    return 1 - worked / spent


def balance_table(samples: int) -> Table:
    """How long ranks wait for each other."""
    lengths, pictures = llava_mix(samples)
    plan = plan_packs(lengths, 4096, 0, 0, tiles=pictures.astype(np.int32))
    table = Table(title=f"time that {WORLD} ranks wait for the slowest, {ACCUMULATE} batches a step, budget 4096")
    for heading in ("sequences a step", "in the plan's order", "share_of_rank"):
        table.add_column(heading, justify="right")
    for rows in (1, 2, 4):
        sequences = WORLD * ACCUMULATE * rows
        table.add_row(str(sequences), *(f"{waiting(plan, sequences, dealt=dealt):.2%}" for dealt in (False, True)))
    return table


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MiB at most, of two calls."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 2**20


def size_table(planned: int) -> Table:
    """What an epoch of many samples takes on one core."""
    lengths, pictures = llava_mix(planned)
    tiles = pictures.astype(np.int8)
    sources = [EpochSource(planned)]
    table = Table(title=f"{planned:,} samples")
    for heading in ("", "seconds", "MiB at most"):
        table.add_column(heading, justify="right" if heading else "left")
    works: dict[str, Callable[[], object]] = {
        "epoch_samples": lambda: epoch_samples(sources, MixtureSettings(), 0, 0),
        "epoch_samples, text_only_share 0.2": lambda: epoch_samples(
            sources, MixtureSettings(text_only_share=0.2), 0, 0, has_pictures=pictures
        ),
        "plan_packs, budget 4096": lambda: plan_packs(lengths, 4096, 0, 0),
        "plan_packs, budget 4096 and 8 tiles": lambda: plan_packs(lengths, 4096, 0, 0, tiles=tiles, max_tiles=8),
        "plan_packs, budget 32768": lambda: plan_packs(lengths, 32768, 0, 0),
    }
    for name, work in works.items():
        seconds, peak = measured(work)
        table.add_row(name, f"{seconds:.1f}", f"{peak:,.0f}")
    return table


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000, help="for waste and balance")
    parser.add_argument("--planned", type=int, default=10_000_000, help="for time and memory")
    options = parser.parse_args()
    console = Console()
    console.print(waste_table(options.samples))
    console.print(balance_table(options.samples))
    console.print(size_table(options.planned))


if __name__ == "__main__":
    main()
