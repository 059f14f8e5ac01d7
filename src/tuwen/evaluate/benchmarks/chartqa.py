"""ChartQA: questions about charts, in two halves: written by people, and made from their captions.

Masry et al. 2022, "ChartQA: A Benchmark for Question Answering about Charts with Visual and Logical Reasoning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from math import isfinite
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import REPLY_KEYS
from tuwen.evaluate.benchmarks._short_answers import PROMPTS, Question, ShortAnswers, Wordings
from tuwen.evaluate.figures import percent
from tuwen.evaluate.files import OWN_FILE, numbered, own_predictions, text, value, write_records
from tuwen.evaluate.scoring.relaxed import number, pix2struct, qwen_vl, vlmevalkit_head

SPLITS = ("human", "augmented")
PICTURES = "test/png"


@BENCHMARKS.register("chartqa")
class ChartQa(ShortAnswers):
    """ChartQA, test. An item's id is its half and its place in the half's file, from 0."""

    name = "chartqa"
    title = "ChartQA test"
    summary = "Questions about charts; a number may be five percent off."
    summary_zh = "图表问答；数值答案允许 5% 误差。"
    homepage = "https://github.com/vis-nlp/ChartQA"
    files = {
        "test/test_human.json": "questions that people wrote",
        "test/test_augmented.json": "questions made from captions",
        PICTURES: "pictures",
    }
    prompts = {style: PROMPTS[style] for style in ("llava", "qwen")}
    styles = tuple(prompts)
    tokens = {"qwen": 100}
    picture_folders = (PICTURES,)
    prediction_files = tuple((f"predictions_{split}.json", OWN_FILE) for split in SPLITS)
    published = (
        Published(
            system="Qwen-VL",
            values={"relaxed accuracy": 65.7},
            source="Qwen-VL README",
            note="scorer qwen_vl, whose five percent are of the reply",
        ),
        Published(
            system="Qwen-VL-Chat", values={"relaxed accuracy": 66.3}, source="Qwen-VL paper", note="scorer qwen_vl"
        ),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """Pix2Struct's rule, and what others have made of it."""
        return {
            "pix2struct": partial(self._relaxed, pix2struct),
            "qwen_vl": partial(self._relaxed, qwen_vl),
            "vlmevalkit_head": partial(self._relaxed, vlmevalkit_head),
            "vlmevalkit_v0_2": partial(self._relaxed, qwen_vl),
            "lmms_eval": partial(self._relaxed, pix2struct),
        }

    def read_questions(self) -> Iterable[Question]:
        """Both halves, as far as they are there."""
        paths = {split: self.data / "test" / f"test_{split}.json" for split in SPLITS}
        here = {split: path for split, path in paths.items() if path.is_file()}
        if not here:
            raise TuwenError(f"{self.data}: no questions of ChartQA; expected test/test_human.json")
        for split, path in here.items():
            for place, (where, record) in enumerate(numbered(path, "questions of ChartQA")):
                yield Question(
                    id=f"{split}/{place}",
                    text=text(record, "query", where),
                    picture=self.data / PICTURES / text(record, "imgname", where),
                    answers=(text(record, "label", where),),
                    category=split,
                )

    def reading(self, reply: str, references: Sequence[str]) -> Any:
        """A number where it is one, else the text in lower case."""
        found = number(reply)
        return reply.lower() or None if found is None or not isfinite(found) else found

    @cached_property
    def _wordings(self) -> Wordings:
        return Wordings(self.questions.values(), lambda question: (question.picture.name, question.text))

    def read_file(self, path: Path) -> list[Prediction]:
        """Read records of the test files with an answer: a picture and the wording stand for an id."""
        if own := own_predictions(path):
            return own
        find = self._wordings.finder()
        return [
            Prediction(
                find(text(record, "imgname", where), text(record, "query", where)),
                value(record, *REPLY_KEYS, where=where),
            )
            for where, record in numbered(path)
        ]

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the test files with answers, one for each half."""
        replies = self.replies(predictions)
        self.known(replies)
        written = []
        for split in SPLITS:
            asked = [one for one in self.questions.values() if one.category == split and one.id in replies]
            rows = [{"imgname": one.picture.name, "query": one.text, "answer": replies[one.id]} for one in asked]
            if rows:
                written.append(write_records(out / f"predictions_{split}.json", rows))
        return written

    def _relaxed(self, rule: Callable[[str, str], bool], predictions: Sequence[Prediction]) -> Score:
        replies = self.replies(predictions)
        self.known(replies)
        right = {
            name: rule(replies[name], question.answers[0])
            for name, question in self.questions.items()
            if name in replies
        }
        halves = {
            split: {name: credit for name, credit in right.items() if self.questions[name].category == split}
            for split in SPLITS
        }
        halves = {split: credits for split, credits in halves.items() if credits}
        scores = {split: percent(credits.items()) for split, credits in halves.items()}
        mean = sum(scores.values()) / len(scores)
        return Score(
            scores={**scores, "overall": percent(right.items()), "mean_of_splits": mean},
            per_item={split: [*credits.values()] for split, credits in halves.items()},
            parsed={
                name: Parsed(value=self.reading(replies[name], ()), credit=float(credit))
                for name, credit in right.items()
            },
            headline={"relaxed accuracy": mean, **scores},
        )
