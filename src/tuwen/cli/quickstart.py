"""``tuwen quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change the recipe 修改配方.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for model, report and scores 输出目录.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, pictures and order 随机种子.")] = 0,
    recipe: Annotated[str, typer.Option(help="A recipe's name or file 配方.")] = "quickstart",
) -> None:
    """Draw, build, train, measure and talk to a small model 五分钟从零训练一个小模型."""
    from tuwen.quickstart import run

    run(out, seed=seed, recipe=recipe, overrides=overrides or [])
