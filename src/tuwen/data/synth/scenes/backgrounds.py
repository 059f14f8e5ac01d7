"""What is behind drawn scenes: plain colours, paper, simple surroundings; things get a rim where they need one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import PIL.Image
from PIL import ImageDraw

from tuwen.data.sample import Language
from tuwen.data.synth.canvas import SCALE, Colour

Size = tuple[int, int]
Painter = Callable[[random.Random, Size], PIL.Image.Image]


@dataclass(frozen=True, slots=True)
class Background:
    """What is behind all things.

    Attributes:
        names: what it is.
        places: where things are that stand on it.
        paint: it, by the sides in pixels of what is painted on.
        rim: whether things need a white rim to stand out.
    """

    names: dict[Language, str]
    places: dict[Language, str]
    paint: Painter
    rim: bool = False


def _near(rng: random.Random, colour: Colour) -> Colour:
    """Almost the same colour, a little lighter or darker."""
    shift = rng.randint(-4, 3)
    red, green, blue = (min(255, channel + shift) for channel in colour)
    return red, green, blue


def _plain(colour: Colour) -> Painter:
    return lambda rng, size: PIL.Image.new("RGB", size, _near(rng, colour))


def _paper(squared: bool) -> Painter:
    def paint(rng: random.Random, size: Size) -> PIL.Image.Image:
        image = PIL.Image.new("RGB", size, _near(rng, (251, 251, 247)))
        draw = ImageDraw.Draw(image)
        width, height = size
        step = round((width * height) ** 0.5 / rng.uniform(11, 17))
        first, line, ink = rng.randrange(step), max(2, step // 14), _near(rng, (196, 208, 226))
        for y in range(first, height, step):
            draw.line((0, y, width, y), fill=ink, width=line)
        for x in range(first, width, step) if squared else ():
            draw.line((x, 0, x, height), fill=ink, width=line)
        return image

    return paint


def _two_parts(upper: Colour, lower: Colour) -> Painter:
    """A far and a near part, one above the other, with a wavy or a straight edge between them."""

    def paint(rng: random.Random, size: Size) -> PIL.Image.Image:
        image = PIL.Image.new("RGB", size, _near(rng, upper))
        width, height = size
        edge, swing, piece = height * rng.uniform(0.45, 0.65), height * rng.choice((0.0, 0.03, 0.05)), width / 8
        points = [(number * piece, edge + swing * rng.uniform(-1, 1)) for number in range(9)]
        ImageDraw.Draw(image).polygon([*points, (width, height), (0, height)], fill=_near(rng, lower))
        return image

    return paint


def _room(rng: random.Random, size: Size) -> PIL.Image.Image:
    """A wall, a skirting board and floorboards."""
    image = PIL.Image.new("RGB", size, _near(rng, (246, 238, 226)))
    draw = ImageDraw.Draw(image)
    width, height = size
    edge, board = round(height * rng.uniform(0.6, 0.75)), max(2, height // 50)
    draw.rectangle((0, edge, width, height), fill=_near(rng, (226, 205, 178)))
    draw.rectangle((0, edge - board, width, edge), fill=(255, 255, 255))
    for x in range(-width, 2 * width, width // 7):
        draw.line((width / 2 + (x - width / 2) * 0.8, edge, x, height), fill=(206, 182, 152), width=max(2, SCALE))
    return image


def _tint(chinese: str, english: str, colour: Colour, *, rim: bool = False) -> Background:
    article = "an" if english[0] in "aeiou" else "a"
    places: dict[Language, str] = {"zh": f"{chinese}的背景上", "en": f"on {article} {english} background"}
    return Background({"zh": chinese, "en": english}, places, _plain(colour), rim)


BACKGROUNDS: tuple[Background, ...] = (
    _tint("白色", "white", (252, 252, 252)),
    _tint("浅蓝色", "pale blue", (203, 226, 250)),
    _tint("浅绿色", "pale green", (208, 240, 205)),
    _tint("浅粉色", "pale pink", (254, 224, 230)),
    _tint("浅黄色", "pale yellow", (253, 248, 196)),
    _tint("浅灰色", "light gray", (222, 223, 226)),
    _tint("深灰色", "dark gray", (78, 80, 86), rim=True),
    Background({"zh": "方格纸", "en": "squared paper"}, {"zh": "方格纸上", "en": "on squared paper"}, _paper(True)),
    Background({"zh": "横线纸", "en": "lined paper"}, {"zh": "横线纸上", "en": "on lined paper"}, _paper(False)),
    Background(
        {"zh": "草地和天空", "en": "grass and sky"},
        {"zh": "草地和天空前", "en": "in front of grass and sky"},
        _two_parts((196, 225, 250), (178, 218, 150)),
        rim=True,
    ),
    Background(
        {"zh": "沙滩和大海", "en": "sand and sea"},
        {"zh": "沙滩和大海前", "en": "in front of sand and sea"},
        _two_parts((138, 196, 226), (243, 228, 186)),
        rim=True,
    ),
    Background({"zh": "房间", "en": "a room"}, {"zh": "房间里", "en": "in a room"}, _room, rim=True),
)
