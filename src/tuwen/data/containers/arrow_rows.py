"""Records as rows of Arrow tables, which parquet and arrow files hold, and rows as records.

What JSON calls a list or an object is kept as JSON text, so that the columns are the same whatever the first records
are; in tables of others it may be nested columns just as well. Pictures are kept as Hugging Face `datasets` keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from tuwen.config import TuwenError
from tuwen.data.containers.base import Columns, Kind, Record
from tuwen.data.containers.json_lines import dumped
from tuwen.data.media import data_url

# What is decoded or written at once: much is decoded in vain where rows are read in random order.
BATCH_BYTES = 8 * 2**20
BATCH_ROWS = 1000
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# The descriptions by which `datasets` knows a column again.
_VALUE, _NUMBER = {"dtype": "string", "_type": "Value"}, {"dtype": "int64", "_type": "Value"}
_IMAGE = {"_type": "Image"}


def schema_of(columns: Columns) -> pa.Schema:
    """The columns of a file.

    Raises:
        TuwenError: for a format that names no columns.
    """
    if not columns.kinds:
        raise TuwenError(f"{columns.name}: this format is not kept in columns; write .jsonl or .json")
    picture = _PICTURE if columns.packed else pa.string()
    types = {
        "text": pa.string(),
        "number": pa.int64(),
        "json": pa.string(),
        "picture": picture,
        "pictures": pa.list_(picture),
    }
    features = {"text": _VALUE, "number": _NUMBER, "json": _VALUE, "picture": _IMAGE, "pictures": [_IMAGE]}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.kinds.items()])
    if not columns.packed:
        return schema
    known = {"info": {"features": {name: features[kind] for name, kind in columns.kinds.items()}}}
    return schema.with_metadata({"huggingface": json.dumps(known)})


def as_batches(records: Iterable[Record], columns: Columns) -> Iterator[pa.RecordBatch]:
    """Records as batches of rows, each as large as is well read at once.

    Raises:
        TuwenError: naming the record that cannot be kept.
    """
    schema = schema_of(columns)
    rows: list[Record] = []
    size = 0
    for record in records:
        row = {name: _cell(record.get(name), kind, columns.packed) for name, kind in columns.kinds.items()}
        assert record.keys() <= row.keys(), f"{sorted(record.keys() - row.keys())} are no columns of the format"
        rows.append(row)
        size += _size(row)
        if size >= BATCH_BYTES or len(rows) == BATCH_ROWS:
            yield _batch(rows, schema)
            rows, size = [], 0
    if rows:
        yield _batch(rows, schema)


def _cell(value: Any, kind: Kind, packed: bool) -> Any:
    if value is None or kind in ("text", "number"):
        return value
    if kind == "json":
        return dumped(value, bytes_as=data_url)
    if kind == "picture":
        return {"bytes": value, "path": None} if packed else value
    values = value if isinstance(value, list) else [value]
    return [_cell(one, "picture", packed) for one in values]


def _size(value: Any) -> int:
    """About how many bytes a value takes."""
    if isinstance(value, dict | list):
        return sum(_size(one) for one in (value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str | bytes) else 8


def _batch(rows: list[Record], schema: pa.Schema) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:
        broken = next(row for row in rows if not _is_unicode(row))
        raise TuwenError(
            f"{broken.get('id', '')!a}: its text holds half a surrogate pair, which Arrow cannot keep; write .jsonl"
        ) from None


def _is_unicode(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(_is_unicode(one) for one in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, str) or value.encode("utf-8", errors="replace").decode("utf-8") == value


def as_records(batch: pa.RecordBatch) -> list[Record]:
    """The rows of a batch as plain Python values; keys without a value, which every row of a table has, left out."""
    return [_without_nulls(row) for row in batch.to_pylist()]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


@contextmanager
def whole_file(file: str, kind: str) -> Iterator[None]:
    """Says in one line what Arrow finds wrong with a file.

    Raises:
        TuwenError: naming the file.
    """
    try:
        yield
    except TuwenError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise TuwenError(f"{file}: cannot be read ({error.strerror or error})") from None
        raise TuwenError(f"{file}: not a whole {kind} file ({str(error)[:200]})") from None
