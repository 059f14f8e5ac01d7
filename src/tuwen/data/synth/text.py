"""Small tasks without a picture: repeat, translate, compare, add."""

from __future__ import annotations

import random
from typing import ClassVar

from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite
from tuwen.data.synth.faces import MOODS
from tuwen.data.synth.shapes import COLOURS, FORMS
from tuwen.data.synth.words import ENGLISH

PAIRS = [words for words, _ in COLOURS] + [*FORMS, *MOODS]


@SUITES.register("text")
class TextOnly(Suite):
    """Four questions in each language, about words alone."""

    name: ClassVar[str] = "text"
    tasks: ClassVar[tuple[str, ...]] = ("add", "compare", "repeat", "translate")

    def compose(self, rng: random.Random) -> Page:
        """Questions without a picture."""
        page = Page(None)
        for language in LANGUAGES:
            zh = language == "zh"
            one, two = rng.randint(0, 9), rng.randint(0, 9)
            page.ask("add", language, f"{one}加{two}等于几?" if zh else f"What is {one} plus {two}?", str(one + two))
            larger, smaller = rng.sample(range(10), 2)
            page.ask(
                "compare",
                language,
                f"{smaller}和{larger}哪个大?" if zh else f"Which is larger, {smaller} or {larger}?",
                str(max(larger, smaller)),
            )
            word = rng.choice(ENGLISH)
            page.ask("repeat", language, f"重复:{word}" if zh else f"Repeat: {word}", word)
            pair = rng.choice(PAIRS)
            asked = f"“{pair['en']}”用中文怎么说?" if zh else f'How do you say "{pair["zh"]}" in English?'
            page.ask("translate", language, asked, pair[language])
        return page

    def words(self) -> list[str]:
        """Words of both languages."""
        return [*ENGLISH, *(pair[language] for pair in PAIRS for language in LANGUAGES)]
