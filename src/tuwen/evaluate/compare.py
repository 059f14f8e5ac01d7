"""Two evaluations side by side, item by item (``tuwen compare``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from tuwen.config import TuwenError
from tuwen.evaluate.files import read_json_lines
from tuwen.evaluate.intervals import Interval, paired
from tuwen.evaluate.run import VERDICTS


@dataclass(frozen=True, slots=True)
class Difference:
    """How one benchmark differs.

    Attributes:
        benchmark: its name.
        first: mean credit of the first, over the items that both have.
        second: of the second.
        change: second minus first, with its 95 % interval.
        items: how many both have.
        better: items that the second has more credit for.
        worse: items that it has less for.
    """

    benchmark: str
    first: float
    second: float
    change: Interval
    items: int
    better: int
    worse: int


def compare(first: Path, second: Path) -> list[Difference]:
    """The differences of all benchmarks that two folders of results share.

    Raises:
        TuwenError: when one is no folder of results, or they share nothing.
    """
    names = [sorted(path.parent.name for path in folder.glob(f"*/{VERDICTS}")) for folder in (first, second)]
    for folder, found in zip((first, second), names, strict=True):
        if not found:
            raise TuwenError(f"{folder}: holds no results; expected what `tuwen eval --out` has written")
    shared = [name for name in names[0] if name in names[1]]
    if not shared:
        raise TuwenError(f"{first} has {', '.join(names[0])}, {second} has {', '.join(names[1])}: nothing to compare")
    return [_difference(name, first / name / VERDICTS, second / name / VERDICTS) for name in shared]


def _difference(name: str, first: Path, second: Path) -> Difference:
    before, after = _credits(first), _credits(second)
    ids = [item for item in before if item in after]
    if not ids:
        raise TuwenError(f"{second}: has no item of {first}; both must be of the same data")
    old, new = [before[item][0] for item in ids], [after[item][0] for item in ids]
    return Difference(
        benchmark=name,
        first=sum(old) / len(ids),
        second=sum(new) / len(ids),
        change=paired(old, new, [before[item][1] for item in ids]),
        items=len(ids),
        better=sum(b > a for a, b in zip(old, new, strict=True)),
        worse=sum(b < a for a, b in zip(old, new, strict=True)),
    )


def _credits(path: Path) -> dict[str, tuple[float, str]]:
    """Credit and cluster of each item that has a credit."""
    found: dict[str, tuple[float, str]] = {}
    for record in read_json_lines(path, "verdicts"):
        credit: Any = record.get("credit")
        if isinstance(credit, int | float) and "id" in record:
            found[str(record["id"])] = (float(credit), str(record.get("cluster", record["id"])))
    return found


def difference_table(differences: Sequence[Difference], first: Path, second: Path) -> Table:
    """A row for each benchmark; a change whose interval leaves out 0 is marked."""
    table = Table(title=escape(f"A {first}\nB {second}"), title_justify="left", box=SIMPLE_HEAD)
    for heading in ("benchmark", "A", "B", "B − A", "95 %", "items 题", "better 更好", "worse 更差"):
        table.add_column(heading, justify="left" if heading == "benchmark" else "right")
    for one in differences:
        sure = one.change.low > 0 or one.change.high < 0
        colour = "" if not sure else "[green]" if one.change.value > 0 else "[red]"
        table.add_row(
            one.benchmark,
            f"{100 * one.first:.2f}",
            f"{100 * one.second:.2f}",
            f"{colour}{100 * one.change.value:+.2f}",
            f"{100 * one.change.low:+.2f} … {100 * one.change.high:+.2f}",
            f"{one.items:,}",
            str(one.better),
            str(one.worse),
        )
    return table
