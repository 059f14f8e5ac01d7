"""Scenes of one to ten things: what is where, and what holds between them. Four suites ask about them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
from pydantic import Field

from tuwen.data.synth.base import LANGUAGES, Page, SuiteSettings, region
from tuwen.data.synth.canvas import SCALE, scaled, smooth
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.painting import SOLID, Box, paint
from tuwen.data.synth.scenes.scene_words import INKS, PATTERNS, Looks

MOST = 10
SMALL, MEDIUM, LARGE = range(3)
# Sides of small and large things, as shares of the picture's; medium is between, and all vary a little.
SMALL_SHARE, LARGE_SHARE = 0.115, 0.31
VARIATION = 0.04
# Below these many pixels a kind cannot be told, and a pattern cannot.
LEAST_KIND, LEAST_PATTERN = 22, 38
# Share of the picture that things with the room around them may take, so that places are found quickly.
FILLED = 0.5
TRIES = 40
SIZES = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9))
# Share of scenes whose things are all solid.
ALL_SOLID = 0.35
# How far apart middles are, as a share of the picture's side, that are clearly beside one another.
CLEAR = 0.09


class SceneSettings(SuiteSettings):
    """Settings of all suites about scenes.

    Attributes:
        size: longer side of the picture, in pixels.
        most: things in a scene; small pictures have room for fewer.
        oblong: share of pictures that are not square.
    """

    size: int = Field(default=336, ge=96, le=2048)
    most: int = Field(default=MOST, ge=2, le=MOST)
    oblong: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a scene; all but box and mirrored are indices.

    Attributes:
        kind: of ``KINDS``.
        colour: of ``COLOURS`` and ``INKS``.
        pattern: of ``PATTERNS``.
        size: ``SMALL``, ``MEDIUM`` or ``LARGE``.
        box: left, top, right, bottom, in pixels.
        mirrored: left and right changed about.
    """

    kind: int
    colour: int
    pattern: int
    size: int
    box: Box
    mirrored: bool = False

    @property
    def middle(self) -> tuple[float, float]:
        """x and y of its box's middle, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def shows_pattern(self) -> bool:
        """Whether it is large enough for its pattern to be told."""
        left, top, right, bottom = self.box
        return min(right - left, bottom - top) >= LEAST_PATTERN * 0.6 and _extent(self.box) >= LEAST_PATTERN


def _extent(box: Box) -> float:
    """The side of a square as large as a box."""
    left, top, right, bottom = box
    return math.sqrt((right - left) * (bottom - top))


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn.

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        background: of ``BACKGROUNDS``.
        things: in reading order: from top to bottom in three rows, from left to right in each.
        patterned: whether each thing large enough has any pattern equally likely; else all are solid.
        free: boxes in which there is nothing, in pixels, for what a suite draws itself.
    """

    width: int
    height: int
    background: int
    things: tuple[Thing, ...]
    patterned: bool
    free: tuple[Box, ...] = ()

    def fractions(self, box: Box) -> Box:
        """A box in pixels as fractions (0–1) of the picture's sides."""
        left, top, right, bottom = box
        return left / self.width, top / self.height, right / self.width, bottom / self.height

    def column(self, thing: Thing) -> int | None:
        """0 for left, 1 for the middle, 2 for right; None where it is hard to say."""
        return _third(thing.middle[0] / self.width)

    def row(self, thing: Thing) -> int | None:
        """0 for the top, 1 for the middle, 2 for the bottom; None where it is hard to say."""
        return _third(thing.middle[1] / self.height)

    def quarter(self, thing: Thing) -> int | None:
        """0–3 for top left, top right, bottom left, bottom right; None in the middle and where it is hard to say."""
        column, row = self.column(thing), self.row(thing)
        if column in (None, 1) or row in (None, 1):
            return None
        return (column == 2) + 2 * (row == 2)

    def offset(self, one: Thing, two: Thing) -> tuple[float, float]:
        """From the middle of ``two`` to that of ``one``, right and down, as shares of the picture's mean side."""
        unit = math.sqrt(self.width * self.height)
        return (one.middle[0] - two.middle[0]) / unit, (one.middle[1] - two.middle[1]) / unit

    def direction(self, one: Thing, two: Thing) -> int | None:
        """Where ``one`` is, seen from ``two``: 0–3 for left, above, right, below; None where it is hard to say."""
        across, down = self.offset(one, two)
        if max(abs(across), abs(down)) < CLEAR or max(abs(across), abs(down)) < 1.5 * min(abs(across), abs(down)):
            return None
        return (2 if across > 0 else 0) if abs(across) > abs(down) else (3 if down > 0 else 1)


def _third(share: float) -> int | None:
    if share < 0.4:
        return 0
    if share > 0.6:
        return 2
    return 1 if 0.45 < share < 0.55 else None


def picture_size(rng: random.Random, settings: SceneSettings) -> tuple[int, int]:
    """Width and height of a picture in pixels; the longer side is the one of the settings."""
    across, down = rng.choice(SIZES[1:]) if rng.random() < settings.oblong else SIZES[0]
    side = settings.size / max(across, down)
    return round(across * side), round(down * side)


def room_for(size: tuple[int, int], most: int) -> int:
    """How many things a picture of this size takes, at most ``most``."""
    return max(2, min(most, int(FILLED / (1.7 * _shares(size)[SMALL] ** 2))))


