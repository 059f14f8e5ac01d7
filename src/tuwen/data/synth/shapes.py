"""Coloured shapes: what is there, how many, of which colour and form, and where."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from PIL import ImageDraw

from tuwen.chat.grounding import format_box
from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, region
from tuwen.data.synth.canvas import Colour, paper, scaled, smooth
from tuwen.data.synth.forms import FORMS, draw_form
from tuwen.data.synth.shape_wordings import COLOURS, DIRECTIONS, PLACES, RELATIONS, SIDES, WORDINGS

INKS: tuple[Colour, ...] = (
    (215, 40, 40),
    (245, 140, 20),
    (240, 205, 25),
    (40, 160, 65),
    (40, 85, 215),
    (145, 55, 185),
    (245, 150, 190),
    (30, 30, 34),
)
MOST = 4
# Scenes in which one colour is painted 1, 2 or 3 times on purpose come to 13 : 7 : 4 over the four sizes of
# a scene; asking about these shares of them makes 1, 2 and 3 equally frequent answers.
REPEATED = 0.5
ASKED_SHARE = {1: 4 / 13, 2: 4 / 7, 3: 1.0}


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape of the scene; colour, form and quarter are indices, the rest is in pixels."""

    colour: int
    form: int
    quarter: int
    x: float
    y: float
    radius: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return (self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)

    def named(self, language: Language) -> str:
        """Colour and form, as in a caption."""
        return _name(self.colour, self.form, language)


def _name(colour: int, form: int, language: Language) -> str:
    between = "" if language == "zh" else " "
    return f"{COLOURS[colour][language]}{between}{FORMS[form][language]}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn, and the colour that is to be counted, if any."""

    things: tuple[Thing, ...]
    counted: int | None

    def only(self, key: Callable[[Thing], int]) -> list[Thing]:
        """The things that share their ``key`` with no other."""
        counts = Counter(map(key, self.things))
        return [thing for thing in self.things if counts[key(thing)] == 1]


@SUITES.register("shapes")
class Shapes(Suite[SuiteSettings]):
    """One to four shapes, at most one in each quarter of the picture."""

    name: ClassVar[str] = "shapes"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))

    def compose(self, page: Page, rng: random.Random) -> None:
        """A scene and questions about it in both languages."""
        size = self.settings.size
        scene = make_scene(rng, size)
        image = paper(rng, size)
        draw = ImageDraw.Draw(image)
        for thing in scene.things:
            left, top, right, bottom = scaled(*thing.box)
            draw_form(draw, thing.form, (left, top, right, bottom), INKS[thing.colour])
            words = (kind[language] for language in LANGUAGES for kind in (COLOURS[thing.colour], FORMS[thing.form]))
            page.regions.append(region(thing.box, size, " ".join(words)))
        page.image = smooth(image)
        for language in LANGUAGES:
            _Interview(page, scene, language, rng, size).ask()

    def words(self) -> list[str]:
        """Colours, forms and places."""
        names = [*COLOURS, *FORMS, *PLACES, *SIDES, *DIRECTIONS]
        return [name[language] for name in names for language in LANGUAGES]


