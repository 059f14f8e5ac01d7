"""What a person sees while models are asked: a bar with counts in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tuwen.data.asking.answers import AskingOptions, Tally
from tuwen.data.endpoint.reply import Usage

LINE_EVERY_SECONDS = 10.0


class AskingDisplay:
    """Progress of questions to models. Use as ``with AskingDisplay(...) as display``.

    Args:
        title: what is done, in a word or two.
        options: for the prices.
        console: where it is shown.
    """

    def __init__(self, title: str, options: AskingOptions, console: Console | None = None) -> None:
        self.console = console or Console()
        self._options, self._title = options, title
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self._task = self._progress.add_task(title, total=None)
        self._live = Live(self._progress, console=self.console, refresh_per_second=4)
        self._last_line = time.monotonic()

    def __enter__(self) -> AskingDisplay:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def watch(self, tally: Tally) -> None:
        """Show a tally."""
        settled = tally.done + tally.rejected
        figures = figures_of(tally, self._options)
        if self.console.is_terminal:
            self._progress.update(self._task, completed=settled, total=tally.total)
            problem = f"  last retried for [yellow]{escape(tally.problem)}[/]" if tally.problem else ""
            self._live.update(Group(self._progress, Text.from_markup(f"  {figures}\n{problem}")))
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            line = f"{self._title} {settled:,}/{tally.total:,}  {figures}"
            self.console.print(Text.from_markup(line).plain, highlight=False, soft_wrap=True)


def figures_of(tally: Tally, options: AskingOptions) -> str:
    """Counts, tokens and cost of a run so far, in rich's markup."""
    shown = [
        f"done [green]{tally.done:,}[/]",
        f"rejected [red]{tally.rejected:,}[/]",
        f"retried [yellow]{tally.retried + tally.repeated:,}[/]",
        *tokens_and_cost(tally.usage, options),
    ]
    return "  ".join(shown)


def tokens_and_cost(usage: Usage, options: AskingOptions) -> list[str]:
    """Tokens, and what they cost where prices are known, in rich's markup."""
    tokens = f"tokens [cyan]{usage.prompt:,}[/] in [cyan]{usage.completion:,}[/] out"
    if not options.price_in and not options.price_out:
        return [tokens]
    return [tokens, f"cost [magenta]{usage.cost(options.price_in, options.price_out):,.4f}[/]"]
