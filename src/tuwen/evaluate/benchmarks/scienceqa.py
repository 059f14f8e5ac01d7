"""ScienceQA: school questions with two to five options, some about a picture.

Lu et al. 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains for Science Question Answering".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import REPLY_KEYS, in_order, require_known, text_of
from tuwen.evaluate.figures import count, mean
from tuwen.evaluate.files import (
    and_others,
    by_id,
    only,
    own_predictions,
    prediction_paths,
    read_json,
    read_records,
    value,
)
from tuwen.evaluate.scoring.choice_letters import FAILED, science_qa_llava

PROBLEMS, SPLITS, SPLIT = "problems.json", "pid_splits.json", "test"
PICTURES = f"images/{SPLIT}"
ANSWERS, RECORDS = "llava_answers.jsonl", "predictions.jsonl"
LETTERS = "ABCDE"
PLACE = "<image>"
REQUEST = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, slots=True)
class Asked(Prediction):
    """A prediction with the prompt that it answers; LLaVA's program looks there for the place of a picture.

    Attributes:
        prompt: as it was asked.
    """

    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question of ScienceQA.

    Attributes:
        id: its number.
        question: its text.
        hint: empty where there is none.
        options: by letter.
        answer: the right letter.
        subject: natural, social or language science.
        picture: None for text alone.
    """

    id: str
    question: str
    hint: str
    options: Mapping[str, str]
    answer: str
    subject: str
    picture: Path | None


