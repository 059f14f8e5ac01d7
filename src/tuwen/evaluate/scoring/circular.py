"""Questions that are asked once for each rotation of their options, and what counts as an answer to all of them.

MMBench (Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?") rotates the options of question
``n`` by one place in row ``n + 1,000,000``, by two in row ``n + 2,000,000``, and so on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tuwen.evaluate.figures import Figure, count, mean

STEP = 1_000_000
# Abilities as VLMEvalKit abbreviates them.
ABBREVIATIONS = {
    "coarse_perception": "CP",
    "finegrained_perception (instance-level)": "FP-S",
    "finegrained_perception (cross-instance)": "FP-C",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "attribute_reasoning": "AR",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row, or a question with all its rows, was answered rightly.

    Attributes:
        index: of the row.
        right: whether it was.
        split: of the table; "none" where it has no splits.
        ability: what MMBench calls the second level of categories; None where the table has none.
        category: None where the table has none.
    """

    index: int
    right: bool
    split: str = "none"
    ability: str | None = None
    category: str | None = None


Of = TypeVar("Of")


def groups(rows: Iterable[tuple[int, Of]]) -> dict[int, list[Of]]:
    """What belongs to the rows of each question, by the question's index."""
    found: dict[int, list[Of]] = defaultdict(list)
    for index, row in rows:
        found[index % STEP].append(row)
    return found


def circular(rows: Sequence[Verdict]) -> list[Verdict]:
    """One verdict for each question: right when all of its rows are.

    As in VLMEvalKit, rows that are missing are not asked for, but a question whose first row is missing is none.
    """
    right = {index: all(row.right for row in mine) for index, mine in groups((row.index, row) for row in rows).items()}
    return [replace(row, right=right[row.index]) for row in rows if row.index < STEP]


def accuracy(verdicts: Sequence[Verdict]) -> Figure | None:
    """The share of right ones, from 0 to 1; None of nothing."""
    return mean((str(verdict.index), verdict.right) for verdict in verdicts) if verdicts else None


def means(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float | None]]:
    """Accuracies of each split: over all, by ability and by category, as VLMEvalKit reports them.

    A group that some other split has is None in a split without it.
    """
    table: dict[str, dict[str, float | None]] = {}
    by_split: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_split[verdict.split].append(verdict)
    names = {name for verdict in verdicts for name in (verdict.ability, verdict.category) if name is not None}
    for split, mine in by_split.items():
        members: dict[str, list[Verdict]] = {name: [] for name in sorted(names)}
        for verdict in mine:
            for name in {verdict.ability, verdict.category} - {None}:
                members[str(name)].append(verdict)
        table[split] = {"Overall": accuracy(mine)}
        table[split] |= {ABBREVIATIONS.get(name, name): accuracy(them) for name, them in members.items()}
    return table


def vlmevalkit_report(rows: Sequence[Verdict]) -> dict[str, Any]:
    """What VLMEvalKit reports of rows: circular, of the first rows by themselves, and of every row by itself."""
    questions, first = circular(rows), [row for row in rows if row.index < STEP]
    return {
        "circular": means(questions),
        "circular_all_splits": {"groups": len(questions), **_hits(questions)},
        "vanilla": {
            "circ0": {**means(first), "all_splits": {"rows": len(first), **_hits(first)}},
            "all_rows": {**means(rows), "all_splits": {"rows": len(rows), **_hits(rows)}},
        },
    }


def _hits(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    return {"hits": count((str(verdict.index), verdict.right) for verdict in verdicts), "accuracy": accuracy(verdicts)}


@dataclass(frozen=True, slots=True)
class Chosen:
    """An option that was chosen by its likelihood, as Qwen-VL's programs do it.

    Attributes:
        option: its number, from 0.
        truth: the number of the right one.
        texts: of all options.
    """

    option: int
    truth: int
    texts: tuple[str, ...]


def qwen_vl_strict(chosen: Mapping[int, Sequence[Chosen]]) -> dict[int, bool]:
    """Qwen-VL's ``mmbench_evaluation.py``: a question is right when all of its rows that are there are."""
    return {index: all(row.option == row.truth for row in rows) for index, rows in chosen.items()}


def qwen_vl_vote(chosen: Mapping[int, Sequence[Chosen]]) -> dict[int, bool]:
    """Qwen-VL's ``mmbench_evaluation_tricky.py``: a question is right when most of its rows choose the right text.

    The program draws lots between texts with equally many votes; here the one that was chosen first wins.
    """
    return {
        index: Counter(row.texts[row.option] for row in rows).most_common(1)[0][0] == rows[-1].texts[rows[-1].truth]
        for index, rows in chosen.items()
    }
