"""Random numbers go on where they stopped, and ranks that are new have numbers of their own."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuwen.train.keeping.rng import random_states, restore_random


def draw(count: int) -> list[float]:
    """Numbers of all generators; of those that come in pairs too, so that one may be left over."""
    drawn: list[float] = []
    for _ in range(count):
        drawn += [*torch.randn(3).tolist(), *torch.rand(1).tolist()]
        drawn += [float(np.random.normal()), float(np.random.rand()), random.gauss(0, 1), random.random()]
    return drawn


@given(before=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_the_same_numbers_come_after_restoring(before: int, seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    draw(before)
    states = random_states(rank=1)
    expected = draw(4)
    draw(3)
    assert restore_random({**random_states(rank=0), **states}, 1, seed=0, step=9) is None
    assert draw(4) == expected


def test_ranks_that_were_not_there_are_seeded_and_say_so() -> None:
    states = {**random_states(0), **random_states(1)}
    drawn = {}
    for rank, step in ((2, 7), (3, 7), (2, 8)):
        line = restore_random(states, rank, seed=5, step=step)
        assert line == (
            f"rank {rank}: the checkpoint has random states of 2 ranks, none of this one; "
            f"seeded from seed 5, step {step}, rank {rank}"
        )
        drawn[rank, step] = draw(1)
    numbers = [number for found in drawn.values() for number in found]
    assert len(set(numbers)) == len(numbers)
    restore_random(states, 2, seed=5, step=7)
    assert draw(1) == drawn[2, 7]


def test_states_of_rank_10_are_not_those_of_rank_1() -> None:
    states = random_states(10)
    assert "none of this one" in (restore_random(states, 1, seed=0, step=0) or "")


def test_a_device_that_was_not_there_is_seeded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices are played by two generators on the CPU."""
    devices = [torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)]

    class Module:
        def get_rng_state_all(self) -> list[torch.Tensor]:
            return [device.get_state() for device in devices]

        def set_rng_state(self, state: torch.Tensor, device: int) -> None:
            devices[device].set_state(state)

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch, "get_device_module", Module)
    states = random_states(0)
    expected = [torch.rand(2, generator=device).tolist() for device in devices]
    assert restore_random(states, 0, seed=3, step=4) is None
    assert [torch.rand(2, generator=device).tolist() for device in devices] == expected
    del states["rank0.device1"]
    line = restore_random(states, 0, seed=3, step=4)
    assert line == "rank 0: no random states of device 1 in the checkpoint; seeded from seed 3, step 4, rank 0"
    assert torch.rand(2, generator=devices[0]).tolist() == expected[0]
