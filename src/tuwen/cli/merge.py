"""``tuwen merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Argument(help="The Tuwen folder to write 输出目录.")],
    adapter: Annotated[Path, typer.Option(help="The adapter or delta 适配器目录.")],
    base: Annotated[Path | None, typer.Option(help="The whole model it was trained on 基座模型.")] = None,
    language: Annotated[Path | None, typer.Option(help="Or its language model (VisualCLA) 语言模型.")] = None,
    vision: Annotated[Path | None, typer.Option(help="And its vision encoder (VisualCLA) 视觉编码器.")] = None,
) -> None:
    """Put an adapter or delta and what it was trained on together 合并为完整模型."""
    from tuwen.checkpoints.convert import convert
    from tuwen.checkpoints.opening import read_folder, read_parts
    from tuwen.config import TuwenError

    if base is not None and language is None and vision is None:
        published = read_folder(base, adapter)
    elif base is None and language is not None and vision is not None:
        published = read_parts(adapter, language, vision)
    else:
        raise TuwenError("give --base, or --language and --vision, beside --adapter")
    convert(published, out)
    typer.echo(f"merged  {out}")
