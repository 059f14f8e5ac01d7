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
    image: Annotated[list[str] | None, typer.Option("--image", "-i", help="A picture; may be repeated 图片.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions that come first 系统提示.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Tokens of an answer at most; as the model says, or 256 最长回答.")
    ] = None,
    greedy: Annotated[
        bool | None, typer.Option("--greedy/--sample", help="Likeliest token, or sampling 贪心或采样.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling 温度.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of sampling 核采样.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: repeat less 重复惩罚.")] = None,
    no_repeat_ngram_size: Annotated[int | None, typer.Option(help="So many tokens never come twice.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling 随机种子.")] = None,
    history: Annotated[Path | None, typer.Option(help="Earlier turns, as JSON 历史对话.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Write the picture with the answer's boxes 画出检测框.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="An adapter or delta trained on MODEL 适配器.")] = None,
    language: Annotated[Path | None, typer.Option(help="Of a delta in MODEL: its language model 语言模型.")] = None,
    vision: Annotated[Path | None, typer.Option(help="And its vision encoder 视觉编码器.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N or auto (all GPUs) [default: a GPU, or cpu] 设备.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as stored on a GPU 精度.")] = None,
    quantize: Annotated[str | None, typer.Option(help="int8 or int4: the language model in so many bits 量化.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print prompt_ids, token_ids, text and boxes 输出 JSON.")
    ] = False,
) -> None:
    """Ask about pictures; without PROMPT, a conversation 与模型对话."""
    from tuwen.config import TuwenError
    from tuwen.infer import load
    from tuwen.infer.drawing import draw_boxes
    from tuwen.infer.history import History, read_history
    from tuwen.infer.options import GenerationOptions
    from tuwen.infer.terminal import converse
    from tuwen.vision import open_picture

    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "greedy": greedy,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "seed": seed,
    }
    GenerationOptions.of(options)
    if as_json and prompt is None:
        raise TuwenError("--json needs a PROMPT: a conversation has no single answer")
    if draw is not None and (prompt is None or not image):
        raise TuwenError("--draw needs a PROMPT and an --image to draw on")
    images = list(image or [])
    earlier = History() if history is None else read_history(history)
    vlm = load(model, adapter=adapter, language=language, vision=vision, device=device, dtype=dtype, quantize=quantize)
    if prompt is None:
        converse(vlm, images, system=system, history=earlier, options=options, console=Console())
    elif as_json or draw is not None:
        answer = vlm.chat(prompt, images, system=system, history=earlier, **options)
        if draw is not None:
            draw_boxes(open_picture(images[-1]), answer.boxes).save(draw)
        if not as_json:
            typer.echo(answer.text)
            return
        boxes = [{"label": box.label, "box": list(box.box)} for box in answer.boxes]
        values = {"prompt_ids": answer.prompt_ids, "token_ids": answer.token_ids, "text": answer.text, "boxes": boxes}
        typer.echo(json.dumps(values, ensure_ascii=False))
    else:
        for piece in vlm.stream(prompt, images, system=system, history=earlier, **options):
            typer.echo(piece, nl=False)
        typer.echo()