@BENCHMARKS.register("scienceqa")
class ScienceQA(Benchmark):
    """See the module."""

    name: ClassVar[str] = "scienceqa"
    missing_is_wrong: ClassVar[bool] = True
    title: ClassVar[str] = "ScienceQA test"
    summary: ClassVar[str] = "4,241 school questions with two to five options, 2,017 about a picture; accuracy of both."
    summary_zh: ClassVar[str] = "4,241 道中小学科学选择题，其中 2,017 道带图；分别计准确率。"
    homepage: ClassVar[str] = "https://scienceqa.github.io"
    files: ClassVar[Mapping[str, str]] = {
        PROBLEMS: "questions of all splits",
        SPLITS: "which of them are the test split",
        f"{PICTURES}/ID/image.png": "pictures",
    }
    picture_folders: ClassVar[tuple[str, ...]] = (PICTURES,)
    styles: ClassVar[tuple[str, ...]] = ("llava", "qwen")
    published: ClassVar[tuple[Published, ...]] = (
        Published(system="LLaVA-1.5-7B", values={"image accuracy": 66.8}, source="LLaVA docs/MODEL_ZOO.md"),
        Published(system="LLaVA-1.5-13B", values={"image accuracy": 71.6}, source="LLaVA docs/MODEL_ZOO.md"),
        Published(system="Qwen-VL-Chat", values={"image accuracy": 68.2}, source="LLaVA-1.5 paper, figure 1"),
    )

    @cached_property
    def _problems(self) -> dict[str, Problem]:
        path = self.data / PROBLEMS
        problems, splits = read_json(path, "ScienceQA's questions"), read_json(self.data / SPLITS, "ScienceQA's splits")
        if not isinstance(problems, dict):
            raise TuwenError(f"{path}: expected an object of questions by their numbers")
        if not isinstance(splits, dict) or not isinstance(splits.get(SPLIT), list) or not splits[SPLIT]:
            raise TuwenError(f"{self.data / SPLITS}: {SPLIT}: expected a list of numbers of questions")
        numbers = [*map(str, splits[SPLIT])]
        missing = [number for number in numbers if not isinstance(problems.get(number), dict)]
        if missing:
            raise TuwenError(f"{path}: question {missing[0]} of the split {SPLIT} is missing{and_others(missing)}")
        where = f"{self.data / SPLITS}: {SPLIT}"
        return by_id(
            (
                (where, number, self._problem(number, problems[number], f"{path}: question {number}"))
                for number in numbers
            ),
            "question",
        )

    def _problem(self, number: str, record: dict[str, Any], where: str) -> Problem:
        choices, answer = value(record, "choices", where=where), value(record, "answer", where=where)
        if not isinstance(choices, list) or not 1 <= len(choices) <= len(LETTERS):
            raise TuwenError(f"{where}: choices: expected a list of one to five options, found {choices!r:.40}")
        if not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise TuwenError(f"{where}: answer: expected the number of an option, found {answer!r:.40}")
        image = record.get("image")
        return Problem(
            id=number,
            question=str(value(record, "question", where=where)),
            hint=str(record.get("hint") or ""),
            options={letter: str(choice) for letter, choice in zip(LETTERS, choices, strict=False)},
            answer=LETTERS[answer],
            subject=str(record.get("subject", "")),
            picture=self.data / PICTURES / number / str(image) if image else None,
        )

    def items(self) -> Sequence[Item]:
        """Items in the split's order; those without a picture are text alone."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        image = Image("") if self.style == "qwen" else Image()
        return [
            Item(
                id=problem.id,
                messages=(Message.of("user", *([] if problem.picture is None else [image]), self._asked(problem)),),
                images=() if problem.picture is None else (problem.picture,),
                reference=problem.answer,
                category=problem.subject,
                cluster=problem.id,
                answer=f"{problem.answer}. {problem.options[problem.answer]}",
            )
            for problem in self._problems.values()
        ]

    def _asked(self, problem: Problem) -> str:
        options = "\n".join(f"{letter}. {text}" for letter, text in problem.options.items())
        if self.style == "qwen":
            return f"Context: {problem.hint or 'N/A'}\nQuestion: {problem.question}\nOptions: {options}\nAnswer:"
        hint = f"Context: {problem.hint}\n" if problem.hint else ""
        return f"{hint}{problem.question}\n{options}\n{REQUEST}"

    def parse(self, item: Item, answer: str) -> str | None:
        """A letter, which need not be one of the question's."""
        letter = science_qa_llava(answer)
        return None if letter == FAILED else letter

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """LLaVA's program."""
        return {"llava": self._llava}

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read LLaVA's answers with their prompts."""
        path = only(prediction_paths(files, ((ANSWERS, RECORDS),)))
        own = own_predictions(path)
        if own is not None:
            return own
        found: list[Prediction] = []
        for number, record in enumerate(read_records(path, "predictions"), start=1):
            where = f"{path}: record {number}"
            name, reply = value(record, "question_id", "id", where=where), value(record, *REPLY_KEYS, where=where)
            prompt = record.get("prompt")
            found.append(Prediction(str(name), reply) if prompt is None else Asked(str(name), reply, str(prompt)))
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """LLaVA's form of answers."""
        path = out / ANSWERS
        with written_whole(path) as whole, whole.open("w", encoding="utf-8") as file:
            for one in in_order(self._items, predictions):
                problem = self._problems[one.id]
                prompt = ("" if problem.picture is None else f"{PLACE}\n") + self._asked(problem)
                record = {"question_id": one.id, "prompt": prompt, "text": text_of(one)}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return [path]

    def _llava(self, predictions: Sequence[Prediction]) -> Score:
        """LLaVA's ``eval_science_qa.py``: the last answer counts; a question without one is wrong, and has no picture.

        A question is one of pictures when its prompt has the place of one, so where no prompt is known, when it has a
        picture.
        """
        require_known((one.id for one in predictions), self._problems, self.name)
        last = {prediction.id: prediction for prediction in predictions}
        per_item: dict[str, dict[str, Any]] = {}
        for name, problem in self._problems.items():
            given = last.get(name)
            letter = FAILED if given is None else science_qa_llava(text_of(given))
            seen = PLACE in given.prompt if isinstance(given, Asked) else bool(given and problem.picture)
            per_item[name] = {
                "parsed": letter,
                "ground_truth": problem.answer,
                "is_multimodal": seen,
                "correct": letter in problem.options and letter == problem.answer,
            }
        right = [(name, verdict["correct"]) for name, verdict in per_item.items()]
        pictured = [(name, verdict["correct"]) for name, verdict in per_item.items() if verdict["is_multimodal"]]
        scores = {
            "total": len(right),
            "correct": count(right),
            "accuracy": mean(right) * 100,
            "img_total": len(pictured),
            "img_correct": count(pictured),
            "img_accuracy": mean(pictured) * 100 if pictured else None,
        }
        parsed = {
            name: Parsed(
                value=None if verdict["parsed"] == FAILED else verdict["parsed"], credit=float(verdict["correct"])
            )
            for name, verdict in per_item.items()
        }
        headline = {"accuracy": scores["accuracy"]}
        if pictured:
            headline["image accuracy"] = scores["img_accuracy"]
        return Score(scores=scores, per_item=per_item, parsed=parsed, headline=headline)
