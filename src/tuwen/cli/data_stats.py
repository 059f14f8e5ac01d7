"""``tuwen data stats``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.data_options import FormatOptions


def command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, folder, pattern or URL of data 数据.")],
    model: Annotated[Path | None, typer.Option(help="Count this model's tokens, not characters 模型目录.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write a page with plots and samples 网页报告.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON 输出 JSON.")] = False,
    images: Annotated[str | None, typer.Option(help="Where pictures are, if not beside the data 图片目录.")] = None,
    format_in: Annotated[str | None, typer.Option("--from", metavar="FORMAT", help="Of DATA 数据格式.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of each task on the page 每任务样本数.")] = 4,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core unless said 进程数.")] = None,
    option: FormatOptions = None,
) -> None:
    """Say what is in data: tasks, languages, lengths, pictures, answers 数据统计."""
    from tuwen.config import apply_overrides
    from tuwen.data.looking.stats import count
    from tuwen.data.looking.stats_display import tables
    from tuwen.data.looking.stats_page import write_stats_page
    from tuwen.data.looking.stats_values import values_of
    from tuwen.data.opening import open_despite_faults

    processor = None
    if model is not None:
        from tuwen.checkpoints.opening import read_folder

        processor = read_folder(model).processor
    dataset = open_despite_faults(data, format=format_in, images=images, options=apply_overrides({}, option or []))
    console = Console()
    with console.status("") as status:
        found = count(
            dataset,
            processor,
            workers=workers,
            shown=samples if out is not None else 0,
            progress=lambda so_far: status.update(f"{so_far.samples:,} samples 样本"),
        )
    if as_json:
        typer.echo(json.dumps(values_of(found), ensure_ascii=True, indent=2))
    else:
        console.print(tables(found))
    if out is not None:
        write_stats_page(out, found, dataset, str(model) if model is not None else "")
        if not as_json:
            console.print(f"网页 page  [cyan]{out}[/]")
