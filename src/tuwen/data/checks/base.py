"""What a check of data is: it looks at a sample and says what is wrong with it, under a reason that has a name.

A check is one file: a class and one registration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from tuwen.chat.messages import Message
from tuwen.config import Registry
from tuwen.data.sample import Picture, Sample

if TYPE_CHECKING:
    from tuwen.models.processing import TuwenProcessor

_HERE = "tuwen.data.checks"
CHECKS = Registry(
    "data check",
    {
        "answers": f"{_HERE}.answers",
        "boxes": f"{_HERE}.boxes",
        "encoding": f"{_HERE}.encoding",
        "pictures": f"{_HERE}.pictures",
        "tokens": f"{_HERE}.tokens",
        "turns": f"{_HERE}.turns",
        "words": f"{_HERE}.words",
    },
)
# An error makes a sample useless or teaches something wrong; a warning is for people to judge.
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that can be wrong.

    Attributes:
        name: under which it is counted.
        severity: how bad it is.
        title: what it means, in a line.
        chinese: the same.
    """

    name: str
    severity: Severity
    title: str
    chinese: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a sample.

    Attributes:
        reason: its name.
        detail: what was found, and where in the sample.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PictureLook:
    """What is known of a picture.

    Attributes:
        size: width and height of the upright picture in pixels; None when it cannot be opened.
        key: the same for the same picture: of its content where it was decoded, else of its name.
        findings: what is wrong with it.
    """

    size: tuple[int, int] | None
    key: bytes
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A sample that is looked at.

    Attributes:
        sample: itself.
        pictures: what is known of its pictures.
        texts: of its turns.
    """

    sample: Sample
    pictures: tuple[PictureLook, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample, look: Callable[[Picture], PictureLook]) -> Subject:
        """A sample whose pictures are looked at by ``look``."""
        return cls(
            sample, tuple(look(picture) for picture in sample.images), tuple(turn.text for turn in sample.messages)
        )

    def turns(self) -> Iterator[tuple[int, Message, str]]:
        """Number (from 0), turn and text."""
        return zip(range(len(self.texts)), self.sample.messages, self.texts, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What is looked at.

    Attributes:
        decode: whether pictures are decoded, which shows those that are cut off; else only their headers are read.
        processor: of the model that is to be trained.
        max_tokens: of a sample, with the processor's tokenizer.
    """

    decode: bool = True
    processor: TuwenProcessor | None = None
    max_tokens: int | None = None


class Check(ABC):
    """Base of all checks.

    Args:
        options: what is looked at.
    """

    reasons: ClassVar[tuple[Reason, ...]]

    def __init__(self, options: CheckOptions) -> None:
        self.options = options

    @abstractmethod
    def look(self, subject: Subject) -> Iterator[Finding]:
        """What is wrong, each under one of ``reasons``."""


def quoted(text: str, most: int = 48) -> str:
    """A text as Python writes it, shortened, for a message."""
    return repr(text) if len(text) <= most else repr(text[:most]) + "…"


def turn_name(number: int, role: str) -> str:
    """What to call a turn, counted from 1."""
    return f"turn {number + 1} ({role})"
