"""``tuwen train``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one that comes with Tuwen 配方.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change the recipe 修改配方.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run 输出目录 [default: runs/NAME].")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="auto|PATH", help="Go on from the last checkpoint, or from this one 断点续训.")
    ] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine 进程数.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be trained, then stop 只看计划.")] = False,
) -> None:
    """Train in stages as a recipe says 按配方分阶段训练."""
    from tuwen.train.recipe import find_recipe, read_recipe

    # Mistakes in the recipe are said before torch is loaded.
    read_recipe(find_recipe(recipe), overrides or [])
    if plan:
        from tuwen.train.plan import plan as describe

        Console().print(describe(recipe, overrides or []))
        return
    if nproc > 1 and "RANK" not in os.environ:
        from tuwen.train.launch import launch

        raise typer.Exit(launch(sys.argv[1:], nproc))
    from tuwen.train.run import Stopped, train

    try:
        model = train(recipe, overrides or [], out, resume)
    except Stopped as stopped:
        Console().print(f"{stopped}; go on with --resume auto 用 --resume auto 继续")
        return
    Console().print(f"模型 model  [cyan]{model}[/]")
