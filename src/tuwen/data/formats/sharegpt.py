"""LLaMA-Factory's ShareGPT form: ``{"conversations": [{"from", "value"}], "system", "images"}``.

``<image>`` in any turn is the place of the next picture. Its other form, ``{"messages": [{"role", "content"}],
"images"}``, is read too; where nobody says what such data is, it is taken for ms-swift's, which means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tuwen.chat.messages import Message
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra
from tuwen.data.formats.turns import (
    TurnKeys,
    read_pictures,
    read_turns,
    refuse_unknown,
    split_system,
    write_turns,
)
from tuwen.data.sample import Sample

CONVERSATIONS = TurnKeys("from", "value", {"human": "user", "gpt": "assistant", "system": "system"})
MESSAGES = TurnKeys("role", "content", {"user": "user", "assistant": "assistant", "system": "system"})


@FORMATS.register("sharegpt")
class ShareGptFormat(Format):
    """See the module."""

    name: ClassVar[str] = "sharegpt"
    containers: ClassVar[tuple[str, ...]] = ("json", "jsonl", "parquet", "arrow", "tar", "table")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "system": "text", "conversations": "json", "images": "pictures", **EXTRA,
    }  # fmt: skip

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """``conversations`` of LLaMA-Factory's roles, tools among them, and no ``image`` as LLaVA has it."""
        roles = {*CONVERSATIONS.roles, "observation", "function_call"}
        turns = record.get("conversations")
        return (
            CONVERSATIONS.knows(turns)
            and all(turn["from"] in roles for turn in turns or [])
            and "image" not in record
            and not any("<img>" in turn["value"] for turn in turns or [])
        )

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        refuse_unknown(record, where)
        keys, name = (CONVERSATIONS, "conversations") if "conversations" in record else (MESSAGES, "messages")
        if name not in record:
            raise TuwenError(f"{where}: conversations: this key is required and missing")
        messages = read_turns(record[name], keys, where)
        if system := record.get("system"):
            messages.insert(0, Message.of("system", str(system)))
        return [reading.sample(record, where, messages, read_pictures(record, reading, where))]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside LLaMA-Factory's."""
        system, messages = split_system(sample)
        record: Record = {"id": sample.id, "conversations": write_turns(messages, CONVERSATIONS, sample)}
        if system is not None:
            record["system"] = system
        if sample.images:
            record["images"] = [writing.image(picture) for picture in sample.images]
        return {**record, **extra(sample)}
