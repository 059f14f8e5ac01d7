"""How much of what a device could do goes into the model: model FLOPs utilisation (arXiv 2204.02311)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tuwen.data.collator import Batch
from tuwen.models.configuration import TuwenConfig
from tuwen.train.planning.devices import peak_flops
from tuwen.train.planning.flops import stage_flops
from tuwen.train.stage import Stage
from tuwen.vision import ImagePolicy


class Utilisation:
    """Counts the operations of a stage's steps, on devices of which the most that they can do is known.

    Args:
        config: of the model.
        stage: says what is trained.
        policy: its pictures' tiles.
        peak: operations a second that one process's device can do at most.
    """

    def __init__(self, config: TuwenConfig, stage: Stage, policy: ImagePolicy, peak: float) -> None:
        self.peak = peak
        self._flops = stage_flops(config, stage, policy.plan(1, 1))

    def operations(self, batches: Sequence[Batch]) -> float:
        """Floating-point operations that the model needs for batches, forward and backward; padding needs none."""
        return sum(
            self._flops.of(
                tokens=int((batch.segments >= 0).sum()),
                squares=seen_pairs(batch.segments, batch.parents),
                tiles=batch.pictures,
                answers=int(batch.trained.sum()) + len(batch.region_places),
            )
            for batch in batches
        )


def find_utilisation(
    config: TuwenConfig, stage: Stage, policy: ImagePolicy, device: torch.device, precision: str
) -> Utilisation | None:
    """How a stage's use of its device is measured; None for devices of which nothing is known, such as processors."""
    if device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(device), torch.bfloat16 if precision == "bf16" else torch.float32)
    return Utilisation(config, stage, policy, peak) if peak is not None else None


def seen_pairs(segments_RL: Tensor, parents_RL: Tensor) -> int:
    """Twice the pairs of places of which one sees the other: the squared length of a conversation on its own.

    Args:
        segments_RL: number of the piece of its row that a place belongs to, below 0 for padding.
        parents_RL: number of the piece that it also sees, -1 for none.
    """
    pairs = 0
    for segments_L, parents_L in zip(segments_RL, parents_RL, strict=True):
        here = segments_L >= 0
        lengths = torch.bincount(segments_L[here])
        branch = here & (parents_L >= 0)
        pairs += int((lengths**2).sum()) + 2 * int(lengths[parents_L[branch]].sum())
    return pairs
