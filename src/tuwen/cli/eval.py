"""``tuwen eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    model: Annotated[str, typer.Argument(help="A model's folder, or openai:URL#MODEL 模型目录或接口.")],
    bench: Annotated[str, typer.Option("--bench", help="Benchmarks, with commas 基准, 逗号分隔.")],
    data: Annotated[Path, typer.Option("--data", help="Folder with their data 数据目录.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the results 结果目录.")],
    style: Annotated[str | None, typer.Option("--style", help="Of prompts: llava, qwen, codefuse 提示词样式.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Also with the pictures shuffled 同时测打乱图片的得分.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Items at a time 批大小.")] = 16,
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes that answer 进程数.")] = 1,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda:0, … 设备.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16 精度.")] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests at the same time 并发数.")] = 8,
    requests_per_minute: Annotated[
        float | None, typer.Option("--requests-per-minute", help="To an endpoint, at most 每分钟请求数.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option("--api-key-file", help="File with the key 密钥文件.")] = None,
    judge: Annotated[str | None, typer.Option("--judge", help="URL#MODEL that judges free answers 评审模型.")] = None,
    judge_key_file: Annotated[Path | None, typer.Option("--judge-key-file", help="File with its key 评审密钥.")] = None,
    judge_mode: Annotated[str, typer.Option("--judge-mode", help="pair or score 两两比较或打分.")] = "pair",
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Judge each pair a second time, exchanged 交换顺序再评.")
    ] = False,
) -> None:
    """Measure a model on benchmarks; run again to go on where it stopped 评测, 可断点续跑."""
    from tuwen.config import TuwenError
    from tuwen.evaluate.campaign import Campaign, evaluate
    from tuwen.evaluate.judge import Judge
    from tuwen.evaluate.score import HERE, SHUFFLED, score_table

    if judge_mode not in ("pair", "score"):
        raise TuwenError(f"--judge-mode {judge_mode}: choose one of pair, score")
    chosen = None
    if judge is not None:
        chosen = Judge.named(judge, mode=judge_mode, both_orders=both_orders, api_key_file=judge_key_file)
    campaign = Campaign(
        model=model,
        benchmarks=[name.strip() for name in bench.split(",") if name.strip()],
        data=data,
        out=out,
        style=style,
        blind=blind,
        batch_size=batch_size,
        nproc=nproc,
        device=device,
        dtype=dtype,
        endpoint={"concurrency": concurrency, "requests_per_minute": requests_per_minute},
        api_key_file=api_key_file,
        judge=chosen,
    )
    console = Console()
    for result in evaluate(campaign, console):
        measured = {HERE: (result.score, result.intervals)}
        if result.blind is not None:
            measured[SHUFFLED] = result.blind
        console.print(score_table(result.benchmark, result.scorer, measured))
