"""LLaMA-Factory's ShareGPT form: ``{"conversations": [{"from", "value"}], "system", "images"}``.

``<image>`` in any turn is the place of the next picture. Its other form, ``{"messages": [{"role", "content"}],
"images"}``, is read too; where nobody says what such data is, it is taken for ms-swift's, which means the same.

Where answers are ranked, the last turn is ``chosen`` and stands beside the conversation, with ``rejected``.
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
    unpacked_turns,
    write_turns,
)
from tuwen.data.sample import Sample, count_places

CONVERSATIONS = TurnKeys("from", "value", {"human": "user", "gpt": "assistant", "system": "system"})
MESSAGES = TurnKeys("role", "content", {"user": "user", "assistant": "assistant", "system": "system"})


@FORMATS.register("sharegpt")
class ShareGptFormat(Format):
    """See the module."""

    name: ClassVar[str] = "sharegpt"
    containers: ClassVar[tuple[str, ...]] = ("json", "jsonl", "parquet", "arrow", "tar", "table")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "system": "text", "conversations": "json", "images": "pictures", "chosen": "json",
        "rejected": "json", **EXTRA,
    }  # fmt: skip
    keeps_rejected: ClassVar[bool] = True

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
        refuse_unknown(record, where, but="rejected")
        keys, name = (CONVERSATIONS, "conversations") if "conversations" in record else (MESSAGES, "messages")
        if name not in record:
            raise TuwenError(f"{where}: conversations: this key is required and missing")
        messages = read_turns(record[name], keys, where)
        if system := record.get("system"):
            messages.insert(0, Message.of("system", str(system)))
        rejected = None
        ranked = [unpacked_turns(record.get(key), keys.role) for key in ("chosen", "rejected")]
        if any(ranked):
            better, worse = read_turns(ranked, keys, f"{where}: chosen and rejected")
            messages.append(better)
            rejected = _rejected(worse, where)
        return [reading.sample(record, where, messages, read_pictures(record, reading, where), rejected=rejected)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside LLaMA-Factory's."""
        system, messages = split_system(sample)
        turns = write_turns(messages, CONVERSATIONS, sample)
        record: Record = {"id": sample.id, "conversations": turns}
        if sample.rejected is not None:
            worse = Message.of("assistant", sample.rejected)
            record["chosen"], record["rejected"] = turns.pop(), write_turns([worse], CONVERSATIONS, sample)[0]
        if system is not None:
            record["system"] = system
        if sample.images:
            record["images"] = [writing.image(picture) for picture in sample.images]
        return {**record, **extra(sample)}


def _rejected(worse: Message, where: str) -> str:
    if worse.role != "assistant" or count_places([worse]):
        raise TuwenError(f"{where}: rejected: expected a text of the assistant")
    return worse.text
