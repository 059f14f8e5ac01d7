"""Formats: what the records of a data file mean.

A format is one file: a class that turns records into samples and back, and one registration. Where the records lie is
the container's business, so any format can be kept in any container that can hold it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuwen.chat.messages import Message
from tuwen.config import Registry, StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Kind, Record, RecordError
from tuwen.data.media import PictureFolder, PictureStore, data_url, picture_bytes
from tuwen.data.sample import Language, Picture, Region, Sample, count_places, language_of, plain_parts

_HERE = "tuwen.data.formats"
FORMATS = Registry(
    "data format",
    {
        "caption": f"{_HERE}.caption",
        "llava": f"{_HERE}.llava",
        "memes": f"{_HERE}.memes",
        "ocr_vqa": f"{_HERE}.ocr_vqa",
        "openai": f"{_HERE}.openai",
        "preference": f"{_HERE}.preference",
        "qwen_vl": f"{_HERE}.qwen_vl",
        "refcoco": f"{_HERE}.refcoco",
        "sharegpt": f"{_HERE}.sharegpt",
        "swift": f"{_HERE}.swift",
        "synthdog": f"{_HERE}.synthdog",
        "tuwen": f"{_HERE}.tuwen",
        "visual_genome": f"{_HERE}.visual_genome",
    },
)
LANGUAGES: tuple[Language, ...] = ("zh", "en")
# What formats of others have no place for is written under these names of ours, and read again from them.
EXTRA: dict[str, Kind] = {"task": "text", "language": "text", "pair": "text", "source": "text", "regions": "json"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a format needs beside the record.

    Attributes:
        pictures: where they are.
        task: the name for samples that do not say it.
        language: of samples that do not say it; judged by their text unless given.
        name: of the record, for those that have no ``id``.
    """

    pictures: PictureFolder
    task: str = ""
    language: Language | None = None
    name: str = ""

    def image(self, value: Any, where: str) -> Picture:
        """A picture from a path, a URL, bytes, or ``{"bytes": …, "path": …}`` as Hugging Face `datasets` keeps it.

        Raises:
            RecordError: for anything else.
        """
        if isinstance(value, Mapping) and (value.get("bytes") is not None or value.get("path")):
            value = value["bytes"] if value.get("bytes") is not None else value["path"]
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not value:
            raise RecordError(f"{where}: a picture must be a path, a URL or bytes, found {value!r:.60}")
        try:
            return self.pictures.picture(value)
        except TuwenError as error:
            raise RecordError(str(error), "bad_base64") from None

    def sample(
        self, record: Record, where: str, messages: Sequence[Message], images: Sequence[Picture], **settings: Any
    ) -> Sample:
        """A sample with what Tuwen's own keys of the record say, its parts in plain form.

        Args:
            record: may hold ``id`` and the keys of ``EXTRA``.
            where: to name in a message.
            messages: the conversation.
            images: its pictures.
            **settings: values of the sample that the format itself knows.

        Raises:
            RecordError: when places and pictures differ in number, a key of ours holds what it must not, or a worse
                answer has no better one.
        """
        plain = tuple(Message(message.role, plain_parts(message.parts)) for message in messages)
        places = count_places(plain)
        if places != len(images):
            problem = f"{places} places for pictures in the text, but {len(images)} pictures"
            raise RecordError(f"{where}: {problem}", "more_places" if places > len(images) else "fewer_places")
        own = {**_extra(record, where), **settings}
        if own.get("rejected") is not None:
            _check_rejected(own["rejected"], plain, where)
        own.setdefault("task", self.task)
        if "language" not in own:
            own["language"] = self.language or language_of(plain)
        return Sample(id=self.id_of(record) or where, messages=plain, images=tuple(images), **own)

    def id_of(self, record: Record) -> str:
        """What a record is called: its ``id``, or by its place."""
        name = record.get("id")
        return self.name if name is None or name == "" else str(name)


def _extra(record: Record, where: str) -> dict[str, Any]:
    """Values of a sample that stand under keys of our own in a record."""
    found: dict[str, Any] = {
        key: str(record[key]) for key in ("task", "pair", "source") if isinstance(record.get(key), str | int)
    }
    if record.get("language") in LANGUAGES:
        found["language"] = record["language"]
    if record.get("regions"):
        found["regions"] = read_regions(record["regions"], where)
    return found


