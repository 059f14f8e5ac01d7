"""Tables of text: CSV, TSV and the ``name.jpg#0<TAB>caption`` files of caption corpora, with a header or without.

A record is a row: its cells under the names in the header, or under ``0``, ``1``, … where there is none; empty cells
are left out. A record's place is where its row begins and how many bytes it has.

A cell is quoted (RFC 4180) when it begins with ``"`` and a closing quote ends it; a caption that merely begins with a
quote is taken as it stands. Lines with tabs and no header know no quotes at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.containers.json_lines import dumped
from tuwen.data.media import data_url
from tuwen.data.storage import open_binary, read_bytes, version_here

CHUNK = 2**20
LARGEST_CELL = 128 * 2**20
_TABS = (".tsv", ".tab", ".token", ".txt")
_MARK = b"\xef\xbb\xbf"
_NOT_UTF8 = "not UTF-8; convert the file first, e.g. iconv -f gb18030 -t utf-8"
# A header names things; first rows have numbers, paths, addresses or sentences in them.
_NAME = re.compile(r" ?[^\W\d][\w \-]{0,40}")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a table is written.

    Attributes:
        delimiter: what stands between cells.
        quotes: whether cells may be quoted.
        header: names of the columns, or their numbers where the table does not name them.
        start: where the first row begins.
        blanks: whether a blank behind each delimiter is none of the cell's.
    """

    delimiter: bytes
    quotes: bool = True
    header: tuple[str, ...] = ()
    start: int = 0
    blanks: bool = False


