"""``tuwen runs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the runs are 运行所在目录.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list 输出 JSON.")] = False,
) -> None:
    """Runs on the disk: state, step, losses, speed, checkpoint, size 列出训练运行."""
    from tuwen.train.looking.run_table import runs_table, summarise
    from tuwen.train.run_folder import find_runs

    summaries = [summarise(run) for run in find_runs(folder)]
    if as_json:
        print(json.dumps([summary.to_dict() for summary in summaries], ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    if not summaries:
        console.print(f"{folder}: 没有训练运行 no runs; `tuwen train RECIPE` makes one", highlight=False)
        return
    console.print(runs_table(summaries))
    for summary in summaries:
        for problem in summary.problems:
            console.print(f"{summary.path}: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
