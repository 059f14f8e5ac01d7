"""DocVQA: questions about scanned documents.

Mathew et al. 2021, "DocVQA: A Dataset for VQA on Document Images".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._short_answers import PROMPTS, Question, ShortAnswers
from tuwen.evaluate.figures import mean
from tuwen.evaluate.files import OWN_FILE, listed, official_id, read_json, text, texts, value, write_records
from tuwen.evaluate.scoring.anls import collapsed, pix2struct, rrc

QUESTIONS = "val/val_v1.0.json"
PICTURES = "val/documents"
RESULTS = "results.json"


@BENCHMARKS.register("docvqa")
class DocVqa(ShortAnswers):
    """DocVQA, single pages, validation."""

    name = "docvqa"
    title = "DocVQA val"
    summary = "Questions about scanned documents; misread characters cost a part of the credit (ANLS)."
    summary_zh = "扫描文档问答；按编辑距离给部分分数 (ANLS)。"
    homepage = "https://www.docvqa.org"
    files = {QUESTIONS: "questions with their answers", PICTURES: "pictures"}
    prompts = {style: PROMPTS[style] for style in ("llava", "qwen")}
    styles = tuple(prompts)
    tokens = {"qwen": 100}
    picture_folders = (PICTURES,)
    id_keys = ("questionId", "question_id")
    prediction_files = ((RESULTS, OWN_FILE),)
    published = (
        Published(system="Qwen-VL", values={"ANLS": 65.1}, source="Qwen-VL README", note="test, by the server"),
        Published(system="Qwen-VL-Chat", values={"ANLS": 62.6}, source="Qwen-VL paper", note="test, by the server"),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """The competition's script, and other programs'."""
        return {
            "official_rrc": self._official,
            "pix2struct": partial(self._mean, pix2struct),
            "vlmevalkit_head": partial(self._mean, rrc),
        }

    def read_questions(self) -> Iterable[Question]:
        """Questions of the one file."""
        path = self.data / QUESTIONS
        for number, record in enumerate(listed(read_json(path, "the questions of DocVQA"), "data", path), 1):
            where = f"{path}: record {number}"
            yield Question(
                id=str(value(record, "questionId", where=where)),
                text=text(record, "question", where),
                picture=path.parent / text(record, "image", where),
                answers=texts(record, "answers", where),
            )

    def reading(self, reply: str, references: Sequence[str]) -> str:
        """In lower case, blanks collapsed."""
        return collapsed(reply)

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the form that the competition's server takes."""
        replies = self.replies(predictions)
        self.known(replies)
        records = ({"questionId": official_id(name), "answer": reply} for name, reply in replies.items())
        return [write_records(out / RESULTS, records)]

    def _official(self, predictions: Sequence[Prediction]) -> Score:
        """The script takes exactly one answer for each question."""
        replies = self.replies(predictions)
        self.complete(replies, "the competition's script")
        if len(predictions) > len(replies) and not self.partial:
            extra = len(predictions) - len(replies)
            raise TuwenError(f"docvqa: {extra} questions have another prediction: the competition's script stops there")
        return self._mean(rrc, predictions)

    def _mean(self, rule: Callable[[str, Sequence[str]], float], predictions: Sequence[Prediction]) -> Score:
        replies = self.replies(predictions)
        self.known(replies)
        credits = {}
        for name, question in self.questions.items():
            if name not in replies:
                continue
            try:
                credits[name] = rule(replies[name], question.answers)
            except ZeroDivisionError:
                raise TuwenError(
                    f"docvqa: question {name}: reply and reference are both empty: Pix2Struct's rule divides by zero"
                ) from None
        anls = mean(credits.items())
        return Score(
            scores={"anls": anls},
            per_item=credits,
            parsed={
                name: Parsed(value=collapsed(replies[name]) or None, credit=credit) for name, credit in credits.items()
            },
            headline={"ANLS": 100 * anls},
        )
