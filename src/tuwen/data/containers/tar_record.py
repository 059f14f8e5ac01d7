"""What the members of a WebDataset record mean together, so that every format can lie in an archive.

- The keys of the member ``json`` are the record's, with the members' common name as its ``id`` unless it has one.
- Where a key such as ``image``, ``images`` or ``url`` holds the name of another member, the member's bytes take the
  name's place. Where no name is a member's (most corpora keep the names that pictures had before) but there are as
  many names as pictures, they belong together in their order. Where nothing is named, the pictures are the record's
  ``image``, or ``images`` beside ``messages``.
- All other members stand under their own suffixes: as text for ``txt`` and the like, as bytes for the rest. A group
  without ``json`` has nothing else, e.g. ``jpg`` and ``txt``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tuwen.config import TuwenError
from tuwen.data.containers.base import Record
from tuwen.data.containers.json_lines import dumped, parsed
from tuwen.data.media import suffix_of

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
TEXTS = ("txt", "text", "caption", "cls", "transcript")
JSON = "json"
# Keys that hold pictures, and keys that may hold their names too where no such key is there.
IMAGE_KEYS = ("image", "images", "image_url", "image_path", "img", "picture")
NAME_KEYS = ("url", "path", "file_name")


class _Slot(NamedTuple):
    """A value that is or names a picture: ``holder[key]``, found under a key that is for pictures."""

    holder: Any
    key: Any
    certain: bool

    @property
    def value(self) -> Any:
        return self.holder[self.key]

    def put(self, value: Any) -> None:
        self.holder[self.key] = value


def record_of(key: str, members: Mapping[str, bytes], where: str) -> Record:
    """The record of a group of members.

    Args:
        key: their common name.
        members: suffix → bytes.
        where: to name in a message.

    Raises:
        TuwenError: when its JSON or a text cannot be read.
    """
    record: Record = {}
    left = dict(members)
    if JSON in members:
        record = parsed(left.pop(JSON), f"{where}.{JSON}")
        _put_pictures(record, key, left)
    for suffix, data in left.items():
        record.setdefault(suffix, _text(data, f"{where}.{suffix}") if suffix in TEXTS else data)
    if record.get("id") is None:
        record["id"] = key
    return record


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise TuwenError(f"{where}: not UTF-8 ({error.reason})") from None


def _put_pictures(record: Record, key: str, members: dict[str, bytes]) -> None:
    """Put members where the record names them; those that found their place leave ``members``."""
    slots = [slot for slot in _slots(record) if isinstance(slot.value, str)]
    home, slash, base = key.rpartition("/")
    names = {name: suffix for suffix in members for name in (f"{home}{slash}{base}.{suffix}", f"{base}.{suffix}")}
    named = [(slot, names[name]) for slot in slots if (name := slot.value.removeprefix("./")) in names]
    pictures = [suffix for suffix in members if suffix.rpartition(".")[2] in PICTURES]
    if not named:
        slots = [slot for slot in slots if slot.certain] or slots
        if slots and len(slots) == len(pictures):
            named = list(zip(slots, pictures, strict=True))
        elif pictures and not slots:
            data = [members[suffix] for suffix in pictures]
            name = "images" if "messages" in record or "images" in record else "image"
            record[name] = data if name == "images" or len(data) > 1 else data[0]
            named = [(_Slot(members, suffix, True), suffix) for suffix in pictures]
    for slot, suffix in named:
        slot.put(members[suffix])
    for suffix in {suffix for _, suffix in named}:
        del members[suffix]


def _slots(value: Any, certain: bool | None = None) -> Iterator[_Slot]:
    """The places in a record where pictures or their names are.

    Args:
        value: the record, or a part of it.
        certain: whether the part is under a key for pictures (True), for names (False), or neither.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            below = True if key in IMAGE_KEYS else certain or False if key in NAME_KEYS else None
            yield from _slot(value, key, inner, below)
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from _slot(value, key, inner, certain)


def _slot(holder: Any, key: Any, value: Any, certain: bool | None) -> Iterator[_Slot]:
    if isinstance(value, dict | list):
        yield from _slots(value, certain)
    elif certain is not None:
        yield _Slot(holder, key, certain)


def members_of(record: Record, key: str) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of a record's members: its pictures, then its JSON, which names them.

    Args:
        record: with pictures as bytes under keys for them.
        key: the members' common name.

    Raises:
        TuwenError: for a value that JSON cannot hold.
    """
    record = _copied(record)
    slots = [slot for slot in _slots(record) if isinstance(slot.value, bytes)]
    for number, slot in enumerate(slots):
        data = slot.value
        name = f"{key}{f'.{number}' if len(slots) > 1 else ''}{suffix_of(data)}"
        slot.put(name)
        yield name, data
    yield f"{key}.{JSON}", dumped(record).encode("utf-8")


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
