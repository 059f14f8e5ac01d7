"""A word on paper: read it, count its characters, confirm it."""

from __future__ import annotations

import random
from typing import ClassVar

import PIL.Image
from PIL import ImageDraw, ImageFont

from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, pale, region
from tuwen.data.synth.fonts import open_font, require_glyphs

HANZI = (
    "山水火木日月人口大小中上下左右天地风云雨雪花草树鸟鱼马牛羊车门书笔手足"
    "耳目心头衣食田土石金红黄蓝绿白黑东西南北春夏秋冬"
)
ENGLISH_WORDS = """
sun sea cat dog cow ice egg tea red pen bus car map bag box cup hat ear eye key
ox up go pi
moon star fish bird tree leaf rose rain snow wind fire rock gold iron blue milk
rice cake pear book desk door room wall roof boat road hand foot nose coat shoe
horse green bread apple lemon black white brown house table chair river cloud
"""
ENGLISH = tuple(ENGLISH_WORDS.split())
LONGEST = 5


@SUITES.register("words")
class WordsOnPaper(Suite):
    """One line of Chinese or English at a random place, in a dark colour on light paper."""

    name: ClassVar[str] = "words"
    tasks: ClassVar[tuple[str, ...]] = ("characters", "ocr", "ocr_yesno")

    def __init__(self, settings: SuiteSettings) -> None:
        super().__init__(settings)
        require_glyphs(HANZI + "".join(ENGLISH), settings.font)

    def compose(self, rng: random.Random) -> Page:
        """A line of text and questions about it."""
        size = self.settings.size
        chinese = rng.random() < 0.5
        text = self._text(rng, chinese)
        font = open_font(round(size * (0.17 if len(text) > 4 else 0.2)), self.settings.font)
        page = Page(PIL.Image.new("RGB", (size, size), pale(rng)))
        assert page.image is not None
        width = font.getlength(text)
        left, top = rng.uniform(3, size - 3 - width), rng.uniform(0, size * 0.7)
        ink = (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))
        ImageDraw.Draw(page.image).text((left, top), text, font=font, fill=ink)
        self._mark(page, text, font, (left, top), chinese)
        self._ask(page, rng, text, chinese)
        return page

    def words(self) -> list[str]:
        """Hanzi and English words."""
        return [*HANZI, *ENGLISH]

    def _text(self, rng: random.Random, chinese: bool) -> str:
        """Every length is equally likely, so that counting characters needs a look."""
        length = rng.randint(1 if chinese else 2, LONGEST if not chinese else 4)
        if chinese:
            return "".join(rng.choice(HANZI) for _ in range(length))
        fitting = [word for word in ENGLISH if len(word) == length]
        return rng.choice(fitting) if fitting else rng.choice(ENGLISH)

    def _mark(
        self, page: Page, text: str, font: ImageFont.FreeTypeFont, corner: tuple[float, float], chinese: bool
    ) -> None:
        left, top = corner
        ascent, descent = font.getmetrics()
        for character in text if chinese else [text]:
            width = font.getlength(character)
            # The ink of a line stands in the lower part of the font's own box.
            box = (left, top + 0.25 * ascent, left + width, top + ascent + 0.5 * descent)
            page.regions.append(region(box, self.settings.size, character))
            left += width

    def _ask(self, page: Page, rng: random.Random, text: str, chinese: bool) -> None:
        wrong = text
        while wrong == text:
            # Drawn as the right one is, so that the question gives nothing away.
            wrong = self._text(rng, chinese)
        for language in LANGUAGES:
            zh = language == "zh"
            asked = ("图中写了什么?", "读出文字。") if zh else ("What is written?", "Read the text.")
            page.ask("ocr", language, rng.choice(asked), text)
            page.ask("characters", language, "有几个字符?" if zh else "How many characters?", str(len(text)))
            true, false = (f"写的是“{word}”吗?" if zh else f'Does it say "{word}"?' for word in (text, wrong))
            page.ask_pair("ocr_yesno", language, true, false)