def _shares(size: tuple[int, int]) -> tuple[float, float, float]:
    """Sides of small, medium and large things as shares of the picture's mean side."""
    small = max(SMALL_SHARE, LEAST_KIND / math.sqrt(size[0] * size[1]))
    large = max(LARGE_SHARE, min(0.5, small * 1.9))
    return small, math.sqrt(small * large), large


def looks(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Kinds and colours of ``count`` things, from a few of each so that they share some; all equally likely."""
    kinds = rng.sample(range(len(KINDS)), rng.randint(2, 8))
    colours = rng.sample(range(len(INKS)), rng.randint(2, 6))
    return [(rng.choice(kinds), rng.choice(colours)) for _ in range(count)]


def make_scene(
    rng: random.Random,
    size: tuple[int, int],
    chosen: Sequence[tuple[int, int]],
    *,
    free: Sequence[tuple[float, float]] = (),
) -> Scene:
    """A scene of things that do not touch.

    Args:
        rng: of sizes, patterns and places.
        size: width and height of the picture, in pixels.
        chosen: kind and colour of each thing, at most as many as ``room_for`` says.
        free: width and height, in pixels, of boxes to keep free.
    """
    patterned = rng.random() >= ALL_SOLID
    classes, shrink = [rng.randrange(3) for _ in chosen], 1.0
    while True:
        sides = [_sides(rng, size, kind, wanted, shrink) for (kind, _), wanted in zip(chosen, classes, strict=True)]
        boxes = _pack(rng, size, [*free, *sides])
        if boxes is not None:
            break
        # One of the largest becomes smaller, and in the end all do, until everything has a place.
        if max(classes) > SMALL:
            classes[rng.choice([place for place, wanted in enumerate(classes) if wanted == max(classes)])] -= 1
        else:
            shrink *= 0.98
    things = []
    for (kind, colour), wanted, box in zip(chosen, classes, boxes[len(free) :], strict=True):
        thing = Thing(kind, colour, SOLID, wanted, box, rng.random() < 0.5)
        if patterned and thing.shows_pattern:
            thing = Thing(kind, colour, rng.randrange(len(PATTERNS)), wanted, box, thing.mirrored)
        things.append(thing)
    things.sort(key=lambda thing: (int(3 * thing.middle[1] / size[1]), thing.middle[0]))
    return Scene(*size, rng.randrange(len(BACKGROUNDS)), tuple(things), patterned, tuple(boxes[: len(free)]))


def _sides(rng: random.Random, size: tuple[int, int], kind: int, wanted: int, shrink: float) -> tuple[float, float]:
    """Width and height of a thing, in pixels."""
    extent = math.sqrt(size[0] * size[1]) * _shares(size)[wanted] * rng.uniform(1 - VARIATION, 1 + VARIATION) * shrink
    stretch = math.sqrt(KINDS[kind].aspect)
    width, height = extent * stretch, extent / stretch
    shrink = min(1.0, (size[0] - 6) / width, (size[1] - 6) / height)
    return width * shrink, height * shrink


def _pack(rng: random.Random, size: tuple[int, int], sides: Sequence[tuple[float, float]]) -> list[Box] | None:
    """Boxes of these sides, apart from one another and from the edges; None if no room was found."""
    gap = 3 + 0.015 * math.sqrt(size[0] * size[1])
    if sum((width + gap) * (height + gap) for width, height in sides) > FILLED * size[0] * size[1]:
        return None
    boxes: dict[int, Box] = {}
    # The largest are placed first, as they find room least easily.
    for number in sorted(range(len(sides)), key=lambda number: -sides[number][0] * sides[number][1]):
        width, height = sides[number]
        for _ in range(TRIES):
            left, top = rng.uniform(2, size[0] - 2 - width), rng.uniform(2, size[1] - 2 - height)
            box = (left, top, left + width, top + height)
            if not any(_near(box, other, gap) for other in boxes.values()):
                boxes[number] = box
                break
        else:
            return None
    return [boxes[number] for number in range(len(sides))]


def _near(one: Box, two: Box, gap: float) -> bool:
    """Whether two boxes are less than ``gap`` apart."""
    return one[0] < two[2] + gap and two[0] < one[2] + gap and one[1] < two[3] + gap and two[1] < one[3] + gap


def draw_scene(rng: random.Random, scene: Scene) -> PIL.Image.Image:
    """The picture of a scene, ``SCALE`` times as large as it will be; see ``smooth``."""
    background = BACKGROUNDS[scene.background]
    image = background.paint(rng, (scene.width * SCALE, scene.height * SCALE))
    rim = max(2, round(math.sqrt(scene.width * scene.height) * SCALE / 150)) if background.rim else 0
    for thing in scene.things:
        left, top, right, bottom = scaled(*thing.box)
        paint(
            image,
            KINDS[thing.kind],
            (left, top, right, bottom),
            INKS[thing.colour],
            pattern=thing.pattern,
            mirrored=thing.mirrored,
            rim=rim,
        )
    return image


def put_on(page: Page, rng: random.Random, scene: Scene) -> None:
    """Draw a scene as the picture of a page, with a region for each thing."""
    page.image = smooth(draw_scene(rng, scene))
    label_things(page, scene)


def label_things(page: Page, scene: Scene) -> None:
    """Add a region for each thing."""
    for thing in scene.things:
        looks_so = Looks(thing.kind, thing.colour)
        words = " ".join(looks_so.phrase(language) for language in LANGUAGES)
        page.regions.append(region(thing.box, (scene.width, scene.height), words))
