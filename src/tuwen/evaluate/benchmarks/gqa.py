"""GQA: questions made from scene graphs, whose answers need several steps.

Hudson and Manning 2019, "GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question Answering".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._short_answers import Question, ShortAnswers
from tuwen.evaluate.figures import percent
from tuwen.evaluate.files import OWN_FILE, read_json, text, write_records
from tuwen.evaluate.scoring.gqa import Verdict, llava_answer, metrics, qwen_vl_answer, verdict
from tuwen.evaluate.scoring.substring import holds_any, shown

PICTURES = "images"
# Tier → its question files, the first that is there is read. Consistency needs all questions of a tier, which for
# validation are the usual ones and for testdev are not.
TIERS: Mapping[str, tuple[str, ...]] = {
    "testdev": ("testdev_balanced_questions", "testdev_all_questions"),
    "val": ("val_all_questions", "val_balanced_questions"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A part of the data.

    Attributes:
        name: of the part.
        file: what its questions were read from.
        questions: by id, as in the official file.
        choices: what could answer each of them; None where there is no such file.
    """

    name: str
    file: Path
    questions: Mapping[str, Mapping[str, Any]]
    choices: Mapping[str, Mapping[str, Sequence[str]]] | None

    @property
    def whole(self) -> bool:
        """Whether unbalanced questions are there too."""
        return self.file.name.startswith(f"{self.name}_all_")


