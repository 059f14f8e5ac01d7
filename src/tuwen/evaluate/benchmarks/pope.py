"""POPE: is an object in the picture that is not, asked of objects drawn at random, popular ones and likely ones.

Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import in_order, read_replies, require_known, text_of
from tuwen.evaluate.figures import mean
from tuwen.evaluate.files import by_id, own_predictions, prediction_paths, read_json_lines, value
from tuwen.evaluate.scoring.yes_no import READ_AS, Counts, pope_first_sentence, vlmevalkit_words, whole_reply

PREFIX, ANSWERS = "coco_pope_", "_answers"
CATEGORIES = ("random", "popular", "adversarial")
PLACES = ("coco", "output/coco", ".")
LLAVA_QUESTIONS, LLAVA_ANSWERS, RECORDS = "llava_pope_test.jsonl", "llava_answers.jsonl", "predictions.jsonl"
PICTURES = "val2014"
REQUEST = "Answer the question using a single word or phrase."


@dataclass(frozen=True, slots=True)
class Question:
    """A question of POPE.

    Attributes:
        id: LLaVA's number where its file of questions is there, else category and number.
        category: of the three.
        image: the picture's name.
        text: as POPE puts it.
        label: yes or no.
    """

    id: str
    category: str
    image: str
    text: str
    label: str


@BENCHMARKS.register("pope")
class Pope(Benchmark):
    """See the module."""

    name: ClassVar[str] = "pope"
    title: ClassVar[str] = "POPE"
    summary: ClassVar[str] = (
        "Yes/no questions about objects in COCO's pictures, half of which are not there; F1 and accuracy in three "
        "settings, and the mean of the three."
    )
    summary_zh: ClassVar[str] = "关于 COCO 图中物体的是非题，一半物体并不存在；三种设置下的 F1 与准确率及其平均。"
    homepage: ClassVar[str] = "https://github.com/RUCAIBox/POPE"
    files: ClassVar[Mapping[str, str]] = {
        f"coco/{PREFIX}random.json": "questions and labels, JSON lines; likewise popular and adversarial",
        LLAVA_QUESTIONS: "LLaVA's numbering of all three, where its answers are scored",
        PICTURES: "pictures, COCO_val2014_*.jpg",
    }
    picture_folders: ClassVar[tuple[str, ...]] = (PICTURES,)
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            system="LLaVA-1.5-7B",
            values={"F1": 85.9},
            source="LLaVA docs/MODEL_ZOO.md",
            note="2,910 questions in random, as in POPE's commit e3e39262",
        ),
        Published(
            system="LLaVA-1.5-13B",
            values={"F1": 85.9},
            source="LLaVA docs/MODEL_ZOO.md",
            note="2,910 questions in random, as in POPE's commit e3e39262",
        ),
    )

    @cached_property
    def _folder(self) -> Path:
        for place in PLACES:
            if any((self.data / place).glob(f"{PREFIX}*.json")):
                return self.data / place
        raise TuwenError(f"{self.data}: no {PREFIX}*.json in coco; expected POPE's questions")

    @cached_property
    def _questions(self) -> dict[str, Question]:
        """Questions by id, category by category."""
        names = sorted(path.stem.removeprefix(PREFIX) for path in self._folder.glob(f"{PREFIX}*.json"))
        ordered = sorted(names, key=lambda name: (name not in CATEGORIES, (*CATEGORIES, name).index(name)))
        found = ((where, one.id, one) for category in ordered for where, one in self._of_category(category))
        return by_id(found, "question")

    def _of_category(self, category: str) -> Iterator[tuple[str, Question]]:
        path = self._folder / f"{PREFIX}{category}.json"
        records = read_json_lines(path, "POPE's questions")
        asked = None if self._llava_numbers is None else self._llava_numbers.get(category, [])
        if asked is not None and len(asked) != len(records):
            raise TuwenError(
                f"{path}: {len(records)} questions, and {len(asked)} of {category} in {LLAVA_QUESTIONS}; take both "
                f"from the same release, or leave {LLAVA_QUESTIONS} out"
            )
        for number, record in enumerate(records):
            where = f"{path}: record {number + 1}"
            name = f"{category}/{value(record, 'question_id', where=where)}"
            question = _question(name, category, record, where)
            yield where, question if asked is None else _renumbered(question, asked[number], where)

    @cached_property
    def _llava_numbers(self) -> dict[str, list[dict[str, Any]]] | None:
        path = self.data / LLAVA_QUESTIONS
        if not path.is_file():
            return None
        found: dict[str, list[dict[str, Any]]] = {}
        for number, record in enumerate(read_json_lines(path, "LLaVA's questions of POPE"), start=1):
            where = f"{path}: record {number}"
            found.setdefault(str(value(record, "category", where=where)), []).append(record)
        return found

    def items(self) -> Sequence[Item]:
        """Items category by category."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        return [
            Item(
                id=question.id,
                messages=(Message.of("user", Image(), f"{question.text}\n{REQUEST}"),),
                images=(self.data / PICTURES / question.image,),
                reference=question.label,
                category=question.category,
                cluster=question.image,
                tokens=32,
                answer=question.label,
            )
            for question in self._questions.values()
        ]

    def parse(self, item: Item, answer: str) -> str:
        """Yes or no; this program takes all that is not no for yes."""
        return pope_first_sentence(answer)

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """LLaVA's program and POPE's, which are one rule; VLMEvalKit and lmms-eval."""
        return {
            "llava_eval_pope": self._official,
            "pope_official": self._official,
            "vlmevalkit_head": self._vlmevalkit,
            "lmms_eval": self._lmms_eval,
        }

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read LLaVA's answers, or POPE's files of answers, one for each category, or their folder."""
        found: list[Prediction] = []
        for place in (one for path in files for one in _places(path)):
            if place.suffix == ".json":
                found += self._by_position(place)
            elif own_predictions(place) is not None:
                found += self._in_order(read_replies(place, "id"))
            else:
                found += read_replies(place, "question_id", "id")
        return found

    def _in_order(self, predictions: list[Prediction]) -> list[Prediction]:
        place = {name: number for number, name in enumerate(self._questions)}
        return sorted(predictions, key=lambda one: place.get(one.id, len(place)))

    def _by_position(self, path: Path) -> list[Prediction]:
        """POPE's own form has no numbers: an answer belongs to the next question with the same words."""
        category = path.stem.removeprefix(PREFIX).removesuffix(ANSWERS)
        questions = [one for one in self._questions.values() if one.category == category]
        if not questions:
            raise TuwenError(f"{path}: no category of POPE; expected {PREFIX}CATEGORY{ANSWERS}.json")
        found, place = [], 0
        for number, record in enumerate(read_json_lines(path, "POPE's answers"), start=1):
            reply = value(record, "answer", "text", where=f"{path}: record {number}")
            text = record.get("question")
            same = (at for at in range(place, len(questions)) if text in (None, questions[at].text))
            at = next(same, None)
            name = f"{category}: {text}" if at is None else questions[at].id
            place = place if at is None else at + 1
            found.append(Prediction(name, reply))
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """POPE's files of answers, one for each category."""
        found = {prediction.id: text_of(prediction) for prediction in in_order(self._items, predictions)}
        written = []
        for category in dict.fromkeys(question.category for question in self._questions.values()):
            path = out / f"{PREFIX}{category}{ANSWERS}.json"
            with written_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
                for name, question in self._questions.items():
                    if question.category == category and name in found:
                        record = {"question": question.text, "answer": found[name]}
                        file.write(json.dumps(record, ensure_ascii=False) + "\n")
            written.append(path)
        return written

    def _official(self, predictions: Sequence[Prediction]) -> Score:
        """Answers of a category meet its labels by their order, as in both programs: one that is missing shifts all.

        Where a figure would be divided by zero and the programs stop, it is None.
        """
        scores: dict[str, dict[str, Any]] = {}
        per_item: dict[str, dict[str, Any]] = {}
        for category, mine in self._by_category(predictions).items():
            labels = [question.label for question in self._questions.values() if question.category == category]
            read = [(prediction.id, pope_first_sentence(text_of(prediction))) for prediction in mine]
            pairs = list(zip(read, labels, strict=False))
            for (name, said), label in pairs:
                per_item[name] = {"category": category, "parsed": said, "label": label, "correct": said == label}
            counts = Counts.of((name, said == "yes", label == "yes") for (name, said), label in pairs)
            scores[category] = {
                "TP": counts.tp,
                "FP": counts.fp,
                "TN": counts.tn,
                "FN": counts.fn,
                "accuracy": mean((name, said == label) for (name, said), label in pairs),
                "precision": counts.precision if counts.tp + counts.fp else None,
                "recall": counts.recall if counts.tp + counts.fn else None,
                "f1": counts.f1 if counts.tp else None,
                "yes_ratio": mean((name, said == "yes") for name, said in read),
            }
        parsed = {name: Parsed(value=one["parsed"], credit=float(one["correct"])) for name, one in per_item.items()}
        figures = {name: (one["f1"] or 0.0, one["accuracy"], one["yes_ratio"]) for name, one in scores.items()}
        means = [sum(values) / len(figures) for values in zip(*figures.values(), strict=True)]
        return Score(scores=scores, per_item=per_item, parsed=parsed, headline=_headline(means, figures))

    def _vlmevalkit(self, predictions: Sequence[Prediction]) -> Score:
        read = {one.id: vlmevalkit_words(text_of(one)) for one in predictions}
        scores, figures = {}, {}
        for category, mine in {"Overall": list(predictions), **self._by_category(predictions)}.items():
            counts = Counts.of((one.id, read[one.id] == "Yes", self._questions[one.id].label == "yes") for one in mine)
            right = mean((one.id, read[one.id].lower() == self._questions[one.id].label) for one in mine)
            scores[category] = {
                "Overall": counts.f1 * 100,
                "acc": right * 100,
                "precision": counts.precision * 100,
                "recall": counts.recall * 100,
            }
            figures[category] = (counts.f1, right, mean((one.id, read[one.id] == "Yes") for one in mine))
        per_item = {name: {"extracted": label} for name, label in read.items()}
        headline = _headline(figures.pop("Overall"), figures)
        return Score(scores=scores, per_item=per_item, parsed=self._parsed(read), headline=headline)

    def _lmms_eval(self, predictions: Sequence[Prediction]) -> Score:
        """lmms-eval counts as wrongly denied only what says no, and its ratio of yes is that of the labels."""
        read = {one.id: whole_reply(text_of(one)) for one in predictions}
        scores, figures = {}, {}
        for category, mine in {"all": list(predictions), **self._by_category(predictions)}.items():
            answers = [(one.id, read[one.id], self._questions[one.id].label) for one in mine]
            counts = Counts.of(
                (name, said == "yes", label == "yes") for name, said, label in answers if said in ("yes", "no")
            )
            scores[category] = {
                "accuracy": mean((name, said == label) for name, said, label in answers),
                "precision": counts.precision,
                "recall": counts.recall,
                "f1": counts.f1,
                "yes_ratio": mean((name, label == "yes") for name, _, label in answers),
            }
            said_yes = mean((name, said == "yes") for name, said, _ in answers)
            figures[category] = (counts.f1, scores[category]["accuracy"], said_yes)
        headline = _headline(figures.pop("all"), figures)
        return Score(scores=scores, per_item=None, parsed=self._parsed(read), headline=headline)

    def _parsed(self, read: Mapping[str, str]) -> dict[str, Parsed]:
        return {
            name: Parsed(value=READ_AS.get(said), credit=float(said.lower() == self._questions[name].label))
            for name, said in read.items()
        }

    def _by_category(self, predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
        require_known((one.id for one in predictions), self._questions, self.name)
        found: dict[str, list[Prediction]] = {question.category: [] for question in self._questions.values()}
        for prediction in predictions:
            found[self._questions[prediction.id].category].append(prediction)
        for category, mine in found.items():
            if not mine and not (self.partial and predictions):
                raise TuwenError(f"POPE: {category}: no answers")
        return {category: mine for category, mine in found.items() if mine}


def _places(path: Path) -> list[Path]:
    """The files that are meant: a file itself; of a folder POPE's files of answers, or LLaVA's file."""
    answers = sorted(path.glob(f"{PREFIX}*{ANSWERS}.json")) if path.is_dir() else []
    return answers or prediction_paths([path], ((LLAVA_ANSWERS, RECORDS),))


def _question(name: str, category: str, record: dict[str, Any], where: str) -> Question:
    image, text, label = (str(value(record, key, where=where)) for key in ("image", "text", "label"))
    if label not in ("yes", "no"):
        raise TuwenError(f"{where}: label: expected yes or no, found {label!r:.40}")
    return Question(name, category, image, text, label)


def _renumbered(question: Question, asked: dict[str, Any], where: str) -> Question:
    """The question under LLaVA's number, which belongs to the question at the same place."""
    if asked.get("image") != question.image or not str(asked.get("text", "")).startswith(question.text):
        raise TuwenError(f"{where}: another question than {LLAVA_QUESTIONS} has at this place of {question.category}")
    name = str(value(asked, "question_id", where=f"{LLAVA_QUESTIONS}: {question.category}"))
    return replace(question, id=name)


def _headline(overall: Sequence[float], categories: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """F1, accuracy and share of yes in percent, then F1 of each setting."""
    named = dict(zip(("F1", "accuracy", "yes ratio"), overall, strict=True))
    named |= {f"F1 {category}": figures[0] for category, figures in categories.items()}
    return {name: 100 * figure for name, figure in named.items()}
