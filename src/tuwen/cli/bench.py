"""``tuwen bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="What can be measured, and where its data is 可用的基准.")


@app.command("list")
def list_all() -> None:
    """All benchmarks 列出全部基准."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tuwen.evaluate.benchmark import BENCHMARKS

    table = Table(box=SIMPLE_HEAD)
    for heading in ("name 名称", "title 标题", "scorers 评分器", "summary 简介"):
        table.add_column(heading)
    for name in BENCHMARKS.names():
        kind = BENCHMARKS.get(name)
        table.add_row(name, kind.title, ", ".join(kind(Path()).scorers), kind.summary_zh)
    Console().print(table)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Its name 名称.")]) -> None:
    """What a benchmark is, where to get it, and which files are expected 基准详情."""
    from tuwen.evaluate.benchmark import BENCHMARKS

    kind = BENCHMARKS.get(name)
    console = Console()
    console.print(f"[bold]{kind.title}[/]  {kind.homepage}\n\n{kind.summary_zh}\n{kind.summary}\n")
    console.print(
        f"评分器 scorers: {', '.join(kind(Path()).scorers)}\n提示词 prompt styles: {', '.join(kind.styles)}\n"
    )
    console.print("数据目录 in the data folder:")
    for path, what in kind.files.items():
        console.print(f"  [cyan]{path}[/]  {what}")
    if kind.published:
        console.print("\n公布结果 published:")
    for published in kind.published:
        figures = ", ".join(f"{key} {value:g}" for key, value in published.values.items())
        note = f"; {published.note}" if published.note else ""
        console.print(f"  {published.system}: {figures}  [dim]({published.source}{note})[/]")
