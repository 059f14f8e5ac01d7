"""``tuwen convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A published or Tuwen model folder 模型目录.")],
    out: Annotated[Path, typer.Argument(help="The Tuwen folder to write 输出目录.")],
) -> None:
    """Write a Tuwen folder (safetensors) from a published one 转换为 Tuwen 目录."""
    from tuwen.checkpoints.convert import convert
    from tuwen.checkpoints.opening import read_folder

    published = read_folder(model)
    convert(published, out)
    typer.echo(f"{published.layout} → tuwen  {out}")
