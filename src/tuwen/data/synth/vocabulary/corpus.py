"""Texts to be written in pictures: words, sentences, signs and numbers in three scripts, each with a near miss.

A near miss differs from its text in one word, character or number. Both are drawn from the same choices, so that
nothing but the picture tells which of the two is written.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tuwen.data.synth.fonts import Script
from tuwen.data.synth.vocabulary import chinese, english
from tuwen.data.synth.vocabulary.hanzi import LEVEL_1, characters, to_traditional

Slot = Sequence[str] | Callable[[random.Random], str]
PUNCTUATION = "。、—“”《》¥" + ",:;?!()".translate(chinese.FULL_WIDTH)
LATIN = "".join(map(chr, range(33, 127)))
# Before a vowel: "an old box".
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
_SLOT = re.compile(r"\{([a-z_0-9]{1,20})\}")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text, and one that could as well have been written in its place."""

    text: str
    other: str


def _digits(least: int, most: int) -> Callable[[random.Random], str]:
    def draw(rng: random.Random) -> str:
        return "".join(rng.choices("0123456789", k=rng.randint(least, most)))

    return draw


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(6, 22):02}:{rng.choice(('00', '15', '30', '45'))}"


def _price(rng: random.Random) -> str:
    return rng.choice(
        (f"{rng.randint(1, 99)}.{rng.randint(0, 9)}0", f"{rng.randint(100, 999)}", f"{rng.randint(1, 99)}")
    )


def _phone(rng: random.Random) -> str:
    return f"{rng.randint(20, 99)}-{rng.randint(1000, 9999)}-{rng.randint(1000, 9999)}"


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1990, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


NUMBERS: dict[str, Slot] = {
    "number": lambda rng: str(rng.randint(2, 99)),
    "digits": _digits(2, 6),
    "price": _price,
    "phone": _phone,
    "date": _date,
    "clock": _clock,
    "letter": "ABCDEFGHJKLMNPQRSTUVWXYZ",
    "latin": [name.upper() for name in english.SHOP_NAMES],
}


def chinese_name(rng: random.Random) -> str:
    """A made-up name of two or three characters."""
    return rng.choice(chinese.SURNAMES) + "".join(rng.choices(chinese.GIVEN, k=rng.choice((1, 2, 2))))


CHINESE: dict[str, Slot] = {
    **NUMBERS,
    "name": chinese_name,
    "surname": chinese.SURNAMES,
    "role": chinese.ROLES,
    "time": chinese.TIMES,
    "place": chinese.PLACES,
    "deed": chinese.DEEDS,
    "thing": chinese.THINGS,
    "quality": chinese.QUALITIES,
    "feeling": chinese.FEELINGS,
    "idiom": chinese.IDIOMS,
    "sign": chinese.SIGNS,
    "shop": chinese.SHOP_NAMES,
    "kind": chinese.SHOP_KINDS,
    "city": chinese.CITIES,
    "street": chinese.STREETS,
    "firm": chinese.FIRMS,
    "firm_kind": chinese.FIRM_KINDS,
    "measure": chinese.MEASURES,
    "topic": chinese.TOPICS,
    "character": lambda rng: characters(rng, 1),
}
ENGLISH: dict[str, Slot] = {
    **NUMBERS,
    "first": english.FIRST_NAMES,
    "last": english.LAST_NAMES,
    "role": english.ROLES,
    "time": english.TIMES,
    "place": english.PLACES,
    "action": english.ACTIONS,
    "deed": english.DEEDS,
    "thing": english.THINGS,
    "quality": english.QUALITIES,
    "adverb": english.ADVERBS,
    "sign": english.SIGNS,
    "shop": english.SHOP_NAMES,
    "kind": english.SHOP_KINDS,
    "city": english.CITIES,
    "street": english.STREETS,
    "firm": english.FIRMS,
    "firm_kind": english.FIRM_KINDS,
    "topic": english.TOPICS,
    "host": [f"{name}{kind}".lower() for name in english.SHOP_NAMES for kind in english.SHOP_KINDS],
}


