"""The one form in which data reaches training and evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import PIL.Image

from tuwen.chat.messages import Image, Message, Part, Text

Language = Literal["zh", "en"]

HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture that is no file of its own on this machine.

    Attributes:
        url: path or `fsspec` URL of the picture, or of the archive that it is in.
        member: its name in the archive (tar or zip); empty for a picture of its own.
    """

    url: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.url}#{self.member}" if self.member else self.url


Picture = Path | bytes | PIL.Image.Image | Stored


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sample was read.

    Attributes:
        shard: path or URL of the file.
        position: of its record in the file, see its container.
    """

    shard: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Something that can be seen at a place: a drawn object, a line of text, a named box.

    Attributes:
        box: left, top, right, bottom as fractions (0–1) of the picture's width and height.
        text: what is there, in words.
        image: in which of the sample's pictures, from 0.
    """

    box: tuple[float, float, float, float]
    text: str
    image: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A conversation about some pictures, with what training and scoring need to know of it.

    Attributes:
        id: unique within its source; samples about the same pictures may share pictures, never ids.
        messages: the conversation; the assistant's turns are what is learnt or compared.
        images: one picture for every ``Image`` part, in order of appearance.
        task: the name under which it is balanced, measured and reported.
        language: of the question and answer.
        pair: shared by the two halves of a yes/no pair, as MME asks them.
        regions: what is where in its pictures, for dense alignment and grounding.
        source: where it comes from, for people: a corpus, a model that wrote it.
        rejected: a worse answer that could stand in place of the last message, which is the assistant's then.
        origin: where it was read; no part of what it is.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()
    task: str = ""
    language: Language = "zh"
    pair: str | None = None
    regions: tuple[Region, ...] = ()
    source: str = ""
    rejected: str | None = None
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @property
    def answer(self) -> str:
        """Text of the last message, which is the assistant's in a labelled sample."""
        return self.messages[-1].text


def plain_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The same parts in the one form that all formats share: texts in a row joined, empty ones left out."""
    result: list[Part] = []
    for part in parts:
        if isinstance(part, Image):
            result.append(part)
        elif part.text:
            if result and isinstance(last := result[-1], Text):
                result[-1] = Text(last.text + part.text)
            else:
                result.append(part)
    return tuple(result)


def count_places(messages: Iterable[Message]) -> int:
    """How many pictures a conversation has places for."""
    return sum(isinstance(part, Image) for message in messages for part in message.parts)


def language_of(messages: Iterable[Message]) -> Language:
    """The language of a conversation that does not say it: Chinese where it holds a Chinese character."""
    return "zh" if any(HAN.search(message.text) for message in messages) else "en"
