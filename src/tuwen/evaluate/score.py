"""Scoring by itself: predictions of any system, read from files (``tuwen score``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Coverage, Score, coverage


@dataclass(frozen=True, slots=True)
class Scored:
    """A score with what it is of.

    Attributes:
        benchmark: what was scored.
        scorer: the scorer's name.
        score: what it gave.
        coverage: how predictions and items met.
    """

    benchmark: Benchmark
    scorer: str
    score: Score
    coverage: Coverage

    def to_dict(self) -> dict[str, Any]:
        """Keys and values for JSON."""
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
            }
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
    found = benchmark.read_predictions(predictions)
    met = coverage((item.id for item in benchmark.items()), found)
    official = benchmark.missing_is_wrong and not (met.unknown or met.doubled)
    if not (met.whole or partial or official):
        raise TuwenError(f"{', '.join(map(str, predictions))}: {met}; give --partial to score what is there")
    chosen = scorer or benchmark.usual_scorer(found)
    if partial:
        known = {item.id for item in benchmark.items()}
        found = [prediction for prediction in found if prediction.id in known]
    return Scored(benchmark, chosen, benchmark.score(found, chosen), met)


def score_table(scored: Scored) -> Table:
    """The figures that people quote, beside published ones."""
    benchmark = scored.benchmark
    title = f"{benchmark.title} · {scored.scorer}"
    if not scored.coverage.whole:
        title += f" · {scored.coverage}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    names = list(scored.score.headline)
    for name in names:
        table.add_column(name, justify="right")
    table.add_row("[bold]here 本次", *(f"[bold]{scored.score.headline[name]:.2f}" for name in names))
    for published in benchmark.published:
        values = [f"{published.values[name]:.2f}" if name in published.values else "" for name in names]
        if any(values):
            table.add_row(f"{published.system} [dim]({published.source})[/]", *values)
    return table
