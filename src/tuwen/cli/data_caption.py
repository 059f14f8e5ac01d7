"""``tuwen data caption``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli import endpoint_options as common


class Wanted(StrEnum):
    """Languages that descriptions may be in."""

    zh = "zh"
    en = "en"


def command(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder of pictures, or data 图片目录或数据.")],
    out: Annotated[Path, typer.Argument(help="The data file to write 输出文件.")],
    endpoint: common.EndpointUrl,
    model: Annotated[str, typer.Option(metavar="NAME[,NAME…]", help="Who describes; each describes all 模型.")],
    prompt: Annotated[
        Path, typer.Option(help="Text file with the question, or YAML with question, ask and system 提示文件.")
    ],
    language: Annotated[
        Wanted | None, typer.Option(help="Reject descriptions that are in another one 描述语言.")
    ] = None,
    max_side: Annotated[int, typer.Option(min=28, help="Pixels; larger pictures are sent smaller 最长边.")] = 1536,
    api_key_file: common.ApiKeyFile = None,
    parameter: common.Parameters = None,
    concurrency: common.Concurrency = 8,
    requests_per_minute: common.RequestsPerMinute = None,
    retries: common.Retries = 6,
    timeout: common.Timeout = 300.0,
    tries: common.Tries = 3,
    retry_rejected: common.RetryRejected = False,
    stop_after: common.StopAfter = 25,
    price_in: common.PriceIn = 0.0,
    price_out: common.PriceOut = 0.0,
    format_in: common.FromFormat = None,
    format_out: common.ToFormat = None,
    picture_folder: common.PictureFolder = None,
) -> None:
    """Have vision-language models describe pictures; run again to go on after a stop 用模型描述图片, 可断点续传."""
    options = common.asking_options(
        endpoint,
        api_key_file=api_key_file,
        parameters=parameter,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        retries=retries,
        timeout=timeout,
        tries=tries,
        retry_rejected=retry_rejected,
        stop_after=stop_after,
        price_in=price_in,
        price_out=price_out,
    )
    from tuwen.data.asking.caption import CaptionTask, Pictures, caption, read_prompt

    task = CaptionTask(read_prompt(prompt), max_side, language.value if language else None)
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
