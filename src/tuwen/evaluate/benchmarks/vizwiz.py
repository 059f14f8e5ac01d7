"""VizWiz: questions that blind people have asked about pictures they took, many of which nobody can answer.

Gurari et al. 2018, "VizWiz Grand Challenge: Answering Visual Questions from Blind People".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import REPLY_KEYS
from tuwen.evaluate.benchmarks._short_answers import PROMPTS, Question, ShortAnswers, parsed
from tuwen.evaluate.figures import Figure, Values, percent, rounded
from tuwen.evaluate.files import OWN_FILE, by_id, numbered, own_predictions, text, texts, value, write_records
from tuwen.evaluate.scoring.average_precision import average_precision
from tuwen.evaluate.scoring.substring import holds_any, shown
from tuwen.evaluate.scoring.vqa_accuracy import (
    Judged,
    Rule,
    llava_submission,
    m4c_both,
    qwen_vl,
    vizwiz_api,
)
from tuwen.evaluate.scoring.yes_no import Counts

ANNOTATIONS = "Annotations/val.json"
PICTURES = "val"
ANSWERS, ANSWERABILITY = "results_vqa.json", "results_answerability.json"
ANSWERABLE = "answerable"
# The API rounds what it reports.
DIGITS = 2


@BENCHMARKS.register("vizwiz")
class VizWiz(ShortAnswers):
    """VizWiz-VQA, validation.

    A prediction's text is an answer; where a file of answerability was read too, or instead, it is a mapping of
    ``answer`` and ``answerable``, the model's confidence from 0 to 1 that the question can be answered.
    """

    name = "vizwiz"
    title = "VizWiz-VQA val"
    summary = "Questions of blind people about their own pictures; some cannot be answered, which is to be said."
    summary_zh = "视障用户拍摄的图片与提问；部分问题无法回答，模型应当说明。"
    homepage = "https://vizwiz.org/tasks-and-datasets/vqa/"
    files = {ANNOTATIONS: "questions with ten answers each", PICTURES: "pictures"}
    prompts = {
        **PROMPTS,
        "llava": "{question}\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
        "Answer the question using a single word or phrase.",
    }
    picture_folders = (PICTURES,)
    id_keys = ("image", "question_id")
    prediction_files = ((ANSWERS, OWN_FILE), (ANSWERABILITY,))
    published = (
        Published(
            system="LLaVA-1.5-13B",
            values={"accuracy": 53.6},
            source="CodeFuse-MFT-VLM README",
            note="test-dev, by the server; scorer llava_submission_then_official",
        ),
        Published(system="Qwen-VL", values={"accuracy": 35.2}, source="Qwen-VL README", note="test-dev"),
        Published(
            system="Qwen-VL-Chat",
            values={"accuracy": 38.9},
            source="Qwen-VL README",
            note="test-dev; CodeFuse-MFT-VLM's README lists it as Qwen-VL",
        ),
        Published(
            system="CodeFuse-VLM-14B",
            values={"accuracy": 45.3},
            source="CodeFuse-MFT-VLM README",
            note="by its own rule, scorer codefuse_substring: not comparable with the others",
        ),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """The VizWiz API, and what other systems' programs make of the same answers."""
        return {
            "official": self._official,
            "llava_submission_then_official": partial(self._rounded, llava_submission(vizwiz_api)),
            "lmms_eval": self._lmms_eval,
            "qwen_vl": partial(self._rounded, qwen_vl),
            "codefuse_substring": self._codefuse,
        }

    @cached_property
    def _annotations(self) -> dict[str, dict[str, Any]]:
        path = self.data / ANNOTATIONS
        rows = numbered(path, "the annotations of VizWiz")
        return by_id(((where, text(record, "image", where), record) for where, record in rows), "image")

    def read_questions(self) -> Iterable[Question]:
        """One for each picture, which is its name."""
        for image, record in self._annotations.items():
            where = f"{self.data / ANNOTATIONS}: {image}"
            yield Question(
                id=image,
                text=text(record, "question", where),
                picture=self.data / PICTURES / image,
                answers=texts(record, "answers", where),
                category=text(record, "answer_type", where),
            )

    def reading(self, reply: str, references: Sequence[str]) -> str:
        """As the API compares it."""
        return vizwiz_api(reply, references).answer

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read files of answers and of answerability, each in its official form, and join them by picture."""
        found = [(one.id, *_split(one.text)) for one in super().read_predictions(files)]
        confidences = {name: given for name, _, given in found if given is not None}
        replies = [(name, reply) for name, reply, _ in found if reply is not None]
        if not confidences:
            return [Prediction(name, reply) for name, reply in replies]
        answered = {name for name, _ in replies}
        both: list[tuple[str, dict[str, Any]]] = [
            (name, {"answer": reply} | ({ANSWERABLE: confidences[name]} if name in confidences else {}))
            for name, reply in replies
        ]
        alone = [(name, {ANSWERABLE: given}) for name, given in confidences.items() if name not in answered]
        return [Prediction(name, given) for name, given in both + alone]

    def read_file(self, path: Path) -> list[Prediction]:
        """Read records of a picture's name and an answer, a confidence, or both."""
        if own := own_predictions(path):
            return own
        found = []
        for where, record in numbered(path):
            given: Any = {key: record[key] for key in ("answer", ANSWERABLE) if key in record}
            if ANSWERABLE not in record:
                given = value(record, *REPLY_KEYS, where=where)
            found.append(Prediction(str(value(record, *self.id_keys, where=where)), given))
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the official results file, and that of answerability where it is known."""
        answers, confidences = self._apart(predictions)
        written = []
        if answers:
            rows = ({"image": name, "answer": reply} for name, reply in answers.items())
            written.append(write_records(out / ANSWERS, rows))
        if confidences:
            scored = ({"image": name, ANSWERABLE: given} for name, given in confidences.items())
            written.append(write_records(out / ANSWERABILITY, scored))
        return written

    def _apart(self, predictions: Sequence[Prediction]) -> tuple[dict[str, str], dict[str, float]]:
        """Answers and confidences by picture, of known pictures only: the API looks at no others."""
        found = [(one.id, *_split(one.text)) for one in predictions if one.id in self.questions]
        confidences = {name: _confidence(given, name) for name, _, given in found if given is not None}
        answers = [Prediction(name, reply) for name, reply, _ in found if reply is not None]
        return self.replies(answers) if answers or not confidences else {}, confidences

    def _answers(self, predictions: Sequence[Prediction]) -> dict[str, str]:
        answers, _ = self._apart(predictions)
        if not answers:
            raise TuwenError("vizwiz: no answers to score, only answerability")
        return answers

    def _official(self, predictions: Sequence[Prediction]) -> Score:
        """The API's two tasks, whichever there are predictions for. Its caption metrics are left out."""
        answers, confidences = self._apart(predictions)
        scores: dict[str, Any] = {}
        headline: dict[str, float] = {}
        judged: dict[str, Judged] = {}
        if answers:
            self.complete(answers, "the VizWiz API")
            judged = self.judge(vizwiz_api, answers)
            scores["accuracy"] = self._per_type(_credits(judged), rounding=True)
            headline |= {"accuracy": scores["accuracy"]["overall"], **scores["accuracy"]["perAnswerType"]}
        if confidences:
            self.complete(confidences, "the VizWiz API")
            scores["unanswerability"] = self._unanswerability(confidences)
            average, harmonic = scores["unanswerability"].values()
            headline |= {"unanswerable AP": average, "unanswerable F1": harmonic}
        read = parsed(judged) or {name: Parsed(value=given, credit=None) for name, given in confidences.items()}
        return Score(
            scores=scores,
            per_item={name: round(100 * one.accuracy, DIGITS) for name, one in judged.items()},
            parsed=read,
            headline=headline,
        )

    def _unanswerability(self, confidences: Mapping[str, float]) -> dict[str, float]:
        names = [name for name in self.questions if name in confidences]
        labels = []
        for name in names:
            label = self._annotations[name].get(ANSWERABLE)
            if label not in (0, 1):
                raise TuwenError(f"{self.data / ANNOTATIONS}: {name}: answerable: expected 0 or 1, found {label!r}")
            labels.append(not label)
        scores = [1.0 - confidences[name] for name in names]
        average = Figure(
            float(average_precision(labels, scores)[0]),
            lambda draws: average_precision(labels, scores, draws.times(names)),
        )
        counts = Counts.of((name, score > 0.5, label) for name, score, label in zip(names, scores, labels, strict=True))
        return {"average_precision": _rounded(100 * average), "f1_score": _rounded(100 * counts.f1)}

    def _per_type(self, credits: Mapping[str, float], *, rounding: bool) -> dict[str, Any]:
        types: dict[str, list[tuple[str, float]]] = {}
        for name, credit in credits.items():
            types.setdefault(self.questions[name].category, []).append((name, credit))

        def figure(values: Values) -> float:
            found = percent(values)
            return _rounded(found) if rounding else found

        return {
            "overall": figure(credits.items()),
            "perAnswerType": {name: figure(values) for name, values in types.items()},
        }

    def _accuracy(self, credits: Mapping[str, float], read: Mapping[str, Parsed], *, rounding: bool) -> Score:
        accuracy = self._per_type(credits, rounding=rounding)
        return Score(
            scores={"accuracy": accuracy},
            per_item={
                name: round(100 * credit, DIGITS) if rounding else 100 * credit for name, credit in credits.items()
            },
            parsed=read,
            headline={"accuracy": accuracy["overall"], **accuracy["perAnswerType"]},
        )

    def _rounded(self, rule: Rule, predictions: Sequence[Prediction]) -> Score:
        answers = self._answers(predictions)
        self.complete(answers, "the program")
        judged = self.judge(rule, answers)
        return self._accuracy(_credits(judged), parsed(judged), rounding=True)

    def _lmms_eval(self, predictions: Sequence[Prediction]) -> Score:
        judged = self.judge(m4c_both, self._answers(predictions))
        return self._accuracy(_credits(judged), parsed(judged), rounding=False)

    def _codefuse(self, predictions: Sequence[Prediction]) -> Score:
        """CodeFuse-VLM's rule. Which of the ten answers it looked for is not published; here the most frequent one."""
        replies = self._answers(predictions)
        credits = {name: float(holds_any(reply, [self.questions[name].answer])) for name, reply in replies.items()}
        read = {name: Parsed(value=shown(reply) or None, credit=credits[name]) for name, reply in replies.items()}
        return self._accuracy(credits, read, rounding=False)


def _credits(judged: Mapping[str, Judged]) -> dict[str, float]:
    return {name: one.accuracy for name, one in judged.items()}


def _rounded(figure: float) -> Any:
    return rounded(figure, lambda exact: round(exact, DIGITS))


def _split(given: Any) -> tuple[Any, Any]:
    """An answer and a confidence, each None where it is not there."""
    return (given.get("answer"), given.get(ANSWERABLE)) if isinstance(given, dict) else (given, None)


def _confidence(given: object, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise TuwenError(f"vizwiz: prediction for {name}: answerable: expected a number from 0 to 1, found {given!r}")
    return float(given)
