"""``tuwen compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    first: Annotated[Path, typer.Argument(help="Results of tuwen eval 评测结果 A.")],
    second: Annotated[Path, typer.Argument(help="Results of another model on the same data 评测结果 B.")],
) -> None:
    """How two evaluations differ, item by item, and how sure that is 逐题比较两次评测."""
    from tuwen.evaluate.compare import compare, difference_table

    Console().print(difference_table(compare(first, second), first, second))
