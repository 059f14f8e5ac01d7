"""``tuwen export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    out: Annotated[Path, typer.Argument(help="The folder to write 输出目录.")],
    to: Annotated[str, typer.Option(help="qwen-vl, codefuse-vlm, visualcla or llava 目标格式.")],
) -> None:
    """Write a model in a published layout 导出为已发布的格式."""
    from tuwen.checkpoints.convert import export
    from tuwen.checkpoints.layouts.base import LAYOUTS
    from tuwen.checkpoints.opening import read_folder

    # Before anything is read: a name that is not known is the quicker thing to say.
    LAYOUTS.get(to)
    export(read_folder(model), out, to)
    typer.echo(f"{to}  {out}")
