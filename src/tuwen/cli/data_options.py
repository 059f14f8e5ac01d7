"""Options that verbs on data share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

Language = Literal["zh", "en"]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A file, folder, pattern or URL of data 数据.")]
FromFormat = Annotated[
    str | None, typer.Option("--from", metavar="FORMAT", help="Of the data; found out by itself 数据格式.")
]
Images = Annotated[
    str | None,
    typer.Option("--images", help="Folder, archive or URL of the pictures, if not beside the data 图片目录."),
]
FormatOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Of the data's format, e.g. split=train 数据格式的选项."),
]
ToFormat = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="Of OUT 输出格式.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one a core unless said 进程数.")]


def assigned(given: list[str] | None, option: str) -> dict[str, Any]:
    """What an option's ``KEY=VALUE`` say together.

    Raises:
        TuwenError: for one that is none.
    """
    from tuwen.config import TuwenError, apply_overrides

    for text in given or []:
        if text.find("=") < 1:
            raise TuwenError(f"{option} {text}: expected KEY=VALUE")
    return apply_overrides({}, given or [])
