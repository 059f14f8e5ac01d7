"""Layouts: files that belong together as a corpus is published. They are read, never written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import Columns, Container, Record


class Layout(Container):
    """Base of the containers that formats find by themselves (``Format.own_container``)."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    by_suffix: ClassVar[bool] = False

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """Refused."""
        raise TuwenError(f"{out}: the layout {self.name} is only read")
