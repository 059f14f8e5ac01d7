"""``tuwen data show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.data_options import FormatOptions


def command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, folder, pattern or URL of data 数据.")],
    model: Annotated[Path, typer.Option(help="A model folder; no weights are read 模型目录.")],
    index: Annotated[int, typer.Option(min=0, help="Which sample, from 0 第几个样本.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Also write a page 网页.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Write the tiles there as PNG 写出模型看到的图片.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Every token in a line of its own 逐词元显示.")] = False,
    max_length: Annotated[int | None, typer.Option(min=1, help="Make it fit, as training does 最大长度.")] = None,
    images: Annotated[str | None, typer.Option(help="Where pictures are, if not beside the data 图片目录.")] = None,
    format_in: Annotated[str | None, typer.Option("--from", metavar="FORMAT", help="Of DATA 数据格式.")] = None,
    option: FormatOptions = None,
) -> None:
    """Show a sample as the model is trained on it: tokens, trained parts, tiles 按训练时的样子显示样本."""
    from tuwen.checkpoints.opening import read_folder
    from tuwen.config import TuwenError, apply_overrides
    from tuwen.data.opening import open_despite_faults
    from tuwen.infer.show import look_at, nth_sample
    from tuwen.infer.show_display import save_tiles, terminal, write_show_page

    dataset = open_despite_faults(data, format=format_in, images=images, options=apply_overrides({}, option or []))
    entries = (entry.sample or entry.error or TuwenError("no sample") for entry in dataset.scan())
    sample = nth_sample(entries, index, data)
    processor = read_folder(model).processor
    shown = look_at(sample, processor, max_length=max_length)
    console = Console()
    console.print(terminal(shown, processor, tokens=tokens, coloured=bool(console.color_system)), soft_wrap=True)
    if pictures is not None:
        for path in save_tiles(pictures, shown, index):
            console.print(f"图片 tile  [cyan]{path}[/]", soft_wrap=True)
    if html is not None:
        write_show_page(html, shown, processor, str(model))
        console.print(f"网页 page  [cyan]{html}[/]", soft_wrap=True)
