"""A word on paper: read it, count its characters, confirm it."""

from __future__ import annotations

import random
from typing import ClassVar

import PIL.Image
from PIL import ImageDraw
from pydantic import Field

from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, Wordings, region
from tuwen.data.synth.canvas import pale
from tuwen.data.synth.fonts import open_font, require_glyphs

HANZI = (
    "山水火木日月人口大小中上下左右天地风云雨雪花草树鸟鱼马牛羊车门书笔手足"
    "耳目心头衣食田土石金红黄蓝绿白黑东西南北春夏秋冬家国生年米竹虫"
)
ENGLISH_WORDS = """
sun sea cat dog cow ice egg tea red pen bus car map bag box cup hat ear eye key
ox up go pi
moon star fish bird tree leaf rose rain snow wind fire rock gold iron blue milk
rice cake pear book desk door room wall roof boat road hand foot nose coat shoe
horse green bread apple lemon black white brown house table chair river cloud
orange yellow purple window garden flower summer winter spring school
"""
ENGLISH = tuple(ENGLISH_WORDS.split())
MARGIN = 3

READ: Wordings = {
    "zh": ("图中写了什么?", "读出文字。", "图里写的是什么字?"),
    "en": ("What is written?", "Read the text.", "What does it say?"),
}
READ_YES_NO: Wordings = {
    "zh": ("写的是“{text}”吗?", "图中写着“{text}”吗?"),
    "en": ('Does it say "{text}"?', 'Is "{text}" written here?'),
}
COUNT: Wordings = {
    "zh": ("有几个字符?", "图中一共有几个字符?", "数一数有几个字符。"),
    "en": ("How many characters?", "How many characters are written?", "Count the characters."),
}


class WordsSettings(SuiteSettings):
    """Settings of the suite ``words``.

    Attributes:
        longest: characters of a text at most; every length up to it is equally likely.
    """

    longest: int = Field(default=5, ge=2, le=6)


@SUITES.register("words")
class WordsOnPaper(Suite[WordsSettings]):
    """One line of Chinese characters or an English word at a random place, in a dark colour on light paper."""

    name: ClassVar[str] = "words"
    tasks: ClassVar[tuple[str, ...]] = ("characters", "ocr", "ocr_yesno")
    settings_class: ClassVar[type[SuiteSettings]] = WordsSettings

    def __init__(self, settings: WordsSettings) -> None:
        super().__init__(settings)
        require_glyphs(HANZI + "".join(ENGLISH), settings.font)
        self._english = {
            length: [word for word in ENGLISH if len(word) == length] for length in range(1, settings.longest + 1)
        }

    def compose(self, page: Page, rng: random.Random) -> None:
        """A line of text and questions about it."""
        length = rng.randint(1, self.settings.longest)
        chinese = not self._english[length] or rng.random() < 0.5
        text = wrong = self._text(rng, chinese, length)
        while wrong == text:
            # Both are drawn anew, so that neither half of the pair is the likelier text.
            text = self._text(rng, chinese, length)
            wrong = self._text(rng, chinese, length)
        self._write(page, rng, text, chinese)
        for language in LANGUAGES:
            page.ask("ocr", language, rng.choice(READ[language]), text)
            page.ask("characters", language, rng.choice(COUNT[language]), str(length))
            wording = rng.choice(READ_YES_NO[language])
            page.ask_pair("ocr_yesno", language, wording.format(text=text), wording.format(text=wrong))

    def words(self) -> list[str]:
        """Hanzi and English words."""
        return [*HANZI, *ENGLISH]

    def _text(self, rng: random.Random, chinese: bool, length: int) -> str:
        return "".join(rng.choices(HANZI, k=length)) if chinese else rng.choice(self._english[length])

    def _write(self, page: Page, rng: random.Random, text: str, chinese: bool) -> None:
        size = self.settings.size
        # As large as fits, up to a fifth of the picture.
        font = open_font(round(size * min(0.2, 0.9 / len(text))), self.settings.font)
        left, top, right, bottom = font.getbbox(text)
        x = rng.uniform(MARGIN, size - MARGIN - (right - left)) - left
        y = rng.uniform(MARGIN, size - MARGIN - (bottom - top)) - top
        ink = (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))
        page.image = PIL.Image.new("RGB", (size, size), pale(rng))
        ImageDraw.Draw(page.image).text((x, y), text, font=font, fill=ink)
        start = x
        for piece in text if chinese else [text]:
            stop = start + font.getlength(piece)
            page.regions.append(region((start, y + top, stop, y + bottom), size, piece))
            start = stop
