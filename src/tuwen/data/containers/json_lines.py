"""JSON lines: an object a line. A record's place is where its line begins and how many bytes it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.storage import open_binary, read_bytes


@CONTAINERS.register("jsonl")
class JsonLines(Container):
    """See the module."""

    name: ClassVar[str] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """A record a line; empty lines are none."""
        offset = 0
        with open_binary(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield offset, len(line), _read(line, f"{file}: line {number}")
                offset += len(line)

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The line at ``offset``."""
        return parsed(read_bytes(file, offset, length), f"{file}: byte {offset}")

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """An object a line."""
        count = 0
        with out.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(dumped(record) + "\n")
                count += 1
        return count


def parsed(data: bytes, where: str) -> Record:
    """The object in a JSON text.

    Raises:
        TuwenError: when there is none, naming ``where``.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TuwenError(f"{where}: not valid JSON: {error}") from None
    return as_record(value, where)


def _read(line: bytes, where: str) -> Record | TuwenError:
    try:
        return parsed(line, where)
    except TuwenError as error:
        return error


def dumped(value: Any, bytes_as: Callable[[bytes], str] | None = None) -> str:
    """A value as JSON in one line.

    Args:
        value: as in JSON, with bytes in it where ``bytes_as`` is given.
        bytes_as: what stands for bytes.

    Raises:
        TuwenError: for what JSON cannot hold.
    """

    def other(found: Any) -> str:
        if isinstance(found, bytes) and bytes_as is not None:
            return bytes_as(found)
        raise TuwenError(f"a value of type {type(found).__name__} cannot be kept in JSON; write parquet, arrow or tar")

    # Text from broken sources may hold half a surrogate pair, which UTF-8 cannot hold.
    text = json.dumps(value, ensure_ascii=False, default=other)
    return text if text.isprintable() or _encodes(text) else json.dumps(value, default=other)


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
