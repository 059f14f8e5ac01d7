"""``tuwen data caption``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tuwen.cli.data_options import FromFormat, Images, Language, ToFormat
from tuwen.cli.endpoint_options import asking_options, with_asking_options


@with_asking_options
def command(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder of pictures, or data 图片目录或数据.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data file to write 输出文件.")],
    model: Annotated[str, typer.Option(metavar="NAME[,NAME…]", help="Who describes; each describes all 模型.")],
    prompt: Annotated[
        Path, typer.Option(help="Text file with the question, or YAML with question, ask and system 提示文件.")
    ],
    language: Annotated[Language | None, typer.Option(help="Reject descriptions in another one 描述语言.")] = None,
    max_side: Annotated[int, typer.Option(min=28, help="Pixels; larger pictures are sent smaller 最长边.")] = 1536,
    format_in: FromFormat = None,
    format_out: ToFormat = None,
    picture_folder: Images = None,
    **asking: Any,
) -> None:
    """Have vision-language models describe pictures; run again to go on after a stop 用模型描述图片, 可断点续传."""
    options = asking_options(**asking)
    from tuwen.data.asking.caption import CaptionTask, Pictures, caption, read_prompt

    task = CaptionTask(read_prompt(prompt), max_side, language)
    console = Console()
    report = caption(
        Pictures(images, format=format_in, images=picture_folder),
        out,
        task=task,
        models=list(dict.fromkeys(name.strip() for name in model.split(",") if name.strip())),
        options=options,
        format=format_out or "tuwen",
        console=console,
    )
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
