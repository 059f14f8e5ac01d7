"""What a benchmark is: its data as published, how it asks, how its answers are read, and how it is scored.

A benchmark is one file with one registration. Another package adds one with the same decorator, or by an entry point in
the group ``tuwen.benchmark``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import isfile
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Message
from tuwen.config import Registry, TuwenError, unknown_name
from tuwen.data.sample import Picture

_HERE = "tuwen.evaluate.benchmarks"
BENCHMARKS = Registry(
    "benchmark",
    {
        name: f"{_HERE}.{name}"
        for name in (
            "ccbench",
            "chartqa",
            "coco_caption",
            "docvqa",
            "flickr30k",
            "folder",
            "gqa",
            "llava_bench_zh",
            "mmbench",
            "mmbench_cn",
            "mme",
            "ocrbench",
            "owleval_zh",
            "pope",
            "refcoco",
            "scienceqa",
            "seedbench",
            "textvqa",
            "vizwiz",
            "vqav2",
        )
    },
)
MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: unique in the benchmark.
        messages: the prompt as it is asked; the last turn is the user's.
        images: one picture for each of its places.
        reference: what an answer is compared with, in the benchmark's own form.
        category: for tables and for leafing through errors.
        cluster: items that are no independent evidence, mostly those about one picture, share it.
        tokens: new tokens that an answer may take at most.
        answer: the expected answer for people.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()
    reference: Any = None
    category: str = ""
    cluster: str = ""
    tokens: int = 64
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer that was given to an item.

    Attributes:
        id: of the item.
        text: the raw answer, or whatever the benchmark's official form has in its place.
    """

    id: str
    text: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What an item's answer was read as.

    Attributes:
        value: a letter, yes or no, a box, …; None where it could not be read, which is never a guess.
        credit: what it is worth, from 0 to 1; None where the benchmark has no worth for one item.
    """

    value: Any
    credit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scorer gives.

    Figures that are made with ``figures`` have intervals; others are numbers without one.

    Attributes:
        scores: figures under the names and in the structure of the official program.
        per_item: its verdicts, as far as it has any.
        parsed: of each item; for intervals, tables and leafing through errors.
        headline: the figures that people quote, by the names they have in papers.
        subtasks: figures of parts that people quote too, by the names of the items' categories.
    """

    scores: Mapping[str, Any]
    per_item: Any
    parsed: Mapping[str, Parsed]
    headline: Mapping[str, float]
    subtasks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure that somebody has published.

    Attributes:
        system: what was measured.
        values: figure by its name in ``Score.headline`` (or a subtask's name).
        source: where it stands.
        note: what must be known when it is compared.
    """

    system: str
    values: Mapping[str, float]
    source: str
    note: str = ""


class Benchmark(ABC):
    """Base of all benchmarks.

    Args:
        data: folder with the data in its official form.
        style: how questions are put, one of ``styles``.

    Attributes:
        partial: whether what has no prediction is left out where the official program would stop (``--partial``).

    Raises:
        TuwenError: naming the file, column or item that is missing or wrong.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    # What it measures and how, in one or two sentences of English and of Chinese.
    summary: ClassVar[str]
    summary_zh: ClassVar[str]
    homepage: ClassVar[str]
    # Path in the data folder → what it is.
    files: ClassVar[Mapping[str, str]]
    # Folders of pictures in the data folder. Scoring takes none, so that a folder need not be there; one that is there
    # must be whole.
    picture_folders: ClassVar[tuple[str, ...]] = ()
    # Styles of prompts, the usual one first.
    styles: ClassVar[tuple[str, ...]] = ("llava",)
    published: ClassVar[tuple[Published, ...]] = ()
    # Whether the official program counts an item without a prediction as wrong, and does not stop.
    missing_is_wrong: ClassVar[bool] = False
    # Raised whenever answers are read in another way than before.
    parser_version: ClassVar[int] = 1

    def __init__(self, data: Path, style: str | None = None) -> None:
        self.data = data
        self.partial = False
        self.style = style or self.styles[0]
        if self.style not in self.styles:
            raise TuwenError(unknown_name("prompt style", self.style, list(self.styles)))

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items in the benchmark's order; pictures are not opened and need not be there.

        Raises:
            TuwenError: naming the file, column or item that is missing or wrong.
        """

    def items_for(self, predictions: Sequence[Prediction]) -> Sequence[Item]:
        """The items that such predictions answer: all, but for benchmarks of several parts that are scored apart."""
        return self.items()

    @property
    @abstractmethod
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """Scorers by name, the one that is meant by default first."""

    @abstractmethod
    def parse(self, item: Item, answer: str) -> Any:
        """What the usual scorer reads an answer as, by itself: a letter, yes or no, a box, …

        Returns:
            A value that JSON can hold; None where the answer cannot be read, which is no guess.
        """

    @abstractmethod
    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Predictions in one of the benchmark's official forms, or in JSONL of ``{"id", "answer"}``.

        Args:
            files: files or folders; some benchmarks keep their splits apart.

        Raises:
            TuwenError: naming the file and line that is wrong.
        """

    @abstractmethod
    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write predictions into the folder ``out`` in the official form, and say which files that are."""

    def usual_scorer(self, predictions: Sequence[Prediction]) -> str:
        """The scorer that is meant for such predictions where none is named."""
        return next(iter(self.scorers))

    def score(self, predictions: Sequence[Prediction], scorer: str | None = None) -> Score:
        """Score predictions.

        Args:
            predictions: in the benchmark's order where its program pairs answers by their places, else in any.
            scorer: its name; the usual one unless said.

        Raises:
            TuwenError: for an unknown scorer, and for predictions that it refuses.
        """
        name = scorer or self.usual_scorer(predictions)
        if name not in self.scorers:
            raise TuwenError(unknown_name(f"scorer of {self.name}", name, list(self.scorers)))
        return self.scorers[name](predictions)


@dataclass(slots=True)
class Coverage:
    """How predictions and items meet.

    Attributes:
        missing: items without a prediction.
        unknown: predictions without an item.
        doubled: items with more than one prediction.
        pictures: that are not there, though their folder is.
    """

    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every item has exactly one prediction, nothing is left over, and no picture is missing."""
        return not (self.missing or self.unknown or self.doubled or self.pictures)

    def __str__(self) -> str:
        said = [
            f"{len(ids)} {what} ({', '.join(ids[:MOST_NAMED])}{', …' if len(ids) > MOST_NAMED else ''})"
            for what, ids in (
                ("items without a prediction", self.missing),
                ("predictions for no item", self.unknown),
                ("items with several predictions", self.doubled),
                ("pictures that are not there", self.pictures),
            )
            if ids
        ]
        return "; ".join(said) or "every item has one prediction"


def missing_pictures(items: Iterable[Item], folders: Iterable[Path] | None = None) -> list[str]:
    """Pictures of items that are files and not there.

    Args:
        items: some.
        folders: only what belongs into one of these is looked for, where they are there; everywhere unless given.
    """
    paths = dict.fromkeys(image for item in items for image in item.images if isinstance(image, Path))
    if folders is not None:
        here = [folder for folder in folders if folder.is_dir()]
        paths = {path: None for path in paths if any(path.is_relative_to(folder) for folder in here)}
    # Unlike a path's own method, this takes a name that no file can have for one that is not there.
    return [str(path) for path in paths if not isfile(path)]


def coverage(items: Iterable[str], predictions: Iterable[Prediction]) -> Coverage:
    """Compare the ids of items and predictions."""
    counts = dict.fromkeys(items, 0)
    found = Coverage()
    for prediction in predictions:
        if prediction.id not in counts:
            found.unknown.append(prediction.id)
            continue
        counts[prediction.id] += 1
    found.missing = [name for name, count in counts.items() if not count]
    found.doubled = [name for name, count in counts.items() if count > 1]
    return found
