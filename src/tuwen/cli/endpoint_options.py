"""Options of every verb that asks models behind an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tuwen.data.asking.answers import AskingOptions

EndpointUrl = Annotated[
    str,
    typer.Option(
        "--endpoint", help="Base URL of an OpenAI-compatible endpoint, such as http://localhost:8000/v1 接口."
    ),
]
ApiKeyFile = Annotated[
    Path | None, typer.Option(help="File with the API key; OPENAI_API_KEY is taken without 密钥文件.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="KEY=VALUE", help="Goes into every request, e.g. temperature=0.2 请求参数."),
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests at the same time 并发数.")]
RequestsPerMinute = Annotated[float | None, typer.Option(help="At most, retries included 每分钟请求数.")]
Retries = Annotated[int, typer.Option(min=0, help="Of a request, after errors that may pass 出错重试次数.")]
Timeout = Annotated[float, typer.Option(help="Seconds that a request may take 超时秒数.")]
Tries = Annotated[int, typer.Option(min=1, help="Replies to ask for until one can be used 回答不合格时的尝试次数.")]
RetryRejected = Annotated[
    bool, typer.Option("--retry-rejected", help="Ask again for what an earlier run rejected 重试被拒样本.")
]
StopAfter = Annotated[int, typer.Option(min=1, help="So many rejections in a row end the run 连续被拒多少次后停止.")]
PriceIn = Annotated[float, typer.Option(min=0, help="Of a million tokens read, to show the cost 输入单价.")]
PriceOut = Annotated[float, typer.Option(min=0, help="Of a million tokens written 输出单价.")]
FromFormat = Annotated[str | None, typer.Option("--from", help="Format of the data; found out by itself 数据格式.")]
ToFormat = Annotated[str | None, typer.Option("--format", help="Format of OUT 输出格式.")]
PictureFolder = Annotated[str | None, typer.Option("--images", help="Where the data's pictures are 图片目录.")]


def asking_options(
    endpoint: str,
    *,
    concurrency: int,
    requests_per_minute: float | None,
    retries: int,
    timeout: float,
    parameters: list[str] | None,
    **settings: Any,
) -> AskingOptions:
    """What the options say together.

    Raises:
        TuwenError: naming the one that is wrong.
    """
    from tuwen.config import TuwenError, apply_overrides, parse_config
    from tuwen.data.asking.answers import AskingOptions
    from tuwen.data.endpoint.client import check_url, read_api_key

    # What is wrong with these is said before any data is read.
    check_url(endpoint)
    read_api_key(settings.get("api_key_file"))
    for parameter in parameters or []:
        if "=" not in parameter:
            raise TuwenError(f"--parameter {parameter}: expected KEY=VALUE, e.g. temperature=0.2")
    limits = {
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "retries": retries,
        "timeout": timeout,
    }
    values = {"endpoint": endpoint, "limits": limits, "parameters": apply_overrides({}, parameters or []), **settings}
    return parse_config(AskingOptions, values, "options")
