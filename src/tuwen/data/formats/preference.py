"""A better and a worse answer to the same question, as TRL has them: ``{"images", "prompt", "chosen", "rejected"}``.

Question and answers are texts, or messages: ``[{"role", "content": text or parts}]``; where both answers hold the whole
conversation, there need be no ``prompt``. Read are also ``image`` for the pictures, ``question`` (RLAIF-V), ``query``,
and ``instruction`` with ``input`` (LLaMA-Factory) for the question, and RLHF-V's JSON of question and answers under
``text``. Pictures that have no place in the question come first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message, Part, Role, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra, refusal
from tuwen.data.formats.placeholders import split_places
from tuwen.data.formats.turns import packs_answers, read_pictures, refuse_unknown, unpacked_turns
from tuwen.data.sample import Sample, count_places

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_QUESTIONS = ("prompt", "question", "query", "instruction")
_CONVERSATIONS = {"messages", "conversations"}


@FORMATS.register("preference")
class PreferenceFormat(Format):
    """See the module."""

    name: ClassVar[str] = "preference"
    containers: ClassVar[tuple[str, ...]] = ("jsonl", "json", "parquet", "arrow", "tar", "table")
    keys: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "images": "pictures", "prompt": "json", "chosen": "json", "rejected": "json", **EXTRA,
    }  # fmt: skip
    keeps_rejected: ClassVar[bool] = True

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """Two answers and no other format's conversation, or RLHF-V's JSON of them."""
        ranked = bool(record.get("chosen")) and bool(record.get("rejected"))
        return packs_answers(record) or (ranked and not _CONVERSATIONS & record.keys())

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        refuse_unknown(record, where, but="rejected")
        values = _values(record, where)
        asked = _question(values, where)
        better, worse = (_conversation(asked, values.get(key), f"{where}: {key}") for key in ("chosen", "rejected"))
        if better[:-1] != worse[:-1]:
            raise TuwenError(f"{where}: chosen and rejected must differ in their last turn alone")
        if worse[-1].role != "assistant" or count_places(worse[-1:]):
            raise TuwenError(
                f"{where}: rejected: expected a text of the assistant, found {values.get('rejected')!r:.80}"
            )
        pictures = {"images": record.get("images", record.get("image"))}
        images = read_pictures(pictures, reading, where)
        missing = len(images) - count_places(better)
        first = next((place for place, message in enumerate(better) if message.role == "user"), None)
        if missing > 0 and first is not None:
            better[first] = replace(better[first], parts=(Image(),) * missing + better[first].parts)
        return [reading.sample(record, where, better, images, rejected=worse[-1].text)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside TRL's."""
        if sample.rejected is None:
            raise refusal(sample, "it has no rejected answer, which this format is for")
        turns = [{"role": message.role, "content": _content(message, sample)} for message in sample.messages]
        record: Record = {"id": sample.id}
        if sample.images:
            record["images"] = [writing.image(picture) for picture in sample.images]
        record |= {
            "prompt": turns[:-1],
            "chosen": turns[-1:],
            "rejected": [{"role": "assistant", "content": sample.rejected}],
        }
        return {**record, **extra(sample)}


def _values(record: Record, where: str) -> Record:
    """Question and answers, from wherever they stand."""
    if "chosen" in record or "text" not in record:
        return record
    try:
        found = json.loads(record["text"])
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TuwenError(f"{where}: text: expected JSON of question, chosen and rejected, found {record['text']!r:.80}")
    return found


def _question(values: Record, where: str) -> list[Message] | None:
    """What is asked before the answers; None where that is not said."""
    key = next((key for key in _QUESTIONS if values.get(key) is not None), None)
    if key is None:
        return None
    question = unpacked_turns(values[key], "role")
    if question in ([], "[]"):
        # All of the conversation is the answer, and a table keeps the list as text.
        return []
    if key == "instruction" and isinstance(values.get("input"), str) and values["input"]:
        question = f"{question}\n{values['input']}"
    if isinstance(question, str):
        return [Message("user", tuple(split_places(question, breaks=False)))]
    return _turns(question, f"{where}: {key}")


def _conversation(asked: list[Message] | None, answer: Any, where: str) -> list[Message]:
    """Question and answer; an answer that begins with a question is the whole conversation."""
    answer = unpacked_turns(answer, "role")
    turns = [Message.of("assistant", answer)] if isinstance(answer, str) and answer else _turns(answer, where)
    if turns[0].role != "assistant":
        return turns
    if asked is None:
        raise TuwenError(f"{where}: an answer needs a question, under prompt or question")
    return [*asked, *turns]


def _turns(turns: Any, where: str) -> list[Message]:
    if not isinstance(turns, list) or not turns:
        raise TuwenError(f"{where}: expected a text or a list of messages, found {turns!r:.80}")
    messages = []
    for turn in turns:
        role = turn.get("role") if isinstance(turn, dict) else None
        if role not in _ROLES:
            raise TuwenError(f"{where}: expected a message with a role of {', '.join(_ROLES)}, found {turn!r:.80}")
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        messages.append(Message(role, tuple(_part(part, where) for part in parts)))
    return messages


def _part(part: Any, where: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        return Image()
    if kind != "text" or not isinstance(part.get("text"), str):
        raise TuwenError(f"{where}: a part must be of type text or image, found {part!r:.80}")
    return Text(part["text"])


def _content(message: Message, sample: Sample) -> str | list[Record]:
    """Text, or parts where there are pictures."""
    if not count_places([message]):
        return message.text
    for part in message.parts:
        if isinstance(part, Image) and part.label is not None:
            raise refusal(sample, f"the label {part.label!r} of a picture has no place in this format")
    return [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"} for part in message.parts
    ]
