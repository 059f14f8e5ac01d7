"""Figures that can be reckoned again, as if other pictures had been drawn.

Scorers make their figures of these functions. To everybody else they are plain numbers; ``intervals`` reckons them anew
for many bootstrap draws, so that whatever is made of means, counts, sums, products and quotients has its interval.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Items by their ids, with what each of them is worth.
Values = Iterable[tuple[str, float]]
# Clusters whose draws are turned into floating point at a time, which then stay in the processor's cache.
BLOCK = 128


class Draws:
    """Items, each there as often as its cluster was drawn, in several draws at once.

    Args:
        places: the place of each item's cluster, by the item's id.
        times: how often each cluster was drawn, [clusters, draws].
    """

    def __init__(self, places: Mapping[str, int], times: np.ndarray) -> None:
        self._places, self._times = places, times
        # Figures are made of each other: what one of them is in these draws is reckoned once.
        self._known: dict[int, np.ndarray] = {}

    def of(self, figure: Reckoned) -> np.ndarray:
        """What a figure is in each draw, [draws]."""
        if id(figure) not in self._known:
            self._known[id(figure)] = figure.again(self)
        return self._known[id(figure)]

    def _places_of(self, ids: Sequence[str]) -> np.ndarray:
        return np.fromiter(map(self._places.__getitem__, ids), dtype=np.intp, count=len(ids))

    def times(self, ids: Sequence[str]) -> np.ndarray:
        """How often each item was drawn, [items, draws]; for what no sum will do."""
        return self._times[self._places_of(ids)].astype(np.float64)

    def sum(self, ids: Sequence[str], values: Sequence[float]) -> np.ndarray:
        """The sum of the items that were drawn, [draws]."""
        return self._sums(np.bincount(self._places_of(ids), np.asarray(values, np.float64), len(self._times))[None])[0]

    def mean(self, ids: Sequence[str], values: Sequence[float]) -> np.ndarray:
        """The mean of the items that were drawn, [draws]; nan where none of them was."""
        places, clusters = self._places_of(ids), len(self._times)
        sums = self._sums(
            np.stack(
                [np.bincount(places, np.asarray(values, np.float64), clusters), np.bincount(places, minlength=clusters)]
            )
        )
        with np.errstate(invalid="ignore"):
            return np.asarray(sums[0] / sums[1])

    def _sums(self, columns: np.ndarray) -> np.ndarray:
        """What columns of the clusters add up to, [columns, clusters] → [columns, draws]."""
        here = np.flatnonzero(columns.any(axis=0))
        sums = np.zeros((len(columns), self._times.shape[1]))
        for first in range(0, len(here), BLOCK):
            block = here[first : first + BLOCK]
            sums += columns[:, block] @ self._times[block].astype(np.float64)
        return sums


Again = Callable[[Draws], np.ndarray]


class Reckoned:
    """What ``Figure`` and ``Count`` share: how they come about, and what is made of them comes about likewise."""

    again: Again

    def __add__(self, other: float, /) -> Any:
        return combined(operator.add, self, other)

    def __radd__(self, other: float, /) -> Any:
        return combined(operator.add, other, self)

    def __sub__(self, other: float, /) -> Any:
        return combined(operator.sub, self, other)

    def __mul__(self, other: float, /) -> Any:
        return combined(operator.mul, self, other)

    def __rmul__(self, other: float, /) -> Any:
        return combined(operator.mul, other, self)

    def __truediv__(self, other: float, /) -> Any:
        return combined(operator.truediv, self, other)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is the number alone: it may go to where the answers are not.
        return (float if isinstance(self, float) else int, (plain(self),))


class Figure(Reckoned, float):
    """A number that can be reckoned again.

    Args:
        value: the number.
        again: what it is in other draws of the items, [draws].
    """

    def __new__(cls, value: float, again: Again) -> Figure:
        """Make the number."""
        made = super().__new__(cls, value)
        made.again = again
        return made


class Count(Reckoned, int):
    """A whole number that can be reckoned again; arguments are ``Figure``'s."""

    def __new__(cls, value: int, again: Again) -> Count:
        """Make the number."""
        made = super().__new__(cls, value)
        made.again = again
        return made


def plain(number: Any) -> Any:
    """The number alone."""
    return float(number) if isinstance(number, float) else int(number)


def combined(function: Callable[..., Any], *parts: Any) -> Any:
    """What a function makes of several numbers.

    Args:
        function: takes numbers, and arrays over draws in their place.
        parts: numbers, some of which can be reckoned again.
    """
    value = function(*map(plain, parts))

    def again(draws: Draws) -> np.ndarray:
        return np.asarray(function(*(draws.of(one) if isinstance(one, Reckoned) else one for one in parts)))

    return Count(value, again) if isinstance(value, int) else Figure(value, again)


def _apart(values: Values) -> tuple[list[str], list[float]]:
    ids, numbers = [], []
    for name, number in values:
        ids.append(name)
        numbers.append(number)
    return ids, numbers


def mean(values: Values) -> Figure:
    """The mean of items.

    Raises:
        ZeroDivisionError: of nothing.
    """
    ids, numbers = _apart(values)
    return Figure(sum(numbers) / len(numbers), lambda draws: draws.mean(ids, numbers))


def percent(values: Values) -> Figure:
    """The mean of values from 0 to 1, in percent; added up as most official programs do.

    Raises:
        ZeroDivisionError: of nothing.
    """
    ids, numbers = _apart(values)
    return Figure(100 * sum(numbers) / len(numbers), lambda draws: 100 * draws.mean(ids, numbers))


def count(values: Values) -> Count:
    """How many of these items are something, those that are not given too: in other draws, of as many items as here."""
    ids, numbers = _apart(values)
    return Count(int(sum(numbers)), lambda draws: draws.mean(ids, numbers) * len(numbers))


def total(values: Values) -> Count:
    """The sum of whole numbers; in other draws that of what was drawn, however many items that are."""
    ids, numbers = _apart(values)
    return Count(int(sum(numbers)), lambda draws: draws.sum(ids, numbers))


def quotient(part: float, whole: float) -> Figure:
    """``part / whole``, and 0 where there is no whole."""
    found: Figure = combined(_quotient, part, whole)
    return found


def _quotient(part: Any, whole: Any) -> np.ndarray:
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)


def rounded(number: float, by: Callable[[float], float]) -> Any:
    """A number as an official program rounds it; in other draws it is as exact as can be."""
    return Figure(by(float(number)), number.again) if isinstance(number, Reckoned) else by(number)
