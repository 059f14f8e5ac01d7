"""What a model can be exported to: published layouts, and other programs' files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuwen.checkpoints.convert import export
from tuwen.checkpoints.layouts.base import LAYOUTS, Published
from tuwen.config import Registry, StrictConfig, TuwenError, parse_config, unknown_name

FORMATS = Registry("export format", {"gguf": "tuwen.checkpoints.gguf.writing"})


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """Files of another program.

    Attributes:
        settings: what can be chosen.
        write: (model, folder to write, settings) → where the other program does otherwise than we do, a sentence each.
    """

    settings: type[StrictConfig]
    write: Callable[[Published, Path, Any], Sequence[str]]


Export = Callable[[Published, Path], Sequence[str]]


def exporter(to: str, options: Mapping[str, Any]) -> Export:
    """What writes a model in a published layout or a format; nothing is read yet.

    Args:
        to: name of a published layout or of a format.
        options: settings that were given, by their names.

    Returns:
        (model, folder to write) → remarks for people; raises ``TuwenError`` when the model cannot be expressed so.

    Raises:
        TuwenError: for an unknown name, and for options that are wrong or that the format does not have.
    """
    formats, layouts = FORMATS.names(), LAYOUTS.names()
    if to not in (*formats, *layouts):
        raise TuwenError(unknown_name("published layout", to, sorted([*layouts, *formats])))
    if to in formats:
        found: ExportFormat = FORMATS.get(to)
        settings = parse_config(found.settings, options, f"--to {to}")
        return lambda published, out: found.write(published, out, settings)
    if options:
        name = next(iter(options)).replace("_", "-")
        raise TuwenError(f"--{name}: the published layout {to} has no such setting; leave it out")

    def write(published: Published, out: Path) -> Sequence[str]:
        export(published, out, to)
        return ()

    return write
