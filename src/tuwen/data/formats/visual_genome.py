"""Visual Genome (arXiv 1602.07332): phrases for regions, objects with their boxes, questions with answers.

Read as published, releases 1.0 to 1.4, or as the tables of Hugging Face with the picture in each row. All that is said
about a picture is one record, of which every phrase, question and answer becomes a sample; it is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tuwen.chat.grounding import Box, format_box
from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Record
from tuwen.data.containers.json_list import JsonList
from tuwen.data.containers.visual_genome_files import LISTS, VisualGenomeFiles, list_of
from tuwen.data.formats.base import FORMATS, Format, Reading, Writing, refusal
from tuwen.data.formats.published import (
    GROUNDING,
    OVERHANG,
    REGION,
    Names,
    Wording,
    asked,
    corner_box,
    find_picture,
    holding,
    pixel_box,
    size_of,
    text_of,
    worded,
)
from tuwen.data.sample import Picture, Region, Sample
from tuwen.data.storage import is_url

Task = Literal["region_description", "grounding", "grounded_caption", "vqa"]
CAPTION: Wording = {"zh": "图里有哪些东西?请一一框出。", "en": "Name the objects in the picture, with a box for each."}
# The list that each task is made of, and the key under which a record of it holds them.
SOURCES: dict[Task, tuple[str, str]] = {
    "region_description": ("region_descriptions", "regions"),
    "grounding": ("region_descriptions", "regions"),
    "grounded_caption": ("objects", "objects"),
    "vqa": ("question_answers", "qas"),
}
LOOKED_AT = 8
_MARKS = {"regions": {"phrase", "x", "y"}, "objects": {"x", "y"}, "qas": {"question", "answer"}}


class VisualGenomeOptions(StrictConfig):
    """What is chosen about Visual Genome.

    Attributes:
        tasks: ``region_description`` (box to phrase), ``grounding`` (phrase to box), ``grounded_caption`` (the objects
            with their boxes), ``vqa``. Lists that none of them needs are not opened.
        region_prompt: holds ``{box}``.
        grounding_prompt: holds ``{phrase}``.
        caption_prompt: what is asked for a caption with boxes.
        most_objects: in a caption; the largest are named, in the order of the data.
        overhang: pixels by which a box may stand out of its picture; so much is cut off, and more refused.
    """

    tasks: Names[Task] = Field(default=tuple(SOURCES), min_length=1)
    region_prompt: Annotated[str | None, holding("{box}")] = None
    grounding_prompt: Annotated[str | None, holding("{phrase}")] = None
    caption_prompt: str | None = None
    most_objects: int = Field(default=20, ge=1)
    overhang: float = Field(default=OVERHANG, ge=0)


@FORMATS.register("visual_genome")
class VisualGenomeFormat(Format):
    """See the module."""

    name: ClassVar[str] = "visual_genome"
    options_class: ClassVar[type[StrictConfig]] = VisualGenomeOptions
    containers: ClassVar[tuple[str, ...]] = ("json", "jsonl", "parquet", "arrow")
    options: VisualGenomeOptions

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """A picture's id, and a list of what is said about it."""
        if not {"image_id", "id"} & set(record) or {"messages", "conversations"} & set(record):
            return False
        lists = [(record[key], marks) for key, marks in _MARKS.items() if isinstance(record.get(key), list)]
        return bool(lists) and all(
            isinstance(item, dict) and marks <= set(item) for items, marks in lists for item in items
        )

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """A folder with the published lists, or one of them."""
        if is_url(place) or (Path(place).is_file() and list_of(place) not in LISTS):
            return None
        container = VisualGenomeFiles()
        files = container.files(place) if Path(place).exists() else []
        return container if files and all(_recognised(file) for file in files) else None

    def wanted(self, files: list[str]) -> list[str]:
        """Those of which the tasks are made."""
        if not any(list_of(file) in LISTS for file in files):
            return files
        needed = {SOURCES[task][0] for task in self.options.tasks}
        found = [file for file in files if list_of(file) in needed]
        if not found:
            raise TuwenError(f"tasks: {' and '.join(sorted(needed))}.json: not found beside {files[0]}")
        return found

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample | TuwenError]:
        """A sample for everything that is asked about the picture."""
        view = _View(self.options, record, where, reading)
        result: list[Sample | TuwenError] = []
        for key, ask in _ASKERS.items():
            if key in record and any(SOURCES[task][1] == key for task in self.options.tasks):
                result.extend(ask(view))
        return result

    def record(self, sample: Sample, writing: Writing) -> Record:
        """Refused."""
        raise refusal(sample, "Visual Genome keeps all that is said about a picture together, in files that are joined")


def _recognised(file: str) -> bool:
    try:
        records = [record for _, _, record in islice(JsonList().scan(file), LOOKED_AT)]
    except TuwenError:
        # Another's file of this name.
        return False
    good = [record for record in records if not isinstance(record, TuwenError)]
    return any(VisualGenomeFormat.recognises(record) for record in good)


