"""Scores in a judge's replies, and what is made of them.

Two answers side by side: LLaVA's rule and summary (haotian-liu/LLaVA, ``eval_gpt_review_bench.py`` and
``summarize_gpt_review.py``), CodeFuse-VLM's reading, and counts of wins (Zheng et al. 2023, "Judging LLM-as-a-Judge
with MT-Bench and Chatbot Arena"). One answer alone: a score from 1 to 10. People: grades from A to D, as OwlEval has
them (Ye et al. 2023, "mPLUG-Owl").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

ALL = "all"
# What a judge is asked to keep to.
LOWEST, HIGHEST = 1.0, 10.0
GRADES = ("A", "B", "C", "D")

Pair = tuple[float, float]
# A judge's reply → scores of the first and the second answer; None where they cannot be read.
Reading = Callable[[str], Pair | None]


def llava(reply: str) -> Pair | None:
    """LLaVA: the first line is two numbers with one comma or one blank between, and nothing else."""
    numbers = reply.split("\n")[0].replace(",", " ").split(" ")
    if len(numbers) != 2:
        return None
    try:
        return float(numbers[0]), float(numbers[1])
    except ValueError:
        return None


def codefuse(reply: str) -> Pair | None:
    """CodeFuse-VLM: as LLaVA, but a comma may have a blank after it."""
    first, *rest = reply.split("\n")
    return llava("\n".join([first.replace(", ", " "), *rest]))


def single(reply: str) -> float | None:
    """One score from 1 to 10, which must be all of the first line."""
    try:
        score = float(reply.split("\n")[0])
    except ValueError:
        return None
    return score if LOWEST <= score <= HIGHEST else None


def review_summary(scores: Iterable[tuple[str, Pair | None]]) -> dict[str, dict[str, float]]:
    """LLaVA's summary by category: how good the second answers are in percent of the first, and both means tenfold.

    A reply that cannot be read counts as -1 for both, as it does in that program.

    Raises:
        ZeroDivisionError: when the first answers of a category have a mean of 0.
    """
    found: dict[str, list[Pair]] = {}
    for category, pair in scores:
        for name in (ALL, category):
            found.setdefault(name, []).append(pair or (-1.0, -1.0))
    summary = {}
    for name, pairs in sorted(found.items()):
        first, second = (round(float(mean), 3) for mean in np.asarray(pairs).mean(axis=0))
        summary[name] = {
            "ratio_percent": round(second / first * 100, 1),
            "reference_x10": round(first * 10, 1),
            "model_x10": round(second * 10, 1),
        }
    return summary


def outcome(pairs: Sequence[Pair | None]) -> str | None:
    """Who wins: ``won`` for the second answer, ``lost``, or ``tied``; None where a reply cannot be read.

    Args:
        pairs: scores of the first and the second answer; a second pair where the judge was asked again with the two
            exchanged, turned back. Who wins in one order only is tied.
    """
    said = set()
    for pair in pairs:
        # A judge may write nan, which is above and below nothing.
        if pair is None or pair[0] != pair[0] or pair[1] != pair[1]:
            return None
        said.add("tied" if pair[0] == pair[1] else "won" if pair[1] > pair[0] else "lost")
    return said.pop() if len(said) == 1 else "tied"


def win_counts(outcomes: Iterable[tuple[str, str | None]]) -> dict[str, dict[str, Any]]:
    """How often the second answer won, by category; replies that cannot be read are counted apart and nowhere else."""
    found: dict[str, dict[str, Any]] = {}
    for category, said in outcomes:
        for name in (ALL, category):
            counts = found.setdefault(name, {"won": 0, "tied": 0, "lost": 0, "unread": 0})
            counts[said or "unread"] += 1
    for counts in found.values():
        read = counts["won"] + counts["tied"] + counts["lost"]
        counts["win_rate_percent"] = 100 * (counts["won"] + counts["tied"] / 2) / read if read else None
    return dict(sorted(found.items()))


def mean_scores(scores: Iterable[tuple[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Mean score of one system's answers by category, of the replies that can be read."""
    found: dict[str, list[float | None]] = {}
    for category, score in scores:
        for name in (ALL, category):
            found.setdefault(name, []).append(score)
    summary = {}
    for name, given in sorted(found.items()):
        read = [score for score in given if score is not None]
        summary[name] = {
            "mean": sum(read) / len(read) if read else None,
            "read": len(read),
            "unread": len(given) - len(read),
        }
    return summary


def grade_counts(ratings: Iterable[tuple[str, Sequence[str]]]) -> dict[str, dict[str, int]]:
    """How many of all people's grades are A, B, C and D, by category."""
    counts: dict[str, dict[str, int]] = {}
    for category, grades in ratings:
        for name in (ALL, category):
            row = counts.setdefault(name, dict.fromkeys(GRADES, 0))
            for grade in grades:
                row[grade] += 1
    return counts


def preference_counts(chosen: Iterable[tuple[str, Sequence[Mapping[str, str]]]]) -> dict[str, dict[str, int]]:
    """How often people preferred each system, by category.

    Args:
        chosen: categories with choices: ``first`` and ``second`` system, and the ``choice`` of one of these keys, or
            ``tied`` or ``both_bad``.
    """
    counts: dict[str, dict[str, int]] = {}
    for category, rows in chosen:
        for row in rows:
            said = row.get(row["choice"], row["choice"])
            for name in (ALL, category):
                systems = dict.fromkeys([row["first"], row["second"], "tied", "both_bad"], 0)
                kept = counts.setdefault(name, systems)
                kept[said] = kept.get(said, 0) + 1
    return counts


def grade_credit(grades: Sequence[str]) -> float:
    """Grades as a number from 0 to 1: A is 1, D is 0, evenly between."""
    worth: Mapping[str, float] = {grade: 1 - place / (len(GRADES) - 1) for place, grade in enumerate(GRADES)}
    return sum(worth[grade] for grade in grades) / len(grades)
