"""``tuwen build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    recipe: Annotated[Path, typer.Argument(help="A file with a model section 配方文件.")],
    out: Annotated[Path, typer.Argument(help="The model folder to write 输出目录.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change the recipe 修改配方.")
    ] = None,
) -> None:
    """Put a model together from a vision encoder, a connector and a language model 组装模型."""
    from tuwen.checkpoints.build import build_from_recipe
    from tuwen.infer.describe import describe

    build_from_recipe(recipe, out, overrides or [])
    Console().print(describe(out))
