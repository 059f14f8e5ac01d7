"""What a synthesis suite is: a picture and everything that can be asked about it, from one seed."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import PIL.Image

from tuwen.chat.messages import Image, Message
from tuwen.config import Registry, StrictConfig
from tuwen.data.sample import Language, Region, Sample

_HERE = "tuwen.data.synth"
SUITES = Registry(
    "synthesis suite",
    {name: f"{_HERE}.{name}" for name in ("faces", "glyphs", "shapes", "text", "words")},
)
LANGUAGES: tuple[Language, ...] = ("zh", "en")
YES: dict[Language, str] = {"zh": "是", "en": "yes"}
NO: dict[Language, str] = {"zh": "否", "en": "no"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture with its labels.

    Attributes:
        image: RGB; None for text alone.
        samples: questions and answers, all about this very picture.
        regions: what is where in it.
    """

    image: PIL.Image.Image | None
    samples: tuple[Sample, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer, before it becomes a sample."""

    task: str
    language: Language
    text: str
    answer: str
    pair: str | None = None


@dataclass(slots=True)
class Page:
    """A picture in the making: what is on it and what is asked about it."""

    image: PIL.Image.Image | None
    questions: list[Question] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)

    def ask(self, task: str, language: Language, text: str, answer: str) -> None:
        """Add a question."""
        self.questions.append(Question(task, language, text, answer))

    def ask_pair(self, task: str, language: Language, true: str, false: str) -> None:
        """Add a question whose answer is yes and one whose answer is no, as MME pairs them."""
        pair = f"{task}-{language}"
        self.questions.append(Question(task, language, true, YES[language], pair))
        self.questions.append(Question(task, language, false, NO[language], pair))


class SuiteSettings(StrictConfig):
    """Settings of every suite.

    Attributes:
        size: sides of the picture, in pixels.
        font: a font file; one of the system's Chinese fonts unless said.
    """

    size: int = 128
    font: str | None = None


class Suite:
    """Base of all suites.

    Args:
        settings: see ``SuiteSettings``.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]

    def __init__(self, settings: SuiteSettings) -> None:
        self.settings = settings

    @abstractmethod
    def compose(self, rng: random.Random) -> Page:
        """Draw a picture and ask about it, by ``rng`` alone."""

    @abstractmethod
    def words(self) -> list[str]:
        """Every word that can be written or answered."""

    def draw(self, seed: int, index: int) -> Drawn:
        """Picture number ``index`` of ``seed``: the same pixels and samples in any process."""
        page = self.compose(random.Random(f"{self.name}-{seed}-{index}"))
        prefix = f"{self.name}-{seed}-{index}"
        regions = tuple(page.regions)
        samples = tuple(
            self._sample(page.image, question, f"{prefix}-{place}", prefix, regions)
            for place, question in enumerate(page.questions)
        )
        return Drawn(page.image, samples, regions)

    @staticmethod
    def _sample(
        image: PIL.Image.Image | None, question: Question, name: str, prefix: str, regions: tuple[Region, ...]
    ) -> Sample:
        parts = (question.text,) if image is None else (Image(), question.text)
        return Sample(
            id=name,
            messages=(Message.of("user", *parts), Message.of("assistant", question.answer)),
            images=() if image is None else (image,),
            task=question.task,
            language=question.language,
            pair=None if question.pair is None else f"{prefix}-{question.pair}",
            regions=regions,
        )


def region(box: Sequence[float], size: int, text: str) -> Region:
    """A region from left, top, right, bottom in pixels of a square picture; what sticks out is cut off."""
    left, top, right, bottom = (min(1.0, max(0.0, value / size)) for value in box)
    return Region(box=(left, top, right, bottom), text=text)


def pale(rng: random.Random, least: int = 222) -> tuple[int, int, int]:
    """A light colour for a background."""
    return (rng.randint(least, 255), rng.randint(least, 255), rng.randint(least, 255))