@CONTAINERS.register("table")
class Table(Container):
    """See the module."""

    name: ClassVar[str] = "table"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", *_TABS)

    def files(self, place: str) -> list[str]:
        """The tables; a text file is one only where it is named, for most folders have notes in them."""
        return [file for file in super().files(place) if not file.lower().endswith(".txt") or place[-4:] == file[-4:]]

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """A record a row; empty lines are none."""
        dialect = _dialect(file, version_here(file))
        with open_binary(file) as source:
            for number, (offset, row) in enumerate(_rows(source, dialect, file), start=1):
                yield offset, len(row), _record(row, dialect, f"{file}: row {number}")

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The row that begins at ``offset``."""
        row = read_bytes(file, offset, length)
        found = _record(row, _dialect(file, version_here(file)), f"{file}: {self.name_place(offset, length)}")
        if isinstance(found, TuwenError):
            raise found
        return found

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """A header, and a row a record; lists and objects as JSON text."""
        if not columns.kinds:
            raise TuwenError(f"{columns.name}: this format is not kept in columns; write .jsonl or .json")
        delimiter = b"\t" if columns.name.lower().endswith(_TABS) else b","
        count = 0
        with out.open("wb") as file:
            file.write(delimiter.join(name.encode() for name in columns.kinds) + b"\n")
            for record in records:
                count += 1
                assert record.keys() <= columns.kinds.keys(), f"{sorted(record)}: not all are columns of the format"
                cells = (_written(record.get(name), delimiter, record) for name in columns.kinds)
                file.write(delimiter.join(cells) + b"\n")
        return count


def _written(value: Any, delimiter: bytes, record: Record) -> bytes:
    text = "" if value is None else value if isinstance(value, str) else dumped(value, bytes_as=data_url)
    try:
        cell = text.encode("utf-8")
    except UnicodeEncodeError:
        name = str(record.get("id", ""))
        raise TuwenError(f"{name!a}: its text holds half a surrogate pair, which tables cannot keep") from None
    special = any(sign in cell for sign in (delimiter, b'"', b"\n", b"\r")) or text != text.strip()
    return b'"' + cell.replace(b'"', b'""') + b'"' if special else cell


def _cell_end(data: bytes, start: int, dialect: _Dialect, *, final: bool) -> tuple[int, bool] | None:
    """Where the cell that begins at ``start`` ends and whether it is quoted; None where more must be read to say so.

    Args:
        data: of the table.
        start: of the cell.
        dialect: see there.
        final: whether nothing follows ``data``.
    """
    if dialect.quotes and data[start : start + 1] == b'"':
        at = start + 1
        while (quote := data.find(b'"', at)) >= 0:
            behind = data[quote + 1 : quote + 3]
            if len(behind) < 2 and not final:
                return None
            if behind[:1] != b'"':
                if behind[:1] in (dialect.delimiter, b"\n", b"") or behind in (b"\r\n", b"\r"):
                    return quote + 1, True
                break
            at = quote + 2
        if quote < 0 and not final and len(data) - start < LARGEST_CELL:
            return None
    ends = [end for end in (data.find(dialect.delimiter, start), data.find(b"\n", start)) if end >= 0]
    if not ends and not final:
        return None
    return min(ends, default=len(data)), False


def _row_end(data: bytes, at: int, dialect: _Dialect, *, final: bool) -> int | None:
    """Where the row that begins at ``at`` ends, its line break included; None where more must be read to say so."""
    line = data.find(b"\n", at)
    if line >= 0 and not (dialect.quotes and data.find(b'"', at, line) >= 0):
        return line + 1
    while (found := _cell_end(data, at, dialect, final=final)) is not None:
        end, _ = found
        if data[end : end + 1] == dialect.delimiter:
            at = end + 1
            continue
        line = data.find(b"\n", end)
        return len(data) if line < 0 else line + 1
    return None


def _rows(source: IO[bytes], dialect: _Dialect, name: str) -> Iterator[tuple[int, bytes]]:
    """The rows that are not empty, and where each begins."""
    source.seek(dialect.start)
    window, at, offset, final = b"", 0, dialect.start, False
    while True:
        end = _row_end(window, at, dialect, final=final) if at < len(window) else None
        if end is None:
            if final:
                return
            if len(window) - at > 2 * LARGEST_CELL:
                raise TuwenError(f"{name}: byte {offset}: a row of more than {2 * LARGEST_CELL:,} bytes")
            window, at = window[at:], 0
            more = source.read(max(CHUNK, len(window)))
            window, final = window + more, not more
            continue
        row = window[at:end]
        if row.strip():
            yield offset, row
        offset, at = offset + len(row), end


def _cells(row: bytes, dialect: _Dialect) -> list[str]:
    """The cells of a row.

    Raises:
        UnicodeDecodeError: for other text than UTF-8.
    """
    row = row.removesuffix(b"\n").removesuffix(b"\r")
    cells: list[str] = []
    at = 0
    while at <= len(row):
        if dialect.blanks and cells and row[at : at + 1] == b" ":
            at += 1
        end, quoted = _cell_end(row, at, dialect, final=True) or (len(row), False)
        cell = row[at + 1 : end - 1].replace(b'""', b'"') if quoted else row[at:end]
        cells.append(cell.decode("utf-8"))
        at = end + 1
    return cells


def _record(row: bytes, dialect: _Dialect, where: str) -> Record | TuwenError:
    try:
        cells = _cells(row, dialect)
    except UnicodeDecodeError:
        return TuwenError(f"{where}: {_NOT_UTF8}")
    if len(cells) != len(dialect.header):
        return TuwenError(f"{where}: {len(cells)} cells; expected {len(dialect.header)} ({', '.join(dialect.header)})")
    return as_record({name: cell for name, cell in zip(dialect.header, cells, strict=True) if cell}, where)


@lru_cache(maxsize=64)
def _dialect(file: str, version: str) -> _Dialect:
    """How a table is written, by its suffix and its first row.

    Raises:
        TuwenError: when that is no text.
    """
    with open_binary(file) as source:
        head = source.read(CHUNK)
    start = len(_MARK) if head.startswith(_MARK) else 0
    tabs = file.lower().endswith(_TABS)
    dialects = [_Dialect(sign) for sign in ([b"\t"] if tabs else [b",", b"\t", b";", b"|"])]
    found = [(dialect, _first_row(head[start:], dialect, file)) for dialect in dialects]
    dialect, first = max(found, key=lambda one: len(one[1]))
    names = [cell.strip() for cell in first]
    if len(set(names)) == len(names) and all(_NAME.fullmatch(cell) for cell in first):
        end = _row_end(head, start, dialect, final=True) or len(head)
        blanks = len(first) > 1 and all(cell.startswith(" ") for cell in first[1:])
        return replace(dialect, header=tuple(names), start=end, blanks=blanks)
    dialect = replace(dialect, quotes=not tabs)
    columns = len(_first_row(head[start:], dialect, file))
    return replace(dialect, header=tuple(map(str, range(columns))), start=start)


def _first_row(head: bytes, dialect: _Dialect, file: str) -> list[str]:
    try:
        return _cells(head[: _row_end(head, 0, dialect, final=True)], dialect)
    except UnicodeDecodeError:
        raise TuwenError(f"{file}: {_NOT_UTF8}") from None
