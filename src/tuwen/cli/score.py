"""``tuwen score``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    benchmark: Annotated[str, typer.Argument(help="Its name, see tuwen bench list 基准名称.")],
    data: Annotated[Path, typer.Option("--data", help="Its data in the official form 官方格式的数据目录.")],
    predictions: Annotated[
        list[Path], typer.Option("--predictions", help="Answers of any system; again for more files 预测文件.")
    ],
    scorer: Annotated[str | None, typer.Option("--scorer", help="Another scorer than the usual one 评分器.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there 允许不完整.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object 输出 JSON.")] = False,
    with_intervals: Annotated[
        bool, typer.Option("--intervals", help="In JSON too: 95 % of each figure 输出置信区间.")
    ] = False,
) -> None:
    """Score the predictions of any system as the benchmark's official program does 只评分."""
    from tuwen.evaluate.score import HERE, score_files, score_table

    result = score_files(benchmark, data, predictions, scorer=scorer, partial=partial)
    if as_json:
        print(json.dumps(result.to_dict(with_intervals=with_intervals), ensure_ascii=False))
    else:
        measured = {HERE: (result.score, result.intervals())}
        console = Console()
        if not result.coverage.whole:
            console.print(str(result.coverage), style="yellow", markup=False)
        console.print(score_table(result.benchmark, result.scorer, measured))
