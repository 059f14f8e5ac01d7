"""What benchmarks of short answers share: prompts, questions by id, and files of predictions."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._replies import read_replies, require_pictures, text_of
from tuwen.evaluate.files import read_records, require
from tuwen.evaluate.scoring.vqa_accuracy import Judged, Rule, percent

OWN_FILE = "predictions.jsonl"
# LLaVA-1.5's, Qwen-VL's and CodeFuse-VLM's prompts for short answers.
PROMPTS: Mapping[str, str] = {
    "llava": "{question}\nAnswer the question using a single word or phrase.",
    "qwen": "{question} Answer:",
    "codefuse": "{question}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about one picture.

    Attributes:
        id: unique in the benchmark.
        text: as it was written.
        picture: where its picture lies.
        answers: the references, in the order of the file.
        category: for tables.
        kind: a second, finer division, where a benchmark has one.
        expected: the answer for people; the most frequent reference unless said.
    """

    id: str
    text: str
    picture: Path
    answers: tuple[str, ...]
    category: str = ""
    kind: str = ""
    expected: str = ""

    @property
    def answer(self) -> str:
        """One answer for people, and for rules that know one reference only."""
        return self.expected or max(self.answers, key=self.answers.count)


class ShortAnswers(Benchmark):
    """A benchmark whose items are a picture and a question with a short answer."""

    # Style → prompt, with ``{question}``.
    prompts: ClassVar[Mapping[str, str]] = PROMPTS
    # Style → new tokens at most, where not 64.
    tokens: ClassVar[Mapping[str, int]] = {"qwen": 10}
    # Key of an item's id in files of predictions.
    id_keys: ClassVar[tuple[str, ...]]
    # What is read of a folder with predictions: of each row the first file that is there.
    prediction_files: ClassVar[tuple[tuple[str, ...], ...]]
    # Folder of the pictures.
    pictures: ClassVar[str]

    styles = tuple(PROMPTS)

    @abstractmethod
    def read_questions(self) -> Iterable[Question]:
        """The data's questions, in the order in which the official program goes through them."""

    @abstractmethod
    def reading(self, reply: str, references: Sequence[str]) -> Any:
        """What the usual scorer compares with the references."""

    @cached_property
    def questions(self) -> dict[str, Question]:
        """Questions by id.

        Raises:
            TuwenError: naming the file, key or question that is missing or wrong.
        """
        found: dict[str, Question] = {}
        for question in self.read_questions():
            if question.id in found:
                raise TuwenError(f"{self.data}: {self.name}: question {question.id} is there twice")
            found[question.id] = question
        if not found:
            raise TuwenError(f"{self.data}: {self.name}: no questions")
        return found

    def ask(self, question: Question) -> str:
        """A question in the chosen style."""
        return self.prompts[self.style].format(question=question.text)

    def items(self) -> Sequence[Item]:
        """One for each question, the picture first."""
        require_pictures(dict.fromkeys(one.picture for one in self.questions.values()), self.data / self.pictures)
        # Qwen-VL's evaluation does not number its pictures.
        image = Image("") if self.style == "qwen" else Image()
        return [
            Item(
                id=question.id,
                messages=(Message.of("user", image, self.ask(question)),),
                images=(question.picture,),
                reference=question.answers,
                category=question.category,
                cluster=question.picture.name,
                tokens=self.tokens.get(self.style, 64),
                answer=question.answer,
            )
            for question in self.questions.values()
        ]

    def parse(self, item: Item, answer: str) -> Any:
        """The answer as the usual scorer compares it; None where nothing is left of it."""
        found = self.reading(answer, item.reference)
        return None if found == "" else found

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read files, or the files with the official names in folders."""
        paths = prediction_paths(files, self.prediction_files)
        return [prediction for path in paths for prediction in self.read_file(path)]

    def read_file(self, path: Path) -> list[Prediction]:
        """Read a file of records with an id and an answer."""
        return read_replies(path, *self.id_keys)

    def replies(self, predictions: Iterable[Prediction]) -> dict[str, str]:
        """Replies by id; of several to one question the last one counts.

        Raises:
            TuwenError: when there is none, or one is no text.
        """
        found = {prediction.id: text_of(prediction) for prediction in predictions}
        if not found:
            raise TuwenError(f"{self.name}: no predictions to score")
        return found

    def known(self, replies: Iterable[str]) -> None:
        """Refuse replies to no question.

        Raises:
            TuwenError: naming the first of them.
        """
        unknown = [name for name in replies if name not in self.questions]
        if unknown:
            raise TuwenError(
                f"{self.name}: {len(unknown)} predictions are for no question of {self.data}, the first is {unknown[0]}"
            )

    def complete(self, replies: Mapping[str, Any], program: str) -> None:
        """Refuse what leaves questions out, where the official program does.

        Raises:
            TuwenError: naming the first question without a reply.
        """
        missing = [name for name in self.questions if name not in replies]
        if missing:
            raise TuwenError(
                f"{self.name}: {len(missing)} questions have no prediction, the first is {missing[0]}: "
                f"{program} stops there"
            )

    def judge(self, rule: Rule, replies: Mapping[str, str]) -> dict[str, Judged]:
        """Compare replies with their references, in the questions' order."""
        return {
            name: rule(replies[name], question.answers) for name, question in self.questions.items() if name in replies
        }

    def mean_score(self, rule: Rule, key: str, predictions: Sequence[Prediction]) -> Score:
        """The mean over the questions that have a reply, under the name ``key``."""
        replies = self.replies(predictions)
        self.known(replies)
        judged = self.judge(rule, replies)
        mean = percent([one.accuracy for one in judged.values()])
        return Score(
            scores={key: mean},
            per_item={name: 100 * one.accuracy for name, one in judged.items()},
            parsed=parsed(judged),
            headline={"accuracy": mean},
        )


