"""``tuwen data translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tuwen.cli.data_options import Data, FromFormat, Images, Language, ToFormat
from tuwen.cli.endpoint_options import asking_options, with_asking_options


@with_asking_options
def command(
    data: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data file to write 输出文件.")],
    to: Annotated[Language, typer.Option(help="The language to translate into 目标语言.")],
    model: Annotated[str, typer.Option(help="Who translates 模型.")],
    format_in: FromFormat = None,
    format_out: ToFormat = None,
    images: Images = None,
    **asking: Any,
) -> None:
    """Translate conversations by a language model; run again to go on after a stop 翻译数据, 可断点续传."""
    options = asking_options(**asking)
    from tuwen.data.asking.translate import translate
    from tuwen.data.dataset import open_data

    console = Console()
    dataset = open_data(data, format=format_in, images=images)
    report = translate(dataset, out, target=to, model=model, options=options, format=format_out, console=console)
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
