"""``tuwen delta``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="The trained model 训练后的模型.")],
    out: Annotated[Path, typer.Argument(help="The folder to write 输出目录.")],
    base: Annotated[Path, typer.Option(help="What it was trained from 基座模型.")],
    adapter: Annotated[
        Path | None, typer.Option(help="The adapter merged into it; MODEL/adapter unless said 适配器目录.")
    ] = None,
) -> None:
    """Publish only what was trained 只发布训练过的部分."""
    from tuwen.checkpoints.delta import write_delta
    from tuwen.checkpoints.opening import read_folder

    changes = write_delta(read_folder(model), read_folder(base), out, adapter)
    typer.echo(
        f"{len(changes.modules)} adapted, {len(changes.full)} whole, {len(changes.untouched)} untouched weights  {out}"
    )
