"""Visual Genome as published: lists of what is said about each picture, joined with ``image_data.json`` by its id.

The lists are read piece by piece (``objects.json`` has 400 MB); of the 108,000 pictures only numbers are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.containers.base import Record
from tuwen.data.containers.json_list import JsonList
from tuwen.data.containers.layout import Layout
from tuwen.data.storage import version_of

LISTS = ("objects", "question_answers", "region_descriptions")
IMAGE_DATA = "image_data"
# Older releases have their version in the name.
_NAME = re.compile(r"(?P<list>[a-z_]{1,30}?)(?:_v(?P<version>[0-9]{1,2}(?:_[0-9]{1,2})?))?\.json")
_ADDRESS = re.compile(r".{0,200}/(VG_100K(?:_2)?)/([0-9]{1,18})\.jpg")
FOLDERS = ("VG_100K", "VG_100K_2")
MOST = 10**6


def list_of(file: str) -> str:
    """Which list a file is, by its name; empty for other names."""
    found = _NAME.fullmatch(Path(file).name)
    return found["list"] if found else ""


class VisualGenomeFiles(Layout):
    """See the module. A record gets ``image_id``, and ``picture``, ``width``, ``height`` where they are known."""

    name: ClassVar[str] = "visual_genome"

    def __init__(self) -> None:
        self._list = JsonList()

    def files(self, place: str) -> list[str]:
        """The list, or those in a folder; of several releases of one the newest, which has no version in its name."""
        if Path(place).is_file():
            return [place]
        return [file for file in (_newest(Path(place), name) for name in LISTS) if file]

    def besides(self, file: str) -> list[str]:
        """The sizes and addresses of the pictures, where they are there."""
        return [data] if (data := _newest(Path(file).parent, IMAGE_DATA)) else []

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """What is said about each picture."""
        for number, (offset, length, record) in enumerate(self._list.scan(file)):
            if isinstance(record, TuwenError):
                yield offset, length, record
                continue
            try:
                yield offset, length, _joined(record, file, f"{file}: record {number}")
            except TuwenError as error:
                yield offset, length, error

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """What is said there."""
        return _joined(self._list.fetch(file, offset, length), file, f"{file}: byte {offset}")


def _newest(folder: Path, name: str) -> str:
    """The file of that list in a folder; empty where there is none."""
    if (folder / f"{name}.json").is_file():
        return str(folder / f"{name}.json")
    found = [file for file in folder.glob(f"{name}_v*.json") if list_of(str(file)) == name]
    return str(max(found, key=lambda file: [int(part) for part in re.findall("[0-9]+", file.stem)])) if found else ""


def _joined(record: Record, file: str, where: str) -> Record:
    image = record.get("image_id", record.get("id"))
    if not isinstance(image, int):
        raise TuwenError(f"{where}: image_id: expected a number, found {image!r:.40}")
    known = {**record, "image_id": image}
    data = _newest(Path(file).parent, IMAGE_DATA)
    if not data:
        return known
    details = _pictures(data, version_of(data)).get(image)
    if details is None:
        raise TuwenError(f"{where}: image_id {image!r:.40}: not in {Path(data).name}")
    return {**known, **details}


class _Pictures:
    """Ids, sizes and file names of pictures in a few bytes each."""

    def __init__(self, rows: Iterable[tuple[int, int, int, int, int]]) -> None:
        table = np.asarray(sorted(set(rows)), dtype=np.int64).reshape(-1, 5)
        self._ids = np.ascontiguousarray(table[:, 0])
        self._sizes = table[:, 1:3].astype(np.int32)
        self._numbers = np.ascontiguousarray(table[:, 3])
        self._folders = table[:, 4].astype(np.int8)

    def get(self, image: int) -> Record | None:
        """Size and file of a picture."""
        place = int(np.searchsorted(self._ids, image)) if abs(image) < 2**62 else len(self._ids)
        if place == len(self._ids) or self._ids[place] != image:
            return None
        width, height = (int(side) for side in self._sizes[place])
        details: Record = {"width": width, "height": height}
        folder = int(self._folders[place])
        return {**details, "picture": f"{FOLDERS[folder]}/{self._numbers[place]}.jpg"} if folder >= 0 else details


@lru_cache(maxsize=4)
def _pictures(file: str, version: str) -> _Pictures:
    return _Pictures(
        row for _, _, record in JsonList().scan(file) if not isinstance(record, TuwenError) for row in _rows(record)
    )


def _rows(record: Record) -> Iterator[tuple[int, int, int, int, int]]:
    """Id, width, height, number and folder of a picture; sizes that are none are 0, which whoever reads it refuses."""
    image = record.get("image_id", record.get("id"))
    if not isinstance(image, int) or abs(image) >= 2**62:
        # Whatever refers to it will say so.
        return
    address = _ADDRESS.fullmatch(str(record.get("url", ""))[-200:])
    folder, number = (FOLDERS.index(address[1]), int(address[2])) if address else (-1, 0)
    yield image, _side(record.get("width")), _side(record.get("height")), number, folder


def _side(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < MOST else 0
