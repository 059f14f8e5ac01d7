"""Attention of packed rows on a CPU: padded, packed with a dense mask, packed with an item a call, packed in stripes.

    python benchmarks/attention.py [--lengths 2048 4096] [--rounds 3]

All ways compute the same conversations, with lengths modelled on LLaVA-665k (``packing.llava_mix``): two rows that
Tuwen's plan has packed, or one padded row for each conversation; without branches, so that no way gains by them. One
table is of a layer's attention alone (8 heads of 64, 2 key/value heads), the other of a language model (Qwen2, 4 layers
of width 512) with what lies around it. A process of its own makes a few forward and backward passes on one core, each
with other rows and their mask. The figures are the processor time of a pass without the first, the least of all rounds,
in brackets how many times as long as in stripes, and the largest resident set above that before the first pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from packing import llava_mix
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2Model
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tuwen.data.epochs.plan import plan_packs
from tuwen.models.attention import by_spans, packed_attention
from tuwen.models.packing import PACKED, PackedMask

ROWS, HEADS, KEY_HEADS, WIDTH, LAYERS = 2, 8, 2, 64, 4
PASSES = 5
PADDED, DENSE, SPANS, STRIPES = "padded", "packed, dense mask", "packed, an item a call", "packed, stripes"


class Case(NamedTuple):
    """What is measured.

    Attributes:
        way: one of the four.
        length: tokens of a packed row.
        dtype: of the numbers.
        model: whether a language model, or attention alone.
    """

    way: str
    length: int
    dtype: torch.dtype
    model: bool


class Layer(nn.Module):
    """What attention functions want to know of a layer."""

    is_causal, num_key_value_groups = True, HEADS // KEY_HEADS


def layout(case: Case, number: int) -> tuple[Tensor, Tensor]:
    """Number of the conversation at each place, -2 for padding, and its place in it, of a pass's rows; both [R, L]."""
    lengths, _ = llava_mix(20_000)
    plan = plan_packs(lengths, case.length, 0, 0, worst_first=False)
    packs = [[int(length) for length in lengths[plan.pack(number * ROWS + row)]] for row in range(ROWS)]
    rows = [[length] for pack in packs for length in pack] if case.way == PADDED else packs
    segments = torch.full((len(rows), max(map(sum, rows))), -2)
    positions = torch.zeros_like(segments)
    for row, members in enumerate(rows):
        segments[row, : sum(members)] = torch.arange(len(members)).repeat_interleave(torch.tensor(members))
        positions[row, : sum(members)] = torch.cat([torch.arange(length) for length in members])
    return segments, positions


def of_attention(case: Case) -> Callable[[Tensor, Tensor], None]:
    """A pass of one layer's attention."""

    def run(segments_RL: Tensor, positions_RL: Tensor) -> None:
        rows, length = segments_RL.shape
        tensors = [
            torch.ones(rows, length, heads, WIDTH, dtype=case.dtype).transpose(1, 2).requires_grad_()
            for heads in (HEADS, KEY_HEADS, KEY_HEADS)
        ]
        mask, layer = PackedMask(segments_RL, torch.full_like(segments_RL, -1)), Layer()
        if case.way == STRIPES:
            attended = packed_attention(layer, *tensors, mask)[0]
        elif case.way == SPANS:
            attended = by_spans(layer, *tensors, mask)
        else:
            attended = sdpa_attention_forward(layer, *tensors, mask.dense())[0]
        torch.autograd.grad((attended * (segments_RL >= 0)[:, :, None, None]).sum(), tensors)

    return run


def of_model(case: Case) -> Callable[[Tensor, Tensor], None]:
    """A pass of a language model."""
    config = Qwen2Config(
        vocab_size=1000,
        hidden_size=HEADS * WIDTH,
        intermediate_size=1408,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
    )
    model = Qwen2Model(config).to(case.dtype).train()
    model.set_attn_implementation(PACKED if case.way == STRIPES else "sdpa")

    def run(segments_RL: Tensor, positions_RL: Tensor) -> None:
        mask = PackedMask(segments_RL, torch.full_like(segments_RL, -1))
        states_RLH = model(
            segments_RL.clamp(min=0),
            attention_mask=mask if case.way == STRIPES else mask.dense(),
            position_ids=positions_RL,
            use_cache=False,
        ).last_hidden_state
        states_RLH[segments_RL >= 0].sum().backward()

    return run


def resident(name: str) -> float:
    """MiB of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


def measure(case: Case) -> tuple[float, float]:
    """Processor seconds of a pass, and MiB at most."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = (of_model if case.model else of_attention)(case)
    layouts = [layout(case, number) for number in range(PASSES)]
    before, seconds = resident("VmRSS"), []
    for segments_RL, positions_RL in layouts:
        started = time.process_time()
        run(segments_RL, positions_RL)
        seconds.append(time.process_time() - started)
    return sum(seconds[1:]) / (PASSES - 1), resident("VmHWM") - before


def table(model: bool, lengths: list[int], rounds: int) -> Table:
    """All ways side by side."""
    ways = [PADDED, DENSE, STRIPES] if model else [PADDED, DENSE, SPANS, STRIPES]
    result = Table(title="a language model" if model else "attention alone")
    for heading in ("", "tokens a row", *ways):
        result.add_column(heading, justify="right" if heading else "left")
    for dtype in (torch.bfloat16, torch.float32):
        for length in lengths:
            cases = [Case(way, length, dtype, model) for way in ways]
            found: list[list[tuple[float, float]]] = []
            for _ in range(rounds):
                # A process for each: memory that one has had stays with it.
                with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
                    found.append(list(pool.map(measure, cases)))
            seconds, memory = np.array(found).min(axis=0).T
            cells = [
                f"{spent * 1000:,.0f} ms ({spent / seconds[-1]:.2f}), {most:,.0f} MiB"
                for spent, most in zip(seconds, memory, strict=True)
            ]
            result.add_row(str(dtype).removeprefix("torch."), str(length), *cells)
    return result


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096], help="tokens of a packed row")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console()
    for model in (False, True):
        console.print(table(model, options.lengths, options.rounds))


if __name__ == "__main__":
    main()
