"""``tuwen data convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tuwen.cli.data_options import FormatOptions, FromFormat, Images, Language, assigned


def command(
    data: Annotated[str, typer.Argument(metavar="IN", help="A file, folder, pattern or URL of data 数据.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The file to write; its suffix says its kind 输出文件.")],
    format_in: FromFormat = None,
    format_out: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="Of OUT; tuwen where it can be 输出格式.")
    ] = None,
    images: Images = None,
    pack: Annotated[bool, typer.Option("--pack", help="Put the pictures into OUT 把图片放进数据.")] = False,
    task: Annotated[str | None, typer.Option(help="Of samples that do not say it 任务名.")] = None,
    language: Annotated[Language | None, typer.Option(help="Of samples that do not say it 语言.")] = None,
    option: FormatOptions = None,
    to_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the format of OUT, e.g. prompt=… 输出格式的选项.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples to write at most 最多样本数.")] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help="Samples of a shard: OUT-00000-of-00003 每片样本数.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there 覆盖已有文件.")] = False,
) -> None:
    """Write data in another format or kind of file 转换数据格式.

    Kinds of files, by suffix: .jsonl, .json, .parquet, .arrow, .tar (WebDataset), .csv and .tsv.
    """
    from tuwen.config import TuwenError
    from tuwen.data.convert import Target, convert, usual_format
    from tuwen.data.dataset import open_data
    from tuwen.data.storage import is_url

    if is_url(out):
        raise TuwenError(f"{out}: data is written to this machine; give a path, and copy the file there afterwards")
    dataset = open_data(
        data,
        format=format_in,
        images=images,
        task=task,
        language=language,
        options=assigned(option, "--option"),
    )
    path = Path(out)
    target = Target(
        out=path,
        format=format_out or usual_format(path),
        pack=pack,
        shard_size=shard_size,
        force=force,
        options=assigned(to_option, "--to-option"),
    )
    console = Console()
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[samples]:,} 样本 samples"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        # Of one file nobody knows how many samples it has before it is read.
        unit, total = ("样本 samples", limit) if limit else ("文件 files", len(dataset.files))
        running = bar.add_task(unit, total=total, samples=0)

        def show(samples: int, file: int) -> None:
            bar.update(running, completed=samples if limit else file, samples=samples)

        count, files = convert(dataset, target, limit=limit, progress=show)
    shards = f" ({len(files)} 分片 shards)" if shard_size else ""
    line = f"{count:,} 样本 samples  {dataset.format.name} → {target.format}  [cyan]{files[0]}[/]{shards}"
    console.print(line, highlight=False, soft_wrap=True)
