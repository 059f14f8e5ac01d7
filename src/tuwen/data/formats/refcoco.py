"""RefCOCO, RefCOCO+ and RefCOCOg: which thing of a picture do these words mean, and what words mean this thing.

Read as published (``refs(unc).p`` and ``instances.json``), and in the forms in which others keep it: Qwen-VL's lines
(``image``, ``sent``, ``bbox``), Shikra's (``img_path``, ``expression``), and the tables of Hugging Face with the
original's ``sentences`` or lmms-eval's ``answer``. Qwen-VL's form is written.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tuwen.chat.grounding import Box, format_box
from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Kind, Record
from tuwen.data.containers.json_lines import parsed
from tuwen.data.containers.refs_files import REFS, RefsFiles
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, read_regions, refusal
from tuwen.data.formats.published import (
    ALL,
    GROUNDING,
    REGION,
    Names,
    asked,
    corner_box,
    find_picture,
    holding,
    one_turn,
    own_keys,
    pixel_box,
    size_of,
    text_of,
    worded,
)
from tuwen.data.sample import Picture, Region, Sample
from tuwen.data.storage import is_url

Task = Literal["grounding", "region_description"]
TASKS: tuple[Task, ...] = ("grounding", "region_description")
# Where the pictures of COCO lie beside the references, in the layouts that their users have settled on.
FOLDERS = (
    "",
    "images/",
    "train2014/",
    "images/train2014/",
    "images/mscoco/images/train2014/",
    "coco/train2014/",
    "../images/mscoco/images/train2014/",
    "../images/train2014/",
    "../train2014/",
    "../coco/train2014/",
)


class RefcocoOptions(StrictConfig):
    """What is chosen about RefCOCO.

    Attributes:
        tasks: what is asked: ``grounding`` (words to box), ``region_description`` (box to words).
        split: of what is referred to; records that do not say it always are read; ``all`` for every one.
        split_by: whose splits; the first there is of ``unc``, ``umd``, ``google`` unless said.
        grounding_prompt: holds ``{phrase}``; in the language of the phrase unless said.
        region_prompt: holds ``{box}``.
    """

    tasks: Names[Task] = Field(default=TASKS, min_length=1)
    split: Literal["train", "val", "test", "testA", "testB", "testC", "all"] = "train"
    split_by: Literal["unc", "umd", "google"] | None = None
    grounding_prompt: Annotated[str | None, holding("{phrase}")] = None
    region_prompt: Annotated[str | None, holding("{box}")] = None


@FORMATS.register("refcoco")
class RefcocoFormat(Format):
    """See the module."""

    name: ClassVar[str] = "refcoco"
    options_class: ClassVar[type[StrictConfig]] = RefcocoOptions
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "image": "picture", "sent": "text", "bbox": "json", "height": "number", "width": "number",
        "tasks": "json", **EXTRA,
    }  # fmt: skip
    options: RefcocoOptions

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """One of the forms."""
        return any(keys <= set(record) for keys, _ in _FORMS)

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """``refs(….p)`` files."""
        container = RefsFiles()
        return container if not is_url(place) and Path(place).exists() and container.files(place) else None

    def wanted(self, files: list[str]) -> list[str]:
        """One file of references a folder."""
        folders: dict[Path, dict[str, str]] = {}
        for file in files:
            if Path(file).name in REFS:
                folders.setdefault(Path(file).parent, {})[REFS[Path(file).name]] = file
        if not folders:
            return files
        names = sorted({name for here in folders.values() for name in here})
        order = [self.options.split_by] if self.options.split_by else list(REFS.values())
        chosen = [next((here[name] for name in order if name in here), "") for here in folders.values()]
        if not any(chosen):
            raise TuwenError(f"split_by: there is no {order[0]!r}; choose one of {', '.join(names)}")
        return [file for file in chosen if file]

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample | TuwenError]:
        """A sample for each sentence and task; none of another split."""
        split = record.get("split")
        if split and self.options.split not in (ALL, "val" if split == "validation" else split):
            return []
        form = next((form for keys, form in _FORMS if keys <= set(record)), None)
        if form is None:
            raise TuwenError(
                f"{where}: expected image, sent, bbox or another form of RefCOCO, found {', '.join(record)}"
            )
        picture, box, sentences = form(record, where, reading)
        # What we wrote ourselves holds the box as it was, and says which of the two it is.
        own = isinstance(record.get("tasks"), list)
        if own and record.get("regions"):
            box = read_regions(record["regions"], where)[0].box
        stem, source = _identity(record, box), record.get("source") or record.get("dataset_name") or ""
        result: list[Sample | TuwenError] = []
        for number, sentence in enumerate(sentences):
            for task in self.options.tasks:
                if own and task not in record["tasks"]:
                    continue
                name = f"{source}{'-' if source else ''}{stem}-{number}-{task}"
                values = {"id": record["id"] if own and record.get("id") else name, "source": source, "task": task}
                try:
                    turn = self._turn(task, sentence, box)
                except TuwenError as error:
                    result.append(TuwenError(f"{where}: {error}"))
                    continue
                region = Region(box=box, text=sentence)
                result.append(asked(record, where, reading, [turn], picture, regions=(region,), **values))
        return result

    def _turn(self, task: Task, sentence: str, box: Box) -> tuple[str, str]:
        """Question and answer."""
        if task == "grounding":
            prompt = worded(self.options.grounding_prompt, GROUNDING, sentence)
            return prompt.replace("{phrase}", sentence), format_box(sentence, box)
        prompt = worded(self.options.region_prompt, REGION, sentence)
        return prompt.replace("{box}", format_box("", box)), sentence

    def record(self, sample: Sample, writing: Writing) -> Record:
        """Qwen-VL's form, with our own keys beside it."""
        turn = one_turn(sample)
        if len(sample.regions) != 1:
            raise refusal(sample, f"this format keeps one region, found {len(sample.regions)}")
        (region,) = sample.regions
        try:
            fitting = [task for task in TASKS if turn == self._turn(task, region.text, region.box)]
        except TuwenError as error:
            raise refusal(sample, str(error)) from None
        if not fitting or not region.text or region.text != region.text.strip():
            raise refusal(
                sample, "it asks neither for its region's box nor for its words in the way that is chosen here"
            )
        width, height = size_of(None, None, sample.images[0], sample.id)
        left, top, right, bottom = region.box
        return {
            "image": writing.image(sample.images[0]),
            "sent": region.text,
            "bbox": [left * width, top * height, right * width, bottom * height],
            "height": height,
            "width": width,
            "tasks": fitting[:1],
            **own_keys(sample),
        }


