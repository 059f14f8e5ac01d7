"""What MMBench and its relatives share: questions from a table, each asked once for each rotation of its options."""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.sample import Picture
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._choice_table import ChoiceFile, Row, read_cells
from tuwen.evaluate.benchmarks._replies import in_order, read_replies, require_known, text_of
from tuwen.evaluate.figures import count, mean, percent
from tuwen.evaluate.files import only, prediction_paths
from tuwen.evaluate.scoring.choice_letters import EXTRACTIONS, Extraction, vlmevalkit_v0_2
from tuwen.evaluate.scoring.circular import (
    ABBREVIATIONS,
    Chosen,
    Verdict,
    accuracy,
    circular,
    groups,
    qwen_vl_strict,
    qwen_vl_vote,
    vlmevalkit_report,
)
from tuwen.evaluate.scoring.table_cells import as_pandas_reads

TEXTS, RECORDS, OPTIONS = "predictions.tsv", "predictions.jsonl", "predictions_option_index.json"
Verdicts = Callable[[Mapping[int, Sequence[Chosen]]], Mapping[int, bool]]


class CircularChoice(Benchmark):
    """A benchmark whose items are the rows of a table."""

    homepage = "https://github.com/open-compass/MMBench"
    # The last line of a prompt in LLaVA's style, and what stands before the options in CodeFuse-VLM's.
    direct: ClassVar[str]
    choose: ClassVar[str] = ""

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Rows of the table by their index."""
        return ChoiceFile(self.data).rows

    def items(self) -> Sequence[Item]:
        """An item for each row, so for each rotation of a question's options."""
        return self._items

    @cached_property
    def _items(self) -> list[Item]:
        # Qwen-VL's evaluation does not number its pictures.
        image = Image("") if self.style == "qwen" else Image()
        # Several questions may be about one picture, which the table then holds several times.
        clusters: dict[Picture, str] = {}
        return [
            Item(
                id=name,
                messages=(Message.of("user", image, self._asked(row)),),
                images=(row.picture,),
                reference=row.answer,
                category=row.category or "",
                cluster=clusters.setdefault(self.rows.get(str(row.first), row).picture, str(row.first)),
                answer="" if row.answer is None else f"{row.answer}. {row.cells[row.answer]}",
            )
            for name, row in self.rows.items()
        ]

    def _asked(self, row: Row) -> str:
        if self.style == "qwen":
            # Qwen-VL's converter closes gaps between the options.
            lettered = zip(string.ascii_uppercase, row.options.values(), strict=False)
            options = "\n".join(f"{letter}. {text}" for letter, text in lettered)
            return f"Context: {row.hint or 'N/A'}\nQuestion: {row.question}\nOptions: {options}\nAnswer:"
        options = "\n".join(f"{letter}. {text}" for letter, text in row.listed)
        if self.style == "codefuse":
            # A hint that is missing is pandas' nan to that program, and it says so.
            return f"{row.hint or 'nan'} {row.question} {self.choose}\n{options}\n"
        hint = "" if row.hint is None else f"{row.hint}\n"
        return f"{hint}{row.question}\n{options}\n{self.direct}"

    def parse(self, item: Item, answer: str) -> str | None:
        """A letter, as VLMEvalKit 0.2 reads it; Z for none of the options."""
        return vlmevalkit_v0_2(as_pandas_reads([answer])[0] or "nan", self.rows[item.id].options)

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """VLMEvalKit without a judge, by version, and Qwen-VL's programs, which take options chosen by likelihood."""
        kit = {name: partial(self._vlmevalkit, extraction) for name, extraction in EXTRACTIONS.items()}
        return {
            **kit,
            "qwen_vl_strict": partial(self._qwen_vl, qwen_vl_strict),
            "qwen_vl_vote": partial(self._qwen_vl, qwen_vl_vote),
        }

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read a table with a column ``prediction``, records by index, or numbers of options by index."""
        path = only(prediction_paths(files, ((TEXTS, RECORDS, OPTIONS),)))
        if path.suffix.lower() in (".json", ".jsonl"):
            return read_replies(path, "index", "question_id", "id")
        records = read_cells(path)
        if not any("prediction" in record for record in records):
            raise TuwenError(f"{path}: column prediction: this column is required and missing")
        return [Prediction(record.get("index", ""), record.get("prediction", "")) for record in records]

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """The table without pictures, with a column ``prediction``, as VLMEvalKit reads it; or numbers of options."""
        found = in_order(self._items, predictions)
        if found and all(isinstance(one.text, int) for one in found):
            path = out / OPTIONS
            with written_whole(path) as whole:
                numbers = [{"index": int(one.id), "prediction": one.text} for one in found]
                whole.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
            return [path]
        path = out / TEXTS
        records = {record["index"]: record for record in read_cells(ChoiceFile(self.data).path)}
        columns = list(dict.fromkeys(name for record in records.values() for name in record if name != "image"))
        with written_whole(path) as whole, whole.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow([*columns, "prediction"])
            for one in found:
                table.writerow([*(records[one.id].get(name, "") for name in columns), text_of(one)])
        return [path]

    def _answered(self, predictions: Sequence[Prediction]) -> list[tuple[Row, Prediction]]:
        """Rows with their predictions.

        Raises:
            TuwenError: when right answers are not published, or a prediction belongs to no row.
        """
        require_known((one.id for one in predictions), self.rows, self.name)
        if not predictions:
            raise TuwenError(f"{self.name}: no predictions to score")
        for name, row in self.rows.items():
            if row.answer is None:
                raise TuwenError(f"{self.data}: index {name}: no answer; this split is scored by MMBench's server")
        return [(self.rows[prediction.id], prediction) for prediction in predictions]

    def _vlmevalkit(self, extraction: Extraction, predictions: Sequence[Prediction]) -> Score:
        answered = self._answered(predictions)
        # The program keeps replies in a spreadsheet, from which some come back as missing, which it takes for "nan".
        replies = as_pandas_reads([_letter_or_text(row, prediction) for row, prediction in answered])
        per_item, verdicts = {}, []
        for (row, prediction), reply in zip(answered, replies, strict=True):
            letter = extraction("nan" if reply is None else reply, row.options)
            right = letter == row.answer
            per_item[prediction.id] = {"extracted": letter, "answer": row.answer, "correct": right}
            verdicts.append(Verdict(row.index, right, row.split, row.ability, row.category))
        questions = circular(verdicts)
        credits = {str(question.index): float(question.right) for question in questions}
        parsed = {
            name: Parsed(value=verdict["extracted"], credit=credits.get(name)) for name, verdict in per_item.items()
        }
        headline = self.headline(questions, [verdict for verdict in verdicts if str(verdict.index) in credits])
        return Score(scores=vlmevalkit_report(verdicts), per_item=per_item, parsed=parsed, headline=headline)

    def headline(self, questions: Sequence[Verdict], first: Sequence[Verdict]) -> dict[str, float]:
        """Percentages of all splits together.

        Args:
            questions: verdicts on whole questions.
            first: verdicts on their first rows.
        """
        abilities: dict[str, list[Verdict]] = {}
        for question in questions:
            if question.ability is not None:
                abilities.setdefault(ABBREVIATIONS.get(question.ability, question.ability), []).append(question)
        named = {"circular": questions, "plain": first, **dict(sorted(abilities.items()))}
        return percentages(named)

    def _qwen_vl(self, judge: Verdicts, predictions: Sequence[Prediction]) -> Score:
        last = {prediction.id: (row, prediction) for row, prediction in self._answered(predictions)}
        ordered = sorted(last.values(), key=lambda one: one[0].index)
        chosen = groups((row.index, _chosen(row, prediction)) for row, prediction in ordered)
        right = judge(chosen)
        verdicts = [(str(index), one) for index, one in right.items()]
        # A question's credit stands at the first of its rows that is there.
        credits = dict(right)
        parsed = {}
        for row, prediction in ordered:
            credit = credits.pop(row.first, None)
            letter = list(row.options)[prediction.text]
            parsed[prediction.id] = Parsed(value=letter, credit=None if credit is None else float(credit))
        return Score(
            scores={"correct": count(verdicts), "total": len(verdicts), "accuracy": mean(verdicts)},
            per_item=None,
            parsed=parsed,
            headline={"circular": percent(verdicts)},
        )


def percentages(named: Mapping[str, Sequence[Verdict]]) -> dict[str, float]:
    """Accuracies in percent; 0 of nothing."""
    found = {name: accuracy(verdicts) for name, verdicts in named.items()}
    return {name: 0.0 if figure is None else 100 * figure for name, figure in found.items()}


def _option(row: Row, prediction: Prediction) -> int:
    number = prediction.text
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(row.options):
        raise TuwenError(
            f"prediction of {prediction.id}: expected the number of an option, 0 to {len(row.options) - 1}, "
            f"found {number!r:.40}"
        )
    return number


def _letter_or_text(row: Row, prediction: Prediction) -> str:
    if isinstance(prediction.text, int):
        return list(row.options)[_option(row, prediction)]
    return text_of(prediction)


def _chosen(row: Row, prediction: Prediction) -> Chosen:
    truth = ord(str(row.answer)) - ord("A")
    texts = tuple(row.options.values())
    if truth >= len(texts):
        raise TuwenError(f"index {row.index}: the right option stands behind a gap, where Qwen-VL's program stops")
    return Chosen(_option(row, prediction), truth, texts)
