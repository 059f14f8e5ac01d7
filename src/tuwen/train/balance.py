"""How much each task counts in the loss of a step, found out from the tasks' validation losses while training goes on.

CoBa (Gong et al., EMNLP 2024, arXiv 2410.06741) lets tasks converge at the same pace, and holds back one that gets
worse. With K tasks, Lᵢ(s) the validation loss of task i at measurement s and N the window, at measurement t:

    ratio       lᵢ(s) = Lᵢ(s) / Lᵢ(0)
    slope       αᵢ(t): of the straight line through lᵢ(t − N + 1), …, lᵢ(t), by least squares
    relative    RCSᵢ(t) = softmax over i of  K αᵢ(t) / Σⱼ |αⱼ(t)|               slower tasks count more
    absolute    ACSᵢ(t) = softmax over i of  −N αᵢ(t) / Σ |αᵢ(s)|, s in window   tasks that still converge count more
    divergence  DF(t) = min(1, t · softmax over s ≤ t of  −τ t αₘ(s) / Σ |αₘ(r)|, r ≤ t, taken at s = t),
                αₘ(s) = maxᵢ αᵢ(s)                                              small when the worst task turns
    weight      ωᵢ(t) = DF(t) RCSᵢ(t) + (1 − DF(t)) ACSᵢ(t)

Slopes are counted from the end of a warm-up, in which all tasks count alike. The paper measures one batch in every
step; here t counts measurements of the whole held-out data, so that windows are short. A sum of slopes that is 0 gives
equal scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import linear_regression
from typing import Any, Literal

from pydantic import Field

from tuwen.config import StrictConfig, TuwenError

# A task with less loss than this before the first step has nothing to learn.
LEAST_LOSS = 1e-6
# Beyond this a ratio says no more than that the task is lost; sums of larger ones may be no number.
MOST_RATIO = 1e6


class Coba(StrictConfig):
    """Balancing of tasks by how fast their validation losses fall.

    Attributes:
        type: ``coba``.
        window: measurements that a slope is fitted to.
        warmup: measurements, the one before the first step among them, until tasks no longer count alike.
        temperature: the larger it is, the sooner a task that gets worse is held back.
    """

    type: Literal["coba"] = "coba"
    window: int = Field(default=5, ge=2)
    warmup: int = Field(default=3, ge=2)
    temperature: float = Field(default=5.0, gt=0)


class TaskBalance:
    """What each task counts, from measurement to measurement of a stage.

    Args:
        settings: from the stage.
        where: how the stage is called in a message.

    Attributes:
        factors: what each task counts beside the others; their mean is 1.
    """

    def __init__(self, settings: Coba, where: str) -> None:
        self.settings, self.where = settings, where
        self.factors: dict[str, float] = {}
        self._losses: dict[str, list[float]] = {}

    def note(self, losses: Mapping[str, float]) -> None:
        """Take in the validation loss of each task; one that is no number is as bad as the worst before it.

        Raises:
            TuwenError: when other tasks were measured before.
        """
        if self._losses and self._losses.keys() != losses.keys():
            differing = min(self._losses.keys() ^ losses.keys())
            raise TuwenError(
                f"{self.where}.balance: task {differing!r} was not measured each time; keep validation as it was"
            )
        for name, loss in losses.items():
            before = self._losses.setdefault(name, [])
            before.append(loss if math.isfinite(loss) else max(before, default=LEAST_LOSS))
        self.factors = task_factors(self._losses, self.settings)

    @property
    def state(self) -> dict[str, Any]:
        """All that there is to go on from, of JSON's types."""
        return {name: list(losses) for name, losses in self._losses.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from what ``state`` gave."""
        self._losses = {name: list(losses) for name, losses in state.items()}
        self.factors = task_factors(self._losses, self.settings)


def task_factors(losses: Mapping[str, Sequence[float]], settings: Coba) -> dict[str, float]:
    """What each task counts after so many measurements; the mean over tasks is 1.

    Args:
        losses: of each task at every measurement so far.
        settings: see ``Coba``.
    """
    names = sorted(losses)
    if not names or len(losses[names[0]]) < settings.warmup:
        return dict.fromkeys(names, 1.0)
    slopes = [_slopes(losses[name], settings) for name in names]
    worst = [max(now) for now in zip(*slopes, strict=True)]
    divergence = min(1.0, len(worst) * softmax(_scaled(worst, -settings.temperature))[-1])
    relative = softmax(_scaled([own[-1] for own in slopes], 1.0))
    absolute = softmax([_scaled(own[-settings.window :], -1.0)[-1] for own in slopes])
    return {
        name: len(names) * (divergence * slow + (1 - divergence) * going)
        for name, slow, going in zip(names, relative, absolute, strict=True)
    }


def _slopes(losses: Sequence[float], settings: Coba) -> list[float]:
    """The slope of a task's ratio at each measurement from the end of the warm-up on."""
    ratios = [min(MOST_RATIO, loss / max(losses[0], LEAST_LOSS)) for loss in losses]
    windows = (ratios[max(0, stop - settings.window) : stop] for stop in range(settings.warmup, len(ratios) + 1))
    return [linear_regression(range(len(window)), window).slope for window in windows]


def _scaled(slopes: Sequence[float], factor: float) -> list[float]:
    """Slopes beside the mean of their sizes, times a factor."""
    total = math.fsum(abs(slope) for slope in slopes)
    return [factor * len(slopes) * slope / total if total else 0.0 for slope in slopes]


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that add up to 1, each as the exponential of its score."""
    highest = max(scores)
    parts = [math.exp(score - highest) for score in scores]
    total = math.fsum(parts)
    return [part / total for part in parts]
