"""Options of every verb that asks models behind an endpoint."""

# Annotations are not put off here: verbs take them over as they are.
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tuwen.cli.data_options import assigned

if TYPE_CHECKING:
    from tuwen.data.asking.answers import AskingOptions

Verb = TypeVar("Verb", bound=Callable[..., None])


def asking_options(
    *,
    endpoint: Annotated[
        str, typer.Option(help="Base URL of an OpenAI-compatible endpoint, such as http://localhost:8000/v1 接口.")
    ],
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the API key; OPENAI_API_KEY is taken without 密钥文件.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="In every request, e.g. temperature=0.2 请求参数.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at the same time 并发数.")] = 8,
    requests_per_minute: Annotated[float | None, typer.Option(help="At most, retries included 每分钟请求数.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="Of a request, after errors that may pass 出错重试次数.")] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take 超时秒数.")] = 300.0,
    tries: Annotated[
        int, typer.Option(min=1, help="Replies to ask for until one can be used 回答不合格时的尝试次数.")
    ] = 3,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again for what an earlier run rejected 重试被拒样本.")
    ] = False,
    stop_after: Annotated[
        int, typer.Option(min=1, help="So many rejections in a row end the run 连续被拒多少次后停止.")
    ] = 25,
    price_in: Annotated[float, typer.Option(min=0, help="Of a million tokens read, to show the cost 输入单价.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Of a million tokens written 输出单价.")] = 0.0,
) -> "AskingOptions":
    """What these options say together.

    Raises:
        TuwenError: naming the one that is wrong.
    """
    from tuwen.config import parse_config
    from tuwen.data.asking.answers import AskingOptions
    from tuwen.data.endpoint.client import check_url, read_api_key

    # What is wrong with these is said before any data is read.
    check_url(endpoint)
    read_api_key(api_key_file)
    values = {
        "endpoint": endpoint,
        "api_key_file": api_key_file,
        "limits": {
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "retries": retries,
            "timeout": timeout,
        },
        "parameters": assigned(parameter, "--parameter"),
        "tries": tries,
        "retry_rejected": retry_rejected,
        "stop_after": stop_after,
        "price_in": price_in,
        "price_out": price_out,
    }
    return parse_config(AskingOptions, values, "options")


def with_asking_options(verb: Verb) -> Verb:
    """Puts the options of ``asking_options`` in the place of a verb's ``**asking``, which it passes on to that."""
    own = inspect.signature(verb, eval_str=True)
    named = [option for option in own.parameters.values() if option.kind is not option.VAR_KEYWORD]
    shared = inspect.signature(asking_options).parameters.values()
    verb.__dict__["__signature__"] = own.replace(parameters=[*named, *shared])
    return verb
