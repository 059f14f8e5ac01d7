"""``tuwen data stats``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.data_options import Data, FormatOptions, FromFormat, Images, Workers, assigned


def command(
    data: Data,
    model: Annotated[Path | None, typer.Option(help="Count this model's tokens, not characters 模型目录.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write a page with plots and samples 网页报告.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON 输出 JSON.")] = False,
    images: Images = None,
    format_in: FromFormat = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of each task on the page 每任务样本数.")] = 4,
    workers: Workers = None,
    option: FormatOptions = None,
) -> None:
    """Say what is in data: tasks, languages, lengths, pictures, answers 数据统计."""
    from tuwen.data.dataset import open_data
    from tuwen.data.looking.stats import count
    from tuwen.data.looking.stats_display import tables
    from tuwen.data.looking.stats_page import write_stats_page
    from tuwen.data.looking.stats_values import values_of

    processor = None
    if model is not None:
        from tuwen.checkpoints.opening import read_folder

        processor = read_folder(model).processor
    options = assigned(option, "--option")
    dataset = open_data(data, format=format_in, images=images, options=options, despite_faults=True)
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
