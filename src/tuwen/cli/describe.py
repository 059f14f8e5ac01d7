"""``tuwen describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")]) -> None:
    """Print a model's parts, sizes, tokens per picture and prompt 模型结构、大小、每图词元数与提示词."""
    from tuwen.infer.describe import describe

    Console().print(describe(model))
