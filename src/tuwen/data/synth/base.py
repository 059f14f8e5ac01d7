"""What a synthesis suite is: a picture and everything that can be asked about it, from one seed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import PIL.Image

from tuwen.chat.messages import Image, Message
from tuwen.config import Registry, StrictConfig
from tuwen.data.sample import Language, Region, Sample

_HERE = "tuwen.data.synth"
SUITES = Registry(
    "synthesis suite",
    {
        name: f"{_HERE}.{name}"
        for name in (
            "caption",
            "chart",
            "document",
            "faces",
            "glyphs",
            "grounding",
            "meme",
            "ocr",
            "refuse",
            "screenshot",
            "shapes",
            "text",
            "vqa",
            "words",
        )
    },
)
LANGUAGES: tuple[Language, ...] = ("zh", "en")
YES: dict[Language, str] = {"zh": "是", "en": "yes"}
NO: dict[Language, str] = {"zh": "否", "en": "no"}

# Ways to ask the same, with names in braces for what is asked about.
Wordings = dict[Language, tuple[str, ...]]


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
    """A question with its answer, before it becomes a sample.

    Attributes:
        number: its place among all questions about the picture.
        task: see ``Sample``.
        language: see ``Sample``.
        text: the question.
        answer: the answer.
        pair: shared by the halves of a yes/no pair of this picture.
    """

    number: int
    task: str
    language: Language
    text: str
    answer: str
    pair: str | None = None


@dataclass(slots=True)
class Page:
    """A picture and what is asked about it.

    Attributes:
        name: begins the names of its samples.
        image: RGB; None for text alone.
        questions: all that can be asked.
        regions: what is where.
    """

    name: str
    image: PIL.Image.Image | None
    questions: list[Question] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)

    def ask(self, task: str, language: Language, text: str, answer: str) -> None:
        """Add a question."""
        self.questions.append(Question(len(self.questions), task, language, text, answer))

    def ask_pair(self, task: str, language: Language, true: str, false: str) -> None:
        """Add a question whose answer is yes and one whose answer is no, as MME pairs them."""
        pair, number = f"{task}-{language}", len(self.questions)
        self.questions.append(Question(number, task, language, true, YES[language], pair))
        self.questions.append(Question(number + 1, task, language, false, NO[language], pair))

    def drawn(self, questions: Sequence[Question]) -> Drawn:
        """The picture with these of its questions."""
        regions = tuple(self.regions)
        return Drawn(self.image, tuple(self._sample(question, regions) for question in questions), regions)

    def _sample(self, question: Question, regions: tuple[Region, ...]) -> Sample:
        parts = (question.text,) if self.image is None else (Image(), question.text)
        return Sample(
            id=f"{self.name}-{question.number}",
            messages=(Message.of("user", *parts), Message.of("assistant", question.answer)),
            images=() if self.image is None else (self.image,),
            task=question.task,
            language=question.language,
            pair=None if question.pair is None else f"{self.name}-{question.pair}",
            regions=regions,
        )


class SuiteSettings(StrictConfig):
    """Settings of every suite.

    Attributes:
        size: sides of a square picture, the longer side of any other, in pixels.
        font: a font file; one of the system's Chinese fonts unless said.
    """

    size: int = 128
    font: str | None = None


SettingsType = TypeVar("SettingsType", bound=SuiteSettings)


class Suite(ABC, Generic[SettingsType]):
    """Base of all suites: one file each, found by its name in ``SUITES``.

    Args:
        settings: of the suite's own kind.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    settings_class: ClassVar[type[SuiteSettings]] = SuiteSettings

    def __init__(self, settings: SettingsType) -> None:
        self.settings = settings

    @abstractmethod
    def compose(self, page: Page, rng: random.Random) -> None:
        """Draw a picture and ask everything about it in both languages, by ``rng`` alone."""

    @abstractmethod
    def words(self) -> list[str]:
        """Every word that can be written or answered."""

    def page(self, seed: int, index: int, attempt: int = 0) -> Page:
        """Picture number ``index`` of ``seed`` and all questions; another one for each ``attempt``."""
        page = Page(f"{self.name}-{seed}-{index}", None)
        self.compose(page, random.Random(f"{page.name}.{attempt}"))
        return page

    def draw(self, seed: int, index: int) -> Drawn:
        """Picture number ``index`` of ``seed``: the same pixels and samples in any process."""
        page = self.page(seed, index)
        return page.drawn(page.questions)


AnySuite = Suite[Any]


def region(box: Sequence[float], size: int | tuple[int, int], text: str) -> Region:
    """A region from left, top, right, bottom in pixels; what sticks out of the picture is cut off.

    Args:
        box: in pixels.
        size: of the picture in pixels: its sides where it is square, else (width, height).
        text: what is there.
    """
    width, height = (size, size) if isinstance(size, int) else size
    sides = zip(box, (width, height, width, height), strict=True)
    left, top, right, bottom = (min(1.0, max(0.0, value / side)) for value, side in sides)
    return Region(box=(left, top, right, bottom), text=text)
