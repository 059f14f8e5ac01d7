"""``tuwen generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.progress_bar import progress_bar


def command(
    model: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    questions: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Questions, one a line 问题文件.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Answers, one a line 答案文件.")],
    max_tokens: Annotated[
        int | None, typer.Option(help="Of an answer at most; as the model says, or what the context leaves 最长回答.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token 贪心.")] = False,
    temperature: Annotated[float | None, typer.Option(help="Of sampling; 0 for the likeliest token 温度.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of sampling 核采样.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Of sampling.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: repeat less 重复惩罚.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every answer's sampling 随机种子.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="An answer ends before it; may be repeated 停止词.")] = None,
    json_schema: Annotated[Path | None, typer.Option(help="Answers are JSON of this schema JSON 模式文件.")] = None,
    engine: Annotated[str, typer.Option(help="builtin, or ray for a cluster 本机或 Ray 集群.")] = "builtin",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of a cluster, each with a model of its own 进程数 [default: 1].")
    ] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Answered at a time 并发数 [default: 64].")] = None,
    adapter: Annotated[Path | None, typer.Option(help="An adapter or delta trained on MODEL 适配器.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N or auto (all GPUs) [default: a GPU, or cpu] 设备.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as stored on a GPU 精度.")] = None,
    quantize: Annotated[str | None, typer.Option(help="int8 or int4: the language model in so many bits 量化.")] = None,
) -> None:
    """Answer a file of questions 批量回答; run again to go on where it stopped.

    Exit code 1 when some questions have an error in place of an answer.
    """
    from tuwen.config import TuwenError, parse_config
    from tuwen.infer.engine.interface import Sampling
    from tuwen.infer.generate_file import Job, generate_file

    if greedy and temperature:
        raise TuwenError("--greedy and --temperature: choose one")
    if workers is not None and engine == "builtin":
        raise TuwenError("--workers: has an effect with --engine ray only")
    settings = {
        "max_tokens": max_tokens,
        "temperature": 0.0 if greedy else temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "stop": tuple(stop or ()),
        "json_schema": None if json_schema is None else _schema(json_schema),
    }
    job = Job(
        model=model,
        loading={"adapter": adapter, "device": device, "dtype": dtype, "quantize": quantize},
        settings={} if max_running is None else {"max_running": max_running},
        sampling=parse_config(Sampling, settings, "sampling"),
        source=questions,
    )
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        answering = bar.add_task("回答 answers", total=None)
        outcome = generate_file(
            job,
            out,
            engine=engine,
            workers=workers or 1,
            progress=lambda done, total: bar.update(answering, completed=done, total=total),
        )
    typer.echo(
        f"{outcome.answered} 已回答 answered, {outcome.before} 早已有 before, {outcome.failed} 失败 failed: {out}"
    )
    if outcome.failed:
        raise typer.Exit(1)


def _schema(path: Path) -> object:
    import json

    from tuwen.config import TuwenError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise TuwenError(f"{path}: not JSON") from None
