"""Text in pictures: read it all, read a line, find it, confirm it.

After SynthDoG (Kim et al., Donut, arXiv 2111.15664), whose pages in English and Chinese CodeFuse-VLM was trained on;
layouts, textures and distortions are ours, and every line has its box after all that has bent it.
"""

from __future__ import annotations

import random
from typing import ClassVar

import PIL.Image
from pydantic import Field, field_validator

from tuwen.chat.grounding import format_box
from tuwen.config import unknown_name
from tuwen.data.sample import Region
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, region
from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.fonts import Script, typefaces
from tuwen.data.synth.reading.camera import photographed
from tuwen.data.synth.reading.distortion import Warp
from tuwen.data.synth.reading.layout import LAYOUTS, Board, Counting
from tuwen.data.synth.reading.ocr_wordings import WORDINGS
from tuwen.data.synth.reading.paper_textures import surroundings, textured
from tuwen.data.synth.vocabulary.corpus import CHINESE, ENGLISH, Corpus
from tuwen.data.synth.vocabulary.hanzi import LEVEL_1

# Width and height of a picture in parts of its longer side.
SHAPES = ((1.0, 1.0), (1.0, 1.0), (1.0, 0.75), (0.75, 1.0), (1.0, 0.5625), (0.5625, 1.0))
SLIMMEST = 0.3
SCRIPTS: tuple[Script, ...] = ("simplified", "traditional", "latin")


class OcrSettings(SuiteSettings):
    """Settings of the suite ``ocr``.

    Attributes:
        size: longer side of the picture, in pixels.
        scripts: how often each is written, relative to the others.
        distortion: the strongest turning, bending, shading and noise, 0–1; every weaker one is as likely.
    """

    size: int = Field(default=448, ge=224, le=2048)
    scripts: dict[str, float] = Field(default={"simplified": 0.4, "traditional": 0.15, "latin": 0.45}, min_length=1)
    distortion: float = Field(default=1.0, ge=0, le=1)

    @field_validator("scripts")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in SCRIPTS:
                raise ValueError(unknown_name("script", name, sorted(SCRIPTS)))
            if not 0 < weight < float("inf"):
                raise ValueError(f"{name}: a weight must be above 0, found {weight}")
        return value


@SUITES.register("ocr")
class Ocr(Suite[OcrSettings]):
    """Simplified and traditional Chinese, English and digits on paper, boards and signs, as scanned or photographed."""

    name: ClassVar[str] = "ocr"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SuiteSettings]] = OcrSettings

    def __init__(self, settings: OcrSettings) -> None:
        super().__init__(settings)
        self._corpora = [Corpus(script) for script in SCRIPTS if script in settings.scripts]
        self._weights = [settings.scripts[corpus.script] for corpus in self._corpora]
        self._faces = {
            corpus.script: typefaces(corpus.script, corpus.alphabet(), settings.font) for corpus in self._corpora
        }

    def compose(self, page: Page, rng: random.Random) -> None:
        """A page of text and questions about it."""
        corpus = rng.choices(self._corpora, self._weights)[0]
        shape = rng.choice(SHAPES)
        size = (round(shape[0] * self.settings.size), round(shape[1] * self.settings.size))
        sheet, ink = _sheet(rng, size)
        board = Board(sheet, rng, corpus, self._faces[corpus.script], ink)
        names = [name for name in LAYOUTS if name != "upright" or corpus.script != "latin"]
        layout = LAYOUTS[rng.choice(names)]
        layout.write(board)
        if rng.random() < 0.7:
            board.trim(rng.uniform(0.02, 0.1) * self.settings.size)
        size = _picture_size(board.size, self.settings.size)
        strength = self.settings.distortion * max(0.0, rng.uniform(-0.3, 1))
        straight = Warp.straight(board.size, size)
        warp = Warp.random(rng, board.size, size, strength) if strength else straight
        page.image = photographed(warp.apply(board.image, surroundings(rng, size)), rng, max(0.15, strength))
        page.regions += [region(warp.bounds(line.corners), size, line.text) for line in board.lines]
        for language in LANGUAGES:
            _ask(Asker(page, language, rng, WORDINGS), board, layout.counting)

    def words(self) -> list[str]:
        """Every character of common use, and the words of the lists."""
        listed = [
            word for slots in (CHINESE, ENGLISH) for slot in slots.values() if not callable(slot) for word in slot
        ]
        return [*LEVEL_1, *dict.fromkeys(listed)]


def _picture_size(sheet: tuple[int, int], longer: int) -> tuple[int, int]:
    """Of the sheet's form, but not slimmer than ``SLIMMEST``."""
    fit = longer / max(sheet)
    width, height = (max(round(side * fit), round(longer * SLIMMEST)) for side in sheet)
    return width, height


def _sheet(rng: random.Random, size: tuple[int, int]) -> tuple[PIL.Image.Image, Colour]:
    """Paper or a board, ``SCALE`` times the size, and a colour that can be read on it."""
    board = rng.random() < 0.2
    low, high = (10, 75) if board else (205, 255)
    colour = (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))
    low, high = (210, 255) if board else (0, 85)
    ink = (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))
    sheet = textured(rng, size, colour)
    return sheet.resize((size[0] * SCALE, size[1] * SCALE), PIL.Image.Resampling.BILINEAR), ink


def _ask(asker: Asker, board: Board, counting: Counting) -> None:
    """All questions in one language."""
    rng, lines, places = asker.rng, board.lines, asker.page.regions
    asker.ask("ocr_page", "\n".join(line.text for line in lines))
    if counting != "none" and len(lines) > 1:
        number = rng.randrange(len(lines))
        asker.ask(f"ocr_{counting}", lines[number].text, number=str(number + 1))
    alone = [place for place in places if _stands_alone(place, places)]
    if alone:
        place = rng.choice(alone)
        asker.ask("ocr_grounding", format_box(place.text, place.box), text=place.text)
        place = rng.choice(alone)
        asker.ask("ocr_box", place.text, box=format_box("", place.box))
    between = " " if board.corpus.script == "latin" else ""
    written = between.join(line.text for line in lines)
    certain = [phrase for phrase in board.phrases if phrase.text in written and phrase.other not in written]
    if certain:
        phrase = rng.choice(certain)
        asker.ask_pair("ocr_page_yesno", {"text": phrase.text}, {"text": phrase.other})


def _stands_alone(place: Region, places: list[Region]) -> bool:
    """Whether its text is nowhere else, and no other line's middle is in its box, as in pages that lie askew."""
    left, top, right, bottom = place.box
    for other in places:
        if other is place:
            continue
        x, y = (other.box[0] + other.box[2]) / 2, (other.box[1] + other.box[3]) / 2
        if place.text in other.text or (left < x < right and top < y < bottom):
            return False
    return True
