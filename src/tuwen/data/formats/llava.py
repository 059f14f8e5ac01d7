"""LLaVA's JSON: ``[{"id", "image", "conversations": [{"from", "value"}]}]`` with ``<image>`` in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tuwen.chat.messages import Message, Part, Role, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra, refusal
from tuwen.data.formats.placeholders import join_places, split_places
from tuwen.data.sample import Sample, count_places

ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}
NAMES = {role: name for name, role in ROLES.items()}


@FORMATS.register("llava")
class LlavaFormat(Format):
    """See the module."""

    name: ClassVar[str] = "llava"
    containers: ClassVar[tuple[str, ...]] = ("json", "jsonl", "parquet", "arrow", "tar", "table")
    columns: ClassVar[Mapping[str, Kind]] = {"id": "text", "image": "pictures", "conversations": "json", **EXTRA}

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """``conversations`` with LLaVA's roles, and no keys or pictures of other formats."""
        turns = record.get("conversations")
        if not isinstance(turns, list) or {"images", "system", "tools", "rejected"} & record.keys():
            return False
        return all(isinstance(turn, dict) and str(turn.get("from")) in ROLES for turn in turns) and not any(
            "<img>" in str(turn.get("value")) for turn in turns
        )

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        turns = record.get("conversations")
        if not isinstance(turns, list):
            raise TuwenError(f"{where}: conversations: this key is required and must be a list")
        named = record.get("image")
        values = named if isinstance(named, list) else [] if named is None else [named]
        images = [reading.image(value, where) for value in values]
        return [reading.sample(record, where, [_message(turn, where) for turn in turns], images)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside LLaVA's."""
        record: Record = {"id": sample.id}
        if sample.images:
            images = [writing.image(picture) for picture in sample.images]
            record["image"] = images[0] if len(images) == 1 else images
        record["conversations"] = [
            {"from": NAMES[message.role], "value": _value(message, sample)} for message in sample.messages
        ]
        return {**record, **extra(sample)}


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or str(turn.get("from")) not in ROLES or not isinstance(turn.get("value"), str):
        raise TuwenError(f"{where}: a turn needs from ({', '.join(ROLES)}) and value (text), found {turn!r:.80}")
    role = ROLES[turn["from"]]
    # Only what a user sends holds pictures; an answer may speak of "<image>".
    parts: list[Part] = split_places(turn["value"], breaks=True) if role == "user" else [Text(turn["value"])]
    return Message(role, tuple(parts))


def _value(message: Message, sample: Sample) -> str:
    if message.role == "user":
        return join_places(message.parts, sample, breaks=True)
    if count_places([message]):
        raise refusal(sample, f"a picture in a turn of the {message.role} has no place in LLaVA's format")
    return message.text
