"""OpenAI's chat form, as fine-tuning files have it: ``{"messages": [{"role", "content": text or parts}]}``.

A part is ``{"type": "text", "text"}`` or ``{"type": "image_url", "image_url": {"url"}}`` with a path, a ``data:`` URL
or any other; ``{"type": "image", "image": …}``, as Qwen2-VL's tools write it, is read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message, Part, Role, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Kind, Record
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, extra, refusal
from tuwen.data.formats.turns import NOT_LEARNT, refuse_unknown
from tuwen.data.sample import Picture, Sample

ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# Kinds of parts, and the keys that their value stands under.
_TEXTS = {"text": ("text",), "input_text": ("text",), "output_text": ("text",)}
_IMAGES = {"image_url": ("image_url",), "input_image": ("image_url",), "image": ("image", "url", "path")}


@FORMATS.register("openai")
class OpenAiFormat(Format):
    """See the module."""

    name: ClassVar[str] = "openai"
    columns: ClassVar[Mapping[str, Kind]] = {"id": "text", "messages": "json", **EXTRA}

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """``messages`` with texts and parts of OpenAI's kinds, and no pictures beside them."""
        turns = record.get("messages")
        if not isinstance(turns, list) or record.get("images"):
            return False
        return all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in turns) and all(
            isinstance(part, dict) and (str(part.get("type")) in _TEXTS or _value(part) is not None)
            for turn in turns
            for part in _parts(turn)
        )

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        refuse_unknown(record, where)
        turns = record.get("messages")
        if not isinstance(turns, list):
            raise TuwenError(f"{where}: messages: this key is required and must be a list")
        images: list[Picture] = []
        messages = []
        for number, turn in enumerate(turns, start=1):
            here = f"{where}: turn {number}"
            role = _role(turn, here)
            messages.append(Message(role, tuple(_part(part, images, reading, here) for part in _parts(turn))))
        return [reading.sample(record, where, messages, images)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record with Tuwen's own keys beside OpenAI's."""
        images = iter(sample.images)
        messages = []
        for message in sample.messages:
            parts = [_written(part, images, sample, writing) for part in message.parts]
            plain = all(isinstance(part, Text) for part in message.parts)
            messages.append({"role": message.role, "content": message.text if plain else parts})
        return {"id": sample.id, "messages": messages, **extra(sample)}


def _parts(turn: Record) -> list[Any]:
    content = turn.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _role(turn: Any, where: str) -> Role:
    name = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(name, str):
        raise TuwenError(f"{where}: expected role and content, found {turn!r:.80}")
    if name not in ROLES:
        raise TuwenError(f"{where}: role {name!r:.40} is not known; known are {', '.join(ROLES)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise TuwenError(f"{where}: conversations with tools are not read")
    if turn.get("weight") == 0:
        raise TuwenError(f"{where}: {NOT_LEARNT}")
    return ROLES[name]


def _value(part: Record) -> Any:
    """What stands for the picture of a part; None where it is none."""
    keys = _IMAGES.get(str(part.get("type")), ())
    value = next((part[key] for key in keys if part.get(key)), None)
    return value.get("url", value) if isinstance(value, dict) else value


def _part(part: Any, images: list[Picture], reading: Reading, where: str) -> Part:
    kind = str(part.get("type")) if isinstance(part, dict) else ""
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind not in _IMAGES:
        known = ", ".join([*_TEXTS, *_IMAGES])
        raise TuwenError(f"{where}: a part must be of type {known} with its value, found {part!r:.80}")
    images.append(reading.image(_value(part), where))
    return Image()


def _written(part: Part, images: Any, sample: Sample, writing: Writing) -> Record:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.label is not None:
        raise refusal(sample, f"the label {part.label!r} of a picture has no place in this format")
    return {"type": "image_url", "image_url": {"url": writing.image(next(images))}}
