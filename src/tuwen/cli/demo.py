"""``tuwen demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    compare: Annotated[Path | None, typer.Option(help="A second model, answering beside the first 对比模型.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for everywhere 监听地址.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free 端口.")] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Also by a public link, through a tunnel 公网分享.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one 设备.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as stored on a GPU 精度.")] = None,
) -> None:
    """Talk about pictures on a web page 打开网页对话."""
    from tuwen.serve.demo.running import demo

    # The page works in a folder of its own.
    models = [folder.resolve() for folder in (model, compare) if folder is not None]
    demo(models, host=host, port=port, share=share, device=device, dtype=dtype)
