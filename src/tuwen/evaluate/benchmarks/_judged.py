"""What benchmarks of open answers share: questions without one right answer, which a judge or people score."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._judged_files import read_answers, read_said, said, systems_of
from tuwen.evaluate.benchmarks._picture_paths import PicturePaths
from tuwen.evaluate.benchmarks._replies import require_known, text_of
from tuwen.evaluate.figures import count
from tuwen.evaluate.files import OWN_FILE, by_id, numbered, official_id, prediction_paths, text, value
from tuwen.evaluate.scoring.judge_replies import (
    ALL,
    CREDITS,
    HIGHEST,
    LOWEST,
    Pair,
    Reading,
    codefuse,
    grade_counts,
    grade_credit,
    llava,
    mean_scores,
    outcome,
    preference_counts,
    review_summary,
    single,
    win_counts,
)

REPLIES, RATINGS = "judge_replies.jsonl", "human_ratings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question to be answered at length."""

    id: str
    text: str
    picture: Path
    category: str
    record: Mapping[str, Any]


class Judged(Benchmark):
    """A benchmark whose answers somebody must score."""

    # The published file of questions, and the one of a system's answers that others are compared with.
    questions_file: ClassVar[str]
    answers_file: ClassVar[str]
    # Key of a question's text, and the one that the published answers have.
    question_key: ClassVar[str]
    answer_key: ClassVar[str]

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """LLaVA's summary first; the last two are of people."""
        return {
            "llava_review_summary": partial(self._summary, llava, "llava_review_summary"),
            "codefuse_parse_then_llava_summary": partial(self._summary, codefuse, "codefuse_parse_then_llava_summary"),
            "wins": self._wins,
            "single_score": self._single,
            "human_grade_counts": self._grades,
            "human_preferences": self._preferences,
        }

    def usual_scorer(self, predictions: Sequence[Prediction]) -> str:
        """The scorer that fits what predictions hold: a judge's replies of one kind or another, or people's ratings."""
        return scorer_for(predictions)

    @cached_property
    def questions(self) -> dict[str, Asked]:
        """Questions by id.

        Raises:
            TuwenError: naming the file, record or picture that is missing or wrong.
        """
        path = self.data / self.questions_file
        pictures = PicturePaths(self.data, [self.data / folder for folder in self.picture_folders])
        rows = numbered(path, f"the questions of {self.title}")
        found = by_id(((where, one.id, one) for where, one in self._asked(rows, pictures)), "question")
        if not found:
            raise TuwenError(f"{path}: no questions")
        return found

    def _asked(self, rows: Iterable[tuple[str, dict[str, Any]]], pictures: PicturePaths) -> Iterable[tuple[str, Asked]]:
        for where, record in rows:
            yield (
                where,
                Asked(
                    id=str(value(record, "question_id", where=where)),
                    text=text(record, self.question_key, where),
                    picture=pictures.find(text(record, "image", where)),
                    category=text(record, "type", where),
                    record=record,
                ),
            )

    def items(self) -> Sequence[Item]:
        """One for each question, which is asked as it is."""
        return [
            Item(
                id=one.id,
                messages=(Message.of("user", Image(), one.text),),
                images=(one.picture,),
                category=one.category,
                cluster=one.picture.name,
                tokens=1024,
            )
            for one in self.questions.values()
        ]

    def parse(self, item: Item, answer: str) -> str | None:
        """The answer itself, which only a judge can read; None for an empty one."""
        return answer.strip() or None

    def reference_answers(self, path: Path | None = None) -> tuple[str, dict[str, str]]:
        """The answers that others are compared with: those in a file, or the published ones beside the questions.

        Returns:
            The file's name without its ending, which stands for the system, and its answers by question.

        Raises:
            TuwenError: when the file is missing, or leaves a question out.
        """
        path = path or self.data / self.answers_file
        found = read_answers(path)
        missing = [name for name in self.questions if name not in found]
        if missing:
            raise TuwenError(f"{path}: {len(missing)} questions have no answer, the first is {missing[0]}")
        return path.stem, found

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read what a judge or people said; the answers of a system alone cannot be scored."""
        rows = [(REPLIES, RATINGS, OWN_FILE)]
        return [one for path in prediction_paths(files, rows) for one in read_said(path)]

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write a system's answers beside their questions, as VisualCLA published its own."""
        require_known((one.id for one in predictions), self.questions, self.name)
        rows = [{**self.questions[one.id].record, self.answer_key: text_of(one)} for one in predictions]
        path = out / self.answers_file
        with written_whole(path) as partial_path:
            partial_path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return [path]

    def _known(self, predictions: Sequence[Prediction], form: str, scorer: str) -> list[tuple[Prediction, Any]]:
        require_known((one.id for one in predictions), self.questions, self.name)
        if not predictions:
            raise TuwenError(f"{self.name}: no predictions to score")
        return [(one, said(one, form, scorer)) for one in predictions]

    def _category(self, prediction: Prediction, reply: Mapping[str, Any]) -> str:
        return str(reply.get("category", self.questions[prediction.id].category))

    def _summary(self, reading: Reading, scorer: str, predictions: Sequence[Prediction]) -> Score:
        """What could not be read counts as -1 here, as it does in LLaVA's program."""
        replies = self._known(predictions, "content", scorer)
        pairs = [(one, self._category(one, reply), reading(reply["content"])) for one, reply in replies]
        try:
            summary = review_summary((one.id, category, pair) for one, category, pair in pairs)
        except ZeroDivisionError:
            raise TuwenError(
                f"{self.name}: the reference's answers have a mean score of 0 in some category, by which LLaVA's "
                f"summary divides; use scorer wins"
            ) from None
        total = summary[ALL]
        return Score(
            scores={name: {key: _plain(number) for key, number in row.items()} for name, row in summary.items()},
            per_item={one.id: [-1, -1] if pair is None else [*map(_plain, pair)] for one, _, pair in pairs},
            parsed={one.id: _of_pair(pair, [pair]) for one, _, pair in pairs},
            headline={
                "relative score": total["ratio_percent"],
                "model": total["model_x10"],
                "reference": total["reference_x10"],
                "unread replies": count((one.id, pair is None) for one, _, pair in pairs),
            },
        )

    def _wins(self, predictions: Sequence[Prediction]) -> Score:
        """Counts of wins; an answer that wins in one order only is tied."""
        verdicts = []
        for one, reply in self._known(predictions, "content", "wins"):
            pairs = [codefuse(reply["content"])]
            if "exchanged" in reply:
                second = codefuse(reply["exchanged"])
                pairs.append(None if second is None else (second[1], second[0]))
            verdicts.append((one, self._category(one, reply), outcome(pairs), pairs))
        counts = win_counts((one.id, category, won) for one, category, won, _ in verdicts)
        return Score(
            scores=counts,
            per_item={one.id: won for one, _, won, _ in verdicts},
            parsed={one.id: _of_pair(pairs[0], pairs) for one, _, _, pairs in verdicts},
            headline=_headline(counts[ALL], "win_rate_percent", "win rate"),
        )

    def _single(self, predictions: Sequence[Prediction]) -> Score:
        """Scores of one system's answers, from 1 to 10."""
        replies = self._known(predictions, "content", "single_score")
        scores = [(one, self._category(one, reply), single(reply["content"])) for one, reply in replies]
        means = mean_scores((one.id, category, score) for one, category, score in scores)
        return Score(
            scores=means,
            per_item={one.id: score for one, _, score in scores},
            parsed={
                one.id: Parsed(value=score, credit=None if score is None else (score - LOWEST) / (HIGHEST - LOWEST))
                for one, _, score in scores
            },
            headline=_headline(means[ALL], "mean", "mean score"),
        )

    def _grades(self, predictions: Sequence[Prediction]) -> Score:
        """Plain counts of people's grades; there is no official figure."""
        rated = self._known(predictions, "grades", "human_grade_counts")
        systems = systems_of([grade for _, grades in rated for grade in grades])
        counts: dict[str, Any] = self._counts(rated)
        if len(systems) > 1:
            counts["systems"] = {
                system: self._counts([(one, [row for row in rows if row["model"] == system]) for one, rows in rated])
                for system in systems
            }
        given = {one.id: [row["grade"] for row in grades] for one, grades in rated}
        total = sum(counts[ALL].values())
        return Score(
            scores=counts,
            per_item=given,
            parsed={name: Parsed(value=grades, credit=grade_credit(grades)) for name, grades in given.items()},
            headline={f"{grade} %": 100 * given / total for grade, given in counts[ALL].items()},
        )

    def _counts(self, rated: Sequence[tuple[Prediction, Sequence[Mapping[str, str]]]]) -> dict[str, Any]:
        return grade_counts(
            (one.id, self.questions[one.id].category, [row["grade"] for row in rows]) for one, rows in rated
        )

    def _preferences(self, predictions: Sequence[Prediction]) -> Score:
        """How often people preferred which system."""
        chosen = self._known(predictions, "preferences", "human_preferences")
        counts = preference_counts((one.id, self.questions[one.id].category, rows) for one, rows in chosen)
        return Score(
            scores=counts,
            per_item={one.id: rows for one, rows in chosen},
            parsed={one.id: Parsed(value=[row["choice"] for row in rows], credit=None) for one, rows in chosen},
            headline=counts[ALL],
        )