def parsed(judged: Mapping[str, Judged]) -> dict[str, Parsed]:
    """What replies were read as, for intervals and for leafing through errors."""
    return {name: Parsed(value=one.answer or None, credit=one.accuracy) for name, one in judged.items()}


def prediction_paths(files: Sequence[Path], rows: Sequence[Sequence[str]]) -> list[Path]:
    """The files to read: those that were given, and in place of a folder those of it that are known by name.

    Args:
        files: files or folders.
        rows: names; of each row the first that is there is read.

    Raises:
        TuwenError: for a file that is not there, and a folder without any of the names.
    """
    paths = []
    for path in files:
        if not path.is_dir():
            paths.append(require(path, "predictions"))
            continue
        found = [next((path / name for name in row if (path / name).is_file()), None) for row in rows]
        here = list(dict.fromkeys(one for one in found if one is not None))
        if not here:
            names = ", ".join(dict.fromkeys(name for row in rows for name in row))
            raise TuwenError(f"{path}: no predictions; expected {names}")
        paths += here
    return paths


def numbered(path: Path, what: str = "predictions") -> list[tuple[str, dict[str, Any]]]:
    """A file's records, each with the words that say where it is."""
    return [(f"{path}: record {number}", record) for number, record in enumerate(read_records(path, what), start=1)]


def listed(data: Any, key: str, path: Path) -> list[dict[str, Any]]:
    """The records under a key of a JSON file.

    Raises:
        TuwenError: when there is no such list, or it holds something else.
    """
    records = data.get(key) if isinstance(data, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise TuwenError(f"{path}: {key}: expected a list of records under this key")
    return records


def text(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text of a record.

    Raises:
        TuwenError: when it is missing or something else.
    """
    found = record.get(key)
    if not isinstance(found, str):
        raise TuwenError(f"{where}: {key}: expected text, found {type(found).__name__}")
    return found


def texts(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """References of a record: texts, or records of a text under ``answer``.

    Raises:
        TuwenError: when there is none, or one is something else.
    """
    found = record.get(key)
    if not isinstance(found, list) or not found:
        raise TuwenError(f"{where}: {key}: expected a list of answers, found {type(found).__name__}")
    answers = []
    for one in found:
        answer = one.get("answer") if isinstance(one, dict) else one
        if not isinstance(answer, str):
            raise TuwenError(f"{where}: {key}: expected texts, found {type(answer).__name__}")
        answers.append(answer)
    return tuple(answers)


def official_id(name: str) -> int | str:
    """An id as official files hold it: a whole number where it is one."""
    return int(name) if name.isascii() and name.isdigit() else name


def write_records(path: Path, records: Iterable[Mapping[str, Any]], *, lines: bool = False) -> Path:
    """Write records as a JSON list, or one a line.

    In ASCII: some official programs open files in whatever encoding the machine has.
    """
    rows = (json.dumps(record) for record in records)
    content = "".join(row + "\n" for row in rows) if lines else "[\n" + ",\n".join(rows) + "\n]\n"
    with written_whole(path) as partial:
        partial.write_text(content, encoding="ascii")
    return path
