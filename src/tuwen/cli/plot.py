"""``tuwen plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs 运行目录.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", help="A metric or family, e.g. lr; may be repeated; the losses unless said 指标."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write one HTML file 写出网页.")] = None,
    smooth: Annotated[float, typer.Option(min=0, max=0.9999, help="Weight of earlier steps 平滑系数.")] = 0.9,
) -> None:
    """Curves of runs in the terminal, or in an HTML file that works offline 训练曲线."""
    from tuwen.train.run_folder import open_runs

    opened, console = open_runs(runs), Console()
    if html is not None:
        from tuwen.train.looking.run_page import write_run_page

        write_run_page(opened, html, metrics=metric or [], weight=smooth)
        console.print(f"网页 page  [cyan]{html}[/]", soft_wrap=True)
    else:
        from tuwen.train.looking.terminal import drawn_charts

        for chart in drawn_charts(opened, metric or [], weight=smooth, width=console.width):
            console.print(chart)
    for run in opened:
        for problem in run.problems:
            console.print(f"{run.name}: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
