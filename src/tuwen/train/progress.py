"""What a person sees of a run: a live table in a terminal, one line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 10.0


class RunDisplay:
    """Progress of all stages of a run.

    Args:
        stages: name and steps of each stage.
        console: where it is shown.
    """

    def __init__(self, stages: list[tuple[str, int]], console: Console | None = None) -> None:
        self.console = console or Console()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self._tasks = {name: self._progress.add_task(name, total=steps, start=False) for name, steps in stages}
        self._steps = dict(stages)
        self._live = Live(console=self.console, refresh_per_second=4, transient=False)
        self._last_line = time.monotonic()
        self._started: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print a line above the table."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def __enter__(self) -> RunDisplay:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def update(
        self, stage: str, step: int, place: float, record: Mapping[str, Any], rates: Mapping[str, float]
    ) -> None:
        """Show a step.

        Args:
            stage: the stage's name.
            step: steps that are done in it.
            place: how far it is, in steps; more than ``step`` where time runs out first.
            record: losses and throughput.
            rates: learning rate of each module.
        """
        self._started.setdefault(stage, time.monotonic())
        task = self._tasks[stage]
        if step == 1:
            self._progress.start_task(task)
        self._progress.update(task, completed=place)
        if self.console.is_terminal:
            self._live.update(Group(self._progress, self._figures(record, rates)))
        elif step == self._steps[stage] or time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.console.print(self._line(stage, step, place, record, rates), highlight=False, soft_wrap=True)

    def end(self, stage: str, step: int) -> None:
        """The stage is over after ``step`` steps."""
        self._progress.update(self._tasks[stage], completed=step, total=step)
        if step < self._steps[stage]:
            self.console.print(f"{stage}: its time is over after {step} of {self._steps[stage]} steps", highlight=False)

    def _figures(self, record: Mapping[str, Any], rates: Mapping[str, float]) -> Group:
        losses = Columns([f"{name} [cyan]{value}[/]" for name, value in _shown(record).items()], padding=(0, 3))
        lrs = Columns([f"lr {module} [magenta]{rate:.1e}[/]" for module, rate in rates.items()], padding=(0, 3))
        return Group(losses, lrs)

    def _line(self, stage: str, step: int, place: float, record: Mapping[str, Any], rates: Mapping[str, float]) -> str:
        spent = time.monotonic() - self._started[stage]
        left = spent / place * max(0.0, self._steps[stage] - place)
        shown = "  ".join(f"{name} {value}" for name, value in _shown(record).items())
        lrs = " ".join(f"{module} {rate:.1e}" for module, rate in rates.items())
        return f"{stage} {step}/{self._steps[stage]}  {shown}  lr {lrs}  left {left:.0f} s"


def _shown(record: Mapping[str, Any]) -> dict[str, str]:
    """Figures as people read them; those of single tasks are for curves."""
    return {name: _number(name, value) for name, value in record.items() if isinstance(value, float)}


def _number(name: str, value: float) -> str:
    if name == "peak memory":
        return f"{value / 2**30:.2f} GiB"
    if name in ("data wait", "mfu"):
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