def _identity(record: Record, box: Box) -> str:
    """What a reference is called: its number, else a name made of what it says."""
    for key, kind in (("ref_id", "ref"), ("question_id", "question")):
        if record.get(key) is not None:
            return f"{kind}-{record[key]}"
    said = repr((record.get("image") or record.get("img_path"), box, record.get("sent") or record.get("expression")))
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _coco_picture(names: list[Any], reading: Reading, where: str, beside: str = "") -> Picture:
    """A picture of COCO: where it is said to be, else by its name in the usual folders, else in those of another."""
    if not names or not all(isinstance(name, str) for name in names):
        return find_picture(names or [None], reading, where)
    usual = [folder + posixpath.basename(names[-1]) for folder in FOLDERS]
    usual += [posixpath.join(beside, name) for name in usual] if beside else []
    return find_picture(list(dict.fromkeys([*names, *usual])), reading, where)


Read = tuple[Picture, Box, list[str]]


def _qwen_vl(record: Record, where: str, reading: Reading) -> Read:
    picture = _coco_picture([record["image"]], reading, where)
    return picture, _corners(record, picture, where), [text_of(record, "sent", where)]


def _shikra(record: Record, where: str, reading: Reading) -> Read:
    picture = _coco_picture([record["img_path"]], reading, where)
    return picture, _corners(record, picture, where), [text_of(record, "expression", where)]


def _corners(record: Record, picture: Picture, where: str) -> Box:
    box = record["bbox"]
    if not isinstance(box, list | tuple):
        raise TuwenError(f"{where}: bbox: expected [left, top, right, bottom] in pixels, found {box!r:.60}")
    return pixel_box(box, size_of(record.get("width"), record.get("height"), picture, where), where)


def _original(record: Record, where: str, reading: Reading) -> Read:
    """As published, joined; or the table of it, where two columns are JSON in a text."""
    about, instance = _unpacked(record.get("raw_image_info"), where), _unpacked(record["raw_anns"], where)
    names = [record.get("image_path"), about.get("file_name") or record.get("file_name")]
    picture = _coco_picture([name for name in names if name], reading, where, str(record.get("folder") or ""))
    width, height = about.get("width", record.get("width")), about.get("height", record.get("height"))
    sides = corner_box(instance.get("bbox"), where)
    sentences = record["sentences"]
    if not isinstance(sentences, list) or not sentences or not all(isinstance(one, dict) for one in sentences):
        raise TuwenError(f"{where}: sentences: expected a list with sent in each, found {sentences!r:.60}")
    box = pixel_box(sides, size_of(width, height, picture, where), where)
    return picture, box, [text_of(sentence, "sent", where) for sentence in sentences]


def _unpacked(value: Any, where: str) -> Record:
    if not isinstance(value, str):
        return value if isinstance(value, dict) else {}
    return parsed(value.encode("utf-8", "surrogatepass"), where)


def _lmms(record: Record, where: str, reading: Reading) -> Read:
    picture = _coco_picture([record["image"]], reading, where)
    sides = corner_box(record["bbox"], where)
    answers = record["answer"]
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        raise TuwenError(f"{where}: answer: expected a list of phrases, found {answers!r:.60}")
    return picture, pixel_box(sides, size_of(None, None, picture, where), where), [one.strip() for one in answers]


# The keys that tell a form, and what reads it.
_FORMS: tuple[tuple[set[str], Callable[[Record, str, Reading], Read]], ...] = (
    ({"sentences", "raw_anns"}, _original),
    ({"image", "sent", "bbox"}, _qwen_vl),
    ({"img_path", "expression", "bbox"}, _shikra),
    ({"image", "answer", "bbox", "file_name"}, _lmms),
)
