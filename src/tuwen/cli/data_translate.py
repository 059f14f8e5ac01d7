"""``tuwen data translate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli import endpoint_options as common


class Target(StrEnum):
    """Languages to translate into."""

    zh = "zh"
    en = "en"


def command(
    data: Annotated[str, typer.Argument(help="Data in any format that is known 数据.")],
    out: Annotated[Path, typer.Argument(help="The data file to write 输出文件.")],
    to: Annotated[Target, typer.Option(help="The language to translate into 目标语言.")],
    endpoint: common.EndpointUrl,
    model: Annotated[str, typer.Option(help="Who translates 模型.")],
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
    images: common.PictureFolder = None,
) -> None:
    """Translate conversations by a language model; run again to go on after a stop 翻译数据, 可断点续传."""
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
    from tuwen.data.asking.translate import translate
    from tuwen.data.dataset import open_data

    console = Console()
    dataset = open_data(data, format=format_in, images=images)
    report = translate(dataset, out, target=to.value, model=model, options=options, format=format_out, console=console)
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