def _check_rejected(text: Any, messages: Sequence[Message], where: str) -> None:
    """Refuse a worse answer that is no text, or has no better one beside it.

    Raises:
        RecordError: naming ``where``.
    """
    if not isinstance(text, str) or not text:
        raise RecordError(f"{where}: a rejected answer must be a text, found {text!r:.80}")
    if not messages or messages[-1].role != "assistant":
        raise RecordError(f"{where}: a rejected answer needs a better one: the last turn must be the assistant's")


def read_regions(values: Any, where: str) -> tuple[Region, ...]:
    """Regions from ``[{"box": [left, top, right, bottom], "text": …, "image": 0}]``, sides as fractions.

    Raises:
        RecordError: naming ``where``.
    """
    result = []
    for value in values if isinstance(values, list) else [values]:
        box = value.get("box") if isinstance(value, dict) else None
        sides = tuple(box) if isinstance(box, list | tuple) else ()
        image = value.get("image", 0) if isinstance(value, dict) else 0
        good = len(sides) == 4 and all(isinstance(side, int | float) for side in sides) and isinstance(image, int)
        if not good or image < 0 or not (0 <= sides[0] <= sides[2] <= 1 and 0 <= sides[1] <= sides[3] <= 1):
            expected = "expected box: [left, top, right, bottom] as fractions"
            raise RecordError(f"{where}: regions: {expected}, found {value!r:.80}", "bad_region")
        result.append(Region(box=sides, text=str(value.get("text", "")), image=image))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Writing:
    """What a format needs beside the sample.

    Attributes:
        store: names pictures, and saves those that are no files.
        container: what is written to.
        pack: whether pictures go into the data itself.
    """

    store: PictureStore
    container: Container
    pack: bool = False

    def image(self, picture: Picture) -> str | bytes:
        """What stands for a picture in a record: a reference, its bytes, or a ``data:`` URL."""
        if not self.pack:
            return self.store.reference(picture)
        return picture_bytes(picture) if self.container.holds_bytes else data_url(picture)


def extra(sample: Sample, *, but: Sequence[str] = ()) -> Record:
    """What of a sample goes under keys of our own: all of ``EXTRA`` that says something, except ``but``."""
    values: Record = {
        "task": sample.task,
        "language": "" if sample.language == language_of(sample.messages) else sample.language,
        "pair": sample.pair,
        "source": sample.source,
        "regions": [
            {"box": list(region.box), "text": region.text, **({"image": region.image} if region.image else {})}
            for region in sample.regions
        ],
    }
    return {key: value for key, value in values.items() if value and key not in but}


class NoOptions(StrictConfig):
    """Of a format that leaves nothing to choose."""


class Format(ABC):
    """Base of all formats.

    Args:
        options: what is chosen about the format, an ``options_class``; its defaults unless given.
    """

    name: ClassVar[str]
    options_class: ClassVar[type[StrictConfig]] = NoOptions
    # Containers that it is found in, the usual one first.
    containers: ClassVar[tuple[str, ...]] = ("jsonl", "json", "parquet", "arrow", "tar")
    # Keys that such a record has; ``recognises`` looks for them unless a format knows better.
    keys: ClassVar[tuple[str, ...]] = ()
    # Every key that it writes, for containers that have columns; without any it is not written to those.
    columns: ClassVar[Mapping[str, Kind]] = {}
    # Whether it has a place for a worse answer beside the last one.
    keeps_rejected: ClassVar[bool] = False

    def __init__(self, options: StrictConfig | None = None) -> None:
        self.options = options or self.options_class()

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """Whether a record looks like one of this format."""
        return bool(cls.keys) and all(key in record for key in cls.keys)

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """A container for a layout of files that only this format has, if ``place`` is one; else None."""
        return None

    def wanted(self, files: list[str]) -> list[str]:
        """Those of the files at a place that the options ask for; the others are not opened."""
        return files

    @abstractmethod
    def samples(self, record: Record, where: str, reading: Reading) -> Sequence[Sample | TuwenError]:
        """The samples of a record, most often one; in the place of one of many that is broken, what is wrong.

        Raises:
            TuwenError: naming ``where``, what was found and what would be right.
        """

    @abstractmethod
    def record(self, sample: Sample, writing: Writing) -> Record:
        """A record from which ``samples`` gives the sample again.

        Raises:
            TuwenError: naming the sample, when the format cannot keep it.
        """


def refusal(sample: Sample, why: str) -> TuwenError:
    """The refusal to write a sample in a format that cannot keep it."""
    return TuwenError(f"{sample.id}: {why}; write the format tuwen, which keeps everything")
