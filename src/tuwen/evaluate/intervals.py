"""How sure scores are: bootstrap intervals (Efron 1979) that draw whole clusters, such as all items about a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuwen.evaluate.benchmark import Item, Score
from tuwen.evaluate.figures import Draws, Figure, Reckoned, mean

DRAWS = 1000
LEVEL = 0.95
DIGITS = 6
# Clusters times draws: of very large benchmarks some draws are looked at at a time.
LARGEST_TABLE = 1 << 26


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % percentile interval.

    Attributes:
        value: the figure itself.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How sure all figures of a score are; those that cannot be drawn anew are left out.

    Attributes:
        headline: by the names in ``Score.headline``.
        subtasks: by the names in ``Score.subtasks``.
        scores: in the structure of ``Score.scores``, an interval in place of each figure.
        credits: of the mean credit of all items, under the empty name, and of each category.
    """

    headline: Mapping[str, Interval]
    subtasks: Mapping[str, Interval]
    scores: Mapping[str, Any]
    credits: Mapping[str, Interval]


def intervals(items: Sequence[Item], score: Score) -> Intervals:
    """Intervals of all figures of a score.

    Args:
        items: those that it is of.
        score: what a scorer gave.
    """
    groups: dict[str, list[tuple[str, float]]] = {}
    for item in items:
        parsed = score.parsed.get(item.id)
        if parsed is not None and parsed.credit is not None:
            for name in dict.fromkeys(("", item.category)):
                groups.setdefault(name, []).append((item.id, parsed.credit))
    tree = {
        "headline": score.headline,
        "subtasks": score.subtasks,
        "scores": score.scores,
        "credits": {name: mean(credits) for name, credits in groups.items()},
    }
    found = _of_tree(tree, {item.id: item.cluster or item.id for item in items})
    return Intervals(**{name: found.get(name, {}) for name in tree})


def ends(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested intervals as JSON holds them: a list of both ends in place of each."""
    return {name: ends(one) if isinstance(one, Mapping) else ends_of(one) for name, one in tree.items()}


def ends_of(interval: Interval) -> list[float]:
    """Both ends, without the digits in which machines differ."""
    return [round(interval.low, DIGITS), round(interval.high, DIGITS)]


def bootstrap(values: Sequence[float], clusters: Sequence[str]) -> Interval:
    """The mean of values with its interval.

    Args:
        values: of each item; at least one.
        clusters: items with the same name are drawn together.
    """
    names = [str(number) for number in range(len(values))]
    figure = mean(zip(names, values, strict=True))
    found: Interval = _of_tree({"": figure}, dict(zip(names, clusters, strict=True)))[""]
    return found


def paired(first: Sequence[float], second: Sequence[float], clusters: Sequence[str]) -> Interval:
    """The mean of ``second - first`` over the same items, with its interval."""
    return bootstrap([after - before for before, after in zip(first, second, strict=True)], clusters)


def _of_tree(tree: Mapping[str, Any], clusters: Mapping[str, str]) -> dict[str, Any]:
    """Nested figures' intervals in the same structure."""
    figures = list(_figures(tree))
    parts: list[list[np.ndarray]] = [[] for _ in figures]
    with np.errstate(divide="ignore", invalid="ignore"):
        for draws in drawn(clusters):
            for place, figure in enumerate(figures):
                parts[place].append(draws.of(figure))
    known = iter([_interval(figure, np.concatenate(found)) for figure, found in zip(figures, parts, strict=True)])
    return _replaced(tree, known)


def _figures(tree: Mapping[str, Any]) -> Iterator[Any]:
    for value in tree.values():
        if isinstance(value, Mapping):
            yield from _figures(value)
        elif isinstance(value, Reckoned):
            yield value


def _replaced(tree: Mapping[str, Any], known: Iterator[Interval | None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            if inner := _replaced(value, known):
                found[name] = inner
        elif isinstance(value, Reckoned) and (interval := next(known)) is not None:
            found[name] = interval
    return found


def drawn(clusters: Mapping[str, str], *, seed: int = 0, draws: int = DRAWS) -> Iterator[Draws]:
    """Bootstrap draws of clusters with replacement, as many at a time as fit into ``LARGEST_TABLE``.

    Args:
        clusters: of each item by its id.
        seed: of the drawing; the same gives the same draws.
        draws: how often as many clusters are drawn as there are.
    """
    places: dict[str, int] = {}
    of_items = {name: places.setdefault(cluster, len(places)) for name, cluster in clusters.items()}
    count, rng = len(places), np.random.default_rng(seed)
    most = max(1, LARGEST_TABLE // max(1, count))
    for first in range(0, draws, most):
        table = np.empty((min(most, draws - first), count), dtype=np.uint16)
        for row in table:
            row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
        yield Draws(of_items, np.ascontiguousarray(table.T))


def _interval(figure: Figure, found: np.ndarray) -> Interval | None:
    """None where the figure cannot be told in any draw."""
    known = found[np.isfinite(found)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(figure), float(low), float(high))
