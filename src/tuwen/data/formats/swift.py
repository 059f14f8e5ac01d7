"""ms-swift's form: ``{"messages": [{"role", "content"}], "images": […], "objects": {…}}``.

``<image>`` in any turn is the place of the next picture; pictures without a place come first. Its older forms are read
too: ``query``, ``response`` and ``history``; ``instruction``, ``input`` and ``output`` (Alpaca); and ``conversation``
with pairs of ``human`` and ``assistant``. ``rejected_response`` is a worse answer than the last one.

``<ref-object>`` and ``<bbox>`` stand for what ``objects`` lists. They are read as Qwen-VL writes them
(``<ref>…</ref>``, ``<box>…</box>``), and as regions of the sample. Boxes are in pixels there unless ``bbox_type`` is
``norm1``, so the size of their picture is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from tuwen.chat.grounding import Box, format_box
from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra
from tuwen.data.formats.published import pixel_box, size_of
from tuwen.data.formats.sharegpt import MESSAGES
from tuwen.data.formats.turns import read_pictures, read_turn, read_turns, refuse_unknown, write_turns
from tuwen.data.sample import Picture, Region, Sample, count_places

_OBJECT = re.compile("<ref-object>|<bbox>")
_REF = "<ref-object>"
REJECTED = "rejected_response"


@FORMATS.register("swift")
class SwiftFormat(Format):
    """See the module."""

    name: ClassVar[str] = "swift"
    containers: ClassVar[tuple[str, ...]] = ("jsonl", "json", "parquet", "arrow", "tar", "table")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "messages": "json", "images": "pictures", REJECTED: "text", **EXTRA,
    }  # fmt: skip
    keeps_rejected: ClassVar[bool] = True

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """``messages`` of text alone, or one of the older forms."""
        if "messages" in record:
            return MESSAGES.knows(record["messages"])
        older = isinstance(record.get("query"), str) and isinstance(record.get("response"), str)
        return older or isinstance(record.get("conversation"), list) or {"instruction", "output"} <= record.keys()

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        refuse_unknown(record, where, but=REJECTED)
        messages = list(_messages(record, where))
        images = read_pictures(record, reading, where)
        missing = len(images) - count_places(messages)
        if missing > 0 and messages:
            place = 1 if messages[0].role == "system" and len(messages) > 1 else 0
            messages[place] = replace(messages[place], parts=(Image(),) * missing + messages[place].parts)
        settings: dict[str, Any] = {"rejected": record.get(REJECTED) or None}
        if record.get("objects"):
            objects = _Objects(record["objects"], images, where)
            messages = [replace(message, parts=tuple(objects.put(message.parts))) for message in messages]
            objects.finish()
            settings["regions"] = tuple(objects.regions)
        return [reading.sample(record, where, messages, images, **settings)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside ms-swift's; boxes stay in the text as they are."""
        record: Record = {"id": sample.id, "messages": write_turns(sample.messages, MESSAGES, sample)}
        if sample.images:
            record["images"] = [writing.image(picture) for picture in sample.images]
        if sample.rejected is not None:
            record[REJECTED] = sample.rejected
        return {**record, **extra(sample)}


def _messages(record: Record, where: str) -> Iterator[Message]:
    system = record.get("system")
    if system:
        yield Message.of("system", str(system))
    if "messages" in record:
        yield from read_turns(record["messages"], MESSAGES, where)
        return
    for question, answer in _pairs(record, where):
        if not isinstance(question, str) or not isinstance(answer, str):
            raise TuwenError(f"{where}: expected questions and answers as texts, found {(question, answer)!r:.80}")
        yield read_turn("user", question)
        yield read_turn("assistant", answer)