def scorer_for(predictions: Sequence[Prediction]) -> str:
    """The scorer that fits what predictions hold."""
    held = [one.text for one in predictions if isinstance(one.text, dict)]
    if any("grades" in text for text in held):
        return "human_grade_counts"
    if any("preferences" in text for text in held):
        return "human_preferences"
    if any(text.get("mode") == "score" for text in held):
        return "single_score"
    return "wins" if any("exchanged" in text for text in held) else "llava_review_summary"


def _of_pair(shown: Pair | None, pairs: Sequence[Pair | None]) -> Parsed:
    """A pair of scores as it is shown, and what it is worth: who wins, so that the judge's scale does not matter."""
    won = outcome(pairs)
    if won is None or shown is None:
        return Parsed(value=None, credit=None)
    return Parsed(value=[_plain(score) for score in shown], credit=CREDITS[won])


def _headline(row: Mapping[str, Any], key: str, name: str) -> dict[str, float]:
    read = {} if row[key] is None else {name: row[key]}
    return {**read, "unread replies": row["unread"]}


def _plain(number: float) -> float | str:
    """A number as JSON can hold it."""
    return number if isfinite(number) else str(number)


def reply_record(number: int, item: Item, texts: Mapping[str, str], answers: tuple[str, str]) -> dict[str, Any]:
    """A judge's reply as LLaVA keeps it, with the scores that its program reads in it.

    Args:
        number: from 1.
        item: what was judged.
        texts: the reply under ``content``, and the one with the answers exchanged under ``exchanged``.
        answers: names of the two answers.
    """
    pair = llava(texts["content"])
    return {
        "id": number,
        "question_id": official_id(item.id),
        "answer1_id": answers[0],
        "answer2_id": answers[1],
        "category": item.category,
        **texts,
        "tuple": [-1, -1] if pair is None else [_plain(score) for score in pair],
    }
