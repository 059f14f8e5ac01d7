"""``tuwen parity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def command(
    one: Annotated[Path, typer.Argument(help="A model folder 模型目录.")],
    other: Annotated[Path, typer.Argument(help="Another 另一个.")],
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture; may be repeated 图片.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Part of the greatest value 容差.")] = 1e-4,
    dtype: Annotated[str, typer.Option(help="Of the first model 第一个模型的精度.")] = "float32",
    other_dtype: Annotated[str, typer.Option(help="Of the other 另一个的精度.")] = "float32",
) -> None:
    """Compare two folders stage by stage; exit code 1 when they differ 逐阶段比较两个模型."""
    from tuwen.checkpoints.parity import compare, drawn_picture
    from tuwen.infer.loading import parse_dtype
    from tuwen.vision import open_picture

    images = [open_picture(path) for path in image] if image else [drawn_picture()]
    dtypes = (parse_dtype(dtype), parse_dtype(other_dtype))
    results = compare(one, other, images, tolerance=tolerance, dtypes=dtypes)
    table = Table()
    for heading in ("stage", "difference", "greatest value", ""):
        table.add_column(heading, justify="left" if heading in ("stage", "") else "right")
    for result in results:
        verdict = "[green]same" if result.same else f"[red]differs[/] {result.note}"
        table.add_row(result.stage, f"{result.difference:.3g}", f"{result.scale:.3g}", verdict)
    console = Console()
    console.print(table)
    first = next((result.stage for result in results if not result.same), None)
    if first is not None:
        console.print(f"the first stage that differs: [bold]{first}")
        raise typer.Exit(1)
