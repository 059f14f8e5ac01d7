"""VQA v2.0: open questions about COCO's pictures with ten answers of people each.

Goyal et al. 2017, "Making the V in VQA Matter".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Prediction, Published, Score
from tuwen.evaluate.benchmarks._short_answers import Question, ShortAnswers, parsed
from tuwen.evaluate.figures import percent, rounded
from tuwen.evaluate.files import OWN_FILE, listed, official_id, read_json, text, texts, value, write_records
from tuwen.evaluate.scoring.vqa_accuracy import (
    Rule,
    half_up,
    llava_submission,
    lmms_eval,
    official,
    qwen_vl,
    vlmevalkit_latest,
    vlmevalkit_v0_2,
)

QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
PICTURES = "val2014"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
RESULTS = "v2_OpenEnded_mscoco_val2014_model_results.json"


@BENCHMARKS.register("vqav2")
class Vqav2(ShortAnswers):
    """VQA v2.0, validation."""

    name = "vqav2"
    title = "VQAv2 val"
    summary = "Open questions about everyday pictures; an answer counts as far as people gave it."
    summary_zh = "日常图片的开放式问答；答案按与十位标注者的一致程度计分。"
    homepage = "https://visualqa.org"
    files = {
        QUESTIONS: "questions",
        ANNOTATIONS: "ten answers for each question",
        PICTURES: "pictures, COCO_val2014_%012d.jpg",
    }
    picture_folders = (PICTURES,)
    id_keys = ("question_id",)
    prediction_files = ((RESULTS, OWN_FILE),)
    published = (
        Published(
            system="LLaVA-1.5-13B",
            values={"accuracy": 80.0},
            source="CodeFuse-MFT-VLM README",
            note="test-dev, by the server; scorer llava_submission_then_official",
        ),
        Published(
            system="Qwen-VL", values={"accuracy": 78.8}, source="Qwen-VL README", note="test-dev; 79.5 in the paper"
        ),
        Published(
            system="Qwen-VL-Chat",
            values={"accuracy": 78.2},
            source="Qwen-VL README",
            note="test-dev; CodeFuse-MFT-VLM's README lists it as Qwen-VL",
        ),
        Published(
            system="CodeFuse-VLM-14B",
            values={"accuracy": 79.3},
            source="CodeFuse-MFT-VLM README",
            note="which part of the set is not said",
        ),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """The official program, and what other systems' programs make of the same answers."""
        return {
            "official": partial(self._official, official, half_up),
            "qwen_vl": partial(self._official, qwen_vl, lambda score: round(score, 2)),
            "llava_submission_then_official": self._llava_submission,
            "vlmevalkit_v0_2": partial(self.mean_score, vlmevalkit_v0_2, "overall"),
            "vlmevalkit_head": partial(self.mean_score, vlmevalkit_latest, "overall"),
            "lmms_eval": partial(self.mean_score, lmms_eval, "overall"),
        }

    def read_questions(self) -> Iterable[Question]:
        """Annotations with the wording of their questions."""
        path = self.data / QUESTIONS
        asked = listed(read_json(path, "the questions of VQA v2.0"), "questions", path)
        wording = {str(one.get("question_id")): (one, f"{path}: record {n}") for n, one in enumerate(asked, start=1)}
        path = self.data / ANNOTATIONS
        answered = listed(read_json(path, "the annotations of VQA v2.0"), "annotations", path)
        if len(answered) != len(wording):
            raise TuwenError(f"{path}: {len(answered)} annotations for {len(wording)} questions in {QUESTIONS}")
        for number, annotation in enumerate(answered, start=1):
            where = f"{path}: record {number}"
            name = str(value(annotation, "question_id", where=where))
            if name not in wording:
                raise TuwenError(f"{where}: question_id: {name} is not in {QUESTIONS}")
            question, place = wording[name]
            answers = texts(annotation, "answers", where)
            # The official program tells the ten apart by comparing all that is said of them.
            ids = {str(one.get("answer_id")) for one in annotation["answers"] if isinstance(one, dict)}
            if len(ids - {"None"}) < len(answers):
                raise TuwenError(f"{where}: answers: expected answers with an answer_id each, all different")
            yield Question(
                id=name,
                text=text(question, "question", place),
                picture=self._picture(value(question, "image_id", where=place), place),
                answers=answers,
                category=text(annotation, "answer_type", where),
                kind=text(annotation, "question_type", where),
                expected=str(annotation.get("multiple_choice_answer", "")),
            )

    def _picture(self, image: object, where: str) -> Path:
        if not isinstance(image, int):
            raise TuwenError(f"{where}: image_id: expected a whole number, found {image!r}")
        return self.data / PICTURES / f"COCO_val2014_{image:012d}.jpg"

    def reading(self, reply: str, references: Sequence[str]) -> str:
        """As the official program compares it, which depends on whether people agree."""
        return official(reply, references).answer

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the official results file."""
        replies = self.replies(predictions)
        self.known(replies)
        records = ({"question_id": official_id(name), "answer": reply} for name, reply in replies.items())
        return [write_records(out / RESULTS, records)]

    def _official(self, rule: Rule, digits: Callable[[float], float], predictions: Sequence[Prediction]) -> Score:
        replies = self.replies(predictions)
        self.known(replies)
        self.complete(replies, "the official program")
        judged = self.judge(rule, replies)
        types: dict[str, list[tuple[str, float]]] = {}
        kinds: dict[str, list[tuple[str, float]]] = {}
        for name, one in judged.items():
            types.setdefault(self.questions[name].category, []).append((name, one.accuracy))
            kinds.setdefault(self.questions[name].kind, []).append((name, one.accuracy))
        per_type = {name: rounded(percent(values), digits) for name, values in types.items()}
        overall = rounded(percent((name, one.accuracy) for name, one in judged.items()), digits)
        return Score(
            scores={
                "overall": overall,
                "per_answer_type": per_type,
                "per_question_type": {name: rounded(percent(values), digits) for name, values in kinds.items()},
            },
            per_item={name: digits(100 * one.accuracy) for name, one in judged.items()},
            parsed=parsed(judged),
            headline={"accuracy": overall, **per_type},
        )

    def _llava_submission(self, predictions: Sequence[Prediction]) -> Score:
        """LLaVA's converter writes an answer for each question, empty where it has none, and no other."""
        replies = self.replies(predictions)
        whole = [Prediction(name, replies.get(name, "")) for name in self.questions]
        return self._official(llava_submission(official), half_up, whole)
