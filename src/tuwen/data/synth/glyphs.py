"""Pages of single characters in a grid, for dense alignment of reading."""

from __future__ import annotations

import random
import string
from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, Wordings, region
from tuwen.data.synth.canvas import pale
from tuwen.data.synth.fonts import glyph, require_glyphs
from tuwen.data.synth.words import HANZI

LATIN = string.ascii_letters + string.digits
FEWEST = 20

ROW: Wordings = {
    "zh": ("读出第{row}行。", "第{row}行写了什么?"),
    "en": ("Read row {row}.", "What is written in row {row}?"),
}
CHARACTER_YES_NO: Wordings = {
    "zh": ("这一页有“{character}”吗?", "图中能找到“{character}”吗?"),
    "en": ('Is there "{character}" on the page?', 'Can you find "{character}" here?'),
}


class GlyphSettings(SuiteSettings):
    """Settings of the suite ``glyphs``.

    Attributes:
        hanzi: share of pages with Chinese characters; the others have letters and digits.
    """

    hanzi: float = Field(default=0.6, ge=0, le=1)


@SUITES.register("glyphs")
class GlyphPages(Suite[GlyphSettings]):
    """Twenty to thirty-six characters, each in a cell of its own, with a region for each."""

    name: ClassVar[str] = "glyphs"
    tasks: ClassVar[tuple[str, ...]] = ("character_yesno", "row")
    settings_class: ClassVar[type[SuiteSettings]] = GlyphSettings

    def __init__(self, settings: GlyphSettings) -> None:
        super().__init__(settings)
        require_glyphs(HANZI + LATIN, settings.font)

    def compose(self, page: Page, rng: random.Random) -> None:
        """A page of characters."""
        side = rng.choice((5, 6))
        letters = HANZI if rng.random() < self.settings.hanzi else LATIN
        places = sorted(rng.sample(range(side * side), rng.randint(FEWEST, side * side)))
        written = [(place, rng.choice(letters)) for place in places]
        self._write(page, rng, side, written)
        rows = sorted({place // side for place, _ in written})
        here = sorted({character for _, character in written})
        elsewhere = sorted(set(letters) - set(here))
        for language in LANGUAGES:
            row = rng.choice(rows)
            text = "".join(character for place, character in written if place // side == row)
            page.ask("row", language, rng.choice(ROW[language]).format(row=row + 1), text)
            wording = rng.choice(CHARACTER_YES_NO[language])
            true, false = (wording.format(character=rng.choice(choices)) for choices in (here, elsewhere))
            page.ask_pair("character_yesno", language, true, false)

    def words(self) -> list[str]:
        """Every character."""
        return [*HANZI, *LATIN]

    def _write(self, page: Page, rng: random.Random, side: int, written: list[tuple[int, str]]) -> None:
        size = self.settings.size
        cell = size / side
        page.image = PIL.Image.new("RGB", (size, size), pale(rng))
        ink = (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))
        for place, character in written:
            row, column = divmod(place, side)
            mask, (left, top) = glyph(character, round(cell * 0.8), self.settings.font)
            x, y = round((column + 0.5) * cell) + left, round((row + 0.5) * cell) + top
            page.image.paste(ink, (x, y), mask)
            box = (column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
            page.regions.append(region(box, size, character))
