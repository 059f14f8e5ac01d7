"""What is in a data set: tasks, languages, lengths, pictures, answers; counted in one pass, in several processes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.dataset import Dataset, Place
from tuwen.data.looking.frequent import Frequent
from tuwen.data.media import fetch
from tuwen.data.sample import Picture, Sample, Stored
from tuwen.data.walk import Chunk, walk
from tuwen.vision.pictures import PictureError, picture_size

if TYPE_CHECKING:
    from tuwen.models.processing import TuwenProcessor

# Lengths that are counted, in the order in which they are shown.
LENGTHS = ("sample", "text", "answers", "pictures")
UNNAMED = "–"
LONGEST_ANSWER = 40
KEPT_SIZES = 2**16
_HAN = "\u3400-\u9fff"
# The first two words, or the first four Chinese characters.
_OPENING = re.compile(rf"[^\w{_HAN}]{{0,8}}([{_HAN}]{{1,4}}|[^\W{_HAN}]{{1,20}}(?:[ '’-][^\W{_HAN}]{{1,20}})?)")


@dataclass(slots=True)
class TaskCounts:
    """What is counted of each task.

    Attributes:
        samples: how many.
        languages: of them.
        turns: answers in all.
        length: of all samples together, in tokens or characters.
        trained: part of it that is trained.
    """

    samples: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    length: int = 0
    trained: int = 0

    def add(self, other: TaskCounts) -> None:
        """Add what was counted elsewhere."""
        self.samples += other.samples
        self.languages.update(other.languages)
        self.turns += other.turns
        self.length += other.length
        self.trained += other.trained


@dataclass(slots=True)
class Statistics:
    """What is in a data set, or in a part of it. Lengths are exact; they are kept as counts of each length.

    Attributes:
        shown: samples of each task that are kept to be shown.
        tasks: counts by task.
        sources: samples by where they come from.
        turns: samples by number of answers.
        pictures: samples by number of pictures.
        lengths: samples by length, for each kind of ``LENGTHS``: in tokens with a processor, in characters without.
        sides: pictures by longer side in pixels.
        sizes: pictures by size, as binary logarithms of width and height in steps of a quarter.
        keys: a hash for each picture's place, the same for the same picture.
        answers: short answers.
        openings: how questions begin.
        gallery: by task, places of some samples by two random numbers, their picture's and their own: those with
            the smallest are kept, one of each picture.
        broken: records and samples that cannot be used.
        lost: pictures that cannot be opened.
        problem: the first of these, in words.
    """

    shown: int = 3
    tasks: dict[str, TaskCounts] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: {name: Counter() for name in LENGTHS})
    sides: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    keys: list[np.ndarray] = field(default_factory=list)
    answers: Frequent = field(default_factory=Frequent)
    openings: Frequent = field(default_factory=Frequent)
    gallery: dict[str, list[tuple[int, int, Place]]] = field(default_factory=dict)
    broken: int = 0
    lost: int = 0
    problem: str = ""

    @property
    def samples(self) -> int:
        """How many can be used."""
        return sum(task.samples for task in self.tasks.values())

    @property
    def languages(self) -> Counter[str]:
        """Samples by language."""
        return sum((task.languages for task in self.tasks.values()), Counter())

    @property
    def trained_share(self) -> float:
        """Part (0–1) of all tokens or characters that is trained."""
        length = sum(task.length for task in self.tasks.values())
        return sum(task.trained for task in self.tasks.values()) / length if length else 0.0

    @property
    def places(self) -> int:
        """Pictures, as often as they are used."""
        return sum(count * samples for count, samples in self.pictures.items())

    def different_pictures(self) -> int:
        """Pictures, each once."""
        return len(np.unique(np.concatenate(self.keys))) if self.keys else 0

    def add(self, other: Statistics) -> None:
        """Add what was counted in another part."""
        for name, task in other.tasks.items():
            self.tasks.setdefault(name, TaskCounts()).add(task)
        for name in LENGTHS:
            self.lengths[name].update(other.lengths[name])
        self.sources.update(other.sources)
        self.turns.update(other.turns)
        self.pictures.update(other.pictures)
        self.sides.update(other.sides)
        self.sizes.update(other.sizes)
        self.keys += other.keys
        self.answers.add(other.answers)
        self.openings.add(other.openings)
        for name, kept in other.gallery.items():
            self.gallery[name] = _smallest([*self.gallery.get(name, []), *kept], self.shown)
        self.broken += other.broken
        self.lost += other.lost
        self.problem = self.problem or other.problem


def _smallest(kept: Sequence[tuple[int, int, Place]], most: int) -> list[tuple[int, int, Place]]:
    """Those with the smallest numbers, one of each first number."""
    chosen: dict[int, tuple[int, int, Place]] = {}
    for one in sorted(kept, key=lambda one: one[:2]):
        chosen.setdefault(one[0], one)
    return list(chosen.values())[:most]


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The smallest length that ``share`` (0–1) of all have at most; 0 where there are none."""
    total, seen = sum(counts.values()), 0
    for length in sorted(counts):
        seen += counts[length]
        if seen >= share * total:
            return length
    return 0


def mean(counts: Mapping[int, int]) -> float:
    """Of all lengths; 0 where there are none."""
    return sum(length * count for length, count in counts.items()) / (sum(counts.values()) or 1)


