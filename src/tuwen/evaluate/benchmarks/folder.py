"""A benchmark of one's own: a folder with questions in one file, each with its answer and the rule that compares it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError, unknown_name
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._replies import in_order, read_replies, text_of
from tuwen.evaluate.figures import count, mean
from tuwen.evaluate.files import OWN_FILE, by_id, prediction_paths, read_json_lines, text, write_records
from tuwen.evaluate.scoring import boxes, characters, contained_text, ptb, relaxed, vqa_accuracy
from tuwen.evaluate.scoring.anls import collapsed, rrc
from tuwen.evaluate.scoring.captions import caption_scores
from tuwen.evaluate.scoring.choice_letters import vlmevalkit_v0_2
from tuwen.evaluate.scoring.yes_no_zh import chinese_or_english

QUESTIONS = "questions.jsonl"
# VQA accuracy leaves one person out and asks for three others.
FEWEST_FOR_VQA = 4
# CIDEr goes up to this.
MOST_CIDER = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of the user's own.

    Attributes:
        id: as in the file, or its line from 1.
        text: as it is asked.
        pictures: any number.
        answers: references; of a box one, four numbers from 0 to 999.
        metric: how a reply is compared, one of ``METRICS``.
        options: texts by letter, for ``choice``.
        category: for tables.
        tokens: new tokens that an answer may take at most.
    """

    id: str
    text: str
    pictures: tuple[Path, ...]
    answers: tuple[Any, ...]
    metric: str
    options: Mapping[str, str]
    category: str
    tokens: int


def _exact(reply: str, question: Question) -> Parsed:
    made = _plain(reply)
    return Parsed(value=made or None, credit=float(made in map(_plain, question.answers)))


def _plain(words: str) -> str:
    """Without what nobody means: blanks around, case, a period at the end."""
    return words.strip().removesuffix(".").removesuffix("。").rstrip().lower()


def _contains(reply: str, question: Question) -> Parsed:
    right = contained_text.contains_any(reply, question.answers, formulas=False)
    return Parsed(value=contained_text.plain(reply) or None, credit=float(right))


def _vqa_accuracy(reply: str, question: Question) -> Parsed:
    judged = vqa_accuracy.official(reply, question.answers)
    return Parsed(value=judged.answer or None, credit=judged.accuracy)


def _anls(reply: str, question: Question) -> Parsed:
    return Parsed(value=collapsed(reply) or None, credit=rrc(reply, question.answers))


def _relaxed(reply: str, question: Question) -> Parsed:
    made = reply.strip()
    right = any(relaxed.pix2struct(made, answer) for answer in question.answers)
    return Parsed(value=made or None, credit=float(right))


def _choice(reply: str, question: Question) -> Parsed:
    letter = vlmevalkit_v0_2(reply, question.options)
    return Parsed(value=letter, credit=float(letter in question.answers))


def _yes_no(reply: str, question: Question) -> Parsed:
    said = chinese_or_english(reply)
    return Parsed(value=said, credit=float(said is not None and said == chinese_or_english(question.answers[0])))


def _iou(reply: str, question: Question) -> Parsed:
    box = boxes.qwen_vl(reply)
    if box is None or not all(map(isfinite, box)):
        return Parsed(value=None, credit=0.0)
    overlap = float(boxes.intersection_over_union(np.asarray([box]), np.asarray([question.answers[0]]))[0])
    # Two boxes of nothing have no overlap that is a number.
    return Parsed(value=list(box), credit=min(1.0, max(0.0, overlap)) if isfinite(overlap) else 0.0)


def _iou_half(reply: str, question: Question) -> Parsed:
    found = _iou(reply, question)
    return Parsed(value=found.value, credit=float((found.credit or 0.0) >= boxes.RIGHT_FROM))


