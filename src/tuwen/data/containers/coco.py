"""COCO's JSON: ``{"images": [{"id", "file_name"}], "annotations": [{"image_id", …}]}``, read piece by piece.

A record is an annotation with the ``image`` that it is about. Its place is where its text begins and how many bytes it
has. The names of all pictures are kept in memory; nothing else is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import Record, as_record
from tuwen.data.containers.json_lines import parsed
from tuwen.data.containers.json_list import JsonText
from tuwen.data.containers.layout import Layout
from tuwen.data.storage import read_bytes, version_here

# What such a file begins with; others are not looked through for annotations.
_FIRST = ("info", "images", "annotations", "licenses", "type")


class CocoAnnotations(Layout):
    """See the module."""

    name: ClassVar[str] = "coco"

    def files(self, place: str) -> list[str]:
        """The one file."""
        return [place]

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The annotations."""
        names = _names(file, version_here(file))
        for number, (offset, length, value) in enumerate(_elements(file, "annotations")):
            try:
                yield offset, length, _with_image(value, names, f"{file}: annotation {number}")
            except TuwenError as error:
                yield offset, length, error

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The annotation whose text begins at ``offset``."""
        where = f"{file}: byte {offset}"
        found = parsed(read_bytes(file, offset, length), where)
        return _with_image(found, _names(file, version_here(file)), where)


def has_annotations(file: str, key: str) -> bool:
    """Whether a file is COCO's and its first annotation has this key."""
    text = JsonText(file)
    try:
        if text.next_sign() != "{":
            return False
        for number, (_, section) in enumerate(text.members()):
            if number == 0 and section not in _FIRST:
                return False
            is_list = text.next_sign() == "["
            if section == "annotations":
                first = next(text.elements(), None) if is_list else None
                return first is not None and isinstance(first[2], dict) and key in first[2]
            if is_list:
                # One by one, for all together may be larger than the memory.
                deque(text.elements(), maxlen=0)
            else:
                text.value(f"{file}: {section!r:.60}")
    except TuwenError:
        # Whoever reads it will say what is wrong with it.
        return False
    finally:
        text.close()
    return False


def _elements(file: str, wanted: str) -> Iterator[tuple[int, int, Any]]:
    """The elements of a list in the object that a file holds."""
    text = JsonText(file)
    try:
        if text.next_sign() != "{":
            raise TuwenError(f"{file}: expected an object with images and annotations")
        for section, offset, length, value in text.lists():
            if section == wanted:
                yield offset, length, value
    finally:
        text.close()


def _with_image(value: Any, names: dict[Any, str], where: str) -> Record:
    record = as_record(value, where)
    number = record.get("image_id")
    name = names.get(number) if isinstance(number, int | str) else None
    if name is None:
        raise TuwenError(f"{where}: image_id {number!r:.40} is not among the images")
    return {**record, "image": name}


@lru_cache(maxsize=4)
def _names(file: str, version: str) -> dict[Any, str]:
    names = {}
    for _, _, image in _elements(file, "images"):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise TuwenError(f"{file}: images: expected id and file_name, found {image!r:.80}")
        names[image.get("id")] = image["file_name"]
    return names
