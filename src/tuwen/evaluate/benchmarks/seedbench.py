"""SEED-Bench: questions with four options in twelve dimensions, nine about pictures and three about videos.

Li et al. 2023, "SEED-Bench: Benchmarking Multimodal LLMs with Generative Comprehension". As in LLaVA's evaluation, a
video is asked about by one of its frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from os.path import isfile
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import in_order, read_replies, require_known, text_of
from tuwen.evaluate.figures import mean, rounded
from tuwen.evaluate.files import by_id, listed, only, prediction_paths, read_json, value
from tuwen.evaluate.scoring.choice_letters import Extraction, vlmevalkit_head, vlmevalkit_v0_2

QUESTIONS = "SEED-Bench.json"
ANSWERS, RECORDS = "llava_answers.jsonl", "predictions.jsonl"
FOLDERS = {"image": "SEED-Bench-image", "video": "SEED-Bench-video-image"}
LETTERS = "ABCD"
REQUEST = "Answer with the option's letter from the given choices directly."
# In the published archive pictures are named by their id alone.
SUFFIXES = ("", ".jpg", ".png")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of SEED-Bench.

    Attributes:
        id: its number, of videos with a v before it.
        text: the question.
        options: by letter.
        answer: the right letter.
        dimension: name of the dimension.
        kind: image or video.
        picture: the picture, or the frame.
    """

    id: str
    text: str
    options: Mapping[str, str]
    answer: str
    dimension: str
    kind: str
    picture: Path


