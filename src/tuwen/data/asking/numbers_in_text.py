"""Numbers in Chinese and English text, in digits and in words, compared across a translation.

What stands in digits must be found again, in digits or in words; what stands in words need not (``one of them`` is
其中之一 or 其中的): so "3 dogs" may become 三只狗 or "3只狗", and "three dogs" may become "3只狗", but never "4只狗".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

_TO_ASCII = str.maketrans("０１２３４５６７８９．，％", "0123456789.,%")
_SCALES = {
    "百": 100, "千": 1000, "万": 10**4, "十万": 10**5, "百万": 10**6, "千万": 10**7, "亿": 10**8, "十亿": 10**9,
    "百亿": 10**10, "千亿": 10**11, "万亿": 10**12,
    "hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
# 千 begins the names of units too: 5千克 are five kilograms.
_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True)).replace("|千|", "|千(?![克米瓦卡帕伏赫焦字])|")
_DIGITS = re.compile(
    r"([0-9]{1,3}(?:,[0-9]{3}){1,8}(?![0-9])|[0-9]{1,20})(\.[0-9]{1,20})?"
    rf"(?:[ -]?({_SCALE})(?![A-Za-z]))?",
    re.IGNORECASE,
)

_CHINESE_DIGITS = {**{sign: value for value, sign in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2, "俩": 2}
_CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
_CHINESE_MYRIADS = {"亿": 10**8, "万": 10**4}
_CHINESE = re.compile("[零〇一二两俩三四五六七八九十百千万亿]{1,30}(?:点[零〇一二三四五六七八九]{1,20})?")
# Decades have their century apart: 20世纪90年代 is the 1990s.
_DECADE = re.compile("([0-9]{1,2}|[一二三四五六七八九十]{1,3})世纪([0-9]0|[一二三四五六七八九]十)年代")
_CHINESE_WORDS = {
    "半": Decimal("0.5"),
    "双": Decimal(2),
    "对": Decimal(2),
    "点半": Decimal(30),
    "一刻": Decimal(15),
    "三刻": Decimal(45),
}


def _numbered(words: str, first: int = 0, step: int = 1) -> dict[str, int]:
    return {word: first + step * place for place, word in enumerate(words.split())}


_SMALL = {
    **_numbered(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    ),
    **_numbered("seventeen eighteen nineteen", 17),
    **_numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
}
_ORDINALS = {
    **_numbered("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth", 1),
    **_numbered("fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth", 14),
}
_MONTHS = _numbered("january february march april may june july august september october november december", 1)
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Words that stand for a number by themselves, and never as a part of one.
_ALONE: dict[str, list[Decimal]] = {
    **{word: [Decimal(value)] for word, value in {**_ORDINALS, **_MONTHS}.items()},
    **{word[:3]: [Decimal(value)] for word, value in _MONTHS.items()},
    **{word: [Decimal(1)] for word in ("a", "an", "once", "single")},
    **{word: [Decimal(2)] for word in ("twice", "double", "both", "pair", "couple")},
    **{word: [Decimal(3)] for word in ("thrice", "triple")},
    "half": [Decimal("0.5"), Decimal(2)],
    "quarter": [Decimal(4)],
    "dozen": [Decimal(12)],
}
_WORD = re.compile("[A-Za-z]{1,30}")


def changed_numbers(source: str, target: str) -> str:
    """Which numbers a translation lost or invented, for people; empty where it did neither."""
    source, target = _plain(source), _plain(target)
    here, there = Counter(_in_digits(source)), Counter(_in_digits(target))
    lost = (here - there) - Counter(_in_words(target))
    invented = (there - here) - Counter(_in_words(source))
    parts = [f"{_list(lost)} missing"] if lost else []
    return ", ".join([*parts, f"{_list(invented)} invented"] if invented else parts)


def _list(numbers: Counter[Decimal]) -> str:
    return " and ".join(f"{number:f}" for number in sorted(numbers.elements())[:8])


def _plain(text: str) -> str:
    return _DECADE.sub(_decade, text.translate(_TO_ASCII))


def _decade(match: re.Match[str]) -> str:
    century, decade = (Decimal(part) if part.isdigit() else _chinese(part) for part in match.groups())
    return f"{(century - 1) * 100 + decade}年代"


def _in_digits(text: str) -> Iterator[Decimal]:
    for match in _DIGITS.finditer(text):
        whole, fraction, scale = match.groups()
        number = Decimal(whole.replace(",", "") + (fraction or ""))
        yield (number * _SCALES[scale.lower()] if scale else number).normalize()


def _in_words(text: str) -> Iterator[Decimal]:
    for number in [*_chinese_words(text), *_english_words(text)]:
        yield number.normalize()


def _chinese_words(text: str) -> Iterator[Decimal]:
    for match in _CHINESE.finditer(text):
        whole, _, fraction = match[0].partition("点")
        yield _chinese(whole)
        if fraction:
            decimals = "".join(str(_CHINESE_DIGITS[sign]) for sign in fraction)
            yield Decimal(f"{_chinese(whole)}.{decimals}")
            # Or a time of day: 三点五十 are ten to four.
            yield _chinese(fraction)
    for word, value in _CHINESE_WORDS.items():
        yield from [value] * text.count(word)


def _chinese(text: str) -> Decimal:
    """The value of a numeral: 两千零五, or digits one by one as in 一九九八."""
    for sign, myriad in _CHINESE_MYRIADS.items():
        left, found, right = text.rpartition(sign)
        if found:
            return _chinese(left or "一") * myriad + _chinese(right or "零")
    if not any(sign in _CHINESE_UNITS for sign in text):
        return Decimal("".join(str(_CHINESE_DIGITS[sign]) for sign in text))
    total = digit = 0
    for sign in text:
        if sign in _CHINESE_UNITS:
            total, digit = total + (digit or 1) * _CHINESE_UNITS[sign], 0
        else:
            digit = _CHINESE_DIGITS[sign]
    return Decimal(total + digit)


def _english_words(text: str) -> Iterator[Decimal]:
    """Values of number words; those that follow each other make one number: two hundred and five."""
    total, section, inside = 0, 0, False
    for word in [*(match[0].lower() for match in _WORD.finditer(text)), ""]:
        value, rest = _SMALL.get(word), section % 100
        if value is not None and (rest == 0 or (rest >= 20 and rest % 10 == 0 and value < 10)):
            section, inside = section + value, True
        elif word in _LARGE:
            scaled = (section or 1) * _LARGE[word]
            total, section = (total, scaled) if word == "hundred" else (total + scaled, 0)
            inside = True
        elif not (word == "and" and (total or section >= 100)):
            if inside:
                yield Decimal(total + section)
            total, section, inside = 0, value or 0, value is not None
            yield from _ALONE.get(word, [])
