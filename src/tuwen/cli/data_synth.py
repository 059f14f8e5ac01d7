"""``tuwen data synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.progress_bar import progress_bar


def command(
    suites: Annotated[
        str, typer.Argument(metavar="SUITES", help="A suite, or several with weights 题库: vqa or vqa=2,ocr=1.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write 输出目录.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Pictures to draw 图片数.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same bytes 随机种子.")] = 0,
    size: Annotated[int | None, typer.Option("--size", help="Sides of the pictures in pixels 图片边长.")] = None,
    languages: Annotated[str, typer.Option("--languages", help="Of the questions 语言.")] = "zh,en",
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Keep only these tasks, with commas 只留这些任务.")
    ] = None,
    questions: Annotated[int, typer.Option("--questions", min=2, help="About a picture at most 每图问题数上限.")] = 14,
    font: Annotated[str | None, typer.Option("--font", help="A font file 字体文件.")] = None,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="Pictures of a shard 每片图片数.")] = 1000,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 for all processors 进程数.")] = 0,
    engine: Annotated[str, typer.Option("--engine", help="local or ray 本机或 Ray 集群.")] = "local",
) -> None:
    """Draw a corpus with questions and answers 绘制合成数据; run again to go on where it stopped."""
    from tuwen.config import parse_config
    from tuwen.data.synth import SynthConfig
    from tuwen.data.synth.run import Finished, Plan, synthesise

    settings = {
        "suites": _weights(suites),
        "languages": languages.split(","),
        "tasks": tasks.split(",") if tasks else None,
        "questions": questions,
        "font": font,
        **({} if size is None else {"size": size}),
    }
    plan = Plan(parse_config(SynthConfig, settings, "synth"), count, seed, shard_size, out)
    console = Console()
    with progress_bar(console) as bar:
        drawing = bar.add_task("图片 pictures", total=count)

        def show(finished: Finished) -> None:
            bar.advance(drawing, finished["pictures"])

        shards = synthesise(plan, workers=workers, engine=engine, progress=show)
    samples = sum(shard["samples"] for shard in shards)
    console.print(f"{count:,} 图片 pictures, {samples:,} 样本 samples, {len(shards)} 分片 shards  [cyan]{out}[/]")


def _weights(text: str) -> dict[str, float]:
    """``vqa=2,ocr`` as weights, 1 where none is said.

    Raises:
        TuwenError: for a weight that is no number.
    """
    from tuwen.config import TuwenError

    result = {}
    for entry in text.split(","):
        name, equals, weight = entry.partition("=")
        try:
            result[name] = float(weight) if equals else 1.0
        except ValueError:
            raise TuwenError(f"suite {entry!r}: expected NAME or NAME=WEIGHT, e.g. vqa=2,ocr=1") from None
    return result
