"""Random states of a process: kept in a checkpoint, put back on resuming."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def random_states(rank: int) -> dict[str, Tensor]:
    """The random states of this process: torch's on the CPU and on every accelerator, numpy's and Python's.

    Names begin with the rank, so that the states of all ranks can go into one file.
    """
    numpy = np.random.get_state(legacy=False)
    twister = numpy["state"]
    _, words, gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"], numpy["has_gauss"]], dtype=torch.int64),
        "numpy.gauss": torch.tensor(numpy["gauss"], dtype=torch.float64),
        "python": torch.tensor(words, dtype=torch.int64),
        # Python keeps every second number of its normal distribution; there may be none.
        **({} if gauss is None else {"python.gauss": torch.tensor(gauss, dtype=torch.float64)}),
        **{f"device{index}": state for index, state in enumerate(_device_states())},
    }
    return {f"rank{rank}.{name}": state for name, state in states.items()}


def restore_random(states: Mapping[str, Tensor], rank: int, *, seed: int, step: int) -> str | None:
    """Put back the random states of ``rank``; what is not among them is seeded from (seed, step, rank).

    Args:
        states: of all ranks that there were, from ``random_states``.
        rank: of this process.
        seed: the run's.
        step: where the run goes on.

    Returns:
        One line saying what was seeded, or None when this rank's states were all there.
    """
    prefix = f"rank{rank}."
    own = {name.removeprefix(prefix): state.cpu() for name, state in states.items() if name.startswith(prefix)}
    devices = len(_device_states())
    missing = [index for index in range(devices) if f"device{index}" not in own]
    fresh = f"seeded from seed {seed}, step {step}, rank {rank}"
    if not own or missing:
        # Also of all accelerators.
        _seed_all(seed, step, rank)
    if not own:
        ranks = len({name.partition(".")[0] for name in states})
        return f"rank {rank}: the checkpoint has random states of {ranks} ranks, none of this one; {fresh}"
    torch.set_rng_state(own["torch"])
    *key, position, has_gauss = own["numpy"].tolist()
    np.random.set_state(("MT19937", np.asarray(key, "u4"), position, has_gauss, float(own["numpy.gauss"])))
    gauss = float(own["python.gauss"]) if "python.gauss" in own else None
    random.setstate((3, tuple(own["python"].tolist()), gauss))
    _set_device_states({index: own[f"device{index}"] for index in range(devices) if index not in missing})
    if missing:
        return f"rank {rank}: no random states of device {', '.join(map(str, missing))} in the checkpoint; {fresh}"
    return None


def _seed_all(seed: int, step: int, rank: int) -> None:
    """Seed every generator of this process; each (seed, step, rank) gives states of its own."""
    digest = hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    np.random.seed(np.frombuffer(digest[8:24], "<u4"))
    random.seed(digest[24:])


def _device_states() -> list[Tensor]:
    if not torch.accelerator.is_available():
        return []
    module = torch.get_device_module()
    # Apple's has one device and no word for all.
    return list(module.get_rng_state_all()) if hasattr(module, "get_rng_state_all") else [module.get_rng_state()]


def _set_device_states(states: Mapping[int, Tensor]) -> None:
    if not states:
        return
    module = torch.get_device_module()
    if not hasattr(module, "get_rng_state_all"):
        module.set_rng_state(states[0])
        return
    for index, state in states.items():
        module.set_rng_state(state, index)
