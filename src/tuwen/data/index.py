"""The index: where each of millions of samples lies and how long it is, in an Arrow file that is mapped into memory.

Opening it reads next to nothing, whatever its size. What follows from a picture's size (the tokens of
its tiles) is computed from it when it is needed. ``indexing`` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tuwen.data.bad_samples import BadSample
from tuwen.data.dataset import Place
from tuwen.data.storage import written_whole

if TYPE_CHECKING:
    from tuwen.models.processing import TuwenProcessor

SCHEMA = pa.schema(
    [
        ("file", pa.uint16()),
        ("offset", pa.uint64()),
        ("length", pa.uint32()),
        ("number", pa.uint16()),
        # Tokens without those of pictures; 0 where the index was made without a processor.
        ("text_tokens", pa.uint32()),
        ("trained_tokens", pa.uint32()),
        # Of the text tokens, those that a better and a worse answer have in common; 0 where none are compared.
        ("shared_tokens", pa.uint32()),
        # The same for samples about the very same pictures; 0 for text alone.
        ("pictures", pa.uint64()),
        # Width and height of each picture, upright, one after the other.
        ("sizes", pa.list_(pa.uint16())),
    ]
)
BATCH = 2**20


class SampleIndex:
    """An index file, mapped into memory: opening it reads next to nothing, whatever its size.

    Args:
        path: of the Arrow file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        details = json.loads(self._table.schema.metadata[b"tuwen"])
        self.bad = [BadSample(**values) for values in details["bad"]]

    def __reduce__(self) -> tuple[type[SampleIndex], tuple[Path]]:
        return SampleIndex, (self.path,)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers; without a copy where the file has one batch."""
        chunks = [chunk.to_numpy(zero_copy_only=True) for chunk in self._table.column(name).chunks]
        if not chunks:
            return np.zeros(0, dtype=SCHEMA.field(name).type.to_pandas_dtype())
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def place(self, row: int) -> Place:
        """Where sample number ``row`` lies."""
        chunk, offset = divmod(row, BATCH)
        values = (
            self._table.column(name).chunk(chunk)[offset].as_py() for name in ("file", "offset", "length", "number")
        )
        return Place(*values)

    @cached_property
    def has_pictures(self) -> np.ndarray:
        """Whether each sample has a picture, bool [samples]."""
        return self.column("pictures") != 0

    def tiles(self, count: Callable[[int, int], int]) -> np.ndarray:
        """Tiles of all pictures of each sample, int32 [samples].

        Args:
            count: width and height of a picture → its tiles; called once for each size that occurs.
        """
        found = []
        for chunk in self._table.column("sizes").chunks:
            ends = chunk.offsets.to_numpy()
            sides = chunk.values.to_numpy().astype(np.int64)[ends[0] : ends[-1]]
            packed, inverse = np.unique((sides[0::2] << 16) | sides[1::2], return_inverse=True)
            each = np.array([count(int(size) >> 16, int(size) & 0xFFFF) for size in packed], dtype=np.int64)
            before = np.concatenate([[0], np.cumsum(each[inverse])]) if len(packed) else np.zeros(1, dtype=np.int64)
            bounds = (ends - ends[0]) // 2
            found.append((before[bounds[1:]] - before[bounds[:-1]]).astype(np.int32))
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)

    def lengths(self, processor: TuwenProcessor) -> np.ndarray:
        """Tokens of each sample with those of its pictures, int64 [samples]."""
        tiles = self.tiles(lambda width, height: processor.policy.plan(width, height).tiles)
        return self.column("text_tokens").astype(np.int64) + tiles.astype(np.int64) * processor.tokens_per_tile

    def groups(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples about the same pictures, together.

        Args:
            most: samples of a group at most.

        Returns:
            Rows of all groups, one group behind the other, int64 [samples], and where each group begins in them, with
            the end of the last, int64 [groups + 1]. Groups are in the order of their first sample.
        """
        keys, rows = self.column("pictures"), np.arange(len(self), dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        fresh = np.ones(len(rows), dtype=bool)
        fresh[1:] = (sorted_keys[1:] != sorted_keys[:-1]) | (sorted_keys[1:] == 0)
        first = np.maximum.accumulate(np.where(fresh, rows, 0))
        # A picture with very many samples gives several groups.
        fresh |= (rows - first) % most == 0
        begins = np.flatnonzero(fresh)
        lengths = np.diff(np.append(begins, len(rows)))
        by_first = np.argsort(order[begins], kind="stable")
        lengths = lengths[by_first]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        taken = np.repeat(begins[by_first] - offsets[:-1], lengths) + rows
        return order[taken], offsets


def write_index(path: Path, batches: Iterable[pa.RecordBatch], bad: Sequence[BadSample]) -> None:
    """Write an index file.

    Args:
        path: of the file.
        batches: of ``SCHEMA``, of ``BATCH`` rows each but for the last.
        bad: what was left out.
    """
    details = json.dumps({"bad": [one.to_dict() for one in bad]}, ensure_ascii=False)
    schema = SCHEMA.with_metadata({"tuwen": details})
    with written_whole(path) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(pa.record_batch(batch.columns, schema=schema))
