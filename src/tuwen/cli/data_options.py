"""Options of every verb that reads data."""

from __future__ import annotations

from typing import Annotated

import typer

FormatOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Of the format, e.g. split=train 格式选项."),
]
