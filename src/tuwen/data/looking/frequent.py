"""The most frequent of very many different texts, in little memory (Misra and Gries, 1982)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MOST_KEPT = 2**17


class Frequent:
    """Counts of texts, of which the rare ones are forgotten when there are too many.

    A text that is kept may have been counted too low by ``missed`` at most, and one that is not in ``counts`` has come
    no more often than that.

    Args:
        most: texts that are kept at most.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.missed = 0
        self._most = most

    def count(self, texts: Iterable[str]) -> None:
        """Count texts."""
        before = self.total
        for text in texts:
            self.counts[text] += 1
            self.total += 1
        if self.total > before:
            self._forget()

    def add(self, other: Frequent) -> None:
        """Add what was counted elsewhere."""
        self.counts.update(other.counts)
        self.total += other.total
        self.missed += other.missed
        self._forget()

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent texts with their counts; by the alphabet where counts are equal."""
        return sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))[:most]

    def _forget(self) -> None:
        while len(self.counts) > self._most:
            rarest = min(self.counts.values())
            self.missed += rarest
            self.counts = Counter({text: count - rarest for text, count in self.counts.items() if count > rarest})
