"""Animals with a mood in their face, as stickers show them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from PIL import ImageDraw

from tuwen.data.synth.canvas import Colour
from tuwen.data.synth.shape_wordings import Words

INK: Colour = (52, 40, 38)
WHITE: Colour = (255, 255, 255)
BLUSH: Colour = (246, 160, 160)
MOUTH: Colour = (170, 50, 56)
TEAR: Colour = (96, 170, 245)
BUBBLE: Colour = (196, 226, 250)
RED: Colour = (226, 40, 40)


@dataclass(frozen=True, slots=True)
class Species:
    """An animal.

    Attributes:
        names: what it is.
        furs: colours that it may have.
        ears: how they are drawn: ``pointed``, ``round``, ``long``, ``hanging`` or ``eyes`` (a frog's bumps).
        snout: whether there is a pale patch around nose and mouth.
        nose: width and height of half of it.
        nose_colour: of it.
        dark: ears and patches around the eyes are dark, as a panda's are.
        whiskers: whether it has some.
    """

    names: Words
    furs: tuple[Colour, ...]
    ears: str
    snout: bool = False
    nose: tuple[float, float] = (0.09, 0.06)
    nose_colour: Colour = INK
    dark: bool = False
    whiskers: bool = False

    @property
    def rise(self) -> float:
        """How high it reaches above the middle of the head, in halves of its width."""
        return {"long": 1.72, "eyes": 1.06, "hanging": 0.88}.get(self.ears, 1.0)

    @property
    def eyes(self) -> float:
        """Height of the eyes, from the middle down."""
        return -0.7 if self.ears == "eyes" else -0.08


SPECIES: tuple[Species, ...] = (
    Species({"zh": "小猫", "en": "cat"}, ((250, 214, 160), (222, 222, 226), (244, 178, 110)), "pointed", whiskers=True),
    Species(
        {"zh": "小狗", "en": "dog"},
        ((232, 196, 150), (250, 240, 226), (206, 164, 122)),
        "hanging",
        snout=True,
        nose=(0.14, 0.09),
    ),
    Species(
        {"zh": "小熊", "en": "bear"},
        ((190, 140, 96), (222, 184, 140), (168, 126, 92)),
        "round",
        snout=True,
        nose=(0.14, 0.09),
    ),
    Species({"zh": "兔子", "en": "rabbit"}, ((255, 250, 248), (250, 214, 222), (226, 222, 230)), "long"),
    Species({"zh": "熊猫", "en": "panda"}, ((252, 252, 250), (244, 244, 240)), "round", dark=True),
    Species({"zh": "青蛙", "en": "frog"}, ((150, 208, 110), (122, 196, 130), (176, 214, 96)), "eyes", nose=(0.0, 0.0)),
    Species(
        {"zh": "小猪", "en": "pig"},
        ((252, 194, 200), (248, 176, 188), (255, 210, 206)),
        "folded",
        nose=(0.24, 0.14),
        nose_colour=(232, 140, 156),
    ),
)
MOODS: tuple[Words, ...] = (
    {"zh": "开心", "en": "happy"},
    {"zh": "难过", "en": "sad"},
    {"zh": "生气", "en": "angry"},
    {"zh": "惊讶", "en": "surprised"},
    {"zh": "平静", "en": "calm"},
    {"zh": "困倦", "en": "sleepy"},
    {"zh": "得意", "en": "smug"},
    {"zh": "无语", "en": "speechless"},
)


class Mood(IntEnum):
    """Numbers of ``MOODS``."""

    HAPPY, SAD, ANGRY, SURPRISED, CALM, SLEEPY, SMUG, SPEECHLESS = range(8)


# What the face shows of a mood.
SIGNS: tuple[Words, ...] = (
    {"zh": "弯着眼睛张嘴大笑", "en": "laughs with narrowed eyes and an open mouth"},
    {"zh": "嘴角向下,流着眼泪", "en": "sheds tears and turns down the mouth"},
    {"zh": "竖着眉毛,咬着牙", "en": "frowns and clenches the teeth"},
    {"zh": "瞪圆了眼睛,张大了嘴", "en": "has wide eyes and an open mouth"},
    {"zh": "睁着眼睛,轻轻地抿着嘴", "en": "looks ahead with a faint smile"},
    {"zh": "闭着眼睛,鼻子上吹着泡泡", "en": "has closed eyes and a bubble at the nose"},
    {"zh": "眯着眼睛,歪着嘴角笑", "en": "smirks with half-closed eyes"},
    {"zh": "眼睛眯成两条线,额头上挂着黑线", "en": "has flat eyes, a flat mouth and dark lines on the forehead"},
)
Place = tuple[float, float, float]


def draw_character(draw: ImageDraw.ImageDraw, species: Species, mood: int, place: Place, fur: Colour) -> None:
    """Draw an animal's head.

    Args:
        draw: where.
        species: which animal.
        mood: of ``MOODS``.
        place: x and y of the head's middle and half its width, in pixels. Ears rise up to one such half above it.
        fur: of ``species.furs``.
    """
    pen = _Pen(draw, place, max(2, round(place[2] / 16)))
    _draw_ears(pen, species, INK if species.dark else fur)
    pen.oval(0, 0, 1.0, 0.86, fur, edge=True)
    _draw_face(pen, species, fur)
    for side in (-1, 1):
        _draw_eye(pen, mood, (side * 0.4, species.eyes), fur, species.dark)
        _draw_brow(pen, mood, side, species.eyes)
    _draw_mouth(pen, mood)
    _draw_marks(pen, mood, species.eyes)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws in units of half a head around its middle."""

    draw: ImageDraw.ImageDraw
    place: Place
    line: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.place[0] + x * self.place[2], self.place[1] + y * self.place[2]

    def box(self, x: float, y: float, across: float, down: float) -> tuple[float, float, float, float]:
        return (*self.at(x - across, y - down), *self.at(x + across, y + down))

    def oval(self, x: float, y: float, across: float, down: float, fill: Colour, *, edge: bool = False) -> None:
        self.draw.ellipse(self.box(x, y, across, down), fill=fill, outline=INK if edge else None, width=self.line)

    def polygon(self, points: list[tuple[float, float]], fill: Colour, *, edge: bool = False) -> None:
        placed = [self.at(x, y) for x, y in points]
        self.draw.polygon(placed, fill=fill, outline=INK if edge else None, width=self.line)

    def stroke(self, points: list[tuple[float, float]], fill: Colour = INK) -> None:
        self.draw.line([self.at(x, y) for x, y in points], fill=fill, width=self.line, joint="curve")

    def arc(self, box: tuple[float, float, float, float], start: float, stop: float, fill: Colour = INK) -> None:
        self.draw.arc(self.box(*box), start, stop, fill=fill, width=self.line)


def _draw_ears(pen: _Pen, species: Species, colour: Colour) -> None:
    for side in (-1, 1):
        match species.ears:
            case "pointed":
                pen.polygon([(side * 0.95, -0.95), (side * 0.2, -0.68), (side * 0.88, -0.1)], colour, edge=True)
                pen.polygon([(side * 0.85, -0.78), (side * 0.45, -0.62), (side * 0.8, -0.34)], BLUSH)
            case "folded":
                pen.polygon([(side * 0.98, -0.52), (side * 0.36, -0.98), (side * 0.3, -0.5)], colour, edge=True)
            case "round":
                pen.oval(side * 0.7, -0.66, 0.3, 0.3, colour, edge=True)
            case "long":
                pen.oval(side * 0.42, -1.1, 0.22, 0.6, colour, edge=True)
                pen.oval(side * 0.42, -1.05, 0.1, 0.42, BLUSH)
            case "eyes":
                pen.oval(side * 0.4, -0.72, 0.32, 0.32, colour, edge=True)


def _draw_face(pen: _Pen, species: Species, fur: Colour) -> None:
    """All of a face that shows no mood."""
    for side in (-1, 1):
        if species.ears == "hanging":
            red, green, blue = (channel * 3 // 5 for channel in fur)
            pen.oval(side * 0.88, -0.1, 0.22, 0.52, (red, green, blue), edge=True)
        if species.ears == "eyes":
            # A frog's eyes grow out of its head without a line between.
            pen.oval(side * 0.4, -0.64, 0.27, 0.27, fur)
        if species.dark:
            pen.oval(side * 0.4, -0.08, 0.27, 0.3, INK)
        if species.whiskers:
            for y in (0.18, 0.32):
                pen.stroke([(side * 0.62, y), (side * 1.02, y - 0.04)])
    if species.snout:
        red, green, blue = (channel + (255 - channel) // 2 for channel in fur)
        pen.oval(0, 0.42, 0.44, 0.34, (red, green, blue))
    across, down = species.nose
    pen.oval(0, 0.24, across, down, species.nose_colour)
    if across > 0.2:
        for side in (-1, 1):
            pen.oval(side * 0.09, 0.24, 0.035, 0.05, INK)


def _draw_eye(pen: _Pen, mood: int, place: tuple[float, float], fur: Colour, dark: bool) -> None:
    """An eye, white on a dark patch."""
    x, y = place
    ink, glint = (WHITE, INK) if dark else (INK, WHITE)
    match mood:
        case Mood.HAPPY:
            bow = ((-0.16, 0.07), (-0.08, -0.05), (0, -0.1), (0.08, -0.05), (0.16, 0.07))
            pen.stroke([(x + across, y + down) for across, down in bow], ink)
        case Mood.SURPRISED:
            pen.oval(x, y, 0.22, 0.24, WHITE, edge=True)
            pen.oval(x, y, 0.07, 0.08, INK)
        case Mood.SLEEPY:
            pen.arc((x, y - 0.04, 0.16, 0.12), 20, 160, ink)
        case Mood.SMUG:
            pen.oval(x, y, 0.17, 0.17, WHITE, edge=True)
            pen.oval(x + 0.05, y + 0.06, 0.08, 0.08, INK)
            pen.draw.chord(pen.box(x, y, 0.17, 0.17), 180, 360, fill=INK if dark else fur, outline=ink, width=pen.line)
        case Mood.SPEECHLESS:
            pen.stroke([(x - 0.18, y), (x + 0.18, y)], ink)
        case _:
            pen.oval(x, y, 0.1, 0.13, ink)
            pen.oval(x + 0.03, y - 0.05, 0.035, 0.045, glint)


def _draw_brow(pen: _Pen, mood: int, side: int, y: float) -> None:
    inner, outer = side * 0.2, side * 0.58
    match mood:
        case Mood.SAD:
            pen.stroke([(outer, y - 0.2), (inner, y - 0.34)])
        case Mood.ANGRY:
            pen.stroke([(outer, y - 0.4), (inner, y - 0.18)])
        case Mood.SURPRISED:
            pen.stroke([(outer, y - 0.38), (inner, y - 0.44)])
        case Mood.SMUG:
            lift = 0.12 if side > 0 else 0.0
            pen.stroke([(outer, y - 0.28 - lift), (inner, y - 0.26 - lift)])


def _draw_mouth(pen: _Pen, mood: int) -> None:
    match mood:
        case Mood.HAPPY:
            pen.draw.chord(pen.box(0, 0.42, 0.3, 0.28), 0, 180, fill=MOUTH, outline=INK, width=pen.line)
        case Mood.SAD:
            pen.arc((0, 0.66, 0.22, 0.16), 200, 340)
        case Mood.ANGRY:
            pen.polygon([(-0.24, 0.42), (0.24, 0.42), (0.24, 0.6), (-0.24, 0.6)], WHITE, edge=True)
            for x in (-0.12, 0.0, 0.12):
                pen.stroke([(x, 0.42), (x, 0.6)])
        case Mood.SURPRISED:
            pen.oval(0, 0.54, 0.14, 0.18, MOUTH, edge=True)
        case Mood.CALM:
            pen.arc((0, 0.42, 0.16, 0.1), 20, 160)
        case Mood.SLEEPY:
            pen.oval(0, 0.54, 0.08, 0.06, MOUTH, edge=True)
        case Mood.SMUG:
            pen.stroke([(-0.18, 0.54), (0.0, 0.56), (0.16, 0.5), (0.28, 0.36)])
        case _:
            pen.stroke([(-0.22, 0.52), (0.22, 0.52)])


def _draw_marks(pen: _Pen, mood: int, eyes: float) -> None:
    """Blush, tears, a bubble, dark lines: what tells a mood from afar."""
    for side in (-1, 1):
        if mood in (Mood.HAPPY, Mood.CALM, Mood.SMUG):
            pen.oval(side * 0.66, 0.24, 0.13, 0.08, BLUSH)
        if mood == Mood.SAD:
            top, inner, outer = eyes + 0.16, side * 0.34, side * 0.48
            pen.polygon([(inner, top), (outer, top), (outer + side * 0.1, 0.6), (inner + side * 0.1, 0.6)], TEAR)
            pen.oval(side * 0.51, 0.6, 0.09, 0.09, TEAR)
    if mood == Mood.ANGRY:
        for across, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            bow = ((0.05, 0.16), (0.06, 0.06), (0.16, 0.05))
            pen.stroke([(0.62 + across * x, -0.52 + down * y) for x, y in bow], RED)
    if mood == Mood.SLEEPY:
        pen.oval(0.26, 0.3, 0.2, 0.2, BUBBLE, edge=True)
    if mood == Mood.SPEECHLESS:
        for x in (0.0, 0.12, 0.24):
            pen.stroke([(x, -0.7), (x, -0.36)])