class _View:
    """A record, its picture, and samples about it."""

    def __init__(self, options: VisualGenomeOptions, record: Record, where: str, reading: Reading) -> None:
        self.options, self.record, self.where, self.reading = options, record, where, reading
        self.image = record.get("image_id", record.get("id"))
        self.picture: Picture = find_picture(self._names(), reading, where)
        self.size = size_of(record.get("width"), record.get("height"), self.picture, where)

    def _names(self) -> list[Any]:
        if self.record.get("image") is not None:
            return [self.record["image"]]
        usual = [f"{folder}{self.image}.jpg" for folder in ("VG_100K/", "VG_100K_2/", "images/", "")]
        known = self.record.get("picture")
        return list(dict.fromkeys([known, *usual])) if isinstance(known, str) else usual

    def items(self, key: str, kind: str) -> Iterator[tuple[str, str, Record | TuwenError]]:
        """What is in the list under ``key``: where, by what name, and itself."""
        values = self.record[key]
        if not isinstance(values, list):
            raise TuwenError(f"{self.where}: {key}: expected a list, found {type(values).__name__}")
        for number, value in enumerate(values):
            here = f"{self.where}: {key}.{number}"
            if not isinstance(value, dict):
                yield here, "", TuwenError(f"{here}: expected keys and values, found {type(value).__name__}")
                continue
            # Release 1.0 has shorter keys.
            image = value.get("image_id", value.get("image", self.image))
            if image != self.image:
                yield (
                    here,
                    "",
                    TuwenError(f"{here}: image_id {image!r:.40} in the record of picture {self.image!r:.40}"),
                )
                continue
            yield here, f"vg-{self.image}-{kind}-{value.get(f'{kind}_id', value.get('id', number))}", value

    def box(self, value: Record, here: str) -> Box:
        """The box of a region or an object."""
        sides = [
            value.get("x"),
            value.get("y"),
            value.get("width", value.get("w")),
            value.get("height", value.get("h")),
        ]
        return pixel_box(corner_box(sides, here), self.size, here, self.options.overhang)

    def sample(self, name: str, task: Task, question: str, answer: str, *regions: Region) -> Sample:
        """A sample about the picture."""
        own = {"id": name, "task": task, "source": "Visual Genome", "regions": regions}
        return asked({}, self.where, self.reading, [(question, answer)], self.picture, **own)


def _regions(view: _View) -> Iterator[Sample | TuwenError]:
    options = view.options
    for here, name, value in view.items("regions", "region"):
        try:
            if isinstance(value, TuwenError):
                raise value
            phrase, box = text_of(value, "phrase", here), view.box(value, here)
            marked, labelled = format_box("", box), _labelled(phrase, box, here)
        except TuwenError as error:
            yield error
            continue
        region = Region(box=box, text=phrase)
        if "region_description" in options.tasks:
            question = worded(options.region_prompt, REGION, phrase).replace("{box}", marked)
            yield view.sample(f"{name}-description", "region_description", question, phrase, region)
        if "grounding" in options.tasks:
            question = worded(options.grounding_prompt, GROUNDING, phrase).replace("{phrase}", phrase)
            yield view.sample(f"{name}-grounding", "grounding", question, labelled, region)


def _objects(view: _View) -> Iterator[Sample | TuwenError]:
    found: list[Region] = []
    for here, _, value in view.items("objects", "object"):
        try:
            if isinstance(value, TuwenError):
                raise value
            # An object has one name or several that mean the same.
            names = value.get("names", value.get("name"))
            label = text_of({"names": names[0] if isinstance(names, list) and names else names}, "names", here)
            box = view.box(value, here)
            _labelled(label, box, here)
            found.append(Region(box=box, text=label))
        except TuwenError as error:
            yield error
    if not found:
        return
    largest = sorted(found, key=lambda region: -_area(region.box))[: view.options.most_objects]
    alike: dict[str, list[Region]] = {}
    for region in found:
        if region in largest:
            alike.setdefault(region.text, []).append(region)
    # Boxes in a row share the label before them.
    answer = ", ".join(
        format_box(name, regions[0].box) + "".join(format_box("", region.box) for region in regions[1:])
        for name, regions in alike.items()
    )
    question = worded(view.options.caption_prompt, CAPTION, "".join(alike))
    named = [region for regions in alike.values() for region in regions]
    yield view.sample(f"vg-{view.image}-objects", "grounded_caption", question, answer, *named)


def _questions(view: _View) -> Iterator[Sample | TuwenError]:
    for here, name, value in view.items("qas", "qa"):
        try:
            if isinstance(value, TuwenError):
                raise value
            yield view.sample(name, "vqa", text_of(value, "question", here), text_of(value, "answer", here))
        except TuwenError as error:
            yield error


_ASKERS: dict[str, Callable[[_View], Iterator[Sample | TuwenError]]] = {
    "regions": _regions,
    "objects": _objects,
    "qas": _questions,
}


def _labelled(label: str, box: Box, here: str) -> str:
    try:
        return format_box(label, box)
    except TuwenError as error:
        raise TuwenError(f"{here}: {error}") from None


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
