"""OCR-VQA, questions about book covers: ``dataset.json`` with ``{ID: {"imageURL", "questions", "answers", "split"}}``.

The picture of a book is ``images/ID.jpg``, or has the suffix that its address has. Nothing is fetched from there. As in
LLaVA-1.5 all questions about a book are one conversation, and the first asks for a short answer. Lists of such records
with ``image_id`` and the picture itself, as on Hugging Face, are read too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Kind, Record
from tuwen.data.containers.json_list import JsonText
from tuwen.data.containers.json_object import JsonObject
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, refusal
from tuwen.data.formats.published import asked, find_picture, own_keys, turns_of
from tuwen.data.sample import Picture, Sample
from tuwen.data.storage import is_url

DATASET = "dataset.json"
SPLITS = {"train": 1, "validation": 2, "test": 3}


class OcrVqaOptions(StrictConfig):
    """What is chosen about OCR-VQA.

    Attributes:
        split: which books are read; those that do not say it always are.
        turns: ``conversation`` for one sample a book, as in LLaVA-1.5; ``single`` for one a question.
        prompt: what stands in the line after the first question of a sample; empty for nothing.
    """

    split: Literal["train", "validation", "test", "all"] = "train"
    turns: Literal["conversation", "single"] = "conversation"
    prompt: str = "Answer the question using a single word or phrase."


class OcrVqaFile(JsonObject):
    """``dataset.json`` beside the pictures' folder."""

    def files(self, place: str) -> list[str]:
        """The file, or the one of that name in a folder."""
        return [str(Path(place, DATASET)) if Path(place).is_dir() else place]


@FORMATS.register("ocr_vqa")
class OcrVqaFormat(Format):
    """See the module."""

    name: ClassVar[str] = "ocr_vqa"
    options_class: ClassVar[type[StrictConfig]] = OcrVqaOptions
    containers: ClassVar[tuple[str, ...]] = ("json_object", "json", "jsonl", "parquet", "arrow")
    keys: ClassVar[tuple[str, ...]] = ("questions", "answers")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "image": "picture", "questions": "json", "answers": "json", **EXTRA,
    }  # fmt: skip
    options: OcrVqaOptions

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """Such a file, or a folder with it."""
        if is_url(place) or not (place.lower().endswith(".json") or Path(place, DATASET).is_file()):
            return None
        container = OcrVqaFile()
        (file,) = container.files(place)
        if not Path(file).is_file():
            return None
        first = _first_value(file)
        return container if isinstance(first, dict) and cls.recognises(first) else None

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """The sample of a book, or one for each of its questions; none of another split."""
        if not self._chosen(record, where):
            return []
        pairs = _pairs(record, where)
        name = str(record.get("id") or record.get("image_id") or "")
        picture = _picture(record, name, reading, where)
        parts = [[pair] for pair in pairs] if self.options.turns == "single" else [pairs]
        result = []
        for number, part in enumerate(parts):
            stem = name or reading.id_of(record)
            own = {"id": f"{stem}-{number}" if len(parts) > 1 else stem, "task": "ocr_vqa"}
            result.append(asked(record, where, reading, self._turns(part), picture, **own))
        return result

    def _chosen(self, record: Record, where: str) -> bool:
        split = record.get("split", record.get("set_name"))
        if split is None or self.options.split == "all":
            return True
        for name, number in SPLITS.items():
            if split in (name, number):
                return name == self.options.split
        raise TuwenError(f"{where}: split: expected 1, 2 or 3 (train, validation, test), found {split!r:.40}")

    def _turns(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        (question, answer), *others = pairs
        return [(f"{question}\n{self.options.prompt}" if self.options.prompt else question, answer), *others]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A book with our own keys beside its own."""
        (first, answer), *others = turns_of(sample)
        ending = f"\n{self.options.prompt}" if self.options.prompt else ""
        if not first.endswith(ending):
            raise refusal(sample, f"its first question does not end with {self.options.prompt!r:.60}")
        pairs = [(first.removesuffix(ending), answer), *others]
        if any(not text or text != text.strip() for pair in pairs for text in pair):
            raise refusal(sample, "a question or answer is empty or has blanks around it")
        if others and self.options.turns == "single":
            raise refusal(sample, f"it has {len(pairs)} questions; with turns=single this format keeps one")
        # In which split it is nobody knows here; without one it is always read.
        return {
            "image": writing.image(sample.images[0]),
            "questions": [question for question, _ in pairs],
            "answers": [answer for _, answer in pairs],
            **own_keys(sample),
        }


def _first_value(file: str) -> Any:
    """The first value of a JSON object; None where it is none."""
    text = JsonText(file)
    try:
        if text.next_sign() == "{":
            for _, key in text.members():
                return text.value(key)[0]
    except TuwenError:
        # What is wrong with it is said by whoever reads it.
        return None
    finally:
        text.close()
    return None


def _pairs(record: Record, where: str) -> list[tuple[str, str]]:
    questions, answers = record.get("questions"), record.get("answers")
    if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
        counts = [len(value) if isinstance(value, list) else "no" for value in (questions, answers)]
        raise TuwenError(
            f"{where}: expected as many answers as questions, found {counts[0]} questions, {counts[1]} answers"
        )
    if not questions:
        raise TuwenError(f"{where}: questions: there is none")
    pairs = []
    for question, answer in zip(questions, answers, strict=True):
        # Years and the like are numbers in some copies.
        if not all(isinstance(text, str | int | float) and str(text).strip() for text in (question, answer)):
            raise TuwenError(f"{where}: expected a question and its answer, found {question!r:.60} and {answer!r:.60}")
        pairs.append((str(question).strip(), str(answer).strip()))
    return pairs


def _picture(record: Record, name: str, reading: Reading, where: str) -> Picture:
    if record.get("image") is not None:
        return find_picture([record["image"]], reading, where)
    if not name:
        raise TuwenError(f"{where}: expected a book's id, or image")
    address = str(record.get("imageURL") or record.get("image_url") or "")
    suffix = posixpath.splitext(address)[1].lower() or ".jpg"
    suffixes = dict.fromkeys([".jpg", suffix])
    return find_picture([f"{folder}{name}{end}" for folder in ("images/", "") for end in suffixes], reading, where)
