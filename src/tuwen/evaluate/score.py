"""Scoring by itself: predictions of any system, read from files (``tuwen score``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import (
    BENCHMARKS,
    Benchmark,
    Coverage,
    Item,
    Score,
    coverage,
    missing_pictures,
)
from tuwen.evaluate.intervals import Interval, Intervals, ends, intervals

HERE, SHUFFLED = "here 本次", "blind 打乱图片"


@dataclass(frozen=True, slots=True)
class Scored:
    """A score with what it is of.

    Attributes:
        benchmark: what was scored.
        scorer: the scorer's name.
        score: what it gave.
        coverage: how predictions and items met.
        items: that were to be answered.
    """

    benchmark: Benchmark
    scorer: str
    score: Score
    coverage: Coverage
    items: Sequence[Item]

    def intervals(self) -> Intervals:
        """Of the score's figures; drawn anew at each call."""
        return intervals(self.items, self.score)

    def to_dict(self, *, with_intervals: bool = False) -> dict[str, Any]:
        """Keys and values for JSON; intervals only where they are wanted, for they take a moment."""
        result: dict[str, Any] = {
            "benchmark": self.benchmark.name,
            "scorer": self.scorer,
            "scores": self.score.scores,
            "per_item": self.score.per_item,
        }
        if not self.coverage.whole:
            result["coverage"] = {
                "missing": self.coverage.missing,
                "unknown": self.coverage.unknown,
                "doubled": self.coverage.doubled,
                "pictures": self.coverage.pictures,
            }
        if with_intervals:
            found = self.intervals()
            result["intervals"] = {"headline": ends(found.headline), "scores": ends(found.scores)}
        return result


def score_files(
    name: str, data: Path, predictions: Sequence[Path], *, scorer: str | None = None, partial: bool = False
) -> Scored:
    """Score predictions in files.

    Args:
        name: of the benchmark.
        data: folder with its data.
        predictions: files or folders.
        scorer: its name; the benchmark's usual one unless said.
        partial: score what is there; otherwise predictions must be there for every item, and for nothing else.

    Raises:
        TuwenError: naming what is missing or wrong in the data or the predictions.
    """
    benchmark: Benchmark = BENCHMARKS.get(name)(data)
    benchmark.partial = partial
    found = benchmark.read_predictions(predictions)
    items = benchmark.items_for(found)
    met = coverage((item.id for item in items), found)
    met.pictures = missing_pictures(items, [data / folder for folder in benchmark.picture_folders])
    official = benchmark.missing_is_wrong and not (met.unknown or met.doubled or met.pictures)
    if not (met.whole or partial or official):
        raise TuwenError(f"{', '.join(map(str, predictions))}: {met}; give --partial to score what is there")
    chosen = scorer or benchmark.usual_scorer(found)
    if partial:
        known = {item.id for item in items}
        found = [prediction for prediction in found if prediction.id in known]
    return Scored(benchmark, chosen, benchmark.score(found, chosen), met, items)


def score_table(benchmark: Benchmark, scorer: str, measured: Mapping[str, tuple[Score, Intervals]]) -> Table:
    """The figures that people quote with their intervals, beside published ones.

    Args:
        benchmark: what was measured.
        scorer: by which.
        measured: name → score and its intervals; the first one says which figures there are.
    """
    title = f"{benchmark.title} · {scorer}"
    names = list(next(iter(measured.values()))[0].headline)
    others = [one for one in benchmark.published if any(name in one.values for name in names)]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rows = []
    for name in names:
        row = [escape(name)]
        for score, known in measured.values():
            row += [_figure(score.headline.get(name)), range_of(known.headline.get(name))]
        rows.append([*row, *(_figure(one.values.get(name)) for one in others)])
    table.add_column("", min_width=max(map(len, names), default=0))
    for label in measured:
        table.add_column(label, justify="right", min_width=7, style="bold", overflow="fold")
        table.add_column("95 %", justify="right", no_wrap=True, style="dim")
    for one in others:
        # Long names are broken, so that figures keep their room in a narrow terminal.
        table.add_column(one.system, justify="right", max_width=9, overflow="fold")
    for row in rows:
        table.add_row(*row)
    sources: dict[str, list[str]] = {}
    for one in others:
        sources.setdefault(one.source, []).append(one.system)
    table.caption = "\n".join(f"{', '.join(systems)}: {source}" for source, systems in sources.items())
    table.caption_justify = "left"
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def range_of(interval: Interval | None) -> str:
    """An interval for people: its ends with a digit each."""
    return "" if interval is None else f"{interval.low:.1f}–{interval.high:.1f}"