def _pairs(record: Record, where: str) -> Iterator[tuple[Any, Any]]:
    """Questions and answers of the older forms."""
    for turn in _list(record, "conversation", where):
        if not isinstance(turn, dict):
            raise TuwenError(f"{where}: conversation: expected human and assistant, found {turn!r:.80}")
        yield turn.get("human"), turn.get("assistant")
    if "conversation" in record:
        return
    for pair in _list(record, "history", where):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise TuwenError(f"{where}: history: expected [question, answer], found {pair!r:.80}")
        yield tuple(pair)
    if "query" in record or "response" in record:
        yield record.get("query", ""), record.get("response")
    elif "instruction" in record:
        question, more = record["instruction"], record.get("input")
        yield f"{question}\n{more}" if more and question else more or question, record.get("output")
    else:
        raise TuwenError(f"{where}: messages: this key is required and missing")


def _list(record: Record, key: str, where: str) -> list[Any]:
    found = record.get(key) or []
    if not isinstance(found, list):
        raise TuwenError(f"{where}: {key}: expected a list, found {found!r:.80}")
    return found


class _Objects:
    """What ``<ref-object>`` and ``<bbox>`` stand for, one after the other."""

    def __init__(self, values: Any, images: list[Picture], where: str) -> None:
        self._where, self._images = f"{where}: objects", images
        self.regions: list[Region] = []
        self._label = ""
        self._used = {_REF: 0, "<bbox>": 0}
        if isinstance(values, list):
            # Before version 3: one mapping for each object.
            objects = [value for value in values if isinstance(value, dict)]
            values = {
                "ref": [value["caption"] for value in objects if value.get("caption") is not None],
                "bbox": [value.get("bbox") for value in objects],
                "bbox_type": next((value.get("bbox_type") for value in objects), None),
                "image_id": [value.get("image", 0) for value in objects],
            }
        if not isinstance(values, dict):
            raise TuwenError(f"{self._where}: expected ref and bbox, found {values!r:.80}")
        self._refs, self._boxes = values.get("ref") or [], values.get("bbox") or []
        self._type, self._images_of = values.get("bbox_type") or "real", values.get("image_id") or []
        if not all(isinstance(found, list) for found in (self._refs, self._boxes, self._images_of)):
            raise TuwenError(f"{self._where}: ref, bbox and image_id must be lists, found {values!r:.80}")

    def put(self, parts: tuple[Part, ...]) -> Iterator[Part]:
        """Parts with objects in the place of their placeholders."""
        for part in parts:
            yield Text(_OBJECT.sub(self._next, part.text)) if isinstance(part, Text) else part

    def _next(self, match: re.Match[str]) -> str:
        values = self._refs if match[0] == _REF else self._boxes
        number = self._used[match[0]]
        if number >= len(values):
            raise TuwenError(f"{self._where}: the text has more {match[0]} than the {len(values)} that are listed")
        self._used[match[0]] += 1
        if match[0] == _REF:
            self._label = str(values[number])
            return f"<ref>{self._label}</ref>"
        image = self._images_of[number] if number < len(self._images_of) else 0
        if not isinstance(image, int) or not 0 <= image < len(self._images):
            raise TuwenError(f"{self._where}: image_id {image!r:.20}: there are {len(self._images)} pictures")
        box = self._fractions(values[number], image)
        self.regions.append(Region(box=box, text=self._label, image=image))
        return format_box("", box)

    def _fractions(self, values: Any, image: int) -> Box:
        where = f"{self._where}: bbox"
        if not isinstance(values, list) or len(values) != 4:
            raise TuwenError(f"{where}: expected left, top, right, bottom, found {values!r:.60}")
        if self._type == "norm1":
            return pixel_box(values, (1, 1), where, overhang=0.0)
        if self._type != "real":
            raise TuwenError(f"{where}: bbox_type {self._type!r:.40}: known are real and norm1")
        return pixel_box(values, size_of(None, None, self._images[image], where), where)

    def finish(self) -> None:
        """Make sure that every object has had its place.

        Raises:
            TuwenError: when one has none.
        """
        for placeholder, values in ((_REF, self._refs), ("<bbox>", self._boxes)):
            if self._used[placeholder] < len(values):
                used = self._used[placeholder]
                raise TuwenError(f"{self._where}: {len(values)} listed, but {used} {placeholder} in the text")
