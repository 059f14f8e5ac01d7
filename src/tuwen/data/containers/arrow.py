"""Arrow files: what Hugging Face `datasets` saves to disk, and any other, in the stream or in the file form.

They are read without `datasets`, and mapped into memory where they are on this machine. A record's place is made of
where its batch begins in the file and of its row in the batch: their sum, and the row.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tuwen.config import TuwenError
from tuwen.data.containers.arrow_rows import BATCH_BYTES, as_batches, as_records, schema_of, whole_file
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.storage import exists, is_url, open_binary, read_bytes, version_here

STATE, SPLITS = "state.json", "dataset_dict.json"
# The file form is the stream form between a magic word and an index, which is not needed here.
_MAGIC = b"ARROW1"
_MAGIC_BYTES = 8
MOST_OPEN, MOST_BATCHES = 16, 32


@CONTAINERS.register("arrow")
class Arrow(Container):
    """See the module."""

    name: ClassVar[str] = "arrow"
    suffixes: ClassVar[tuple[str, ...]] = (".arrow",)
    holds_bytes: ClassVar[bool] = True

    def is_layout(self, place: str) -> bool:
        """Whether `datasets` saved it: one data set, or one folder for each of its splits."""
        return any(exists(f"{place.rstrip('/')}/{name}") for name in (STATE, SPLITS))

    def files(self, place: str) -> list[str]:
        """The files; those of a data set in its own order.

        Raises:
            TuwenError: for a folder of splits, naming them.
        """
        home = place.rstrip("/")
        if exists(f"{home}/{SPLITS}"):
            splits = _description(f"{home}/{SPLITS}").get("splits") or []
            raise TuwenError(f"{place}: holds the splits {', '.join(map(str, splits))}; name one, e.g. {home}/train")
        if not exists(f"{home}/{STATE}"):
            return super().files(place)
        state = f"{home}/{STATE}"
        found = [entry.get("filename") for entry in _description(state).get("_data_files") or []]
        if not all(isinstance(name, str) and name == os.path.basename(name) for name in found):
            raise TuwenError(f"{state}: _data_files: expected names of files beside it, found {found!r:.80}")
        return [f"{home}/{name}" for name in found]

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """A record a row."""
        with whole_file(file, self.name):
            source, schema, start = _opened(file, os.getpid(), version_here(file))
            while True:
                batch, end = _read(source, schema, start)
                if batch is None:
                    break
                step = max(1, BATCH_BYTES * batch.num_rows // max(1, batch.nbytes))
                for first in range(0, batch.num_rows, step):
                    for row, record in enumerate(as_records(batch.slice(first, step)), start=first):
                        yield start + row, row, as_record(record, f"{file}: {self.name_place(start + row, row)}")
                start = end
            if start == end:
                yield start, 0, TuwenError(f"{file}: ends without Arrow's end mark; it may have been cut off")

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """Row ``length`` of its batch."""
        with whole_file(file, self.name):
            batch = _batch(file, os.getpid(), version_here(file), offset - length)
            record = as_records(batch.slice(length, 1))[0]
        return as_record(record, f"{file}: {self.name_place(offset, length)}")

    def name_place(self, offset: int, length: int) -> str:
        """Batch and row."""
        return f"row {length} of the batch at byte {offset - length}"

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """A row a record, in the stream form, which `datasets` maps into memory."""
        count = 0
        with pa.OSFile(str(out), "wb") as file, pa.ipc.new_stream(file, schema_of(columns)) as writer:
            for batch in as_batches(records, columns):
                writer.write_batch(batch)
                count += batch.num_rows
        return count


def _description(file: str) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise TuwenError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise TuwenError(f"{file}: expected keys and values, found {type(found).__name__}")
    return found


# The position in a file is shared by whoever reads it.
_LOCK = threading.Lock()


@lru_cache(maxsize=MOST_OPEN)
def _opened(file: str, process: int, version: str) -> tuple[pa.NativeFile, pa.Schema, int]:
    """A file, its columns, and where its first batch begins."""
    source = pa.PythonFile(open_binary(file), mode="r") if is_url(file) else pa.memory_map(file)
    source.seek(_MAGIC_BYTES if source.read(len(_MAGIC)) == _MAGIC else 0)
    schema = pa.ipc.read_schema(source)
    for field in schema:
        if pa.types.is_dictionary(field.type):
            raise TuwenError(f"{file}: column {field.name}: dictionary-encoded; save it with plain values")
    return source, schema, source.tell()


def _read(source: pa.NativeFile, schema: pa.Schema, start: int) -> tuple[pa.RecordBatch | None, int]:
    """The batch that begins at ``start``, None at the end; and where what was read ends."""
    with _LOCK:
        source.seek(start)
        try:
            message = pa.ipc.read_message(source)
        except EOFError:
            return None, source.tell()
        end = source.tell()
    batch = pa.ipc.read_record_batch(message, schema)
    # Offsets that lead out of the file would be followed.
    batch.validate(full=True)
    if batch.num_rows > end - start:
        raise ValueError(f"a batch of {end - start} bytes claims {batch.num_rows} rows")
    return batch, end


@lru_cache(maxsize=MOST_BATCHES)
def _batch(file: str, process: int, version: str, start: int) -> pa.RecordBatch:
    source, schema, _ = _opened(file, process, version)
    batch, _ = _read(source, schema, start)
    if batch is None:
        raise ValueError(f"no batch begins at byte {start}")
    return batch