def make_scene(rng: random.Random, size: int) -> Scene:
    """One to four things, all numbers equally likely, none touching another."""
    half = size / 2
    count = rng.randint(1, MOST)
    colours, counted = _paint(rng, count)
    things = []
    for quarter, colour in zip(rng.sample(range(4), count), colours, strict=True):
        radius = size * rng.uniform(0.115, 0.2)
        room = half / 2 - radius - 1
        x = half / 2 + half * (quarter % 2) + rng.uniform(-room, room)
        y = half / 2 + half * (quarter // 2) + rng.uniform(-room, room)
        things.append(Thing(colour, rng.randrange(len(FORMS)), quarter, x, y, radius))
    return Scene(tuple(things), counted)


def _paint(rng: random.Random, count: int) -> tuple[list[int], int | None]:
    """The colours of a scene, and the one of them that is to be counted."""
    if rng.random() >= REPEATED:
        return rng.choices(range(len(COLOURS)), k=count), None
    colour, times = rng.randrange(len(COLOURS)), rng.randint(1, min(count, max(ASKED_SHARE)))
    others = [other for other in range(len(COLOURS)) if other != colour]
    colours = [colour] * times + rng.choices(others, k=count - times)
    return colours, colour if rng.random() < ASKED_SHARE[times] else None


@dataclass(slots=True)
class _Interview:
    """All questions about a scene in one language; a wrong alternative is always as likely as the right one."""

    page: Page
    scene: Scene
    language: Language
    rng: random.Random
    size: int

    def ask(self) -> None:
        """Add them to the page."""
        things = self.scene.things
        self._ask("count", str(len(things)))
        wrong = _another(self.rng, len(things) - 1, MOST) + 1
        self._ask_pair("count_yesno", {"number": str(len(things))}, {"number": str(wrong)})
        if (colour := self.scene.counted) is not None:
            number = sum(thing.colour == colour for thing in things)
            self._ask("count_color", str(number), colour=COLOURS[colour][self.language])
        by_form, by_colour = self.scene.only(lambda thing: thing.form), self.scene.only(lambda thing: thing.colour)
        if by_form:
            self._ask_about(self.rng.choice(by_form))
        if len(by_form) > 1:
            self._ask_relation(*self.rng.sample(by_form, 2))
        if by_colour:
            thing = self.rng.choice(by_colour)
            self._ask("shape", FORMS[thing.form][self.language], colour=COLOURS[thing.colour][self.language])
        self._ask_existence()
        listed = [thing.named(self.language) for thing in sorted(things, key=lambda thing: thing.quarter)]
        self._ask("caption", ("、" if self.language == "zh" else ", ").join(listed))

    def _ask(self, task: str, answer: str, **words: str) -> None:
        wording = self.rng.choice(WORDINGS[task][self.language])
        self.page.ask(task, self.language, wording.format(**words), answer)

    def _ask_pair(self, task: str, true: dict[str, str], false: dict[str, str]) -> None:
        wording = self.rng.choice(WORDINGS[task][self.language])
        self.page.ask_pair(task, self.language, wording.format(**true), wording.format(**false))

    def _ask_about(self, thing: Thing) -> None:
        """Colour and place of a thing that its form alone names."""
        language, form = self.language, FORMS[thing.form][self.language]
        self._ask("color", COLOURS[thing.colour][language], form=form)
        right, wrong = (COLOURS[c][language] for c in (thing.colour, _another(self.rng, thing.colour, len(COLOURS))))
        self._ask_pair("color_yesno", {"form": form, "colour": right}, {"form": form, "colour": wrong})
        self._ask("position", PLACES[thing.quarter][language], form=form)
        # SIDES: left, top, right, bottom.
        side = self.rng.choice((2 * (thing.quarter % 2), 2 * (thing.quarter // 2) + 1))
        right, wrong = (SIDES[place][language] for place in (side, (side + 2) % 4))
        self._ask_pair("position_yesno", {"form": form, "side": right}, {"form": form, "side": wrong})
        box = format_box(form, [value / self.size for value in thing.box])
        self._ask("grounding", box, form=form)

    def _ask_relation(self, one: Thing, two: Thing) -> None:
        """Where ``one`` is, seen from ``two``."""
        across, down = one.quarter % 2 - two.quarter % 2, one.quarter // 2 - two.quarter // 2
        # DIRECTIONS and RELATIONS: left, above, right, below.
        true = [place for place, holds in enumerate((across < 0, down < 0, across > 0, down > 0)) if holds]
        names = {"one": FORMS[one.form][self.language], "two": FORMS[two.form][self.language]}
        if len(true) == 1:
            self._ask("relation", DIRECTIONS[true[0]][self.language], **names)
        direction = self.rng.choice(true)
        right, wrong = (RELATIONS[place][self.language] for place in (direction, (direction + 2) % 4))
        self._ask_pair("relation_yesno", {**names, "relation": right}, {**names, "relation": wrong})

    def _ask_existence(self) -> None:
        """Is a colour there, and is a thing there that a colour and a form name."""
        rng, things, language = self.rng, self.scene.things, self.language
        colours = {thing.colour for thing in things}
        there = rng.choice(sorted(colours))
        absent = rng.choice(sorted(set(range(len(COLOURS))) - colours))
        right, wrong = (COLOURS[colour][language] for colour in (there, absent))
        self._ask_pair("existence", {"colour": right}, {"colour": wrong})
        seen = {(thing.colour, thing.form) for thing in things}
        true = rng.choice(sorted(seen))
        false = _near_miss(rng, true, seen)
        right, wrong = (_name(*pair, language) for pair in (true, false))
        self._ask_pair("object_yesno", {"thing": right}, {"thing": wrong})


def _another(rng: random.Random, value: int, count: int) -> int:
    """One of ``range(count)`` other than ``value``, all equally likely."""
    return (value + rng.randrange(1, count)) % count


def _near_miss(rng: random.Random, pair: tuple[int, int], seen: set[tuple[int, int]]) -> tuple[int, int]:
    """A colour and form that are not seen together; half of them share one of the two with ``pair``."""
    colour, form = pair
    while (colour, form) in seen:
        colour, form = pair
        change = rng.randrange(4)
        if change != 0:
            colour = _another(rng, colour, len(COLOURS))
        if change != 1:
            form = _another(rng, form, len(FORMS))
    return colour, form
