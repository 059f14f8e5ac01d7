"""Small tasks without a picture: repeat, translate, compare, add, know a colour; and instructions of many kinds."""

from __future__ import annotations

import random
from typing import ClassVar

from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, Wordings
from tuwen.data.synth.faces import MOODS
from tuwen.data.synth.forms import FORMS
from tuwen.data.synth.instructions.instruction_words import (
    ACTIVITIES,
    CATEGORIES,
    GOODS,
    NAMES,
    OPPOSITES,
    SUBJECTS,
    WEEKDAYS,
    number_words,
)
from tuwen.data.synth.instructions.instructions import INSTRUCTIONS
from tuwen.data.synth.shape_wordings import COLOURS
from tuwen.data.synth.words import ENGLISH, HANZI

PAIRS = [*COLOURS, *FORMS, *MOODS]
# Common things and the colours that they have, as indices of COLOURS.
COMMON: tuple[tuple[dict[Language, str], int], ...] = (
    ({"zh": "番茄", "en": "a tomato"}, 0),
    ({"zh": "草莓", "en": "a strawberry"}, 0),
    ({"zh": "橘子", "en": "a tangerine"}, 1),
    ({"zh": "胡萝卜", "en": "a carrot"}, 1),
    ({"zh": "香蕉", "en": "a banana"}, 2),
    ({"zh": "玉米", "en": "corn"}, 2),
    ({"zh": "青草", "en": "grass"}, 3),
    ({"zh": "黄瓜", "en": "a cucumber"}, 3),
    ({"zh": "晴天", "en": "a clear sky"}, 4),
    ({"zh": "大海", "en": "the sea"}, 4),
    ({"zh": "茄子", "en": "an eggplant"}, 5),
    ({"zh": "葡萄", "en": "a grape"}, 5),
    ({"zh": "桃花", "en": "a peach blossom"}, 6),
    ({"zh": "小猪", "en": "a piglet"}, 6),
    ({"zh": "煤炭", "en": "coal"}, 7),
    ({"zh": "乌鸦", "en": "a crow"}, 7),
)
WORDINGS: dict[str, Wordings] = {
    "add": {
        "zh": ("{one}加{two}等于几?", "{one}+{two}=?"),
        "en": ("What is {one} plus {two}?", "{one}+{two}=?"),
    },
    "common_color": {
        "zh": ("{thing}一般是什么颜色?", "{thing}通常是什么颜色的?"),
        "en": ("What color is {thing} usually?", "Which color does {thing} mostly have?"),
    },
    "compare": {
        "zh": ("{one}和{two}哪个大?", "{one}、{two},更大的是?"),
        "en": ("Which is larger, {one} or {two}?", "The larger one of {one} and {two}?"),
    },
    "repeat": {
        "zh": ("重复:{word}", "请跟我说:{word}"),
        "en": ("Repeat: {word}", "Say this again: {word}"),
    },
    "translate": {
        "zh": ("“{word}”用中文怎么说?", "把“{word}”译成中文。"),
        "en": ('How do you say "{word}" in English?', 'Translate "{word}" into English.'),
    },
}


@SUITES.register("text")
class TextOnly(Suite[SuiteSettings]):
    """Five questions in each language, about words alone, and one instruction of each kind."""

    name: ClassVar[str] = "text"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted((*WORDINGS, *INSTRUCTIONS)))

    def compose(self, page: Page, rng: random.Random) -> None:
        """Questions without a picture."""
        for language in LANGUAGES:
            other: Language = "en" if language == "zh" else "zh"
            one, two = rng.randint(0, 9), rng.randint(0, 9)
            _ask(page, "add", language, rng, str(one + two), one=str(one), two=str(two))
            one, two = rng.sample(range(10), 2)
            _ask(page, "compare", language, rng, str(max(one, two)), one=str(one), two=str(two))
            word = rng.choice(rng.choice((HANZI, ENGLISH)))
            _ask(page, "repeat", language, rng, word, word=word)
            pair = rng.choice(PAIRS)
            _ask(page, "translate", language, rng, pair[language], word=pair[other])
            thing, colour = rng.choice(COMMON)
            _ask(page, "common_color", language, rng, COLOURS[colour][language], thing=thing[language])
        for language in LANGUAGES:
            for task, instruction in INSTRUCTIONS.items():
                words, answer = instruction.make(rng, language)
                text = rng.choice(instruction.wordings[language]).format(**words)
                page.ask(task, language, text, answer)

    def words(self) -> list[str]:
        """Words of both languages."""
        names = [*PAIRS, *(thing for thing, _ in [*COMMON, *GOODS]), *WEEKDAYS, *SUBJECTS, *ACTIVITIES]
        names += [word for pair in OPPOSITES for word in pair]
        names += [word for name, members in CATEGORIES for word in (name, *members)]
        words = [name[language] for name in names for language in LANGUAGES]
        words += [*(measure for _, measure in GOODS), *(name for language in LANGUAGES for name in NAMES[language])]
        words += [number_words(language, number) for language in LANGUAGES for number in range(10, 100, 11)]
        return [*HANZI, *ENGLISH, *words]


def _ask(page: Page, task: str, language: Language, rng: random.Random, answer: str, **words: str) -> None:
    page.ask(task, language, rng.choice(WORDINGS[task][language]).format(**words), answer)
