"""Parquet: what Hugging Face keeps data sets in. A record's place is the number of its row in the file.

A row can only be decoded with those before it in its row group, so the rows of the last groups are kept. Row groups
larger than ``KEPT_BYTES`` are read well from the first row to the last, and slowly in any other order.
"""

from __future__ import annotations

import bisect
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tuwen.config import TuwenError
from tuwen.data.containers.arrow_rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    as_batches,
    as_records,
    schema_of,
    whole_file,
)
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.storage import open_binary, version_here

# Of decoded rows, so much is kept in every process.
KEPT_BYTES = 128 * 2**20
MOST_GROUPS, MOST_OPEN = 256, 16
# Column chunks are read in pieces of this size, however large they are.
READ_BYTES = 2**20


@CONTAINERS.register("parquet")
class Parquet(Container):
    """See the module."""

    name: ClassVar[str] = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    holds_bytes: ClassVar[bool] = True

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """A record a row."""
        number = 0
        with whole_file(file, self.name), open_binary(file) as source:
            reader = pq.ParquetFile(source, buffer_size=READ_BYTES)
            for group in range(reader.num_row_groups):
                for batch in _batches(reader, group):
                    for record in as_records(batch):
                        yield number, 1, as_record(record, f"{file}: row {number}")
                        number += 1

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """Row number ``offset``."""
        key = (file, os.getpid(), version_here(file))
        with whole_file(file, self.name), _LOCK:
            _, ends = _opened(*key)
            group = bisect.bisect_right(ends, offset)
            if group == len(ends):
                raise TuwenError(f"{file}: row {offset}: not in the file, which has {ends[-1] if ends else 0}")
            record = _kept(key, group).row(offset - (ends[group - 1] if group else 0))
        return as_record(record, f"{file}: row {offset}")

    def name_place(self, offset: int, length: int) -> str:
        """The row."""
        return f"row {offset}"

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """A row a record, in row groups that are decoded at once without effort."""
        count = 0
        # A dictionary serves what comes again and again; of pictures it would only be tried.
        repeated = [name for name in ("task", "language", "source", "system") if name in columns.kinds]
        with pq.ParquetWriter(out, schema_of(columns), use_dictionary=repeated) as writer:
            for batch in as_batches(records, columns):
                writer.write_batch(batch, row_group_size=BATCH_ROWS)
                count += batch.num_rows
        return count


def _batches(reader: pq.ParquetFile, group: int, size: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """The rows of a row group in batches of about ``size`` bytes."""
    details = reader.metadata.row_group(group)
    rows = details.num_rows * size // max(size, details.total_byte_size)
    yield from reader.iter_batches(batch_size=max(1, rows), row_groups=[group], use_threads=False)


class _Group:
    """The rows of a row group, decoded as far as was asked for."""

    def __init__(self, reader: pq.ParquetFile, group: int) -> None:
        self._reader, self._group = reader, group
        self._rows = reader.metadata.row_group(group).num_rows
        self._begin()

    def _begin(self) -> None:
        self._rest: Iterator[pa.RecordBatch] = _batches(self._reader, self._group, KEPT_BYTES // 8)
        # Row with which each batch begins, and the batch.
        self._kept: list[tuple[int, pa.RecordBatch]] = []
        self._end, self.size = 0, 0

    def row(self, number: int) -> Record:
        """A row, counted from the first of the group."""
        if self._kept and number < self._kept[0][0]:
            self._begin()
        while number >= self._end:
            batch = next(self._rest, None)
            if batch is None:
                raise ValueError(f"a row group ends after {self._end} rows")
            self._kept.append((self._end, batch))
            self._end += batch.num_rows
            self.size += batch.nbytes
            if self._end >= self._rows:
                # What it was decoded from is as large again.
                self._rest = iter(())
            while len(self._kept) > 1 and self.size > KEPT_BYTES:
                self.size -= self._kept.pop(0)[1].nbytes
        start, batch = next(one for one in reversed(self._kept) if one[0] <= number)
        return as_records(batch.slice(number - start, 1))[0]


# Batches are taken one after the other, by whatever thread.
_LOCK = threading.Lock()
_Key = tuple[str, int, str]
# The groups that were read last, the very last one at the end.
_groups: dict[tuple[_Key, int], _Group] = {}


@lru_cache(maxsize=MOST_OPEN)
def _opened(file: str, process: int, version: str) -> tuple[pq.ParquetFile, list[int]]:
    """A file, and the row with which each of its row groups ends."""
    reader = pq.ParquetFile(open_binary(file), buffer_size=READ_BYTES)
    groups = range(reader.num_row_groups)
    return reader, list(itertools.accumulate(reader.metadata.row_group(group).num_rows for group in groups))


def _kept(key: _Key, number: int) -> _Group:
    """A row group; those that were not read for the longest time make room for it."""
    group = _groups.pop((key, number), None) or _Group(_opened(*key)[0], number)
    size = group.size + sum(other.size for other in _groups.values())
    for oldest in list(_groups):
        if size <= KEPT_BYTES and len(_groups) < MOST_GROUPS:
            break
        size -= _groups.pop(oldest).size
    _groups[key, number] = group
    return group
