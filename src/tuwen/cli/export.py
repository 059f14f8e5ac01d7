"""``tuwen export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    out: Annotated[Path, typer.Argument(help="The folder to write 输出目录.")],
    to: Annotated[str, typer.Option(help="qwen-vl, codefuse-vlm, visualcla or llava; gguf for llama.cpp 目标格式.")],
    kind: Annotated[
        str | None, typer.Option("--type", help="gguf: f16 (default), f32, bf16, q8_0, q4_k_m … 数值类型(默认 f16).")
    ] = None,
    quantizer: Annotated[
        Path | None, typer.Option(help="gguf: llama.cpp's llama-quantize, where it is not in PATH 量化程序.")
    ] = None,
    class_token: Annotated[
        str | None,
        typer.Option(help="gguf: last (default: llama.cpp since May 2025) or first 视觉编码器 CLS 词元的位置."),
    ] = None,
) -> None:
    """Write a model in a published layout, or for llama.cpp 导出为已发布的格式,或供 llama.cpp 使用."""
    from tuwen.checkpoints.exporting import exporter
    from tuwen.checkpoints.opening import read_folder

    options = {"type": kind, "quantizer": quantizer, "class_token": class_token}
    # Before anything is read: a name that is not known is the quicker thing to say.
    write = exporter(to, {name: value for name, value in options.items() if value is not None})
    for note in write(read_folder(model), out):
        typer.echo(f"note: {note}")
    typer.echo(f"{to}  {out}")
