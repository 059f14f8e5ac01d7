"""How sure a score is: bootstrap intervals (Efron 1979) that draw whole clusters, such as all items about a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95
CHUNK = 200
# How often each cluster is drawn [draws, clusters], and the clusters' names → each figure's values [draws].
Resample = Callable[[np.ndarray, Sequence[str]], Mapping[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds it.

    Attributes:
        mean: of all items, or the figure itself.
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
    drawn = np.concatenate([(times @ sums) / (times @ counts) for times in _drawn(len(sums), seed, draws)])
    return _interval(float(found.mean()), drawn)


def bootstrap_figures(
    figures: Mapping[str, float], clusters: Sequence[str], resample: Resample, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Figures that are no mean of the items, with their intervals.

    Args:
        figures: by name, as they are.
        clusters: names of all clusters, each once.
        resample: gives the figures of clusters that are drawn so often.
        seed: of the drawing.
        draws: how often the clusters are drawn.
    """
    drawn = [resample(times, clusters) for times in _drawn(len(clusters), seed, draws)]
    return {
        name: _interval(value, np.concatenate([one[name] for one in drawn]))
        for name, value in figures.items()
        if name in drawn[0]
    }


def _drawn(count: int, seed: int, draws: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, [rows, count]; all draws at once would not fit for large benchmarks."""
    rng = np.random.default_rng(seed)
    for first in range(0, draws, CHUNK):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(CHUNK, draws - first))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def paired(first: Sequence[float], second: Sequence[float], clusters: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of ``second - first`` over the same items, with its 95 % interval."""
    return bootstrap(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64), clusters, seed=seed)
