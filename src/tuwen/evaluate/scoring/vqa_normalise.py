"""How VQA programs make answers comparable: marks, then words; and in what each program's rule is another.

The rule is that of the VQA evaluation program (Antol et al. 2015, "VQA: Visual Question Answering"; GT-Vision-Lab/VQA).
Its slips are part of it, since every published figure was measured with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tuwen.evaluate.scoring.vqa_tables import ARTICLES, CONTRACTIONS, MARKS, NUMBERS, VIZWIZ_CONTRACTIONS

# Answers repeat: most references of a set have been seen before.
_REMEMBERED = 1 << 18
# All programs hand a flag (``re.UNICODE``, 32) to a parameter that is the number of replacements.
_MOST_PERIODS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Punctuation:
    """How a program takes marks and periods out of an answer.

    Attributes:
        thousands: what makes it delete every mark, wherever it stands.
        period: the periods that it deletes.
    """

    thousands: re.Pattern[str]
    period: re.Pattern[str]

    def strip(self, text: str) -> str:
        """Delete the marks that touch a blank, or all where digits are grouped; make others a blank; delete periods."""
        marks = MARKS.intersection(text)
        if marks:
            grouped = "," in marks and self.thousands.search(text) is not None
            text = text.translate(
                {ord(mark): "" if grouped or f"{mark} " in text or f" {mark}" in text else " " for mark in marks}
            )
        return self.period.sub("", text, count=_MOST_PERIODS) if "." in text else text


# The official program runs under Python 2, to which a digit is an ASCII digit. The period's rule was meant to spare the
# one after a digit too, and does not.
PYTHON_2 = Punctuation(re.compile(r"[0-9],[0-9]"), re.compile(r"\.(?![0-9])"))
PYTHON_3 = Punctuation(re.compile(r"\d,\d"), re.compile(r"\.(?!\d)"))
M4C_MARKS = Punctuation(re.compile(r"\d,+\d"), PYTHON_3.period)
VLMEVALKIT_HEAD_MARKS = Punctuation(PYTHON_3.thousands, re.compile(r"(?<!\d)\.(?!\d)"))


def trimmed(text: str) -> str:
    """Newlines and tabs as blanks, none at the ends: what all programs do first."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def plain_words(text: str, contractions: Mapping[str, str] = CONTRACTIONS) -> str:
    """Words in lower case: numbers as digits, no articles, contractions with their apostrophes, one blank between."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


@lru_cache(_REMEMBERED)
def vqa_official(text: str) -> str:
    """The VQA evaluation program, as it runs under Python 2."""
    return plain_words(PYTHON_2.strip(trimmed(text)))


@lru_cache(_REMEMBERED)
def vqa_python3(text: str) -> str:
    """Ports of the VQA program to Python 3: Qwen-VL's, and VLMEvalKit's until 0.2."""
    return plain_words(PYTHON_3.strip(trimmed(text)))


@lru_cache(_REMEMBERED)
def vlmevalkit_head(text: str) -> str:
    """VLMEvalKit of 2026, which spares the period after a digit."""
    return plain_words(VLMEVALKIT_HEAD_MARKS.strip(trimmed(text)))


@lru_cache(_REMEMBERED)
def m4c(text: str) -> str:
    """The answer processor of Pythia/MMF (M4C), which LLaVA and lmms-eval use: commas and question marks go first."""
    tokens = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(M4C_MARKS.strip(trimmed(tokens)))


@lru_cache(_REMEMBERED)
def lmms_vqav2(text: str) -> str:
    """lmms-eval for VQAv2: M4C's rules for marks and words, without its first step."""
    return plain_words(M4C_MARKS.strip(trimmed(text)))


@lru_cache(_REMEMBERED)
def vizwiz(text: str) -> str:
    """The VizWiz API, whose contractions have typographic apostrophes."""
    return plain_words(PYTHON_3.strip(trimmed(text)), VIZWIZ_CONTRACTIONS)


NORMALISERS: Mapping[str, Callable[[str], str]] = {
    "vqa_official": vqa_official,
    "vqa_official_python3_port": vqa_python3,
    "m4c_textvqa": m4c,
    "vizwiz_api": vizwiz,
    "vlmevalkit_v0_2": vqa_python3,
    "vlmevalkit_head": vlmevalkit_head,
}
