"""``tuwen data show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.data_options import Data, FormatOptions, FromFormat, Images, assigned


def command(
    data: Data,
    model: Annotated[Path, typer.Option(help="A model folder; no weights are read 模型目录.")],
    index: Annotated[int, typer.Option(min=0, help="Which sample, from 0 第几个样本.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Also write a page 网页.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Write the tiles there as PNG 写出模型看到的图片.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Every token in a line of its own 逐词元显示.")] = False,
    max_length: Annotated[int | None, typer.Option(min=1, help="Make it fit, as training does 最大长度.")] = None,
    images: Images = None,
    format_in: FromFormat = None,
    option: FormatOptions = None,
) -> None:
    """Show a sample as the model is trained on it: tokens, trained parts, tiles 按训练时的样子显示样本."""
    from tuwen.checkpoints.opening import read_folder
    from tuwen.data.dataset import open_data
    from tuwen.infer.show import look_at, nth_sample
    from tuwen.infer.show_display import save_tiles, terminal, write_show_page

    options = assigned(option, "--option")
    dataset = open_data(data, format=format_in, images=images, options=options, despite_faults=True)
    sample = nth_sample((entry.found for entry in dataset.scan()), index, data)
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
