"""``tuwen serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for everywhere 监听地址.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free 端口.")] = 8000,
    api_key_file: Annotated[Path | None, typer.Option(help="Keys that open the server, one a line 密钥文件.")] = None,
    engine: Annotated[str, typer.Option(help="builtin or vllm 推理引擎.")] = "builtin",
    name: Annotated[str | None, typer.Option(help="What clients call the model; the folder's name 模型名.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N or auto (all GPUs) [default: a GPU, or cpu] 设备.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as stored on a GPU 精度.")] = None,
    quantize: Annotated[str | None, typer.Option(help="int8 or int4: the language model in so many bits 量化.")] = None,
    allow_remote_media: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Fetch pictures from HOST; repeat 允许的图片主机.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Let web pages there call from a browser 跨域来源.")
    ] = None,
    max_queue: Annotated[int | None, typer.Option(min=1, help="Requests that may wait; more get 429 队列.")] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Requests answered at a time 同时回答.")] = None,
    context: Annotated[int | None, typer.Option(min=2, help="Tokens of prompt and answer at most 上下文长度.")] = None,
    memory_share: Annotated[
        float | None, typer.Option(help="Of the free memory, for keys and values, 0–1 显存比例.")
    ] = None,
    max_requests: Annotated[int | None, typer.Option(min=1, help="Requests worked on at a time 并发请求.")] = None,
    max_body: Annotated[int | None, typer.Option(metavar="MIB", min=1, help="Of a request 请求体上限.")] = None,
    max_pictures: Annotated[int | None, typer.Option(min=0, help="Of a request 图片数上限.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Of a picture 像素上限.")] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Of text and pictures 提示上限.")] = None,
    max_answer_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer 回答上限.")] = None,
    shutdown_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="For answers to end after SIGTERM 停止等待.")
    ] = None,
) -> None:
    """Answer over HTTP as OpenAI's API does 启动 OpenAI 兼容服务."""
    from tuwen.config import MissingExtraError, TuwenError, parse_config

    try:
        import fastapi
        import prometheus_client
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    from tuwen.serve.limits import MEBIBYTE, Limits
    from tuwen.serve.settings import SERVERS, ServeSettings

    del fastapi, prometheus_client, uvicorn
    said: dict[str, Any] = {
        "requests": max_requests,
        "body_bytes": None if max_body is None else max_body * MEBIBYTE,
        "pictures": max_pictures,
        "picture_pixels": max_pixels,
        "prompt_tokens": max_prompt_tokens,
        "answer_tokens": max_answer_tokens,
        "shutdown_seconds": shutdown_timeout,
    }
    of_engine = {
        "max_waiting": max_queue,
        "max_running": max_running,
        "context": context,
        "memory_share": memory_share,
    }
    if "*" in (allow_origin or []):
        raise TuwenError("--allow-origin *: would let every page on the web in; name the pages' origins")
    limits = parse_config(Limits, {key: value for key, value in said.items() if value is not None}, "limits")
    settings = ServeSettings(
        model=model,
        name=name,
        host=host,
        port=port,
        api_key_file=api_key_file,
        device=device,
        dtype=dtype,
        quantize=quantize,
        engine={name: value for name, value in of_engine.items() if value is not None},
        remote_media=tuple(allow_remote_media or ()),
        origins=tuple(allow_origin or ()),
        limits=limits,
    )
    SERVERS.get(engine)(settings)
