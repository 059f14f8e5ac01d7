"""The one form in which data reaches training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import PIL.Image

from tuwen.chat.messages import Message

Picture = Path | bytes | PIL.Image.Image
Language = Literal["zh", "en"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Something that can be seen at a place: a drawn object, a line of text, a named box.

    Attributes:
        box: left, top, right, bottom as fractions (0–1) of the picture's width and height.
        text: what is there, in words.
    """

    box: tuple[float, float, float, float]
    text: str


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
        regions: what is where in the first picture, for dense alignment and grounding.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()
    task: str = ""
    language: Language = "zh"
    pair: str | None = None
    regions: tuple[Region, ...] = ()

    @property
    def answer(self) -> str:
        """Text of the last message, which is the assistant's in a labelled sample."""
        return self.messages[-1].text
