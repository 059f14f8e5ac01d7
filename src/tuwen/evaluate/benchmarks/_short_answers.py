"""What benchmarks of short answers share: prompts, questions by id, and files of predictions."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._replies import read_replies, text_of
from tuwen.evaluate.figures import percent
from tuwen.evaluate.files import by_id, prediction_paths
from tuwen.evaluate.scoring.vqa_accuracy import Judged, Rule

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
        where = f"{self.data}: {self.name}"
        found = by_id(((where, one.id, one) for one in self.read_questions()), "question")
        if not found:
            raise TuwenError(f"{self.data}: {self.name}: no questions")
        return found

    def ask(self, question: Question) -> str:
        """A question in the chosen style."""
        return self.prompts[self.style].format(question=question.text)

    def items(self) -> Sequence[Item]:
        """One for each question, the picture first."""
        return self.items_of(self.questions.values())

    def items_of(self, questions: Iterable[Question]) -> list[Item]:
        """Questions as items."""
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
            for question in questions
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
        """Refuse what leaves questions out, where the official program does and it was not said that they may be.

        Raises:
            TuwenError: naming the first question without a reply.
        """
        missing = [name for name in self.questions if name not in replies]
        if missing and not self.partial:
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
        mean = percent((name, one.accuracy) for name, one in judged.items())
        return Score(
            scores={key: mean},
            per_item={name: 100 * one.accuracy for name, one in judged.items()},
            parsed=parsed(judged),
            headline={"accuracy": mean},
        )


def parsed(judged: Mapping[str, Judged]) -> dict[str, Parsed]:
    """What replies were read as, for intervals and for leafing through errors."""
    return {name: Parsed(value=one.answer or None, credit=one.accuracy) for name, one in judged.items()}


class Wordings:
    """Finds questions by a picture and some words, which stand for an id in files of some programs.

    Args:
        questions: all of them.
        key: of a question: its picture and its words, as those files have them.
    """

    def __init__(self, questions: Iterable[Question], key: Callable[[Question], tuple[str, str]]) -> None:
        self._key = key
        self._found: dict[tuple[str, str], list[Question]] = {}
        for question in questions:
            self._found.setdefault(key(question), []).append(question)

    def same(self, question: Question) -> list[Question]:
        """All questions with a question's picture and words, itself among them."""
        return self._found[self._key(question)]

    def finder(self) -> Callable[[str, str], str]:
        """A function for one file, from picture and words to an id: of questions that share them one after the other,
        and one that no question has where there is no such question."""
        seen: Counter[tuple[str, str]] = Counter()

        def find(picture: str, words: str) -> str:
            questions = self._found.get((picture, words))
            if questions is None:
                return f"{picture}: {words}"
            seen[picture, words] += 1
            return questions[min(seen[picture, words], len(questions)) - 1].id

        return find
