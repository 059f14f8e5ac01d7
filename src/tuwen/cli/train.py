"""``tuwen train``."""

from __future__ import annotations

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
    from tuwen.train.run import train

    model = train(recipe, overrides or [], out)
    Console().print(f"模型 model  [cyan]{model}[/]")
