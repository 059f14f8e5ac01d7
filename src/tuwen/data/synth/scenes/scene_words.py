"""Names of all that a scene holds, and how they are put into phrases and lists in Chinese and English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES
from tuwen.data.synth.canvas import Colour
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.shape_wordings import COLOURS as SHAPE_COLOURS
from tuwen.data.synth.shape_wordings import Words
from tuwen.data.synth.shapes import INKS as SHAPE_INKS

COLOURS: tuple[Words, ...] = (*SHAPE_COLOURS, {"zh": "棕色", "en": "brown"}, {"zh": "灰色", "en": "gray"})
INKS: tuple[Colour, ...] = (*SHAPE_INKS, (130, 80, 38), (140, 142, 148))
# In the order of SOLID, STRIPED, DOTTED, OUTLINED and of SMALL, MEDIUM, LARGE.
PATTERNS: tuple[Words, ...] = (
    {"zh": "实心", "en": "solid"},
    {"zh": "条纹", "en": "striped"},
    {"zh": "圆点", "en": "dotted"},
    {"zh": "空心", "en": "outlined"},
)
_WITH_PATTERN = ("实心的", "带条纹的", "带圆点的", "空心的")
_WITH_SIZE = ("小", "", "大")
SIZES: tuple[Words, ...] = (
    {"zh": "小", "en": "small"},
    {"zh": "中等大小", "en": "medium-sized"},
    {"zh": "大", "en": "large"},
)
# Three rows of three columns.
NINTHS: tuple[Words, ...] = (
    {"zh": "左上方", "en": "in the top left"},
    {"zh": "上方", "en": "at the top"},
    {"zh": "右上方", "en": "in the top right"},
    {"zh": "左边", "en": "on the left"},
    {"zh": "正中间", "en": "in the middle"},
    {"zh": "右边", "en": "on the right"},
    {"zh": "左下方", "en": "in the bottom left"},
    {"zh": "下方", "en": "at the bottom"},
    {"zh": "右下方", "en": "in the bottom right"},
)
THING: Words = {"zh": "东西", "en": "thing"}
_NUMERALS: dict[Language, tuple[str, ...]] = {
    "zh": tuple("零一两三四五六七八九十"),
    "en": ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
}


@dataclass(frozen=True, slots=True)
class Looks:
    """How something looks, as far as it is said; indices of ``KINDS``, ``COLOURS``, ``PATTERNS`` and ``SIZES``."""

    kind: int | None = None
    colour: int | None = None
    pattern: int | None = None
    size: int | None = None

    def phrase(self, language: Language, *, several: bool = False, led: bool = False) -> str:
        """Adjectives and noun, without article or number.

        Args:
            language: of the phrase.
            several: plural.
            led: another attribute stands before it, so that Chinese needs no 的 behind the colour.
        """
        return self._chinese(led) if language == "zh" else self._english(several)

    def _english(self, several: bool) -> str:
        named = ((SIZES, self.size), (PATTERNS, self.pattern), (COLOURS, self.colour))
        words = [names[place]["en"] for names, place in named if place is not None]
        kind = None if self.kind is None else KINDS[self.kind]
        singular, plural = (THING["en"], "things") if kind is None else (kind.names["en"], kind.plural)
        return " ".join([*words, plural if several else singular])

    def _chinese(self, led: bool) -> str:
        medium = self.size == 1
        text = "中等大小的" if medium else ""
        if self.pattern is not None:
            text += _WITH_PATTERN[self.pattern]
        if self.colour is not None:
            text += COLOURS[self.colour]["zh"] + ("" if text or led else "的")
        if self.size is not None:
            text += _WITH_SIZE[self.size]
        return text + (THING if self.kind is None else KINDS[self.kind].names)["zh"]

    @property
    def measure(self) -> str:
        """The Chinese measure word."""
        return "个" if self.kind is None else KINDS[self.kind].measure

    def definite(self, language: Language) -> str:
        """The one thing that looks so."""
        return self.phrase(language) if language == "zh" else f"the {self.phrase(language)}"

    def counted(self, language: Language, count: int) -> str:
        """So many of them; one has an article in English."""
        if language == "en" and count == 1:
            return f"{article(self.phrase(language))} {self.phrase(language)}"
        return self.numbered(language, count)

    def numbered(self, language: Language, count: int) -> str:
        """So many of them, always with the number."""
        between = self.measure if language == "zh" else " "
        return f"{numeral(language, count)}{between}{self.phrase(language, several=count != 1)}"


def numeral(language: Language, count: int) -> str:
    """A number from 0 to 10 as it stands before what is counted."""
    return _NUMERALS[language][count]


def article(words: str) -> str:
    """The English article before them."""
    return "an" if words[0] in "aeiou" else "a"


def joined(language: Language, items: Sequence[str]) -> str:
    """A list as one says it."""
    comma, last = ("、", "和") if language == "zh" else (", ", " and ")
    return comma.join(items[:-1]) + last + items[-1] if len(items) > 1 else items[0]


def listed(language: Language, all_looks: Iterable[Looks], *more: str) -> str:
    """Things counted and named, those that look the same together, in order of first appearance; and more words."""
    named = [looks.counted(language, count) for looks, count in Counter(all_looks).items()]
    return joined(language, [*named, *more])


def sentence(language: Language, text: str) -> str:
    """A sentence: a capital at its beginning, a full stop at its end."""
    return f"{text}。" if language == "zh" else f"{text[0].upper()}{text[1:]}."


def verb(all_looks: Sequence[Looks]) -> str:
    """The English verb after "there": it goes with the first of a list."""
    return "is" if Counter(all_looks)[all_looks[0]] == 1 else "are"


def vocabulary() -> list[str]:
    """Every name, number and measure word."""
    names = [*COLOURS, *PATTERNS, *SIZES, *NINTHS, *(kind.names for kind in KINDS)]
    words = [name[language] for name in names for language in LANGUAGES]
    words += [word for kind in KINDS for word in (kind.plural, kind.measure)]
    words += [numeral(language, count) for language in LANGUAGES for count in range(11)]
    return [*words, *_WITH_PATTERN, *(str(count) for count in range(11))]
