"""VQA accuracy: an answer is right when three of nine people gave it, averaged over the ten people left out in turn.

Antol et al. 2015, "VQA: Visual Question Answering". The programs agree on this and differ in what they compare, which
is what the rules here say: each makes an answer and its references comparable, and tells which references it equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from tuwen.evaluate.scoring.vqa_normalise import (
    PYTHON_3,
    lmms_vqav2,
    m4c,
    trimmed,
    vizwiz,
    vlmevalkit_head,
    vqa_official,
    vqa_python3,
)


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer against its references.

    Attributes:
        answer: as it was compared.
        accuracy: from 0 to 1.
    """

    answer: str
    accuracy: float


Rule = Callable[[str, Sequence[str]], Judged]


@lru_cache(maxsize=1 << 12)
def leave_one_out(matches: tuple[bool, ...]) -> float:
    """VQA accuracy from which references an answer equals.

    Args:
        matches: for each reference, in their order: the programs add up in it, and the last digit depends on it.
    """
    equal = sum(matches)
    return sum(min(1.0, (equal - match) / 3) for match in matches) / len(matches)


def _judged(answer: str, references: Iterable[str]) -> Judged:
    return Judged(answer, leave_one_out(tuple(reference == answer for reference in references)))


def official(reply: str, references: Sequence[str]) -> Judged:
    """VQA evaluation program: where all references are the same, even case and marks must be right."""
    plain = [trimmed(reference) for reference in references]
    if len(set(plain)) == 1:
        return _judged(trimmed(reply), plain)
    return _judged(vqa_official(reply), map(vqa_official, plain))


def qwen_vl(reply: str, references: Sequence[str]) -> Judged:
    """Qwen-VL's copy: the reply in full, the references without marks; those untouched where all are the same."""
    if len(set(references)) > 1:
        references = [PYTHON_3.strip(reference) for reference in references]
    return _judged(vqa_python3(reply), references)


def vlmevalkit_v0_2(reply: str, references: Sequence[str]) -> Judged:
    """VLMEvalKit until 0.2: both sides, always."""
    return _judged(vqa_python3(reply), map(vqa_python3, references))


def vlmevalkit_latest(reply: str, references: Sequence[str]) -> Judged:
    """VLMEvalKit of 2026: both sides, always, and the period after a digit stays."""
    return _judged(vlmevalkit_head(reply), map(vlmevalkit_head, references))


def m4c_both(reply: str, references: Sequence[str]) -> Judged:
    """M4C evaluator (LLaVA's for TextVQA, lmms-eval's for TextVQA and VizWiz): its processor on both sides."""
    return _judged(m4c(reply), map(m4c, references))


def lmms_eval(reply: str, references: Sequence[str]) -> Judged:
    """lmms-eval for VQAv2: both sides, always, without M4C's own step."""
    return _judged(lmms_vqav2(reply), map(lmms_vqav2, references))


def vizwiz_api(reply: str, references: Sequence[str]) -> Judged:
    """VizWiz API: the reply in full, the references untouched."""
    return _judged(vizwiz(reply), references)


def llava_submission(rule: Rule) -> Rule:
    """LLaVA's converter before an upload: M4C on the reply, then ``rule``."""
    return lambda reply, references: rule(m4c(reply), references)


def half_up(value: float, digits: int = 2) -> float:
    """Rounded as Python 2 does: halves away from zero, which ``round`` takes to the even digit."""
    return float(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
