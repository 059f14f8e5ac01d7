"""What a scene may hold beside its things: a signboard or a person, with something written or not."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import PIL.Image
from PIL import ImageDraw

from tuwen.data.sample import Language
from tuwen.data.synth.canvas import scaled
from tuwen.data.synth.faces import MOODS, draw_face
from tuwen.data.synth.fonts import open_font
from tuwen.data.synth.scenes.painting import Box
from tuwen.data.synth.words import ENGLISH, HANZI

NAMES: tuple[str, ...] = (
    *("小明", "小红", "小华", "小芳", "小刚", "小丽", "小军", "小英", "小龙", "小梅", "小林", "小雨"),
    *("Tom", "Lily", "Jack", "Emma", "Ben", "Anna", "Sam", "Mia", "Leo", "Zoe", "Max", "Ivy"),
)
MOST_HANZI = 4
BOARD, EDGE, INK = (255, 255, 250), (96, 88, 80), (36, 34, 40)
# Width and height as shares of the picture's mean side, and how much of a person's height the name tag is.
SHARES = {"sign": (0.42, 0.17), "person": (0.26, 0.36)}
TAG = 0.26
# Mean side of a picture, in pixels, below which both take a larger share of it, to be read.
LEAST_UNIT = 130


class State(Enum):
    """Whether there is something to read, only what it could be on, or not even that."""

    WRITTEN = "written"
    BLANK = "blank"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Extra:
    """A signboard or a person.

    Attributes:
        kind: which of both is asked about.
        state: whether it is there and has text.
        text: word of the sign or name of the person; empty where none is written.
        mood: of ``MOODS``, of the person's face.
    """

    kind: Literal["sign", "person"]
    state: State
    text: str
    mood: int

    @property
    def named(self) -> dict[Language, str] | None:
        """What it is called in a list; None if it is not there."""
        if self.state is State.ABSENT:
            return None
        return {"zh": "一块牌子", "en": "a sign"} if self.kind == "sign" else {"zh": "一个人", "en": "a person"}

    def sides(self, unit: float) -> list[tuple[float, float]]:
        """Width and height of the room that it needs; nothing where it is absent.

        Args:
            unit: mean side of the picture, in pixels.
        """
        width, height = (share * max(unit, LEAST_UNIT) for share in SHARES[self.kind])
        return [] if self.state is State.ABSENT else [(width, height)]


def make_extra(rng: random.Random) -> Extra:
    """One that has text half of the time."""
    kind: Literal["sign", "person"] = rng.choice(("sign", "person"))
    state = rng.choice((State.WRITTEN, State.WRITTEN, State.BLANK, State.ABSENT))
    if kind == "person":
        text = rng.choice(NAMES)
    elif rng.random() < 0.5:
        text = "".join(rng.sample(HANZI, rng.randint(1, MOST_HANZI)))
    else:
        text = rng.choice(ENGLISH)
    return Extra(kind, state, text if state is State.WRITTEN else "", rng.randrange(len(MOODS)))


def draw_extra(rng: random.Random, image: PIL.Image.Image, extra: Extra, box: Box, font: str | None) -> Box:
    """Draw it into its box on what scenes are drawn on.

    Args:
        rng: of the skin.
        image: ``SCALE`` times as large as the picture.
        extra: sign or person.
        box: where, in pixels of the picture.
        font: a font file, or None for one of the system's.

    Returns:
        The box of what is or could be written on, in pixels of the picture.
    """
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    if extra.kind == "person":
        diameter = right - left
        skin = (rng.randint(222, 252), rng.randint(185, 222), rng.randint(115, 175))
        draw_face(draw, MOODS[extra.mood]["en"], scaled((left + right) / 2, top + diameter / 2, diameter / 2), skin)
        top = bottom - (bottom - top) * TAG
    if extra.kind == "sign" or extra.text:
        edge = max(2, round((scaled(bottom - top)[0]) / 16))
        draw.rounded_rectangle(scaled(left, top, right, bottom), radius=3 * edge, fill=BOARD, outline=EDGE, width=edge)
    if extra.text:
        _write(draw, extra.text, scaled(left, top, right, bottom), font)
    return (left, top, right, bottom)


def _write(draw: ImageDraw.ImageDraw, text: str, box: tuple[float, ...], font: str | None) -> None:
    """Text in the middle of a box, as large as fits."""
    left, top, right, bottom = box
    size = round((bottom - top) * 0.66)
    while size > 8 and open_font(size, font).getlength(text) > (right - left) * 0.86:
        size -= 1
    draw.text(((left + right) / 2, (top + bottom) / 2), text, font=open_font(size, font), fill=INK, anchor="mm")
