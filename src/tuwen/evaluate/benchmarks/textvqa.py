"""TextVQA: questions that are answered by reading what is written in a picture.

Singh et al. 2019, "Towards VQA Models That Can Read".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._replies import REPLY_KEYS
from tuwen.evaluate.benchmarks._short_answers import PROMPTS, Question, ShortAnswers, Wordings, parsed
from tuwen.evaluate.figures import percent, rounded
from tuwen.evaluate.files import (
    OWN_FILE,
    listed,
    numbered,
    official_id,
    own_predictions,
    read_json,
    text,
    texts,
    value,
    write_records,
)
from tuwen.evaluate.scoring.substring import holds_any, shown
from tuwen.evaluate.scoring.vqa_accuracy import (
    m4c_both,
    qwen_vl,
    vlmevalkit_latest,
    vlmevalkit_v0_2,
)
from tuwen.evaluate.scoring.vqa_normalise import m4c

QUESTIONS = "TextVQA_0.5.1_val.json"
PICTURES = "train_images"
OCR = "TextVQA_Rosetta_OCR_v0.2_val.json"
CHALLENGE, LLAVA = "predictions.json", "llava_answers.jsonl"
OCR_LINE = "Reference OCR token: "
# Prompts of LLaVA's first version.
_OLD_PROMPT = re.compile(r"Question: (.*?) Short answer:", re.DOTALL)
WITHOUT_OCR = "llava_no_ocr"


@BENCHMARKS.register("textvqa")
class TextVqa(ShortAnswers):
    """TextVQA 0.5.1, validation.

    LLaVA-1.5 and CodeFuse-VLM give the model the words that Rosetta, an OCR system, has read. Without its file, prompts
    are those of the style ``llava_no_ocr``.
    """

    name = "textvqa"
    title = "TextVQA val"
    summary = "Questions about what is written in everyday pictures."
    summary_zh = "对图片中文字的阅读与问答。"
    homepage = "https://textvqa.org"
    files = {
        QUESTIONS: "questions with ten answers each",
        OCR: "words that an OCR system has read, for the prompts of LLaVA-1.5 and CodeFuse-VLM",
        PICTURES: "pictures, <image_id>.jpg",
    }
    prompts = {
        "llava": "{question}\n" + OCR_LINE + "{tokens}\nAnswer the question using a single word or phrase.",
        WITHOUT_OCR: PROMPTS["llava"],
        "qwen": PROMPTS["qwen"],
        "codefuse": "{question}\n" + OCR_LINE + "{tokens}",
    }
    styles = tuple(prompts)
    picture_folders = (PICTURES,)
    id_keys = ("question_id",)
    prediction_files = ((CHALLENGE, LLAVA, OWN_FILE),)
    published = (
        Published(
            system="LLaVA-1.5-13B",
            values={"accuracy": 61.3},
            source="CodeFuse-MFT-VLM README",
            note="with OCR tokens; scorer llava_m4c",
        ),
        Published(
            system="Qwen-VL", values={"accuracy": 63.8}, source="Qwen-VL README", note="scorer qwen_vl, style qwen"
        ),
        Published(
            system="CodeFuse-VLM-14B",
            values={"accuracy": 63.9},
            source="CodeFuse-MFT-VLM README",
            note="by its own rule, scorer codefuse_substring: not comparable with the others",
        ),
    )

    def __init__(self, data: Path, style: str | None = None) -> None:
        has_ocr = (data / OCR).is_file()
        super().__init__(data, style or (None if has_ocr else WITHOUT_OCR))
        self._with_ocr = "{tokens}" in self.prompts[self.style]
        if self._with_ocr and not has_ocr:
            raise TuwenError(f"{data / OCR}: not found; style {self.style} needs it, {WITHOUT_OCR} does not")

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """LLaVA's script, and what other systems' programs make of the same answers."""
        return {
            "llava_m4c": self._llava,
            "vlmevalkit_v0_2": partial(self.mean_score, vlmevalkit_v0_2, "accuracy"),
            "vlmevalkit_head": partial(self.mean_score, vlmevalkit_latest, "accuracy"),
            "lmms_eval": partial(self.mean_score, m4c_both, "accuracy"),
            "qwen_vl": self._qwen_vl,
            "codefuse_substring": self._codefuse,
        }

    def read_questions(self) -> Iterable[Question]:
        """Questions of the one file."""
        path = self.data / QUESTIONS
        for number, record in enumerate(listed(read_json(path, "the questions of TextVQA"), "data", path), 1):
            where = f"{path}: record {number}"
            answers = texts(record, "answers", where)
            if len(answers) != 10:
                raise TuwenError(f"{where}: answers: expected ten, found {len(answers)}")
            yield Question(
                id=str(value(record, "question_id", where=where)),
                text=text(record, "question", where),
                picture=self.data / PICTURES / f"{text(record, 'image_id', where)}.jpg",
                answers=answers,
            )

    @cached_property
    def _tokens(self) -> dict[str, list[str]]:
        path = self.data / OCR
        records = listed(read_json(path, "OCR tokens"), "data", path)
        found: dict[str, list[str]] = {}
        for number, record in enumerate(records, start=1):
            where = f"{path}: record {number}"
            tokens = record.get("ocr_tokens")
            if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
                raise TuwenError(f"{where}: ocr_tokens: expected a list of texts")
            found[text(record, "image_id", where)] = tokens
        return found

    def ask(self, question: Question) -> str:
        """A question, in some styles with what is written in the picture."""
        if not self._with_ocr:
            return super().ask(question)
        if question.picture.stem not in self._tokens:
            raise TuwenError(f"{self.data / OCR}: no record of picture {question.picture.stem}")
        tokens = ", ".join(self._tokens[question.picture.stem])
        return self.prompts[self.style].format(question=question.text, tokens=tokens)

    def reading(self, reply: str, references: Sequence[str]) -> str:
        """After the M4C processor."""
        return m4c(reply)

    @cached_property
    def _wordings(self) -> Wordings:
        return Wordings(self.questions.values(), lambda question: (question.picture.stem, question.text.lower()))

    def read_file(self, path: Path) -> list[Prediction]:
        """Read the challenge's form, or LLaVA's, where a picture and the wording stand for a question's id."""
        if own := own_predictions(path):
            return own
        found, find = [], self._wordings.finder()
        for where, record in numbered(path):
            name = str(value(record, "question_id", where=where))
            if "prompt" in record:
                name = find(name, asked_in(text(record, "prompt", where), where))
            found.append(Prediction(name, value(record, *REPLY_KEYS, where=where)))
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the challenge's form, and LLaVA's for its script."""
        replies = self.replies(predictions)
        self.known(replies)
        asked = [(self.questions[name], reply) for name, reply in replies.items()]
        llava = (
            {
                "question_id": question.picture.stem,
                "prompt": PROMPTS["llava"].format(question=question.text),
                "text": reply,
            }
            for question, reply in asked
        )
        challenge = ({"question_id": official_id(question.id), "answer": reply} for question, reply in asked)
        return [write_records(out / CHALLENGE, challenge), write_records(out / LLAVA, llava, lines=True)]

    def _llava(self, predictions: Sequence[Prediction]) -> Score:
        """LLaVA's script goes through the replies: missing ones do not count, and doubled ones twice."""
        self.known(self.replies(predictions))
        judged = [(one.id, m4c_both(one.text, self._references(one.id))) for one in predictions]
        accuracy = percent((name, one.accuracy) for name, one in judged)
        return Score(
            scores={"accuracy": accuracy},
            per_item={name: 100 * one.accuracy for name, one in judged},
            parsed=parsed(dict(judged)),
            headline={"accuracy": accuracy},
        )

    def _references(self, name: str) -> Sequence[str]:
        # Of questions with the same wording about a picture, LLaVA's script knows the last one.
        return self._wordings.same(self.questions[name])[-1].answers

    def _qwen_vl(self, predictions: Sequence[Prediction]) -> Score:
        """Qwen-VL's copy of the VQA program, which wants every question answered and rounds."""
        replies = self.replies(predictions)
        self.complete(replies, "Qwen-VL's program")
        score = self.mean_score(qwen_vl, "accuracy", predictions)
        accuracy = rounded(score.scores["accuracy"], lambda mean: round(mean, 2))
        return Score(
            scores={"accuracy": accuracy},
            per_item={name: round(credit, 2) for name, credit in score.per_item.items()},
            parsed=score.parsed,
            headline={"accuracy": accuracy},
        )

    def _codefuse(self, predictions: Sequence[Prediction]) -> Score:
        """CodeFuse-VLM's rule: one of the references, in lower case, is somewhere in the reply."""
        replies = self.replies(predictions)
        self.known(replies)
        right = {
            name: holds_any(reply, (one.lower() for one in self.questions[name].answers))
            for name, reply in replies.items()
        }
        accuracy = percent(right.items())
        return Score(
            scores={"accuracy": accuracy},
            per_item=right,
            parsed={
                name: Parsed(value=shown(reply) or None, credit=float(right[name])) for name, reply in replies.items()
            },
            headline={"accuracy": accuracy},
        )


def asked_in(prompt: str, where: str) -> str:
    """The question, in lower case, of one of LLaVA's prompts; which form it has is told by its lines.

    Raises:
        TuwenError: for a prompt of another form, at which LLaVA's script stops.
    """
    lines = prompt.split("\n")
    if prompt.startswith("OCR tokens: "):
        match = _OLD_PROMPT.search(prompt)
        if match:
            return match[1].lower()
    elif OCR_LINE in prompt and len(lines) == 3:
        return lines[1 if prompt.startswith(OCR_LINE.rstrip()) else 0].lower()
    elif len(lines) == 2:
        return lines[0].lower()
    raise TuwenError(f"{where}: prompt: not of a form that LLaVA's script knows: {prompt[:60]!r}")
