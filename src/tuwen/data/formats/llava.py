"""LLaVA's JSON: ``[{"id", "image", "conversations": [{"from", "value"}]}]`` with ``<image>`` in the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message, Part, Role, Text
from tuwen.config import StrictConfig, TuwenError
from tuwen.data.sample import Language, Sample
from tuwen.data.source import SOURCES, Group

ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}
PLACE = "<image>"


class LlavaSettings(StrictConfig):
    """Where the conversations and pictures are.

    Attributes:
        file: the JSON file (a list) or JSONL file (an object a line).
        images: folder that the pictures' paths are relative to; the file's own folder unless said.
        task: the name under which these samples are balanced and reported.
        language: of the conversations.
    """

    file: Path
    images: Path | None = None
    task: str = "llava"
    language: Language = "zh"


@SOURCES.register("llava")
class LlavaSource:
    """Conversations in a LLaVA file; records about the same pictures form a group.

    Args:
        config: where they are.

    Raises:
        TuwenError: naming the file and record that is wrong.
    """

    config_class: ClassVar[type[LlavaSettings]] = LlavaSettings

    def __init__(self, config: LlavaSettings) -> None:
        groups: dict[tuple[Path, ...] | str, list[Sample]] = {}
        for sample in read_llava(config):
            paths = tuple(image for image in sample.images if isinstance(image, Path))
            groups.setdefault(paths or sample.id, []).append(sample)
        self._groups: list[Group] = [tuple(group) for group in groups.values()]
        if not self._groups:
            raise TuwenError(f"{config.file}: holds no conversation")

    @property
    def size(self) -> int | None:
        """Groups in the file."""
        return len(self._groups)

    def group(self, seed: int, index: int) -> Group:
        """Group number ``index`` in the order of the file."""
        return self._groups[index]

    def texts(self, seed: int, count: int) -> list[str]:
        """The texts of the first ``count`` samples."""
        samples = [sample for group in self._groups for sample in group][:count]
        return [message.text for sample in samples for message in sample.messages]


def read_llava(config: LlavaSettings) -> Iterator[Sample]:
    """The samples of a LLaVA file, in order.

    Raises:
        TuwenError: naming the file and the record's place.
    """
    folder = config.images or config.file.parent
    for place, record in enumerate(_records(config.file)):
        where = f"{config.file}: record {place}"
        if not isinstance(record, dict) or not isinstance(record.get("conversations"), list):
            raise TuwenError(f"{where}: conversations: this key is required and must be a list")
        names = record.get("image", [])
        names = [names] if isinstance(names, str) else names
        messages = tuple(_message(turn, where) for turn in record["conversations"])
        places = sum(isinstance(part, Image) for message in messages for part in message.parts)
        if places != len(names):
            raise TuwenError(f"{where}: {places} {PLACE} in the text, but {len(names)} pictures in image")
        yield Sample(
            id=str(record.get("id", place)),
            messages=messages,
            images=tuple(folder / name for name in names),
            task=config.task,
            language=config.language,
        )


def _records(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        records = json.loads(text)
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise TuwenError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(records, list):
        raise TuwenError(f"{path}: expected a list of conversations, found {type(records).__name__}")
    return records


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or turn.get("from") not in ROLES or not isinstance(turn.get("value"), str):
        raise TuwenError(f"{where}: a turn needs from ({', '.join(ROLES)}) and value (text), found {turn!r}")
    role = ROLES[turn["from"]]
    if role != "user":
        return Message(role, (Text(turn["value"]),))
    parts: list[Part] = []
    for number, piece in enumerate(turn["value"].split(PLACE)):
        if number:
            parts.append(Image())
        # The line break that LLaVA writes beside a picture is part of its format, not of the question.
        piece = piece.strip("\n")
        if piece:
            parts.append(Text(piece))
    return Message(role, tuple(parts))
