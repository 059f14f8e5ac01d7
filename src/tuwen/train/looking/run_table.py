"""Runs on the disk in a table: how far each is, and whether it still goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tuwen.train.run_folder import RunFolder, State, shown

# Losses of single steps jump too much to be compared by eye.
RECENT = 20
STATES: Mapping[State, tuple[str, str]] = {
    "running": ("running 训练中", "green bold"),
    "done": ("done 完成", "blue"),
    "stopped": ("stopped 已停止", "yellow"),
    "failed": ("failed 失败", "red"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How far a run is.

    Attributes:
        name: of the run.
        path: its folder.
        state: see ``RunFolder.state``.
        quiet: seconds since it last wrote a line.
        stage: that it is in, or ended with; empty before the first step.
        place: of the stage, from 1.
        stages: that the recipe has.
        step: of the stage.
        steps: of the stage, where the recipe says.
        losses: means over the last 20 steps, by name.
        validation: the last loss on validation data.
        tokens_per_second: answer tokens, mean over the last 20 steps.
        checkpoint: name of the newest one.
        bytes: of all its files.
        model: what is trained.
        problems: what could not be read.
    """

    name: str
    path: str
    state: State
    quiet: float
    stage: str
    place: int
    stages: int
    step: int
    steps: int | None
    losses: dict[str, float]
    validation: float | None
    tokens_per_second: float | None
    checkpoint: str | None
    bytes: int
    model: str
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Keys and values for JSON, which has no NaN."""
        values = asdict(self)
        values["losses"] = {name: finite(value) for name, value in self.losses.items()}
        return {key: finite(value) if isinstance(value, float) else value for key, value in values.items()}


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a number that JSON knows."""
    return value if value is not None and math.isfinite(value) else None


def summarise(run: RunFolder, now: float | None = None) -> RunSummary:
    """How far a run is; of a long one, the ends of its files are read alone.

    Args:
        run: the run.
        now: Unix seconds; the clock's unless said.
    """
    now = time.time() if now is None else now
    latest = run.latest
    place, step = latest.track.keys[-1] if len(latest) else (0, 0)
    stage = latest.track.stages[place] if len(latest) else ""
    losses = {name: latest.recent(name, RECENT) for name in run.losses}
    return RunSummary(
        name=run.name,
        path=shown(run.path),
        state=run.state(now),
        quiet=max(0.0, now - run.last_sign()),
        stage=stage,
        place=place + 1 if stage else 0,
        stages=max(len(run.stages), place + 1 if stage else 0),
        step=step,
        steps=next((plan.steps for plan in run.stages if plan.name == stage), None),
        losses={name: value for name, value in losses.items() if value is not None},
        validation=run.validation.recent("loss"),
        tokens_per_second=latest.recent("tokens/s", RECENT),
        checkpoint=run.checkpoints[-1].name if run.checkpoints else None,
        bytes=size_on_disk(run.path),
        model=model_name(run.recipe),
        problems=tuple(run.problems),
    )


def size_on_disk(folder: Path) -> int:
    """Bytes of all files in a folder; a file with several names counts once, what links lead to does not count."""
    total, seen = 0, set[tuple[int, int]]()
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(where, name))
            except OSError:
                # A run that goes on removes old checkpoints.
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total


def model_name(recipe: Mapping[str, Any]) -> str:
    """What a recipe trains: the folder that it goes on from, or vision encoder × connector × language model."""
    model = recipe.get("model")
    if isinstance(model, str):
        return Path(model).name
    if not isinstance(model, dict):
        return ""
    names = []
    for part in ("vision", "connector", "language"):
        said = model.get(part)
        said = said if isinstance(said, dict) else {}
        config = said.get("config")
        path = said.get("path")
        kind = config.get("model_type") if isinstance(config, dict) else said.get("type")
        names.append(Path(path).name if isinstance(path, str) else str(kind or "?"))
    return " × ".join(names)


def short_time(seconds: float) -> str:
    """A time in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def short_size(count: float) -> str:
    """Bytes in one unit."""
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.0f} kB"


def runs_table(summaries: Sequence[RunSummary]) -> Table:
    """The table for people."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("run 运行", overflow="fold", ratio=1)
    for heading in ("state 状态", "step 步", "loss 损失"):
        table.add_column(heading, no_wrap=True)
    for summary in summaries:
        words, style = STATES[summary.state]
        quiet = f"\n{short_time(summary.quiet)} ago\n{short_size(summary.bytes)}"
        table.add_row(
            Text.assemble((summary.name, "bold"), ("\n" + summary.model, "dim")),
            Text.assemble((words, style), (quiet, "dim")),
            _progress(summary),
            _losses(summary),
        )
    return table


def _losses(summary: RunSummary) -> Text:
    lines = [f"{name} {value:.3g}" for name, value in summary.losses.items()]
    if summary.validation is not None:
        lines.append(f"val 验证 {summary.validation:.3g}")
    text = Text("\n".join(lines) or "–")
    tokens = summary.tokens_per_second
    if tokens is not None:
        text.append(f"\n{tokens:,.0f} tok/s" if tokens >= 10 else f"\n{tokens:.2g} tok/s", style="dim")
    return text


def _progress(summary: RunSummary) -> Text:
    if not summary.stage:
        return Text("–")
    of = f"/{summary.steps:,}" if summary.steps else ""
    text = Text.assemble(f"{summary.stage} {summary.place}/{summary.stages}\n", (f"{summary.step:,}{of}", "bold"))
    return text.append(f"\n✓ {summary.checkpoint}", style="dim") if summary.checkpoint else text
