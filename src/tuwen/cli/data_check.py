"""``tuwen data check``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuwen.cli.data_options import Data, FormatOptions, FromFormat, Images, Workers, assigned


def command(
    data: Data,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the good samples there 写出可用样本.")] = None,
    to: Annotated[str | None, typer.Option(metavar="FORMAT", help="Of OUT; as DATA unless said 输出格式.")] = None,
    model: Annotated[Path | None, typer.Option(help="Also render every sample for this model 模型目录.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of a sample; needs --model 最多词元数.")] = None,
    images: Images = None,
    format_in: FromFormat = None,
    decode: Annotated[bool, typer.Option(help="Decode pictures, or read headers alone 是否解码图片.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors 警告也算错误.")] = False,
    show: Annotated[int, typer.Option(min=0, help="Findings that are shown of each reason 每类显示条数.")] = 5,
    findings_json: Annotated[Path | None, typer.Option("--json", help="Write all findings 写出全部问题.")] = None,
    workers: Workers = None,
    option: FormatOptions = None,
) -> None:
    """Name every broken, double, oversized or useless sample; exit code 1 if there is one 检查数据."""
    from tuwen.config import TuwenError
    from tuwen.data.check import check
    from tuwen.data.checks import display
    from tuwen.data.checks.base import CheckOptions
    from tuwen.data.checks.findings_file import FindingsFile
    from tuwen.data.checks.fix import write_good
    from tuwen.data.dataset import check_out, open_data

    if max_tokens is not None and model is None:
        raise TuwenError("--max-tokens counts tokens of a model; give --model, too")
    processor = None
    if model is not None:
        from tuwen.checkpoints.opening import read_folder

        processor = read_folder(model).processor
    console = Console()
    settings = assigned(option, "--option")
    dataset = open_data(data, format=format_in, images=images, options=settings, despite_faults=True)
    if fix is not None:
        check_out(fix, to or dataset.format.name, dataset.files)
    options = CheckOptions(decode=decode, processor=processor, max_tokens=max_tokens)
    with FindingsFile(findings_json) if findings_json else nullcontext() as file:
        start = time.monotonic()
        with console.status("") as status:
            report = check(
                dataset,
                options,
                workers=workers,
                keep=show,
                sink=file.add if file else lambda finding: None,
                progress=lambda so_far: status.update(display.running(so_far)),
            )
        fixed = write_good(report, fix, strict=strict, format=to) if fix is not None else None
        if file:
            file.finish(report, fixed)
    console.print(display.summary(report, time.monotonic() - start), soft_wrap=True)
    if report.counts:
        console.print(display.findings(report), soft_wrap=True)
    if fixed is not None and fix is not None:
        console.print(display.written(fixed, fix), soft_wrap=True)
    if report.total("error") or (strict and report.total("warning")):
        raise typer.Exit(1)