class Counting:
    """Counts what is in chunks of a data set.

    Args:
        dataset: that they are of.
        processor: whose tokens are counted; characters without.
        shown: samples of each task that are kept to be shown.
    """

    def __init__(self, dataset: Dataset, processor: TuwenProcessor | None, shown: int) -> None:
        self.dataset, self.processor, self.shown = dataset, processor, shown

    def __call__(self, chunk: Chunk) -> Statistics:
        """What is in a chunk."""
        found = Statistics(self.shown)
        keys: list[int] = []
        if chunk.broken:
            found.broken, found.problem = 1, chunk.broken
        for _, _, entry in chunk.entries(self.dataset):
            try:
                self._count(found, entry.use(), entry.place, keys)
            except TuwenError as error:
                found.broken += 1
                found.problem = found.problem or str(error)
        found.keys = [np.array(keys, dtype=np.uint64)] if keys else []
        return found

    def _count(self, found: Statistics, sample: Sample, place: Place, keys: list[int]) -> None:
        if not sample.messages:
            raise TuwenError(f"{sample.id}: an empty conversation")
        sizes = [_size(picture) for picture in sample.images]
        lengths, trained = self._lengths(sample, [size for size in sizes if not isinstance(size, PictureError)])
        for size in sizes:
            if isinstance(size, PictureError):
                found.lost += 1
                found.problem = found.problem or str(size)
                continue
            found.sides[max(size)] += 1
            found.sizes[round(4 * log2(size[0])), round(4 * log2(size[1]))] += 1
        for name, length in lengths.items():
            found.lengths[name][length] += 1
        answers = [message.text.strip() for message in sample.messages if message.role == "assistant"]
        task = found.tasks.setdefault(sample.task or UNNAMED, TaskCounts())
        task.add(TaskCounts(1, Counter([sample.language]), len(answers), lengths["sample"], trained))
        found.sources[sample.source or UNNAMED] += 1
        found.turns[len(answers)] += 1
        found.pictures[len(sample.images)] += 1
        found.answers.count(answer for answer in answers if 0 < len(answer) <= LONGEST_ANSWER)
        questions = (message.text for message in sample.messages if message.role == "user")
        found.openings.count(opening[1].lower() for text in questions if (opening := _OPENING.match(text)))
        keys += [_number(_name(picture)) for picture in sample.images]
        if self.shown:
            kept = found.gallery.get(sample.task or UNNAMED, [])
            # In a task the same picture has the same number, so that different ones are shown.
            own = _number(f"{place}".encode())
            number = _number(f"{sample.task} {keys[-len(sample.images)]}".encode()) if sample.images else own
            found.gallery[sample.task or UNNAMED] = _smallest([*kept, (number, own, place)], self.shown)

    def _lengths(self, sample: Sample, sizes: Sequence[tuple[int, int]]) -> tuple[dict[str, int], int]:
        """Lengths of a sample by kind, and how much of it is trained."""
        if self.processor is None:
            answers = sum(len(message.text) for message in sample.messages if message.role == "assistant")
            return {"sample": sum(len(message.text) for message in sample.messages), "answers": answers}, answers
        if len(sizes) < len(sample.images):
            raise TuwenError(f"{sample.id}: one of its pictures cannot be opened, so its tokens cannot be counted")
        lengths = [self.processor.num_image_tokens(*size) for size in sizes]
        rendered = self.processor.renderer.render(sample.messages, lengths, name=sample.id)
        whole, pictures = len(rendered.input_ids), sum(lengths)
        trained = sum(label >= 0 for label in rendered.labels)
        found = {"sample": whole, "text": whole - pictures, "answers": trained}
        return (found | {"pictures": pictures} if pictures else found), trained


@lru_cache(maxsize=KEPT_SIZES)
def _stored_size(picture: Path | Stored) -> tuple[int, int] | PictureError:
    try:
        return picture_size(fetch(picture), name=str(picture))
    except PictureError as error:
        return error


def _size(picture: Picture) -> tuple[int, int] | PictureError:
    """Width and height in pixels, or why they are not known."""
    if isinstance(picture, Path | Stored):
        return _stored_size(picture)
    try:
        return picture_size(picture)
    except PictureError as error:
        return error


def _name(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else str(picture).encode(errors="surrogateescape")


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def count(
    dataset: Dataset,
    processor: TuwenProcessor | None = None,
    *,
    workers: int | None = None,
    shown: int = 3,
    progress: Callable[[Statistics], None] = lambda found: None,
) -> Statistics:
    """What is in a data set.

    Args:
        dataset: what is counted.
        processor: whose tokens are counted; characters without.
        workers: processes; as many as there are processors unless said.
        shown: samples of each task that are kept to be shown.
        progress: is told of the statistics as they grow.

    Raises:
        TuwenError: when nothing of it can be used, or a process dies.
    """
    whole = Statistics(shown)
    for _, part in walk(dataset, Counting(dataset, processor, shown), workers=workers):
        whole.add(part)
        progress(whole)
    if not whole.samples:
        raise TuwenError(f"{dataset.files[0]}: no sample in it can be used; the first problem: {whole.problem}")
    return whole
