"""How far one gets without looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuwen.data.sample import Sample


def chance(samples: Sequence[Sample]) -> float:
    """Share (0–1) of answers that are right when each task's most frequent one in each language is always given.

    Raises:
        ValueError: when there are no samples.
    """
    if not samples:
        raise ValueError("chance: no samples were given")
    answers: dict[tuple[str, str], Counter[str]] = {}
    for sample in samples:
        answers.setdefault((sample.task, sample.language), Counter())[sample.answer] += 1
    return sum(max(counts.values()) for counts in answers.values()) / len(samples)
