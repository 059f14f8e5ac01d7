"""RefCOCO as published: ``refs(unc).p``, a pickle of what is referred to, beside ``instances.json`` with the boxes.

A record is a reference joined with its box and picture; its place is its number in the pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import Record, as_record
from tuwen.data.containers.json_list import JsonText
from tuwen.data.containers.layout import Layout
from tuwen.data.containers.plain_pickle import read_plain_pickle
from tuwen.data.storage import read_bytes, version_of

INSTANCES = "instances.json"
# By whom things are divided into splits; the first that a folder has is taken unless another is chosen.
REFS = {f"refs({name}).p": name for name in ("unc", "umd", "google")}
LARGEST = 2**28
# No sentence of RefCOCO comes near it; a pickle may hold one text and refer to it ever again.
MOST_SENTENCES, LONGEST_SENTENCE, LARGEST_TABLE = 1000, 10_000, 2**30


class RefsFiles(Layout):
    """See the module."""

    name: ClassVar[str] = "refs"

    def files(self, place: str) -> list[str]:
        """The pickle, those in a folder, or those in its folders (``refcoco``, ``refcoco+``, ``refcocog``)."""
        if Path(place).is_file():
            return [place] if Path(place).name in REFS else []
        here = [str(Path(place, name)) for name in REFS if Path(place, name).is_file()]
        # Each name is looked for by itself, so that no folder full of pictures is listed.
        return here or sorted(str(file) for name in REFS for file in Path(place).glob(f"*/{name}"))

    def besides(self, file: str) -> list[str]:
        """The boxes and pictures."""
        return [str(Path(file).with_name(INSTANCES))]

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The references."""
        for number, found in enumerate(_joined(file, self._versions(file))):
            yield number, 1, TuwenError(found) if isinstance(found, str) else json.loads(found)

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The reference of that number."""
        table = _joined(file, self._versions(file))
        if not 0 <= offset < len(table):
            raise TuwenError(f"{file}: record {offset}: there are {len(table)}")
        found = table[offset]
        if isinstance(found, str):
            raise TuwenError(found)
        record: Record = json.loads(found)
        return record

    def _versions(self, file: str) -> str:
        return " ".join(version_of(part) for part in (file, *self.besides(file)))


@lru_cache(maxsize=8)
def _joined(file: str, versions: str) -> list[bytes | str]:
    """The references as JSON, which takes a tenth of the memory; in a broken one's place what is wrong."""
    data = read_bytes(file, 0, LARGEST + 1)
    if len(data) > LARGEST:
        raise TuwenError(f"{file}: more than {LARGEST:,} bytes; no published file of references has as many")
    references = read_plain_pickle(data, file)
    if not isinstance(references, list):
        raise TuwenError(f"{file}: expected a list of references, found {type(references).__name__}")
    instances = str(Path(file).with_name(INSTANCES))
    wanted = {_number(reference, "ann_id") for reference in references}
    boxes, pictures = _instances(instances, wanted)
    result: list[bytes | str] = []
    size = 0
    for number, reference in enumerate(references):
        where = f"{file}: record {number}"
        try:
            folder = Path(file).parent
            about = {"source": folder.name, "folder": str(folder)}
            record = {**about, **_record(reference, boxes, pictures, where)}
            result.append(json.dumps(record).encode())
        except TuwenError as error:
            result.append(str(error))
        size += len(result[-1])
        if size > LARGEST_TABLE:
            raise TuwenError(f"{where}: its sentences and those before have more than {LARGEST_TABLE:,} bytes")
    return result


def _number(value: Any, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, int) else None


def _instances(file: str, wanted: set[int | None]) -> tuple[dict[int, Record], dict[int, Record]]:
    """The boxes with these numbers, and all pictures, of a file of which most are outlines that nobody needs."""
    boxes: dict[int, Record] = {}
    pictures: dict[int, Record] = {}
    text = JsonText(file)
    if text.next_sign() != "{":
        raise TuwenError(f"{file}: expected a JSON object with images and annotations")
    for key, _, _, value in text.lists():
        name = _number(value, "id")
        if name is None or not isinstance(value, dict):
            # Whatever refers to it will say so.
            continue
        if key == "images":
            pictures[name] = {part: value.get(part) for part in ("file_name", "width", "height")}
        elif key == "annotations" and name in wanted:
            boxes[name] = {part: value.get(part) for part in ("bbox", "image_id")}
    return boxes, pictures


def _record(reference: Any, boxes: dict[int, Record], pictures: dict[int, Record], where: str) -> Record:
    """A reference with its box and picture, and of the rest only what is asked about."""
    reference = as_record(reference, where)
    number = _number(reference, "ann_id")
    if number is None or (box := boxes.get(number)) is None:
        raise TuwenError(f"{where}: ann_id {reference.get('ann_id')!r:.40}: no annotation with this id in {INSTANCES}")
    number = _number(box, "image_id")
    if number is None or (picture := pictures.get(number)) is None:
        raise TuwenError(f"{where}: image_id {box['image_id']!r:.40}: no image with this id in {INSTANCES}")
    sentences = reference.get("sentences")
    if not isinstance(sentences, list) or not 0 < len(sentences) <= MOST_SENTENCES:
        raise TuwenError(f"{where}: sentences: expected a list of 1 to {MOST_SENTENCES}")
    kept = []
    for sentence in sentences:
        text = sentence.get("sent") if isinstance(sentence, dict) else None
        if not isinstance(text, str) or len(text) > LONGEST_SENTENCE:
            raise TuwenError(f"{where}: sentences: expected sent: a text of at most {LONGEST_SENTENCE:,} characters")
        kept.append({"sent": text, "sent_id": _number(sentence, "sent_id")})
    return {
        "ref_id": _number(reference, "ref_id"),
        "split": str(reference.get("split", "")),
        "sentences": kept,
        "raw_anns": {"bbox": box["bbox"]},
        **picture,
    }