@BENCHMARKS.register("gqa")
class Gqa(ShortAnswers):
    """GQA. Of the tiers in the folder the first one is asked; those are scored that there are predictions for."""

    name = "gqa"
    title = "GQA"
    summary = "Compositional questions about everyday pictures, answered with a word."
    summary_zh = "由场景图生成的组合推理问答，以一个词作答。"
    homepage = "https://cs.stanford.edu/people/dorarad/gqa/"
    files = {
        "testdev_balanced_questions.json": "questions of testdev, the tier that is asked; all of questions1.2.zip may "
        "lie beside it",
        "val_all_questions.json": "questions of validation, or a folder of that name with its parts; asked where there "
        "is no testdev",
        "val_choices.json": "answers that are possible, for validity and plausibility; optional",
        PICTURES: "pictures, <imageId>.jpg",
    }
    picture_folders = (PICTURES,)
    id_keys = ("questionId", "question_id")
    prediction_files = tuple(
        (f"{tier}_predictions.json", f"{tier}_answers.jsonl", f"{tier}_balanced_predictions.json", OWN_FILE)
        for tier in TIERS
    )
    published = (
        Published(
            system="LLaVA-1.5-13B",
            values={"accuracy": 63.3},
            source="CodeFuse-MFT-VLM README",
            note="testdev",
        ),
        Published(system="Qwen-VL", values={"accuracy": 59.3}, source="Qwen-VL README", note="testdev; scorer qwen_vl"),
        Published(
            system="Qwen-VL-Chat",
            values={"accuracy": 57.5},
            source="Qwen-VL README",
            note="testdev; scorer qwen_vl; CodeFuse-MFT-VLM's README lists it as Qwen-VL",
        ),
        Published(
            system="CodeFuse-VLM-14B",
            values={"accuracy": 59.4},
            source="CodeFuse-MFT-VLM README",
            note="by its own rule, scorer codefuse_substring: not comparable with the others",
        ),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """The official program, after LLaVA's converter or without it, and other systems' rules."""
        return {
            "llava_convert_then_official": partial(self._official, llava_answer),
            "official_on_raw_text": partial(self._official, str),
            "qwen_vl": self._qwen_vl,
            "codefuse_substring": self._codefuse,
        }

    @cached_property
    def _places(self) -> dict[str, Path]:
        """The tiers in the folder, and what each one's questions are read from."""
        places = {
            name: next((path for stem in stems if (path := _place(self.data / stem))), None)
            for name, stems in TIERS.items()
        }
        found = {name: path for name, path in places.items() if path is not None}
        if not found:
            names = ", ".join(f"{stem}.json" for stems in TIERS.values() for stem in stems)
            raise TuwenError(f"{self.data}: no questions of GQA; expected {names}")
        return found

    @cached_property
    def _tiers(self) -> dict[str, Tier]:
        """Those that have been read so far."""
        return {}

    def tier(self, name: str) -> Tier:
        """A tier of the folder; read when it is asked for, since the largest ones have a million questions.

        Raises:
            TuwenError: naming the question that lacks something.
        """
        if name not in self._tiers:
            file = self._places[name]
            questions = _read_parts(file, "questions of GQA")
            for question, record in questions.items():
                _check(record, f"{file}: question {question}")
            choices = _place(self.data / f"{name}_choices")
            possible = _read_parts(choices, "choices of GQA") if choices else None
            self._tiers[name] = Tier(name=name, file=file, questions=questions, choices=possible)
        return self._tiers[name]

    def read_questions(self) -> Iterable[Question]:
        """Those of the tier that is asked."""
        return self._asked_in(self.tier(next(iter(self._places))))

    def _asked_in(self, tier: Tier) -> Iterable[Question]:
        for name, record in tier.questions.items():
            yield Question(
                id=name,
                text=record["question"],
                picture=self.data / PICTURES / f"{record['imageId']}.jpg",
                answers=(record["answer"],),
                category=record["types"]["structural"],
            )

    def items_for(self, predictions: Sequence[Prediction]) -> Sequence[Item]:
        """Those of all tiers that there are predictions for."""
        tiers = [tier for tier, _ in self._answered({one.id: "" for one in predictions})]
        return [item for tier in tiers for item in self.items_of(self._asked_in(tier))] or self.items()

    def _answered(self, replies: Mapping[str, str]) -> list[tuple[Tier, dict[str, str]]]:
        """The tiers with predictions, as many as it takes to find all of them."""
        found, left = [], dict(replies)
        for name in self._places:
            if left:
                tier = self.tier(name)
                mine = {question: left.pop(question) for question in tier.questions if question in left}
                found += [(tier, mine)] if mine else []
        return found

    def reading(self, reply: str, references: Sequence[str]) -> str:
        """As LLaVA's converter leaves it."""
        return llava_answer(reply)

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write each tier's official predictions file, answers untouched."""
        written = []
        for tier, replies in self._per_tier(predictions):
            rows = ({"questionId": name, "prediction": reply} for name, reply in replies.items())
            written.append(write_records(out / f"{tier.name}_predictions.json", rows))
        return written

    def _official(self, convert: Callable[[str], str], predictions: Sequence[Prediction]) -> Score:
        """Every balanced question needs an answer; consistency is given where all questions have one."""
        scores, per_item = {}, {}
        read: dict[str, Parsed] = {}
        for tier, replies in self._per_tier(predictions):
            answers = {name: convert(reply) for name, reply in replies.items()}
            balanced = [name for name in _balanced(tier) if name in answers]
            missing = [name for name in _balanced(tier) if name not in answers]
            if missing and not (self.partial and balanced):
                raise TuwenError(
                    f"gqa: {len(missing)} balanced questions of {tier.file} have no prediction, the first is "
                    f"{missing[0]}: the official program stops there"
                )
            verdicts = {name: self._verdict(tier, name, answers[name]) for name in balanced}
            scores[tier.name] = self._metrics(tier, answers, verdicts)
            per_item[tier.name] = {
                name: {key: given for key, given in asdict(one).items() if given is not None}
                for name, one in verdicts.items()
            }
            read |= {
                name: Parsed(value=answer or None, credit=float(verdicts[name].correct) if name in verdicts else None)
                for name, answer in answers.items()
            }
        return Score(scores=scores, per_item=per_item, parsed=read, headline=_headline(scores))

    def _verdict(self, tier: Tier, name: str, answer: str) -> Verdict:
        choices = None
        if tier.choices is not None:
            choices = tier.choices.get(name, {})
            if not all(isinstance(choices.get(key), list) for key in ("valid", "plausible")):
                raise TuwenError(
                    f"{self.data / tier.name}_choices.json: question {name}: no valid and plausible answers"
                )
        return verdict(tier.questions[name], answer, choices)

    def _metrics(self, tier: Tier, answers: Mapping[str, str], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
        consistent = tier.whole and all(name in answers for name in tier.questions)
        if consistent:
            for name in verdicts:
                unknown = [other for other in tier.questions[name]["entailed"] if other not in tier.questions]
                if unknown:
                    raise TuwenError(f"{tier.file}: question {name}: entailed: {unknown[0]} is no question of the file")
        try:
            return metrics(tier.questions, answers, verdicts, consistent=consistent)
        except ZeroDivisionError:
            raise TuwenError(f"{tier.file}: no balanced question has a global group: expected some") from None

    def _qwen_vl(self, predictions: Sequence[Prediction]) -> Score:
        """Exact match after Qwen-VL's clean-up."""

        def judge(reply: str, answer: str) -> tuple[str, bool, Any]:
            made = qwen_vl_answer(reply)
            right = made == answer.strip().lower()
            return made, right, {"normalised": made, "correct": right}

        return self._accuracy(judge, predictions)

    def _codefuse(self, predictions: Sequence[Prediction]) -> Score:
        """CodeFuse-VLM's rule: the reference is somewhere in the reply."""

        def judge(reply: str, answer: str) -> tuple[str, bool, Any]:
            right = holds_any(reply, [answer])
            return shown(reply), right, right

        return self._accuracy(judge, predictions)

    def _accuracy(self, judge: Callable[[str, str], tuple[str, bool, Any]], predictions: Sequence[Prediction]) -> Score:
        """Accuracy over the balanced questions that have a reply.

        Args:
            judge: a reply and its reference → what is compared, whether it is right, and the verdict as reported.
            predictions: of any tiers.
        """
        scores, per_item = {}, {}
        read: dict[str, Parsed] = {}
        for tier, replies in self._per_tier(predictions):
            names = [name for name in _balanced(tier) if name in replies]
            if not names:
                raise TuwenError(f"gqa: no prediction for a balanced question of {tier.file}")
            judged = {name: judge(replies[name], tier.questions[name]["answer"]) for name in names}
            scores[tier.name] = {"accuracy": percent((name, right) for name, (_, right, _) in judged.items())}
            per_item[tier.name] = {name: reported for name, (_, _, reported) in judged.items()}
            read |= {name: Parsed(value=made or None, credit=float(right)) for name, (made, right, _) in judged.items()}
        return Score(scores=scores, per_item=per_item, parsed=read, headline=_headline(scores))

    def _per_tier(self, predictions: Sequence[Prediction]) -> list[tuple[Tier, dict[str, str]]]:
        """The tiers with predictions; those for no question are not looked at, as by the official program."""
        found = self._answered(self.replies(predictions))
        if not found:
            raise TuwenError(f"gqa: no prediction is for a question of {self.data}")
        return found


def _headline(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy of the first tier as such, of others by their names."""
    first, *others = scores
    return {"accuracy": scores[first]["accuracy"], **{f"{name} accuracy": scores[name]["accuracy"] for name in others}}


def _balanced(tier: Tier) -> list[str]:
    return [name for name, question in tier.questions.items() if question["isBalanced"]]


def _place(stem: Path) -> Path | None:
    """A JSON file, or a folder in its place: the largest of GQA's files come in parts."""
    single = stem.with_name(f"{stem.name}.json")
    return single if single.is_file() else stem if stem.is_dir() else None


def _read_parts(place: Path, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(place.glob(f"{place.name}_*.json")) if place.is_dir() else [place]:
        part = read_json(path, what)
        if not isinstance(part, dict) or not all(isinstance(record, dict) for record in part.values()):
            raise TuwenError(f"{path}: expected {what} by id")
        found |= part
    if not found:
        raise TuwenError(f"{place}: empty; expected {what}")
    return found


def _check(record: Mapping[str, Any], where: str) -> None:
    """Refuse a question without what the metrics need."""
    for key in ("question", "answer", "imageId"):
        text(record, key, where)
    for key, kind in (("isBalanced", bool), ("types", dict), ("groups", dict), ("semantic", list), ("entailed", list)):
        if not isinstance(record.get(key), kind):
            raise TuwenError(f"{where}: {key}: expected {kind.__name__}, found {type(record.get(key)).__name__}")
    for key in ("structural", "semantic", "detailed"):
        text(record["types"], key, f"{where}: types")
    if not isinstance(record["groups"].get("global", 0), str | None):
        raise TuwenError(f"{where}: groups: global: expected text or null")
    if not all(isinstance(other, str) for other in record["entailed"]):
        raise TuwenError(f"{where}: entailed: expected ids of questions")
    for step in record["semantic"]:
        if not isinstance(step, dict) or not {"operation", "argument"} <= step.keys():
            raise TuwenError(f"{where}: semantic: expected steps of an operation and an argument")
