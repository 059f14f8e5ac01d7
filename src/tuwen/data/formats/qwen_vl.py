"""Qwen-VL's training data: ``[{"id", "conversations": [{"from", "value"}]}]`` with pictures in the text.

A picture stands as ``Picture 1: <img>path</img>`` and a line break (arXiv 2308.12966). What calls it is its label;
where that is what Qwen-VL's template writes by itself, it is left to the template, so that other models can learn from
the data too. Boxes stay in the text as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra, refusal
from tuwen.data.formats.turns import TurnKeys
from tuwen.data.sample import Sample, count_places, plain_parts

KEYS = TurnKeys(
    "from", "value", {"user": "user", "assistant": "assistant", "system": "system", "human": "user", "gpt": "assistant"}
)
# What calls a picture, and its path: a web page's address is no longer than this.
_PICTURE = re.compile(r"(Picture [0-9]{1,4}: ?)?<img>([^<>]{1,4096})</img>\n?")


@FORMATS.register("qwen_vl")
class QwenVlFormat(Format):
    """See the module."""

    name: ClassVar[str] = "qwen_vl"
    containers: ClassVar[tuple[str, ...]] = ("json", "jsonl", "parquet", "arrow")
    columns: ClassVar[Mapping[str, Kind]] = {"id": "text", "conversations": "json", **EXTRA}

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """``conversations`` of its roles, with pictures nowhere but in the text."""
        turns = record.get("conversations")
        return (
            KEYS.knows(turns)
            and all(turn["from"] in KEYS.roles for turn in turns or [])
            and not {"image", "images", "system", "tools", "rejected"} & record.keys()
        )

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        turns = record.get("conversations")
        if not isinstance(turns, list):
            raise TuwenError(f"{where}: conversations: this key is required and must be a list")
        messages, paths = [], []
        for turn in turns:
            message, named = _message(turn, where)
            messages.append(message)
            paths += named
        return [reading.sample(record, where, messages, [reading.image(path, where) for path in paths])]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside Qwen-VL's."""
        if writing.pack and sample.images:
            raise refusal(sample, "Qwen-VL names pictures in the text and cannot hold them")
        paths = [str(writing.image(picture)) for picture in sample.images]
        turns = []
        for message in sample.messages:
            own = [paths.pop(0) for _ in range(count_places([message]))]
            turns.append({"from": KEYS.name(message.role), "value": _value(message, own, sample)})
        return {"id": sample.id, "conversations": turns, **extra(sample)}


def _message(turn: Any, where: str) -> tuple[Message, list[str]]:
    name = str(turn.get("from")) if isinstance(turn, dict) else ""
    if name not in KEYS.roles or not isinstance(turn.get("value"), str):
        raise TuwenError(f"{where}: a turn needs from ({', '.join(KEYS.roles)}) and value (text), found {turn!r:.80}")
    role = KEYS.roles[name]
    # Only what a user sends holds pictures; an answer may speak of "<img>".
    parts, paths = _split(turn["value"]) if role == "user" else ([Text(turn["value"])], [])
    return Message(role, tuple(parts)), paths


def _split(text: str) -> tuple[list[Part], list[str]]:
    """Parts of a user's text, and the paths of its pictures."""
    parts: list[Part] = []
    paths: list[str] = []
    end = 0
    for match in _PICTURE.finditer(text):
        parts.append(Text(text[end : match.start()]))
        paths.append(match[2])
        label = match[1] or ""
        parts.append(Image(None if label == _label(len(paths)) else label))
        end = match.end()
    return [*parts, Text(text[end:])], paths


def _label(number: int) -> str:
    """What the template calls the picture with this number in its message, from 1."""
    return f"Picture {number}: "


def _value(message: Message, paths: list[str], sample: Sample) -> str:
    """A turn's text.

    Raises:
        TuwenError: naming the sample, when it would be read as something else.
    """
    text = ""
    pictures = 0
    for part in message.parts:
        if isinstance(part, Text):
            text += part.text
            continue
        path = paths[pictures]
        pictures += 1
        text += f"{_label(pictures) if part.label is None else part.label}<img>{path}</img>\n"
    parts, found = _split(text) if message.role == "user" else ([Text(text)], [])
    if plain_parts(parts) != plain_parts(message.parts) or found != paths:
        if message.role != "user":
            raise refusal(sample, f"a picture in a turn of the {message.role} has no place in Qwen-VL's format")
        raise refusal(sample, "a label, path or text of it would be read as something else in Qwen-VL's format")
    return text