def fill(pattern: str, slots: Mapping[str, Slot], rng: random.Random) -> Phrase:
    """A text of the pattern, and another that differs in one slot.

    Args:
        pattern: with names of slots in braces; a digit behind a name makes it another slot of the same kind.
        slots: what each can hold.
        rng: of everything that is chosen.
    """
    names = _SLOT.findall(pattern)
    varied = rng.randrange(len(names))
    values: list[str] = []
    others: list[str] = []
    for place, name in enumerate(names):
        value = other = _draw(slots[name.rstrip("23456789")], rng)
        while place == varied and other == value:
            # Both anew, so that neither is the likelier one.
            value, other = _draw(slots[name.rstrip("23456789")], rng), _draw(slots[name.rstrip("23456789")], rng)
        values.append(value)
        others.append(other)
    frame = _SLOT.sub("{}", pattern)
    return Phrase(frame.format(*values), frame.format(*others))


def _draw(slot: Slot, rng: random.Random) -> str:
    return slot(rng) if callable(slot) else rng.choice(slot)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where the texts of a picture come from.

    Attributes:
        script: that they are written in.
    """

    script: Script

    def sentence(self, rng: random.Random) -> Phrase:
        """A sentence with its full stop."""
        if self.script == "latin":
            phrase = fill(rng.choice(english.SENTENCES), ENGLISH, rng)
            return Phrase(_ARTICLE.sub(r"\1n ", phrase.text), _ARTICLE.sub(r"\1n ", phrase.other))
        return self._written(fill(rng.choice(chinese.SENTENCES).translate(chinese.FULL_WIDTH), CHINESE, rng))

    def short(self, rng: random.Random, longest: int = 10) -> Phrase:
        """Words, a sign, a name, an address or, in Chinese, characters that mean nothing together.

        Args:
            rng: of everything that is chosen.
            longest: characters of a meaningless text at most.
        """
        if self.script == "latin":
            return _recased(fill(rng.choice(english.SHORT), ENGLISH, rng), rng)
        if rng.random() < 0.35:
            return self._written(fill("{character}" * rng.randint(2, longest), CHINESE, rng))
        return self._written(fill(rng.choice(chinese.SHORT), CHINESE, rng))

    def mixed(self, rng: random.Random) -> Phrase:
        """Words with numbers, prices, times or addresses."""
        if self.script == "latin":
            return fill(rng.choice(english.MIXED), ENGLISH, rng)
        return self._written(fill(rng.choice(chinese.MIXED), CHINESE, rng))

    def heading(self, rng: random.Random) -> Phrase:
        """A title."""
        if self.script == "latin":
            return fill("{topic}", ENGLISH, rng)
        return self._written(fill("{topic}", CHINESE, rng))

    def any_line(self, rng: random.Random) -> Phrase:
        """One line of any kind."""
        return rng.choice((self.short, self.short, self.mixed, self.sentence))(rng)

    def alphabet(self) -> str:
        """Every character that a text may hold."""
        if self.script == "latin":
            return LATIN
        listed = [word for slot in CHINESE.values() if not callable(slot) for word in slot]
        words = "".join([LEVEL_1, *chinese.GIVEN, *listed, *chinese.SENTENCES, *chinese.SHORT, *chinese.MIXED])
        return "".join(sorted({*self._form(words), *PUNCTUATION, *LATIN}))

    def _written(self, phrase: Phrase) -> Phrase:
        return Phrase(self._form(phrase.text), self._form(phrase.other))

    def _form(self, text: str) -> str:
        return to_traditional(text) if self.script == "traditional" else text


def _recased(phrase: Phrase, rng: random.Random) -> Phrase:
    change = rng.choice((str, str, str.upper, str.title))
    return Phrase(change(phrase.text), change(phrase.other))
