"""Whether a text is a translation of another, as far as that can be told without a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

from tuwen.chat.grounding import parse_boxes
from tuwen.data.asking.numbers_in_text import changed_numbers
from tuwen.data.asking.protected_text import ProtectedText, without_marks
from tuwen.data.sample import HAN, Language

_WORD = re.compile("[A-Za-z\u00c0-\u024f]{2,60}|(?<![A-Za-z])[aI](?![A-Za-z])")
_LATIN_OR_HAN = re.compile(f"{HAN.pattern}|[A-Za-z\u00aa-\u024f\u0370-\u03ff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\\]")

# Letters of options where they stand as such: before an option, in brackets, or called an answer.
_CALLED = r"(?:\b(?:answer|option|choice)s?(?: is| are)?|答案|选项|选择?)[ :：]{0,3}(?:是|为)?[ :：]{0,3}"
_OPTION = re.compile(
    r"^[ \t]{0,8}[(（]?([A-H])[.)）:：、．](?=\s|[^\sA-Za-z.])|[(（]([A-H])[)）]"
    rf"|{_CALLED}[(（\"“']?([A-H])(?![A-Za-z'’])",
    re.MULTILINE | re.IGNORECASE,
)
# Any single capital letter may be one in the other language: B is the answer, 答案是B.
_LETTER = re.compile("(?<![A-Za-z])[A-H](?![A-Za-z])")
_ONE_LETTER = re.compile(r"[(（]?[A-Z][)）]?[.。:：]?")
_INLINE = re.compile(r"(?<![A-Za-z.])[(（]?([A-H])[.)）:：、．](?=\s|[^\sA-Za-z.])")

_YES = {"zh": "是", "en": "Yes"}
_NO = {"zh": "否", "en": "No"}
_YES_WORDS = {"yes", "是", "是的", "对", "对的", "有", "有的"}
_NO_WORDS = {"no", "否", "不", "不是", "不对", "没有"}
# In characters: Chinese says the same in about a third of those of English.
_LONGEST: dict[Language, float] = {"zh": 2.0, "en": 12.0}
_SHORT = 60
# So much of a text may stay in the other language: names, and words that are read in the picture.
_MOST_FOREIGN = 0.3


def written_in(text: str) -> Language | Literal["other"] | None:
    """The language that most of a text is in, marks aside; None for one without words."""
    text = without_marks(text)
    characters, words = len(HAN.findall(text)), len(_WORD.findall(text))
    others = sum(sign.isalpha() for sign in _LATIN_OR_HAN.sub("", text))
    if others > characters + words:
        return "other"
    if not characters and not words:
        return None
    return "zh" if characters > words else "en"


def known_translation(text: str, target: Language) -> str | None:
    """The translation of what needs no translator: no words, one letter, yes or no; else None.

    Args:
        text: without space around it.
        target: the language to translate into.
    """
    if _ONE_LETTER.fullmatch(text) or written_in(ProtectedText.of(text).text) in (None, target):
        return text
    word = text.rstrip(".。!！").lower()
    answer = _YES if word in _YES_WORDS else _NO if word in _NO_WORDS else None
    if answer is None:
        return None
    ends = text[len(word) :][:1]
    return answer[target] + (ends and {"zh": "。", "en": "."}[target])


def wrong_with(source: ProtectedText, translation: str, target: Language) -> str:
    """What is wrong with a translation, as ``KIND: DETAILS``; empty where nothing is found.

    Args:
        source: what was translated.
        translation: with the same marks in it.
        target: the language that it should be in.
    """
    return next(filter(None, (check(source, translation, target) for check in _CHECKS)), "")


def _check_marks(source: ProtectedText, translation: str, target: Language) -> str:
    misused = source.misused_marks(translation)
    return f"marks: {misused}" if misused else ""


def _check_language(source: ProtectedText, translation: str, target: Language) -> str:
    text = without_marks(translation)
    characters, words = len(HAN.findall(text)), _WORD.findall(text)
    if target == "en":
        good = characters <= (characters + len(words)) * _MOST_FOREIGN
        return "" if good else f"language: not in English: {text.strip()[:40]!r}"
    # Names and what is read in capitals may stay as they are, without a Chinese character beside them.
    named = len(words) <= 3 and not any(word.islower() for word in words)
    good = named or (characters > 0 and len(words) * _MOST_FOREIGN <= characters)
    return "" if good else f"language: not in Chinese: {text.strip()[:40]!r}"


def _check_length(source: ProtectedText, translation: str, target: Language) -> str:
    most = _SHORT + _LONGEST[target] * len(source.text)
    if len(translation) <= most:
        return ""
    return f"length: {len(translation)} characters for {len(source.text)} of the source"


def _check_characters(source: ProtectedText, translation: str, target: Language) -> str:
    # All backslashes are behind marks, so one here was made up, or was eaten by JSON with what follows it.
    found = _CONTROL.search(translation)
    return f"characters: {found[0]!r}, which the source has not" if found and found[0] not in source.text else ""


def _check_numbers(source: ProtectedText, translation: str, target: Language) -> str:
    changed = changed_numbers(without_marks(source.text), without_marks(translation))
    return f"numbers: {changed}" if changed else ""


def _check_options(source: ProtectedText, translation: str, target: Language) -> str:
    for one, other, what in ((source.text, translation, "missing or moved"), (translation, source.text, "invented")):
        letters = list(_options(one))
        if not _follow(letters, _LETTER.findall(other)):
            return f"option letters: {' '.join(letters)} {what}"
    return ""


def _options(text: str) -> Iterator[str]:
    found = [(match.start(), next(filter(None, match.groups()))) for match in _OPTION.finditer(text)]
    inline = [(match.start(1), match[1]) for match in _INLINE.finditer(text)]
    # "A. cat B. dog" in one line is a list of options, "vitamin C." is not.
    if [letter for _, letter in inline][:2] == ["A", "B"]:
        found = inline
    yield from (letter for _, letter in found if letter.isupper())


def _follow(letters: list[str], among: list[str]) -> bool:
    """Whether ``letters`` come in this order among others."""
    rest = iter(among)
    return all(letter in rest for letter in letters)


def _check_boxes(source: ProtectedText, translation: str, target: Language) -> str:
    def boxes(text: str) -> Counter[tuple[object, bool]]:
        return Counter((found.box, bool(found.label)) for found in parse_boxes(source.restore(text)))

    before, after = boxes(source.text), boxes(translation)
    return "" if before == after else f"boxes: {before.total()} with their names before, {after.total()} after"


Check = Callable[[ProtectedText, str, Language], str]
_CHECKS: tuple[Check, ...] = (
    _check_marks,
    _check_language,
    _check_length,
    _check_characters,
    _check_numbers,
    _check_options,
    _check_boxes,
)
