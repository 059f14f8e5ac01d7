"""OCRBench: reading text of ten kinds, from clean words to handwritten formulas.

Liu et al. 2023, "OCRBench: On the Hidden Mystery of OCR in Large Multimodal Models".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError, unknown_name
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import in_order, read_replies, require_known, text_of
from tuwen.evaluate.figures import count
from tuwen.evaluate.files import only, own_predictions, prediction_paths, read_json, value
from tuwen.evaluate.scoring.contained_text import contains_any
from tuwen.evaluate.scoring.table_cells import as_pandas_reads

QUESTIONS, PICTURES, RESULTS = "OCRBench.json", "OCRBench_Images", "results_model.json"
RECORDS = "predictions.jsonl"
RECOGNITION = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)
OTHERS = (
    "Scene Text-centric VQA",
    "Doc-oriented VQA",
    "Key Information Extraction",
    "Handwritten Mathematical Expression Recognition",
)
KINDS = (*RECOGNITION, *OTHERS)
FORMULAS, FORMULA_DATA = OTHERS[-1], "HME100k"
# The columns of OCRBench's leaderboard: all, recognition, and each of the others.
COLUMNS = ("final score", "recognition", "scene text", "documents", "key information", "formulas")
LEADERBOARD = "OCRBench leaderboard"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of OCRBench.

    Attributes:
        id: its place in the file; the numbers in the file begin anew with each data set.
        record: as it stands there.
        references: any of which will do.
    """

    id: str
    record: Mapping[str, Any]
    references: tuple[str, ...]

    @property
    def kind(self) -> str:
        """One of ten."""
        return str(self.record["type"])

    @property
    def data_set(self) -> str:
        """Where the picture comes from."""
        return str(self.record["dataset_name"])


