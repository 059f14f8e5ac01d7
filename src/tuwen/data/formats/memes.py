"""Chinese memes and what strong models say of them, as llava-Qwen2-7B-Instruct-Chinese-CLIP was trained on.

The descriptions are files of ``{"picName", "description"}`` a line, one file a model, from the set
``chinese-meme-description-dataset`` (once ``text-description-of-the-meme``), or of ``{"filename", "content"}`` from
``emo-visual-data``. Pictures are known by name alone and lie in ``emo/`` or, by topic, in a copy of ``ChineseBQB``,
somewhere below the folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import CONTAINERS, Container, Record
from tuwen.data.containers.layout import Layout
from tuwen.data.formats.base import FORMATS, Format, Reading, Writing, refusal
from tuwen.data.formats.published import asked, find_picture, one_turn, own_keys, text_of
from tuwen.data.sample import Picture, Sample
from tuwen.data.storage import is_url

# Under which keys a picture's name and its description stand.
KEYS = {"picName": "description", "filename": "content"}
PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
EMO_FOLDER = "emo"
EMO_FILES = {"data.jsonl": "emo-visual-data", "data.json": "emo-visual-data", "glm_data.json": "glm-4v"}
# Replies that say nothing of the picture were published apart, as …_invalid.
_BY_MODEL = re.compile(
    r"(?:emo-visual-data|ChineseBQB|image_descriptions)(?:[-_](?:picked|meme))?[-_](?P<model>.{1,80}?)(?:_cleaned)?\.jsonl"
)
_INVALID = "_invalid.jsonl"


class MemesOptions(StrictConfig):
    """What is chosen about memes.

    Attributes:
        prompt: what every picture is asked.
    """

    prompt: str = "描述这个表情包。"


def model_of(file: str) -> str:
    """Who wrote the descriptions in a file, by its published name; empty for other names."""
    name = file.rsplit("/", 1)[-1]
    found = _BY_MODEL.fullmatch(name)
    if found and not name.endswith(_INVALID):
        return found["model"]
    return EMO_FILES.get(name, "")


class MemeFiles(Layout):
    """Descriptions by several models, in lines or lists; each record gets the ``source`` that its file's name tells."""

    name: ClassVar[str] = "memes"

    def files(self, place: str) -> list[str]:
        """The file, or those of a folder that have published names."""
        if not Path(place).is_dir():
            return [place]
        names = sorted(os.listdir(place))
        lists = Path(place, EMO_FOLDER).is_dir()
        return [str(Path(place, name)) for name in names if model_of(name) and (lists or name not in EMO_FILES)]

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The file's records."""
        for offset, length, record in _inner(file).scan(file):
            yield offset, length, record if isinstance(record, TuwenError) else _sourced(record, file)

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The record there."""
        return _sourced(_inner(file).fetch(file, offset, length), file)


def _inner(file: str) -> Container:
    container: Container = CONTAINERS.get("jsonl" if file.lower().endswith(".jsonl") else "json")()
    return container


def _sourced(record: Record, file: str) -> Record:
    return {"source": model_of(file), **record}


@FORMATS.register("memes")
class MemesFormat(Format):
    """See the module."""

    name: ClassVar[str] = "memes"
    options_class: ClassVar[type[StrictConfig]] = MemesOptions
    containers: ClassVar[tuple[str, ...]] = ("jsonl", "json")
    options: MemesOptions

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """A picture's name with its description."""
        return any(name in record and text in record for name, text in KEYS.items())

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """A file with a published name, or a folder that holds some."""
        if is_url(place) or not Path(place).exists():
            return None
        container = MemeFiles()
        if Path(place).is_file():
            found = _BY_MODEL.fullmatch(Path(place).name)
            return container if found else None
        if container.files(place):
            return container
        if Path(place, "chinesebqb_github.json").is_file():
            raise TuwenError(
                f"{place}: ChineseBQB's pictures without descriptions; put those of chinese-meme-description-dataset"
                " (ChineseBQB….jsonl) into it, or name their folder and give this one with --images"
            )
        return None

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample."""
        key = next((key for key in KEYS if key in record), "picName")
        name, answer = text_of(record, key, where), text_of(record, KEYS[key], where)
        source = str(record.get("source") or "")
        own = {"id": record.get("id") or (f"{source}/{name}" if source else name), "task": "meme"}
        return [asked(record, where, reading, [(self.options.prompt, answer)], _picture(name, reading, where), **own)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A line with our own keys beside the picture's name and description."""
        question, answer = one_turn(sample)
        if question != self.options.prompt:
            raise refusal(
                sample, f"it asks {question!r:.60}; this format keeps one prompt ({self.options.prompt!r:.60})"
            )
        if answer != answer.strip() or not answer:
            raise refusal(sample, "its answer is empty or has blanks around it")
        return {"picName": writing.image(sample.images[0]), "description": answer, **own_keys(sample)}


def _picture(name: str, reading: Reading, where: str) -> Picture:
    """The picture of that name; a name without a folder is looked for in all folders."""
    place = reading.pictures.place
    picture = reading.image(name, where)
    if "/" in name or is_url(place) or not isinstance(picture, Path) or os.path.isfile(picture):
        return find_picture([name], reading, where)
    found = _folders(place).get(name, ())
    if not found:
        raise TuwenError(f"{where}: no picture {name!r:.120} in {place} or below; say where with --images")
    if len(found) > 1:
        raise TuwenError(
            f"{where}: two pictures are called {name!r:.120}, in {found[0]} and {found[1]}; name one with --images"
        )
    return Path(found[0], name)


@lru_cache(maxsize=8)
def _folders(place: str) -> dict[str, tuple[str, ...]]:
    """In which folders at or below ``place`` there is a picture of each name."""
    result: dict[str, tuple[str, ...]] = {}
    for folder, _, names in os.walk(place):
        for name in names:
            if name.lower().endswith(PICTURES):
                result[name] = (*result.get(name, ()), folder)
    return result
