"""``tuwen chat``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    prompt: Annotated[str | None, typer.Argument(help="The question; without one, a conversation begins 问题.")] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; may be repeated 图片.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions that come first 系统提示.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most 最长回答.")] = 256,
    greedy: Annotated[
        bool | None, typer.Option("--greedy/--sample", help="Likeliest token, or sampling 贪心或采样.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling 温度.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of sampling 核采样.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: repeat less 重复惩罚.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling 随机种子.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one 设备.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as stored 精度.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print prompt_ids, token_ids, text and boxes 输出 JSON.")
    ] = False,
) -> None:
    """Ask about pictures; without PROMPT, a conversation 与模型对话."""
    from tuwen.config import TuwenError
    from tuwen.infer import load
    from tuwen.infer.options import GenerationOptions
    from tuwen.infer.terminal import converse

    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "greedy": greedy,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    GenerationOptions.of(options)
    if as_json and prompt is None:
        raise TuwenError("--json needs a PROMPT: a conversation has no single answer")
    images = list(image or [])
    vlm = load(model, device=device, dtype=dtype)
    if prompt is None:
        converse(vlm, images, system=system, options=options, console=Console())
    elif as_json:
        answer = vlm.chat(prompt, images, system=system, **options)
        boxes = [{"label": box.label, "box": list(box.box)} for box in answer.boxes]
        values = {"prompt_ids": answer.prompt_ids, "token_ids": answer.token_ids, "text": answer.text, "boxes": boxes}
        typer.echo(json.dumps(values, ensure_ascii=False))
    else:
        for piece in vlm.stream(prompt, images, system=system, **options):
            typer.echo(piece, nl=False)
        typer.echo()
