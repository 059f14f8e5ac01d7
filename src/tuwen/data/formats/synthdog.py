"""SynthDoG and the other data of Donut (arXiv 2111.15664): ``{"file_name", "ground_truth"}`` a line.

``ground_truth`` is JSON in a text: ``gt_parse`` with ``text_sequence`` (the text of a page), or with the fields of a
document, nested in any way; or ``gt_parses``, a list of what is right, often questions with answers. Each split is a
folder with its ``metadata.jsonl`` and pictures. The same records come as parquet, with the picture under ``image``.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Kind, Record
from tuwen.data.containers.json_lines import JsonLines, dumped, parsed
from tuwen.data.containers.layout import Layout
from tuwen.data.formats.base import EXTRA, FORMATS, Format, Reading, Writing, refusal
from tuwen.data.formats.published import ALL, Wording, asked, find_picture, one_turn, own_keys, text_of, worded
from tuwen.data.sample import Sample
from tuwen.data.storage import is_url

METADATA = "metadata.jsonl"
LOOKED_AT = 8
SPLITS = ("train", "validation", "test")
READ_PAGE: Wording = {"zh": "读出图中的全部文字。", "en": "Read all the text in the picture."}
READ_FIELDS: Wording = {
    "zh": "读出这份文档的各项内容,用JSON回答。",
    "en": "Read the fields of this document and answer in JSON.",
}


class SynthdogOptions(StrictConfig):
    """What is chosen about SynthDoG's pages.

    Attributes:
        split: the folder that is read, where there are several; ``all`` for every one.
        prompt: what a page is asked; in the language of its text unless said.
        fields_prompt: what a document with fields is asked; in the language of its fields unless said.
    """

    split: str = "train"
    prompt: str | None = None
    fields_prompt: str | None = None


class MetadataFolders(Layout):
    """``metadata.jsonl`` in the folder at ``place`` or in its folders; pictures are named from ``place`` on."""

    name: ClassVar[str] = "synthdog"

    def __init__(self, place: str) -> None:
        self._place = Path(place) if Path(place).is_dir() else Path(place).parent
        self._lines = JsonLines()

    def files(self, place: str) -> list[str]:
        """The metadata file of the folder itself, else those of its splits, else those of its sets' splits."""
        if Path(place).is_file():
            return [place]
        for pattern in ("", "*/", "*/*/"):
            found = sorted(str(file) for file in Path(place).glob(pattern + METADATA))
            if found:
                return found
        return []

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The lines."""
        for offset, length, record in self._lines.scan(file):
            yield offset, length, record if isinstance(record, TuwenError) else self._placed(record, file)

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The line there."""
        return self._placed(self._lines.fetch(file, offset, length), file)

    def _placed(self, record: Record, file: str) -> Record:
        folder = Path(file).parent.relative_to(self._place).as_posix()
        name = record.get("file_name")
        if not isinstance(name, str) or not name or folder == ".":
            return record
        return {**record, "file_name": posixpath.join(folder, name)}


@FORMATS.register("synthdog")
class SynthdogFormat(Format):
    """See the module."""

    name: ClassVar[str] = "synthdog"
    options_class: ClassVar[type[StrictConfig]] = SynthdogOptions
    columns: ClassVar[Mapping[str, Kind]] = {"id": "text", "file_name": "picture", "ground_truth": "text", **EXTRA}
    options: SynthdogOptions

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """A picture and what is right about it, as JSON in a text."""
        truth = record.get("ground_truth")
        return (
            isinstance(truth, str | dict) and "gt_parse" in str(truth) and ("file_name" in record or "image" in record)
        )

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """Folders with such metadata, or one such file."""
        if is_url(place) or (Path(place).is_file() and Path(place).name != METADATA):
            return None
        container = MetadataFolders(place)
        files = container.files(place) if Path(place).exists() else []
        return container if files and all(_recognised(file) for file in files) else None

    def wanted(self, files: list[str]) -> list[str]:
        """Those of the split, where folders are called as splits are."""
        split = self.options.split
        names = [Path(file).parent.name for file in files]
        if split == ALL or len(files) == 1 or not set(names) & set(SPLITS):
            return files
        if split not in names:
            raise TuwenError(f"split: there is no {split!r}; choose one of {', '.join(sorted({*names}))}, or {ALL}")
        return [file for file, name in zip(files, names, strict=True) if name == split]

    def samples(self, record: Record, where: str, reading: Reading) -> list[Sample]:
        """One sample for a page or the fields of a document, one for each question otherwise."""
        truth = record.get("ground_truth")
        if not isinstance(truth, dict):
            text = text_of(record, "ground_truth", where)
            truth = parsed(text.encode("utf-8", "surrogatepass"), f"{where}: ground_truth")
        name = record.get("file_name") or record.get("image")
        picture = find_picture([name], reading, where)
        stem = record.get("id") or (name.rsplit(".", 1)[0] if isinstance(name, str) else reading.id_of(record))
        turns = self._turns(truth, where)
        result = []
        for number, (task, question, answer) in enumerate(turns):
            own = {"task": task, "id": f"{stem}-{number}" if len(turns) > 1 else stem}
            result.append(asked(record, where, reading, [(question, answer)], picture, **own))
        return result

    def _turns(self, truth: Record, where: str) -> list[tuple[str, str, str]]:
        """Task, question and answer of all that is asked."""
        parses = truth["gt_parses"] if "gt_parses" in truth else [truth.get("gt_parse")]
        if not isinstance(parses, list) or not parses or not all(isinstance(parse, dict) for parse in parses):
            raise TuwenError(f"{where}: ground_truth: expected gt_parse, or a list gt_parses, found {truth!r:.60}")
        if all({"question", "answer"} <= set(parse) for parse in parses):
            answers: dict[str, str] = {}
            for parse in parses:
                # Of several right answers to a question the first is learnt.
                answers.setdefault(text_of(parse, "question", where), text_of(parse, "answer", where))
            return [("document_vqa", question, answer) for question, answer in answers.items()]
        if set(parses[0]) == {"text_sequence"}:
            answer = text_of(parses[0], "text_sequence", where)
            return [("ocr", worded(self.options.prompt, READ_PAGE, answer), answer)]
        answer = dumped(parses[0])
        return [("document_fields", worded(self.options.fields_prompt, READ_FIELDS, answer), answer)]

    def record(self, sample: Sample, writing: Writing) -> Record:
        """A line with our own keys beside Donut's."""
        question, answer = one_turn(sample)
        for text in (question, answer):
            if not text or text != text.strip():
                raise refusal(sample, "a question or answer is empty or has blanks around it")
        truth = dumped(self._truth(sample, question, answer))
        return {"file_name": writing.image(sample.images[0]), "ground_truth": truth, **own_keys(sample)}

    def _truth(self, sample: Sample, question: str, answer: str) -> Record:
        """What ``_turns`` reads as this question and answer."""
        forms: list[Record] = [{"gt_parse": {"text_sequence": answer}}]
        fields = _fields(answer)
        if fields is not None:
            forms.append({"gt_parse": fields})
        forms.append({"gt_parses": [{"question": question, "answer": answer}]})
        for form in forms:
            if [turn[1:] for turn in self._turns(form, sample.id)] == [(question, answer)]:
                return form
        raise refusal(sample, "its answer cannot be kept as JSON")


def _recognised(file: str) -> bool:
    records = [record for _, _, record in islice(JsonLines().scan(file), LOOKED_AT)]
    good = [record for record in records if not isinstance(record, TuwenError)]
    return any(SynthdogFormat.recognises(record) for record in good)


def _fields(answer: str) -> Any:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
