"""MME: two yes/no questions about each picture, in fourteen subtasks of perception and cognition.

Fu et al. 2023, "MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._mme_files import (
    COGNITION,
    LISTS,
    PERCEPTION,
    RELEASE,
    REQUEST,
    TASKS,
    Question,
    read_predictions,
    read_questions,
)
from tuwen.evaluate.benchmarks._replies import in_order, require_known, text_of
from tuwen.evaluate.figures import count, mean
from tuwen.evaluate.scoring.yes_no import READ_AS, Counts, mme_lmms_eval, mme_official, vlmevalkit_words

Lines = list[tuple[Question, str]]
_ONE_LINE = str.maketrans("", "", "\t\n\r")
_BELLE = dict(
    zip(TASKS, (190, 150, 130, 175, 166.33, 136.76, 156.25, 174, 139.5, 177.5, 127.14, 47.5, 102.5, 55), strict=True)
)
_QWEN_VL_CHAT = dict(
    zip(
        TASKS,
        (158.33, 150, 128.33, 170, 178.57, 120.59, 152.25, 164, 125.5, 140, 130.71, 40, 147.5, 42.5),
        strict=True,
    )
)


@BENCHMARKS.register("mme")
class MME(Benchmark):
    """See the module."""

    name: ClassVar[str] = "mme"
    title: ClassVar[str] = "MME"
    summary: ClassVar[str] = (
        "1,187 pictures with two yes/no questions each. A subtask's score is accuracy over questions plus accuracy "
        "over pictures (both right), 200 at most; perception is the sum of ten, cognition of four."
    )
    summary_zh: ClassVar[str] = (
        "1,187 张图，每张两个是非题。子任务得分为按题与按图（两题全对）准确率之和，满分 200；"
        "感知为十项之和，认知为四项之和。"
    )
    homepage: ClassVar[str] = "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation"
    files: ClassVar[Mapping[str, str]] = {
        f"{RELEASE}/TASK": "pictures and questions of the fourteen subtasks",
        f"{LISTS}/TASK.txt": "the official tool's lists, which give the order; enough to score without pictures",
    }
    picture_folders: ClassVar[tuple[str, ...]] = (RELEASE, *TASKS)
    # Small models that were never told how to answer are asked the bare question.
    styles: ClassVar[tuple[str, ...]] = ("llava", "qwen", "plain")
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            system="Belle-VL",
            values={"perception": 1595.34, "cognition": 332.14, **_BELLE},
            source="BELLE-VL model card",
            note="scored by MME's own program",
        ),
        Published(
            system="Qwen-VL-Chat",
            values={"perception": 1487.57, "cognition": 360.71, **_QWEN_VL_CHAT},
            source="Qwen-VL eval_mm/mme/EVAL_MME.md",
            note="questions as in the files, top_p 0.01",
        ),
        Published(system="LLaVA-1.5-7B", values={"perception": 1510.7}, source="LLaVA docs/MODEL_ZOO.md"),
        Published(system="LLaVA-1.5-13B", values={"perception": 1531.3}, source="LLaVA docs/MODEL_ZOO.md"),
    )

    @cached_property
    def _questions(self) -> dict[str, Question]:
        return {question.id: question for question in read_questions(self.data)}

    @cached_property
    def _tasks(self) -> list[str]:
        there = {question.task for question in self._questions.values()}
        return [task for task in TASKS if task in there]

    def items(self) -> Sequence[Item]:
        """Two items a picture."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        return [
            Item(
                id=question.id,
                messages=(self._asked(question.text),),
                images=(question.picture,),
                reference=question.answer,
                category=question.task,
                cluster=f"{question.task}/{question.image}",
                tokens=16,
                answer=question.answer,
            )
            for question in self._questions.values()
        ]

    def _asked(self, text: str) -> Message:
        if self.style == "qwen":
            return Message.of("user", Image(""), text)
        bare = text.replace(REQUEST, "").strip()
        if self.style == "plain":
            return Message.of("user", Image(), bare)
        return Message.of("user", Image(), f"{bare}\nAnswer the question using a single word or phrase.")

    def parse(self, item: Item, answer: str) -> str | None:
        """Yes or no, as the official program reads it."""
        return READ_AS.get(mme_official(answer.translate(_ONE_LINE)))

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """MME's own program, VLMEvalKit and lmms-eval."""
        return {"official": self._official, "vlmevalkit_head": self._vlmevalkit, "lmms_eval": self._lmms_eval}

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read the official tool's results (a folder or files), or records by question; see ``_mme_files``."""
        return read_predictions(files, self._questions.values())

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """A file of results for each subtask, as the official tool reads them."""
        written = []
        found = in_order(self.items(), predictions)
        for task in self._tasks:
            path = out / f"{task}.txt"
            with written_whole(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
                for prediction in found:
                    question = self._questions[prediction.id]
                    if question.task == task:
                        cells = (question.image, question.text, question.answer, _one_line(prediction))
                        file.write("\t".join(cells) + "\n")
            written.append(path)
        return written

    def _official(self, predictions: Sequence[Prediction]) -> Score:
        """The official tool's ``calculation.py``, which pairs lines as they follow each other."""
        replies = {prediction.id: _one_line(prediction) for prediction in predictions}
        read = [(prediction.id, mme_official(_one_line(prediction))) for prediction in predictions]
        table = {task: _official_task(lines) for task, lines in self._by_task(read, _unpaired).items()}
        tasks = {task: figures["score"] for task, figures in table.items()}
        totals = self._totals(tasks)
        per_item = {
            name: {"prediction": replies[name], "gt": self._questions[name].answer, **verdict}
            for name, verdict in self._verdicts(read).items()
        }
        return self._score({"per_task": table, **totals}, per_item, totals, tasks)

    def _vlmevalkit(self, predictions: Sequence[Prediction]) -> Score:
        """VLMEvalKit's ``MME_rating``, which pairs by picture and looks at the first two answers about it."""
        read = [(prediction.id, vlmevalkit_words(text_of(prediction))) for prediction in predictions]
        tasks = {}
        for task, lines in self._by_task(read, _alone).items():
            pictures = _pictures(lines)
            both = mean((right[0][0], right[0][1] and right[1][1]) for right in pictures.values())
            share = mean(verdict for right in pictures.values() for verdict in right)
            tasks[task] = share * 100 + both * 100
        totals = self._totals(tasks)
        scores = {"perception": totals["perception"], "reasoning": totals["cognition"], **tasks}
        return self._score(scores, self._verdicts(read), totals, tasks)

    def _lmms_eval(self, predictions: Sequence[Prediction]) -> Score:
        """lmms-eval, which wants exactly two answers about each picture."""
        read = [(prediction.id, mme_lmms_eval(text_of(prediction))) for prediction in predictions]
        tasks = {}
        for task, lines in self._by_task(read, _not_two).items():
            pictures = _pictures(lines)
            tasks[task] = mean(
                (first, 50.0 * (one + other) + 100.0 * (one and other))
                for (first, one), (_, other) in pictures.values()
            )
        totals = self._totals(tasks)
        scores = {f"mme_{name}_score": total for name, total in totals.items()}
        return self._score(scores, self._verdicts(read), totals, tasks)

    def _by_task(self, read: Sequence[tuple[str, str]], fault: Callable[[Lines], str | None]) -> dict[str, Lines]:
        """What was read, by subtask.

        Where something may be missing, subtasks without answers are left out; of those at which the program would stop,
        the first answers about pictures that have both count.

        Args:
            read: items and what their answers were read as.
            fault: at what the program stops in a subtask's lines, in words.
        """
        require_known((name for name, _ in read), self._questions, self.name)
        found: dict[str, Lines] = {task: [] for task in self._tasks}
        for name, label in read:
            question = self._questions[name]
            found[question.task].append((question, label))
        for task, lines in found.items():
            said = fault(lines) if lines else "no answers; MME's program needs all subtasks of the data"
            if said is not None and not self.partial:
                raise TuwenError(f"MME: {task}: {said}")
            if said is not None:
                found[task] = _with_both(lines)
        if not any(found.values()):
            raise TuwenError("MME: no picture has both of its answers")
        return {task: lines for task, lines in found.items() if lines}

    @staticmethod
    def _totals(tasks: Mapping[str, float]) -> dict[str, float]:
        return {
            "perception": sum((tasks[task] for task in PERCEPTION if task in tasks), 0.0),
            "cognition": sum((tasks[task] for task in COGNITION if task in tasks), 0.0),
        }

    def _verdicts(self, read: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
        return {name: {"label": label, "correct": _right(self._questions[name], label)} for name, label in read}

    @staticmethod
    def _score(
        scores: Mapping[str, Any],
        per_item: Mapping[str, Any],
        headline: Mapping[str, float],
        subtasks: Mapping[str, float],
    ) -> Score:
        parsed = {
            name: Parsed(value=READ_AS.get(verdict["label"]), credit=float(verdict["correct"]))
            for name, verdict in per_item.items()
        }
        return Score(scores=scores, per_item=per_item, parsed=parsed, headline=headline, subtasks=subtasks)


def _right(question: Question, label: str) -> bool:
    return label.lower() == question.answer.lower()


def _pictures(lines: Lines) -> dict[str, list[tuple[str, bool]]]:
    """By picture, its items and whether they were answered rightly."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for question, label in lines:
        found.setdefault(question.image, []).append((question.id, _right(question, label)))
    return found


def _with_both(lines: Lines) -> Lines:
    first: dict[str, tuple[Question, str]] = {}
    for question, label in lines:
        first.setdefault(question.id, (question, label))
    answered = Counter(question.image for question, _ in first.values())
    pairs = (line for line in first.values() if answered[line[0].image] == 2)
    # One after the other, as the official program takes them.
    return sorted(pairs, key=lambda line: line[0].id)


def _unpaired(lines: Lines) -> str | None:
    return f"{len(lines)} answers; MME's program takes two in a row as a picture's pair" if len(lines) % 2 else None


def _alone(lines: Lines) -> str | None:
    answers = Counter(question.image for question, _ in lines)
    image = next((image for image, count in answers.items() if count < 2), None)
    return None if image is None else f"one answer about {image}; VLMEvalKit needs two about each picture"


def _not_two(lines: Lines) -> str | None:
    answers = Counter(question.image for question, _ in lines)
    image = next((image for image, count in answers.items() if count != 2), None)
    return None if image is None else f"{answers[image]} answers about {image}; lmms-eval needs exactly two"


def _one_line(prediction: Prediction) -> str:
    return text_of(prediction).translate(_ONE_LINE)


def _official_task(lines: Lines) -> dict[str, float]:
    right = [(question.id, _right(question, label)) for question, label in lines]
    pairs = zip(right[::2], right[1::2], strict=True)
    acc, acc_plus = mean(right) * 100, mean((name, first and second) for (name, first), (_, second) in pairs) * 100
    counts = Counts.of(
        (question.id, label == "yes", question.answer.lower() == "yes") for question, label in lines if label != "other"
    )
    return {
        "acc": acc,
        "acc_plus": acc_plus,
        "score": acc + acc_plus,
        "other_num": count((question.id, label == "other") for question, label in lines),
        "precision": counts.precision,
        "recall": counts.recall,
        "TP": counts.tp,
        "FN": counts.fn,
        "TN": counts.tn,
        "FP": counts.fp,
    }