METRICS: Mapping[str, Callable[[str, Question], Parsed]] = {
    "exact": _exact,
    "contains": _contains,
    "vqa_accuracy": _vqa_accuracy,
    "anls": _anls,
    "relaxed": _relaxed,
    "choice": _choice,
    "yes_no": _yes_no,
    "iou": _iou,
    "iou_0.5": _iou_half,
}
# These look at all captions together.
CAPTION_METRICS: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
    "cider": ptb.tokenise,
    "cider_zh": characters.tokenise,
}


@BENCHMARKS.register("folder")
class Folder(Benchmark):
    """Questions in ``questions.jsonl``; every one says how it is scored."""

    name = "folder"
    title = "own questions"
    summary = "Questions of your own in a folder; each line says by which rule its answer is compared."
    summary_zh = "自建评测集：一个目录，每行一道题，并指明评分规则。"
    homepage = ""
    files = {
        QUESTIONS: "lines of question, answer (or a list), metric, and maybe id, image (or a list), options, category, "
        f"tokens; metric is one of {', '.join([*METRICS, *CAPTION_METRICS])}",
    }

    picture_folders = (".",)

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """Each question by its own metric."""
        return {"by_metric": self._by_metric}

    @cached_property
    def questions(self) -> dict[str, Question]:
        """Questions by id.

        Raises:
            TuwenError: naming the line that is wrong.
        """
        path = self.data / QUESTIONS
        records = enumerate(read_json_lines(path, f"questions ({self.files[QUESTIONS]})"), start=1)
        lines = ((f"{path}: line {number}", str(record.get("id", number)), record) for number, record in records)
        questions = ((where, name, read_question(record, name, self.data, where)) for where, name, record in lines)
        found = by_id(questions, "id")
        if not found:
            raise TuwenError(f"{path}: no questions")
        return found

    def items(self) -> Sequence[Item]:
        """One for each line, asked as it is, the pictures first."""
        return [
            Item(
                id=one.id,
                messages=(Message.of("user", *(Image() for _ in one.pictures), one.text),),
                images=one.pictures,
                reference=one.answers,
                category=one.category,
                cluster=str(one.pictures[0]) if one.pictures else one.id,
                tokens=one.tokens,
                answer=str(one.answers[0]),
            )
            for one in self.questions.values()
        ]

    def parse(self, item: Item, answer: str) -> Any:
        """What the item's metric reads."""
        question = self.questions[item.id]
        if question.metric in CAPTION_METRICS:
            return CAPTION_METRICS[question.metric]([answer])[0] or None
        return METRICS[question.metric](answer, question).value

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read records of an id and an answer."""
        return [one for path in prediction_paths(files, [(OWN_FILE,)]) for one in read_replies(path, "id")]

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write lines of an id and an answer."""
        rows = ({"id": one.id, "answer": text_of(one)} for one in predictions)
        return [write_records(out / OWN_FILE, rows, lines=True)]

    def _by_metric(self, predictions: Sequence[Prediction]) -> Score:
        """Means over the questions of each metric and category that have an answer; of two the last counts."""
        given = [(self.questions[one.id], text_of(one)) for one in in_order(self.items(), predictions)]
        if not given:
            raise TuwenError(f"{self.name}: no predictions to score")
        judged = {
            question.id: METRICS[question.metric](reply, question)
            for question, reply in given
            if question.metric in METRICS
        }
        for metric in CAPTION_METRICS:
            judged |= _captions(metric, [(question, reply) for question, reply in given if question.metric == metric])
        asked = [question for question, _ in given]
        metrics = _means(judged, {question.id: question.metric for question in asked})
        return Score(
            scores={
                "metrics": metrics,
                "categories": _means(judged, {one.id: one.category for one in asked if one.category}),
            },
            per_item={question.id: judged[question.id].credit for question in asked},
            parsed=judged,
            headline={metric: _quoted(metric, row["mean"]) for metric, row in metrics.items()},
        )


