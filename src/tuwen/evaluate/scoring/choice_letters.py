"""Letters of options in free replies: the rules of VLMEvalKit, by version, and LLaVA's for ScienceQA.

MMBench's authors name VLMEvalKit (github.com/open-compass/VLMEvalKit) as their official code. These are its rules
without a judge ("exact matching"): a reply that no rule reads stays unread. The letter ``Z`` stands for none of the
options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

NONE_OF_THEM = "Z"
FAILED = "FAILED"
# The reply of an API that gave none.
_NO_REPLY = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_SPACED = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_TOKENS = 5
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
_SCIENCE_QA_LETTERS = "ABCDE"
_SCIENCE_QA_SAYS = re.compile(r"The answer is ([A-Z]).")

# A reply and the texts of the options by their letters → a letter; None where nothing can be read.
Extraction = Callable[[str, Mapping[str, str]], str | None]


def vlmevalkit_v0_2(reply: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit from February 2024 to August 2025: a letter anywhere in the reply, else the text of an option."""
    return _letter(reply, options) or _text(reply, options)


def vlmevalkit_2026_02(reply: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit from August 2025: the letter must stand near the end, and a text alone cannot be a long reply."""
    return _letter(reply, options, near_end=True) or _short_text(reply, options)


def vlmevalkit_head(reply: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit from June 2026: as before, but "answer is B" counts wherever it stands, and in any case."""
    return _letter(reply, options, near_end=True) or _said(reply, options) or _short_text(reply, options)


def _letter(reply: str, options: Mapping[str, str], *, near_end: bool = False) -> str | None:
    if _NO_REPLY in reply:
        return None
    if any(refusal in reply for refusal in _REFUSALS):
        return NONE_OF_THEM
    tokens = reply.translate(_SPACED).split()
    named = [letter for letter in options if letter in tokens]
    if not named and NONE_OF_THEM in tokens:
        return NONE_OF_THEM
    if len(named) != 1 or (near_end and tokens.index(named[0]) <= len(tokens) - _LAST_TOKENS):
        return None
    return named[0]


def _said(reply: str, options: Mapping[str, str]) -> str | None:
    if _NO_REPLY in reply:
        return None
    found = _ANSWER_IS.search(reply)
    return found[1].upper() if found and found[1].upper() in options else None


def _text(reply: str, options: Mapping[str, str]) -> str | None:
    lower = reply.lower()
    named = [letter for letter, text in options.items() if text.lower() in lower]
    return named[0] if len(named) == 1 else None


def _short_text(reply: str, options: Mapping[str, str]) -> str | None:
    return None if len(reply.lower()) > 2 * sum(map(len, options.values())) else _text(reply, options)


EXTRACTIONS: Mapping[str, Extraction] = {
    "vlmevalkit_v0_2": vlmevalkit_v0_2,
    "vlmevalkit_2026_02": vlmevalkit_2026_02,
    "vlmevalkit_head": vlmevalkit_head,
}


def science_qa_llava(reply: str) -> str:
    """LLaVA's program for ScienceQA: the letter alone, ``X. `` at the start, or one "The answer is X" and a sign more.

    Returns:
        A letter, which need not be one of the question's options, or ``FAILED``.
    """
    if reply and reply in tuple(_SCIENCE_QA_LETTERS):
        return reply
    if reply[1:3] == ". " and reply[0] in _SCIENCE_QA_LETTERS:
        return reply[0]
    found = _SCIENCE_QA_SAYS.findall(reply)
    return str(found[0]) if len(found) == 1 else FAILED
