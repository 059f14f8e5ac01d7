"""Scores in a judge's replies, and what is made of them.

Two answers side by side: LLaVA's rule and summary (haotian-liu/LLaVA, ``eval_gpt_review_bench.py`` and
``summarize_gpt_review.py``), CodeFuse-VLM's reading, and counts of wins (Zheng et al. 2023, "Judging LLM-as-a-Judge
with MT-Bench and Chatbot Arena"). One answer alone: a score from 1 to 10. People: grades from A to D, as OwlEval has
them (Ye et al. 2023, "mPLUG-Owl").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tuwen.evaluate.figures import count, mean, percent, rounded

ALL = "all"
# What a judge is asked to keep to.
LOWEST, HIGHEST = 1.0, 10.0
GRADES = ("A", "B", "C", "D")
# What an answer is worth that wins, or not, against another.
CREDITS = {"won": 1.0, "tied": 0.5, "lost": 0.0}
# What people may say besides a system.
NEITHER = ("tied", "both_bad")

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


def review_summary(scores: Iterable[tuple[str, str, Pair | None]]) -> dict[str, dict[str, float]]:
    """LLaVA's summary by category: how good the second answers are in percent of the first, and both means tenfold.

    A reply that cannot be read counts as -1 for both, as it does in that program.

    Args:
        scores: the item, its category, and the pair.

    Raises:
        ZeroDivisionError: when the first answers of a category have a mean of 0.
    """
    found: dict[str, list[tuple[str, Pair]]] = {}
    for item, category, pair in scores:
        for name in (ALL, category):
            found.setdefault(name, []).append((item, pair or (-1.0, -1.0)))
    summary = {}
    for name, pairs in sorted(found.items()):
        first, second = (rounded(mean((item, pair[side]) for item, pair in pairs), _to(3)) for side in (0, 1))
        summary[name] = {
            "ratio_percent": rounded(second / first * 100, _to(1)),
            "reference_x10": rounded(first * 10, _to(1)),
            "model_x10": rounded(second * 10, _to(1)),
        }
    return summary


def _to(digits: int) -> Callable[[float], float]:
    return lambda exact: round(exact, digits)


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


def win_counts(outcomes: Iterable[tuple[str, str, str | None]]) -> dict[str, dict[str, Any]]:
    """How often the second answer won, by category; replies that cannot be read are counted apart and nowhere else.

    Args:
        outcomes: the item, its category, and who wins.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for item, category, said in outcomes:
        for name in (ALL, category):
            found.setdefault(name, []).append((item, said or "unread"))
    summary = {}
    for name, members in sorted(found.items()):
        counts: dict[str, Any] = {
            kind: count((item, said == kind) for item, said in members) for kind in ("won", "tied", "lost", "unread")
        }
        read = [(item, CREDITS[said]) for item, said in members if said in CREDITS]
        summary[name] = {**counts, "win_rate_percent": percent(read) if read else None}
    return summary


def mean_scores(scores: Iterable[tuple[str, str, float | None]]) -> dict[str, dict[str, Any]]:
    """Mean score of one system's answers by category, of the replies that can be read.

    Args:
        scores: the item, its category, and the score.
    """
    found: dict[str, list[tuple[str, float | None]]] = {}
    for item, category, score in scores:
        for name in (ALL, category):
            found.setdefault(name, []).append((item, score))
    summary = {}
    for name, given in sorted(found.items()):
        read = [(item, score) for item, score in given if score is not None]
        summary[name] = {
            "mean": mean(read) if read else None,
            "read": count((item, score is not None) for item, score in given),
            "unread": count((item, score is None) for item, score in given),
        }
    return summary


def grade_counts(ratings: Iterable[tuple[str, str, Sequence[str]]]) -> dict[str, dict[str, int]]:
    """How many of all people's grades are A, B, C and D, by category.

    Args:
        ratings: the item, its category, and the grades it got.
    """
    found: dict[str, list[tuple[str, Sequence[str]]]] = {}
    for item, category, grades in ratings:
        for name in (ALL, category):
            found.setdefault(name, []).append((item, grades))
    return {
        name: {grade: count((item, grades.count(grade)) for item, grades in members) for grade in GRADES}
        for name, members in found.items()
    }


def preference_counts(chosen: Iterable[tuple[str, str, Sequence[Mapping[str, str]]]]) -> dict[str, dict[str, int]]:
    """How often people preferred each system, by category.

    Args:
        chosen: the item, its category, and choices: ``first`` and ``second`` system, and the ``choice`` of one of these
            keys, or ``tied`` or ``both_bad``.
    """
    found: dict[str, list[tuple[str, list[str]]]] = {}
    systems: dict[str, dict[str, None]] = {}
    for item, category, rows in chosen:
        said = [row.get(row["choice"], row["choice"]) for row in rows]
        for name in (ALL, category):
            found.setdefault(name, []).append((item, said))
            for row in rows:
                systems.setdefault(name, {}).update(dict.fromkeys((row["first"], row["second"])))
    return {
        name: {kind: count((item, said.count(kind)) for item, said in found[name]) for kind in [*known, *NEITHER]}
        for name, known in systems.items()
    }


def grade_credit(grades: Sequence[str]) -> float:
    """Grades as a number from 0 to 1: A is 1, D is 0, evenly between."""
    worth: Mapping[str, float] = {grade: 1 - place / (len(GRADES) - 1) for place, grade in enumerate(GRADES)}
    return sum(worth[grade] for grade in grades) / len(grades)
