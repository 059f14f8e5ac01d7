"""What each sample counts for in the loss of a step, over all batches and processes of it.

Shape legend: S samples of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tuwen.data.collator import Batch
from tuwen.train.stage import Stage

# Adds up over all processes what each of them has counted under a name.
AddUp = Callable[[Mapping[str, float]], dict[str, float]]


def sample_coefficients(
    batches: Sequence[Batch], stage: Stage, add_up: AddUp, factors: Mapping[str, float] | None = None
) -> list[Tensor]:
    """Factors by which the summed losses of samples become the loss of a step: [S] float32 for each batch.

    With n trained tokens of a sample and its exponent e, each of its tokens weighs nᵉ. Loss by ``token`` or ``sample``
    is the mean under those weights; by ``task`` it is the mean over the step's tasks of each one's own mean.

    Args:
        batches: of this process, on the processor.
        stage: says what counts alike.
        add_up: over all processes.
        factors: how much each task counts beside others, for ``task``; 1 unless said.
    """
    exponent = stage.exponent
    own: defaultdict[str, float] = defaultdict(float)
    for batch in batches:
        for task, trained in zip(batch.tasks, batch.learnt.tolist(), strict=True):
            own[_key(task, stage)] += float(trained) ** (1 + exponent) if trained else 0.0
    totals = {name: total for name, total in add_up(own).items() if total > 0}
    shares = {name: (factors or {}).get(name, 1.0) for name in totals}
    whole = sum(shares.values())
    scale = {name: shares[name] / whole / total for name, total in totals.items()}
    return [
        torch.tensor(
            [
                float(trained) ** exponent * scale[_key(task, stage)] if trained else 0.0
                for task, trained in zip(batch.tasks, batch.learnt.tolist(), strict=True)
            ],
            dtype=torch.float32,
        )
        for batch in batches
    ]


def _key(task: str, stage: Stage) -> str:
    """Samples under the same name are averaged together."""
    return task if stage.weighting == "task" else ""


def task_sums(batches: Sequence[Batch], losses: Sequence[Tensor]) -> dict[str, tuple[float, float]]:
    """Summed loss and trained tokens of each task in this process's batches.

    Args:
        batches: of a step.
        losses: summed loss of each sample of them, [S], without a gradient.
    """
    found: dict[str, tuple[float, float]] = {}
    for batch, sums_S in zip(batches, losses, strict=True):
        for task, trained, loss in zip(batch.tasks, batch.learnt.tolist(), sums_S.tolist(), strict=True):
            if trained:
                total, tokens = found.get(task, (0.0, 0.0))
                found[task] = (total + loss, tokens + trained)
    return found
