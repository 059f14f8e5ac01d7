"""``tuwen rate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    benchmark: Annotated[str, typer.Argument(help="A judged benchmark, e.g. owleval_zh 需要评审的基准.")],
    data: Annotated[Path, typer.Option("--data", help="Its data in the official form 数据目录.")],
    answers: Annotated[list[Path], typer.Option("--answers", help="Of a system; again for a second one 回答文件.")],
    out: Annotated[Path, typer.Option("--out", help="File for the ratings 评分文件.")],
    rater: Annotated[str, typer.Option("--rater", help="Who rates 评分人.")] = "me",
    pairs: Annotated[bool, typer.Option("--pairs", help="Which of two is better, not grades 两两比较.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, help="Of the page on this machine 端口.")] = 0,
) -> None:
    """Let people rate answers on a page of this machine 人工评分."""
    from tuwen.config import TuwenError
    from tuwen.evaluate.benchmark import BENCHMARKS
    from tuwen.evaluate.benchmarks._judged import Judged
    from tuwen.evaluate.benchmarks._judged_files import read_answers
    from tuwen.evaluate.people import Desk, Ratings, plan_tasks, serve_people

    kind = BENCHMARKS.get(benchmark)(data)
    if not isinstance(kind, Judged):
        raise TuwenError(f"{benchmark}: is scored by its own rules; people rate llava_bench_zh and owleval_zh")
    systems = {path.stem: read_answers(path) for path in answers}
    if len(systems) < len(answers):
        raise TuwenError("--answers: two files have the same name, by which systems are told apart; rename one")
    tasks = plan_tasks(kind.items(), systems, rater, pairs=pairs)
    serve_people(Desk(kind.title, tasks, Ratings(out), rater), port, Console().print)
