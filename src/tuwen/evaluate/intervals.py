"""How sure a score is: bootstrap intervals (Efron 1979) that draw whole clusters, such as all items about a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds it.

    Attributes:
        mean: of all items.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


def bootstrap(
    values: Sequence[float] | np.ndarray, clusters: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The mean of ``values`` with its 95 % percentile interval.

    Args:
        values: of each item.
        clusters: items with the same name are drawn together.
        seed: of the drawing; the same gives the same interval.
        draws: how often the clusters are drawn, with replacement.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    found = np.asarray(values, dtype=np.float64)
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = np.bincount(place, weights=found), np.bincount(place).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, draws, CHUNK):
        # How often each cluster is drawn; a matrix of all draws at once would not fit for large benchmarks.
        rows = min(CHUNK, draws - first)
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=rows)
        means.append((times @ sums) / (times @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(found.mean()), float(low), float(high))


def paired(first: Sequence[float], second: Sequence[float], clusters: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of ``second - first`` over the same items, with its 95 % interval."""
    return bootstrap(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64), clusters, seed=seed)
