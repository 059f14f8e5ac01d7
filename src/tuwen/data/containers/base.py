"""Containers: how records lie in files, whatever the records mean.

A container is one file: a class and one registration. It says where in the file each record lies, so that any of
millions can be read by itself.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tuwen.config import Registry, TuwenError
from tuwen.data.storage import find_files

_HERE = "tuwen.data.containers"
CONTAINERS = Registry(
    "container",
    {
        "arrow": f"{_HERE}.arrow",
        "json": f"{_HERE}.json_list",
        "json_object": f"{_HERE}.json_object",
        "jsonl": f"{_HERE}.json_lines",
        "parquet": f"{_HERE}.parquet",
        "table": f"{_HERE}.table",
        "tar": f"{_HERE}.tar",
    },
)

# Keys and values as in JSON; a picture's bytes may stand for a value where the container can hold them.
Record = dict[str, Any]
Kind = Literal["text", "number", "json", "picture", "pictures"]
# Under these keys formats keep lists and objects; where a container has no columns of that kind, as JSON text.
STRUCTURED = (
    "answers", "bbox", "conversation", "conversations", "history", "image", "images", "messages", "objects",
    "questions", "regions", "tasks",
)  # fmt: skip


RecordReason = Literal["refused_record", "not_an_object", "more_places", "fewer_places", "bad_base64", "bad_region"]


class RecordError(TuwenError):
    """A record that cannot be used, and why, under a name that can be counted.

    Args:
        message: what is wrong, and where.
        reason: its name, one of those of ``tuwen.data.checks``.
    """

    def __init__(self, message: str, reason: RecordReason = "refused_record") -> None:
        super().__init__(message)
        self.reason: RecordReason = reason


@dataclass(frozen=True, slots=True)
class Columns:
    """What a container that has columns must know before the first record.

    Attributes:
        kinds: every key that a record may have: a text, a whole number, a JSON value, a picture or a list
            of pictures.
        packed: whether pictures are there as bytes, and not by name.
        name: of the file in the end; it is written under another one.
    """

    kinds: Mapping[str, Kind]
    packed: bool = False
    name: str = ""


class Container(ABC):
    """Base of all containers.

    A record's place is two integers whose meaning is the container's own, e.g. where its bytes begin and how many
    they are.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    # Whether pictures' bytes can lie in it as they are.
    holds_bytes: ClassVar[bool] = False
    # Whether a file's suffix is enough to take it for one; others are read where a format knows its layout.
    by_suffix: ClassVar[bool] = True
    # Whether pictures always lie in it, even where it is not asked for.
    packs: ClassVar[bool] = False

    def is_layout(self, place: str) -> bool:
        """Whether a folder is laid out as only this container does it, whatever other files are in it."""
        return False

    def files(self, place: str) -> list[str]:
        """The files of this kind at a path, URL or pattern, sorted."""
        return find_files(place, self.suffixes)

    def besides(self, file: str) -> list[str]:
        """Further files that the records of a file are made of."""
        return []

    @abstractmethod
    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """Every record of a file with its place, in order, one at a time; in a broken one's place what is wrong.

        Raises:
            TuwenError: when the file cannot be read, or nothing after some place can.
        """

    @abstractmethod
    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The record at a place that ``scan`` gave.

        Raises:
            TuwenError: when it cannot be read.
        """

    def name_place(self, offset: int, length: int) -> str:
        """What to call a place in a message."""
        return f"byte {offset}"

    @abstractmethod
    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """Write records to a file as they come, and say how many.

        Args:
            records: what is written.
            out: the file.
            columns: the keys of the records; of no matter to containers without columns.

        Raises:
            TuwenError: when one cannot be kept in this kind of file.
        """


def as_record(value: Any, where: str) -> Record:
    """``value``, which must be keys and values, with lists and objects that were kept as JSON text read.

    CodeFuse-VLM's tables, and many others, keep ``conversations`` so.

    Raises:
        RecordError: naming ``where``.
    """
    if not isinstance(value, dict):
        raise RecordError(f"{where}: expected keys and values, found {type(value).__name__}", "not_an_object")
    for key in STRUCTURED:
        text = value.get(key)
        if isinstance(text, str) and text[:1] in ("[", "{"):
            try:
                value[key] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    return value
