"""Pages of single characters in a grid, for dense alignment of reading; nothing is asked about them."""

from __future__ import annotations

import random
import string
from typing import ClassVar

import PIL.Image
from PIL import ImageDraw

from tuwen.data.synth.base import SUITES, Page, Suite, SuiteSettings, pale, region
from tuwen.data.synth.fonts import open_font, require_glyphs
from tuwen.data.synth.words import HANZI

LATIN = string.ascii_letters + string.digits


@SUITES.register("glyphs")
class GlyphPages(Suite):
    """Twenty to forty characters, each in a cell of its own."""

    name: ClassVar[str] = "glyphs"
    tasks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: SuiteSettings) -> None:
        super().__init__(settings)
        require_glyphs(HANZI + LATIN, settings.font)

    def compose(self, rng: random.Random) -> Page:
        """A page of characters with a region for each."""
        size = self.settings.size
        side = rng.choice((5, 6))
        cell = size / side
        font = open_font(round(cell * 0.8), self.settings.font)
        page = Page(PIL.Image.new("RGB", (size, size), pale(rng)))
        assert page.image is not None
        draw = ImageDraw.Draw(page.image)
        ink = (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))
        letters = HANZI if rng.random() < 0.6 else LATIN
        for place in rng.sample(range(side * side), rng.randint(20, side * side)):
            x, y = (place % side + 0.5) * cell, (place // side + 0.5) * cell
            character = rng.choice(letters)
            draw.text((x, y), character, font=font, fill=ink, anchor="mm")
            half = cell / 2
            page.regions.append(region((x - half, y - half, x + half, y + half), size, character))
        return page

    def words(self) -> list[str]:
        """Every character."""
        return [*HANZI, *LATIN]
