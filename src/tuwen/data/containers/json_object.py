"""A JSON object whose values are records, read piece by piece, however large it is: ``{"17": {…}, "18": {…}}``.

A record is a value with its key under ``id``; its place is where its key begins and how many bytes both have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.containers.json_lines import dumped, parsed
from tuwen.data.containers.json_list import JsonText
from tuwen.data.storage import read_bytes


@CONTAINERS.register("json_object")
class JsonObject(Container):
    """See the module."""

    name: ClassVar[str] = "json_object"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    # Lists end in .json too.
    by_suffix: ClassVar[bool] = False

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The object's values."""
        text = JsonText(file)
        if text.next_sign() != "{":
            raise TuwenError(f"{file}: expected a JSON object of objects")
        for offset, key in text.members():
            where = f"{file}: {key!r:.60}"
            value, _ = text.value(where)
            try:
                yield offset, text.offset - offset, {**as_record(value, where), "id": key}
            except TuwenError as error:
                yield offset, text.offset - offset, error

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The value whose key begins at ``offset``."""
        where = f"{file}: byte {offset}"
        key, value = parsed(b"{" + read_bytes(file, offset, length) + b"}", where).popitem()
        return {**as_record(value, where), "id": key}

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """An object with a key and its value a line."""
        keys: set[str] = set()
        with out.open("w", encoding="utf-8") as file:
            for record in records:
                key = str(record["id"])
                if key in keys:
                    raise TuwenError(f"{key}: a second record with this id; each must have its own")
                value = dumped({name: value for name, value in record.items() if name != "id"})
                file.write(("{\n" if not keys else ",\n") + f"{json.dumps(key)}: {value}")
                keys.add(key)
            file.write("\n}\n" if keys else "{}\n")
        return len(keys)
