"""What goes into a chat and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import PIL.Image

from tuwen.chat.grounding import Grounding, parse_boxes
from tuwen.chat.messages import Message
from tuwen.chat.renderer import Rendered
from tuwen.data.sample import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said.

    Attributes:
        text: without control tokens.
        token_ids: as generated, the end-of-turn token included where it came.
        prompt_ids: as the model saw them, pictures expanded.
        finish_reason: ``stop`` or ``length``.
        pictures: of the conversation, as the model was given them; none where it is not known, as in batches.
    """

    text: str
    token_ids: list[int]
    prompt_ids: list[int]
    finish_reason: str
    pictures: tuple[PIL.Image.Image, ...] = field(default=(), repr=False, compare=False)

    @property
    def boxes(self) -> list[Grounding]:
        """Boxes in the text, as fractions of the picture's width and height."""
        return parse_boxes(self.text)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        from tuwen.infer.notebook import answer_html

        return answer_html(self)


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """An opened picture and what its user called it: a path as it was given, or nothing."""

    image: PIL.Image.Image
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for an answer, and its pictures in order of appearance."""

    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()


class EncodedPrompt(Protocol):
    """A conversation as some model takes it; what else belongs to it is that model's own."""

    @property
    def rendered(self) -> Rendered:
        """Its token ids, pictures expanded."""