def _captions(metric: str, given: Sequence[tuple[Question, str]]) -> dict[str, Parsed]:
    if not given:
        return {}
    tokenise = CAPTION_METRICS[metric]
    known = iter(tokenise([caption for question, _ in given for caption in question.answers]))
    references = [[next(known) for _ in question.answers] for question, _ in given]
    made = tokenise([reply for _, reply in given])
    return {
        question.id: Parsed(value=caption or None, credit=scores["CIDEr"] / MOST_CIDER)
        for (question, _), caption, scores in zip(given, made, caption_scores(made, references).each, strict=True)
    }


def _means(judged: Mapping[str, Parsed], groups: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Parsed]] = {}
    for name, group in groups.items():
        found.setdefault(group, {})[name] = judged[name]
    return {
        group: {
            "mean": mean((name, one.credit or 0.0) for name, one in members.items()),
            "items": len(members),
            "unread": count((name, one.value is None) for name, one in members.items()),
        }
        for group, members in found.items()
    }


def _quoted(metric: str, mean: float) -> float:
    """A mean as papers give it: in percent, and CIDEr a hundredfold."""
    return 100 * mean * (MOST_CIDER if metric in CAPTION_METRICS else 1.0)


def read_question(record: dict[str, Any], name: str, folder: Path, where: str) -> Question:
    """A line of the file.

    Args:
        record: its keys and values.
        name: the question's id.
        folder: in which paths begin.
        where: file and line, for messages.

    Raises:
        TuwenError: naming the key that is missing or wrong.
    """
    metric = text(record, "metric", where)
    if metric not in METRICS and metric not in CAPTION_METRICS:
        raise TuwenError(f"{where}: {unknown_name('metric', metric, [*METRICS, *CAPTION_METRICS])}")
    tokens = record.get("tokens", 64)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise TuwenError(f"{where}: tokens: expected a whole number above 0, found {json.dumps(tokens):.40}")
    options = _options(record.get("options"), where)
    return Question(
        id=name,
        text=text(record, "question", where),
        pictures=_pictures(record.get("image"), folder, where),
        answers=_answers(record.get("answer"), metric, options, where),
        metric=metric,
        options=options,
        category=str(record.get("category", "")),
        tokens=tokens,
    )


def _pictures(written: Any, folder: Path, where: str) -> tuple[Path, ...]:
    names = [] if written is None else written if isinstance(written, list) else [written]
    paths = []
    for name in names:
        if not isinstance(name, str) or not name:
            raise TuwenError(f"{where}: image: expected a path or a list of paths, found {json.dumps(name):.40}")
        paths.append(folder / name)
    return tuple(paths)


def _options(written: Any, where: str) -> dict[str, str]:
    if isinstance(written, list):
        written = {chr(ord("A") + place): option for place, option in enumerate(written[:26])}
    if written is None:
        return {}
    if not isinstance(written, dict) or not all(isinstance(option, str) for option in written.values()):
        raise TuwenError(f"{where}: options: expected a list of texts, or texts by their letter")
    return written


def _answers(written: Any, metric: str, options: Mapping[str, str], where: str) -> tuple[Any, ...]:
    if metric.startswith("iou"):
        if not isinstance(written, list) or len(written) != 4 or not all(_number(side) for side in written):
            raise TuwenError(f"{where}: answer: expected a box of four numbers, 0–999, found {json.dumps(written):.40}")
        return (tuple(map(float, written)),)
    found = written if isinstance(written, list) else [written]
    if not found or not all(isinstance(one, str) for one in found):
        raise TuwenError(f"{where}: answer: expected a text or a list of texts, found {json.dumps(written):.40}")
    if metric == "choice" and not set(found) <= set(options):
        raise TuwenError(f"{where}: answer: expected a letter of options, found {json.dumps(written):.40}")
    if metric == "vqa_accuracy" and len(found) < FEWEST_FOR_VQA:
        raise TuwenError(f"{where}: answer: vqa_accuracy takes ten people's answers, found {len(found)}; use exact")
    if metric == "yes_no" and chinese_or_english(found[0]) is None:
        raise TuwenError(f"{where}: answer: expected yes or no, 是 or 否, found {json.dumps(written):.40}")
    return tuple(found)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