@BENCHMARKS.register("seedbench")
class SeedBench(Benchmark):
    """See the module."""

    name: ClassVar[str] = "seedbench"
    title: ClassVar[str] = "SEED-Bench"
    summary: ClassVar[str] = "19,242 questions with four options, 14,233 of them about pictures; accuracy."
    summary_zh: ClassVar[str] = "19,242 道四选一题，其中 14,233 道关于图片；计准确率。"
    homepage: ClassVar[str] = "https://github.com/AILab-CVC/SEED-Bench"
    files: ClassVar[Mapping[str, str]] = {
        QUESTIONS: "questions of all dimensions",
        FOLDERS["image"]: "pictures, by data_id",
        FOLDERS["video"]: "a frame of each video, by question_id (.jpg)",
    }
    picture_folders: ClassVar[tuple[str, ...]] = tuple(FOLDERS.values())
    styles: ClassVar[tuple[str, ...]] = ("llava", "qwen")
    published: ClassVar[tuple[Published, ...]] = (
        Published(system="LLaVA-1.5-7B", values={"all": 58.6}, source="LLaVA docs/MODEL_ZOO.md"),
        Published(system="LLaVA-1.5-13B", values={"all": 61.6}, source="LLaVA docs/MODEL_ZOO.md"),
        Published(system="Qwen-VL-Chat", values={"all": 58.2}, source="LLaVA-1.5 paper, figure 1"),
    )

    @cached_property
    def _questions(self) -> dict[str, Question]:
        path = self.data / QUESTIONS
        data = read_json(path, "the questions of SEED-Bench")
        if not isinstance(data, dict) or not isinstance(data.get("question_type"), dict):
            raise TuwenError(f"{path}: expected an object with questions and question_type")
        names = {str(number): name for name, number in data["question_type"].items()}
        there = {kind: (self.data / folder).is_dir() for kind, folder in FOLDERS.items()}
        records = ((f"{path}: question {place}", one) for place, one in enumerate(listed(data, "questions", path)))
        found = by_id(
            (
                (where, question.id, question)
                for where, record in records
                for question in [self._question(record, names, there, where)]
            ),
            "question_id",
        )
        if not found:
            raise TuwenError(f"{path}: questions: there are none")
        return found

    def _question(
        self, record: dict[str, Any], names: Mapping[str, str], there: Mapping[str, bool], where: str
    ) -> Question:
        name, kind = str(value(record, "question_id", where=where)), str(value(record, "data_type", where=where))
        if kind not in FOLDERS:
            raise TuwenError(f"{where}: data_type: expected image or video, found {kind!r:.40}")
        dimension = names.get(str(value(record, "question_type_id", where=where)))
        if dimension is None:
            raise TuwenError(f"{where}: question_type_id {record['question_type_id']!r:.40} is not in question_type")
        answer = str(value(record, "answer", where=where))
        if len(answer) != 1 or answer not in LETTERS:
            raise TuwenError(f"{where}: answer: expected A, B, C or D, found {answer!r:.40}")
        stem = f"{name}.jpg" if kind == "video" else str(value(record, "data_id", where=where))
        plain = self.data / FOLDERS[kind] / stem
        candidates = (plain.with_name(plain.name + suffix) for suffix in SUFFIXES)
        picture = next((path for path in candidates if isfile(path)), plain) if there[kind] else plain
        options = {letter: str(value(record, f"choice_{letter.lower()}", where=where)) for letter in LETTERS}
        text = str(value(record, "question", where=where))
        return Question(name, text, options, answer, dimension, kind, picture)

    def items(self) -> Sequence[Item]:
        """Items in the file's order."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        image = Image("") if self.style == "qwen" else Image()
        return [
            Item(
                id=question.id,
                messages=(Message.of("user", image, self._asked(question)),),
                images=(question.picture,),
                reference=question.answer,
                category=question.dimension,
                cluster=question.picture.name,
                answer=f"{question.answer}. {question.options[question.answer]}",
            )
            for question in self._questions.values()
        ]

    def _asked(self, question: Question) -> str:
        options = "\n".join(f"{letter}. {text}" for letter, text in question.options.items())
        if self.style == "qwen":
            return f"Question: {question.text}\nOptions: {options}\nAnswer:"
        return f"{question.text}\n{options}\n{REQUEST}"

    def parse(self, item: Item, answer: str) -> str | None:
        """The letter, which must be the whole answer."""
        return _letter(answer)

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """LLaVA's program, which wants the letter and nothing else, and VLMEvalKit's by version."""
        return {
            "llava_exact": self._exact,
            "vlmevalkit_v0_2": partial(self._extracted, vlmevalkit_v0_2),
            "vlmevalkit_head": partial(self._extracted, vlmevalkit_head),
        }

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read LLaVA's answers, or what is submitted to the leaderboard."""
        return read_replies(only(prediction_paths(files, ((ANSWERS, RECORDS),))), "question_id", "id")

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """LLaVA's form of answers, in which numbers of questions about pictures are numbers."""
        path = out / ANSWERS
        with written_whole(path) as whole, whole.open("w", encoding="utf-8") as file:
            for one in in_order(self._items, predictions):
                number = int(one.id) if one.id.isdecimal() else one.id
                record = {"question_id": number, "prompt": self._questions[one.id].text, "text": text_of(one)}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return [path]

    def _exact(self, predictions: Sequence[Prediction]) -> Score:
        """LLaVA's ``convert_seed_for_submission.py``: the last answer counts, a missing one is wrong.

        A dimension without a right answer, where that program stops, has 0; of videos nothing is said where there are
        none.
        """
        require_known((one.id for one in predictions), self._questions, self.name)
        given = {one.id: text_of(one) for one in predictions}
        right = {name: given.get(name) == question.answer for name, question in self._questions.items()}
        table: dict[str, list[tuple[str, bool]]] = {}
        for name, question in self._questions.items():
            table.setdefault(question.dimension, []).append((name, right[name]))
        whole = self._accuracies(right)
        dimensions = {dimension: mean(them) * 100 for dimension, them in table.items()}
        scores = {**dimensions, "Total accuracy": whole["all"]}
        scores |= {f"{kind} accuracy": whole[kind] for kind in FOLDERS if kind in whole}
        per_item = {
            name: {"correct": right[name], "type": question.dimension} for name, question in self._questions.items()
        }
        parsed = {name: Parsed(value=_letter(given.get(name)), credit=float(right[name])) for name in self._questions}
        printed = {name: rounded(figure, lambda exact: float(f"{exact:.2f}")) for name, figure in scores.items()}
        return Score(scores=printed, per_item=per_item, parsed=parsed, headline=whole, subtasks=dimensions)

    def _extracted(self, extraction: Extraction, predictions: Sequence[Prediction]) -> Score:
        require_known((one.id for one in predictions), self._questions, self.name)
        if not predictions:
            raise TuwenError("seedbench: no predictions to score")
        per_item: dict[str, dict[str, Any]] = {}
        for one in predictions:
            question = self._questions[one.id]
            letter = extraction(text_of(one), question.options)
            per_item[one.id] = {"extracted": letter, "correct": letter == question.answer}
        whole = self._accuracies({name: verdict["correct"] for name, verdict in per_item.items()})
        scores = {"Total accuracy": whole["all"], **({"image accuracy": whole["image"]} if "image" in whole else {})}
        parsed = {
            name: Parsed(value=verdict["extracted"], credit=float(verdict["correct"]))
            for name, verdict in per_item.items()
        }
        return Score(scores=scores, per_item=per_item, parsed=parsed, headline=whole)

    def _accuracies(self, right: Mapping[str, bool]) -> dict[str, float]:
        """Percentages of all questions, and of those about pictures and about videos where there are any."""
        found = {"all": list(right.items())}
        for name, one in right.items():
            found.setdefault(self._questions[name].kind, []).append((name, one))
        return {name: mean(found[name]) * 100 for name in ("all", *FOLDERS) if name in found}


def _letter(reply: str | None) -> str | None:
    return reply if reply in tuple(LETTERS) else None
