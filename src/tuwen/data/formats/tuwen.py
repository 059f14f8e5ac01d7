"""Tuwen's own form, which keeps all of a sample: one JSON object each, as ``SampleRecord`` says.

``docs/sample.schema.json`` is the JSON schema of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tuwen.chat.messages import Image, Message, Part, Role, Text
from tuwen.config import StrictConfig, parse_config
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra
from tuwen.data.sample import Language, Sample


class TextPart(StrictConfig):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImagePart(StrictConfig):
    """The place of a picture.

    Attributes:
        label: what the text calls it, where that is not left to the model's template.
    """

    type: Literal["image"]
    label: str | None = None


class MessageRecord(StrictConfig):
    """A turn.

    Attributes:
        role: who speaks.
        content: text, or pieces of text and places of pictures.
    """

    role: Role
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class RegionRecord(StrictConfig):
    """What is where in a picture.

    Attributes:
        box: left, top, right, bottom as fractions (0–1) of the picture's width and height.
        text: what is there.
        image: in which of the sample's pictures, from 0.
    """

    box: tuple[float, float, float, float]
    text: str
    image: int = Field(default=0, ge=0)


class SampleRecord(StrictConfig):
    """A conversation about some pictures.

    Attributes:
        id: unique in its file.
        messages: the conversation; the assistant's turns are what is learnt.
        images: one picture for each place, in order: a path (relative to the file), a URL that `fsspec` reads, a
            ``data:`` URL, or a path in an archive.
        task: the name under which it is balanced, measured and reported.
        language: of the conversation; judged by its text unless said.
        pair: shared by the two halves of a yes/no pair.
        source: where it comes from.
        regions: what is where in the pictures.
        rejected: a worse answer that could stand in place of the last message.
    """

    id: str | int | None = None
    messages: list[MessageRecord]
    images: list[Any] = []
    task: str = ""
    language: Language | None = None
    pair: str | None = None
    source: str = ""
    regions: list[RegionRecord] = []
    rejected: str | None = None


@FORMATS.register("tuwen")
class TuwenFormat(Format):
    """See the module."""

    name: ClassVar[str] = "tuwen"
    keys: ClassVar[tuple[str, ...]] = ("messages",)
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "messages": "json", "images": "pictures", "rejected": "text", **EXTRA,
    }  # fmt: skip
    keeps_rejected: ClassVar[bool] = True

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """Parts of Tuwen's kinds, as many places as pictures, and no key that another format's records have."""
        if not set(record) <= set(SampleRecord.model_fields) or not isinstance(record.get("messages"), list):
            return False
        parts = [part for message in record["messages"] if isinstance(message, dict) for part in _parts(message)]
        places = sum(isinstance(part, dict) and part.get("type") == "image" for part in parts)
        known = all(isinstance(part, dict) and part.get("type") in ("text", "image") for part in parts)
        return known and places == len(record.get("images") or [])

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        parsed = parse_config(SampleRecord, {key: value for key, value in record.items() if value is not None}, where)
        messages = [Message(turn.role, tuple(_part(part) for part in _contents(turn))) for turn in parsed.messages]
        images = [reading.image(value, where) for value in parsed.images]
        return [reading.sample(record, where, messages, images, rejected=parsed.rejected)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """Everything."""
        record: Record = {
            "id": sample.id,
            "messages": [{"role": message.role, "content": _content(message)} for message in sample.messages],
        }
        if sample.images:
            record["images"] = [writing.image(picture) for picture in sample.images]
        if sample.rejected is not None:
            record["rejected"] = sample.rejected
        return {**record, **extra(sample)}


def _parts(message: Record) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _contents(turn: MessageRecord) -> list[TextPart | ImagePart]:
    return [TextPart(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content


def _part(part: TextPart | ImagePart) -> Part:
    return Text(part.text) if isinstance(part, TextPart) else Image(part.label)


def _content(message: Message) -> str | list[Record]:
    if all(isinstance(part, Text) for part in message.parts):
        return message.text
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": "image", **({} if part.label is None else {"label": part.label})}
        for part in message.parts
    ]
