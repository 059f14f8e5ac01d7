"""What a conversation is: messages of a role and parts, text or picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, taken literally: nothing in it can become a control token."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """The place of a picture. Pictures belong to their places in order of appearance.

    Attributes:
        label: what the text calls it, where the template writes such a thing (``Picture 1: ``); None leaves it to
            the template, and an empty label stands for a picture without one.
    """

    label: str | None = None


Part = Text | Image


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, *parts: str | Part) -> Message:
        """A message from strings and parts: ``Message.of("user", Image(), "这是什么?")``."""
        return cls(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))

    @property
    def text(self) -> str:
        """The text parts, joined; pictures leave nothing behind."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))
