"""Files around judged answers: answers of systems, replies of a judge, grades and preferences of people.

What was said of an item becomes one prediction, whose text is keys and values, one of them a key of ``FORMS``. A text
alone is an answer that nobody has judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import Prediction
from tuwen.evaluate.files import by_id, own_predictions, read_json_lines, read_records, value
from tuwen.evaluate.scoring.judge_replies import GRADES, codefuse, single

# VisualCLA's published files spell the key in both ways.
ANSWER_KEYS = ("output", "outout", "answer", "text", "prediction", "response")
# Of a judge's reply; ``mode`` is ``score`` where one answer alone was judged.
REPLY_KEYS = ("content", "exchanged", "category", "mode")
UNJUDGED = "the answers of a system must be judged first"
CHOICES = ("first", "second", "tied", "both_bad")
# Key of a prediction → what it holds, in words.
FORMS: Mapping[str, str] = {
    "content": "replies of a judge",
    "grades": "grades of people",
    "preferences": "preferences of people",
}


def read_answers(path: Path) -> dict[str, str]:
    """A system's answers by question: in Tuwen's own form, VisualCLA's, or JSONL of question_id and text.

    Raises:
        TuwenError: naming the record that is wrong.
    """
    own = own_predictions(path)
    if own is None:
        records = enumerate(read_records(path, "answers of a system"), start=1)
        own = [_answer(record, f"{path}: record {number}") for number, record in records]
    for one in own:
        if not isinstance(one.text, str):
            raise TuwenError(f"{path}: question {one.id}: expected a text, found {json.dumps(one.text):.40}")
    return by_id(((str(path), one.id, str(one.text)) for one in own), "answer to question")


def _answer(record: dict[str, Any], where: str) -> Prediction:
    return Prediction(str(value(record, "question_id", where=where)), value(record, *ANSWER_KEYS, where=where))


def read_said(path: Path) -> list[Prediction]:
    """What a judge or people said: one prediction an item, except that a judge's second reply to it is a second one.

    Raises:
        TuwenError: naming the line that is wrong.
    """
    own = own_predictions(path)
    if own is not None:
        return _own(own, path)
    if path.suffix != ".jsonl":
        raise TuwenError(f"{path}: expected what a judge or people said (.jsonl); {UNJUDGED}")
    replies: list[Prediction] = []
    ratings: dict[str, dict[str, list[Any]]] = {}
    for number, record in enumerate(read_json_lines(path, "replies of a judge"), start=1):
        where = f"{path}: line {number}"
        name = str(value(record, "question_id", where=where))
        if "content" in record:
            replies.append(Prediction(name, _reply(record, where)))
        elif "grade" in record:
            ratings.setdefault(name, {}).setdefault("grades", []).append(_grade(record, where))
        elif "choice" in record:
            ratings.setdefault(name, {}).setdefault("preferences", []).append(_preference(record, where))
        else:
            raise TuwenError(f"{where}: expected content (a judge's reply), grade or choice (of people)")
    return replies + [Prediction(name, rated) for name, rated in ratings.items()]


def _own(replies: Sequence[Prediction], path: Path) -> list[Prediction]:
    """Replies in Tuwen's own form, which a system's answers have too."""
    for one in replies:
        if not isinstance(one.text, str):
            raise TuwenError(f"{path}: question {one.id}: expected a text, found {json.dumps(one.text):.40}")
    if all(codefuse(one.text) is None and single(one.text) is None for one in replies):
        raise TuwenError(f"{path}: no answer begins with a judge's scores; {UNJUDGED}")
    return [Prediction(one.id, {"content": one.text}) for one in replies]


def _reply(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    held = {key: record[key] for key in REPLY_KEYS if key in record}
    for key, text in held.items():
        if not isinstance(text, str):
            raise TuwenError(f"{where}: {key}: expected a text, found {json.dumps(text):.40}")
    return held


def _grade(record: Mapping[str, Any], where: str) -> dict[str, str]:
    if record["grade"] not in GRADES:
        raise TuwenError(f"{where}: grade: expected {', '.join(GRADES)}, found {json.dumps(record['grade']):.40}")
    return {"grade": record["grade"], "model": str(record.get("model", ""))}


def _preference(record: dict[str, Any], where: str) -> dict[str, str]:
    if record["choice"] not in CHOICES:
        raise TuwenError(f"{where}: choice: expected {', '.join(CHOICES)}, found {json.dumps(record['choice']):.40}")
    return {
        "first": str(value(record, "first", where=where)),
        "second": str(value(record, "second", where=where)),
        "choice": record["choice"],
    }


def said(prediction: Prediction, form: str, scorer: str) -> Any:
    """What a prediction holds in one of ``FORMS``.

    Raises:
        TuwenError: when it holds something else.
    """
    text = prediction.text
    if isinstance(text, str):
        raise TuwenError(f"question {prediction.id}: {UNJUDGED}: give --judge URL#MODEL")
    if not isinstance(text, dict) or form not in text:
        held = next((FORMS[key] for key in FORMS if isinstance(text, dict) and key in text), json.dumps(text)[:40])
        raise TuwenError(f"question {prediction.id}: scorer {scorer} takes {FORMS[form]}, found {held}")
    if form == "content" and "mode" in text and (text["mode"] == "score") != (scorer == "single_score"):
        raise TuwenError(
            f"question {prediction.id}: scorer {scorer} is not for replies about "
            f"{'one answer alone' if text['mode'] == 'score' else 'two answers'}"
        )
    return text if form == "content" else text[form]


def systems_of(rated: Sequence[Mapping[str, Any]]) -> list[str]:
    """Systems that grades are of, in order of appearance."""
    return list(dict.fromkeys(str(one["model"]) for one in rated))