@BENCHMARKS.register("ocrbench")
class OCRBench(Benchmark):
    """See the module."""

    name: ClassVar[str] = "ocrbench"
    title: ClassVar[str] = "OCRBench"
    summary: ClassVar[str] = "1,000 questions about text in pictures; counts replies that contain the right text."
    summary_zh: ClassVar[str] = "1,000 道图中文字题；回答中包含正确文本即得一分。"
    homepage: ClassVar[str] = "https://github.com/Yuliang-Liu/MultimodalOCR"
    files: ClassVar[Mapping[str, str]] = {QUESTIONS: "questions with their answers", PICTURES: "pictures by image_path"}
    picture_folders: ClassVar[tuple[str, ...]] = (PICTURES,)
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            system="Qwen-VL",
            values=dict(zip(COLUMNS, (506, 179, 157, 95, 75, 0), strict=True)),
            source=LEADERBOARD,
        ),
        Published(
            system="LLaVA-1.5-13B",
            values=dict(zip(COLUMNS, (331, 176, 129, 19, 7, 0), strict=True)),
            source=LEADERBOARD,
        ),
        Published(
            system="LLaVA-1.5-7B",
            values=dict(zip(COLUMNS, (297, 160, 117, 15, 5, 0), strict=True)),
            source=LEADERBOARD,
        ),
    )

    @cached_property
    def _questions(self) -> dict[str, Question]:
        path = self.data / QUESTIONS
        records = read_json(path, "the questions of OCRBench")
        if not isinstance(records, list) or not records:
            raise TuwenError(f"{path}: expected a list of questions")
        return {str(number): _question(number, record, path) for number, record in enumerate(records)}

    def _picture(self, question: Question) -> Path:
        return self.data / PICTURES / str(question.record["image_path"])

    def items(self) -> Sequence[Item]:
        """Items in the file's order."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        return [
            Item(
                id=question.id,
                messages=(Message.of("user", Image(), str(question.record["question"])),),
                images=(self._picture(question),),
                reference=question.references,
                category=question.kind,
                cluster=str(question.record["image_path"]),
                tokens=100,
                answer=next(filter(None, question.references), ""),
            )
            for question in self._questions.values()
        ]

    def parse(self, item: Item, answer: str) -> str | None:
        """The answer itself, in which the right text is looked for; nothing is read of an empty one."""
        return answer.strip() or None

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """OCRBench's own program, and VLMEvalKit's."""
        return {"official": self._official, "vlmevalkit_head": self._vlmevalkit}

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read the questions with a key ``predict`` beside the others; those without one went without an answer."""
        path = only(prediction_paths(files, ((RESULTS, RECORDS),)))
        own = own_predictions(path)
        if own is not None:
            return own
        records = read_json(path, "predictions for OCRBench") if path.suffix == ".json" else None
        if not isinstance(records, list) or not any(isinstance(one, dict) and "image_path" in one for one in records):
            return read_replies(path, "id", "question_id")
        places: dict[tuple[str, ...], list[str]] = {}
        for name, question in self._questions.items():
            places.setdefault(_key(question.record), []).append(name)
        found, seen = [], Counter[tuple[str, ...]]()
        for number, record in enumerate(records):
            if not isinstance(record, dict):
                raise TuwenError(f"{path}: record {number}: expected keys and values, found {type(record).__name__}")
            key = _key(record)
            names = places.get(key, [" ".join(key)])
            found.append(Prediction(names[seen[key] % len(names)], record.get("predict")))
            seen[key] += 1
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """The questions with a key ``predict``, as the official program keeps them."""
        path = out / RESULTS
        given = self._given(in_order(self._items, predictions))
        records = [
            {**question.record, **({"predict": given[name]} if name in given else {})}
            for name, question in self._questions.items()
        ]
        with written_whole(path) as whole:
            whole.write_text(json.dumps(records, ensure_ascii=False, indent=4), encoding="utf-8")
        return [path]

    def _official(self, predictions: Sequence[Prediction]) -> Score:
        """OCRBench's ``example.py``: without an answer a question has no verdict and no point."""
        given = self._given(predictions)
        right = {
            name: contains_any(given[name], question.references, formulas=question.data_set == FORMULA_DATA)
            for name, question in self._questions.items()
            if name in given
        }
        kinds = self._count(right)
        data_sets: dict[str, list[tuple[str, bool]]] = {}
        for name, question in self._questions.items():
            data_sets.setdefault(question.data_set, []).append((name, right.get(name, False)))
        recognition = sum(kinds[kind] for kind in RECOGNITION)
        scores = {
            "per_type": kinds,
            "text_recognition": recognition,
            "final_score": sum(kinds.values()),
            "per_dataset": {name: {"hits": count(hits), "total": len(hits)} for name, hits in data_sets.items()},
        }
        per_item = {name: int(right[name]) if name in right else None for name in self._questions}
        return self._score(scores, per_item, given, right)

    def _vlmevalkit(self, predictions: Sequence[Prediction]) -> Score:
        """VLMEvalKit's ``OCRBench.evaluate``, which takes replies from a spreadsheet: an empty one has become nan."""
        given = self._given(predictions)
        read = dict(zip(given, as_pandas_reads(list(given.values())), strict=True))
        right = {
            name: contains_any(
                "nan" if reply is None else reply,
                self._questions[name].references,
                formulas=self._questions[name].kind == FORMULAS,
            )
            for name, reply in read.items()
        }
        kinds = self._count(right)
        total = sum(kinds.values())
        scores = {
            "Text Recognition": sum(kinds[kind] for kind in RECOGNITION),
            **{kind: kinds[kind] for kind in OTHERS},
            "Final Score": total,
            "Final Score Norm": total / 10,
        }
        return self._score(scores, None, given, right)

    def _given(self, predictions: Sequence[Prediction]) -> dict[str, str]:
        """Replies by item; None says that there was none."""
        require_known((one.id for one in predictions), self._questions, self.name)
        return {prediction.id: text_of(prediction) for prediction in predictions if prediction.text is not None}

    def _count(self, right: Mapping[str, bool]) -> dict[str, int]:
        """Right answers of each kind; without an answer there is none."""
        hits: dict[str, list[tuple[str, bool]]] = {kind: [] for kind in KINDS}
        for name, question in self._questions.items():
            hits[question.kind].append((name, right.get(name, False)))
        return {kind: count(mine) if mine else 0 for kind, mine in hits.items()}

    def _score(
        self, scores: Mapping[str, Any], per_item: Any, given: Mapping[str, str], right: Mapping[str, bool]
    ) -> Score:
        kinds = self._count(right)
        parsed = {
            name: Parsed(value=given.get(name, "").strip() or None, credit=float(right.get(name, False)))
            for name in self._questions
        }
        points = (sum(kinds.values()), sum(kinds[kind] for kind in RECOGNITION), *(kinds[kind] for kind in OTHERS))
        return Score(
            scores=scores,
            per_item=per_item,
            parsed=parsed,
            headline=dict(zip(COLUMNS, points, strict=True)),
        )


def _question(number: int, record: Any, path: Path) -> Question:
    where = f"{path}: question {number}"
    if not isinstance(record, dict):
        raise TuwenError(f"{where}: expected keys and values, found {type(record).__name__}")
    for key in ("dataset_name", "image_path", "question"):
        value(record, key, where=where)
    kind, answers = value(record, "type", where=where), value(record, "answers", where=where)
    if kind not in KINDS:
        raise TuwenError(f"{where}: {unknown_name('type', str(kind), list(KINDS))}")
    references = answers if isinstance(answers, list) else [answers]
    if not references or not all(isinstance(one, str) for one in references):
        raise TuwenError(f"{where}: answers: expected a text or a list of texts, found {answers!r:.40}")
    return Question(str(number), record, tuple(references))


def _key(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(record.get(key, "")) for key in ("dataset_name", "id", "image_path", "question"))
