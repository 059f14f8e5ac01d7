"""``tuwen data``: everything that is done with data before training."""

from __future__ import annotations

import typer

from tuwen.cli import data_caption, data_check, data_convert, data_show, data_stats, data_synth, data_translate

app = typer.Typer(no_args_is_help=True, help="Convert, check, look at, draw and translate data 数据处理.")
for name, verb in {
    "convert": data_convert,
    "check": data_check,
    "stats": data_stats,
    "show": data_show,
    "synth": data_synth,
    "translate": data_translate,
    "caption": data_caption,
}.items():
    app.command(name)(verb.command)
