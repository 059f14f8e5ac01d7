"""Coloured shapes: what is there, how many, of which colour and form, and where."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import PIL.Image
from PIL import ImageDraw

from tuwen.chat.grounding import format_box
from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, pale, region

Words = dict[Language, str]
COLOURS: tuple[tuple[Words, tuple[int, int, int]], ...] = (
    ({"zh": "红色", "en": "red"}, (215, 40, 40)),
    ({"zh": "橙色", "en": "orange"}, (245, 140, 20)),
    ({"zh": "黄色", "en": "yellow"}, (240, 205, 25)),
    ({"zh": "绿色", "en": "green"}, (40, 160, 65)),
    ({"zh": "蓝色", "en": "blue"}, (40, 85, 215)),
    ({"zh": "紫色", "en": "purple"}, (145, 55, 185)),
    ({"zh": "粉色", "en": "pink"}, (245, 150, 190)),
    ({"zh": "黑色", "en": "black"}, (30, 30, 34)),
)
FORMS: tuple[Words, ...] = (
    {"zh": "圆形", "en": "circle"},
    {"zh": "方块", "en": "square"},
    {"zh": "三角", "en": "triangle"},
    {"zh": "菱形", "en": "diamond"},
    {"zh": "星星", "en": "star"},
    {"zh": "十字", "en": "cross"},
    {"zh": "爱心", "en": "heart"},
    {"zh": "圆环", "en": "ring"},
)
PLACES: tuple[Words, ...] = (
    {"zh": "左上", "en": "top left"},
    {"zh": "右上", "en": "top right"},
    {"zh": "左下", "en": "bottom left"},
    {"zh": "右下", "en": "bottom right"},
)


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
        colour, form = COLOURS[self.colour][0][language], FORMS[self.form][language]
        return f"{colour}{form}" if language == "zh" else f"{colour} {form}"


@SUITES.register("shapes")
class Shapes(Suite):
    """One to four shapes, at most one in each quarter of the picture."""

    name: ClassVar[str] = "shapes"
    tasks: ClassVar[tuple[str, ...]] = (
        "caption",
        "color",
        "color_yesno",
        "count",
        "existence",
        "grounding",
        "position",
        "position_yesno",
        "shape",
    )

    def compose(self, rng: random.Random) -> Page:
        """A scene and questions about it in both languages."""
        size = self.settings.size
        things = self._scene(rng)
        page = Page(PIL.Image.new("RGB", (size, size), pale(rng)))
        assert page.image is not None
        draw = ImageDraw.Draw(page.image)
        for thing in things:
            draw_form(draw, thing.form, thing.box, COLOURS[thing.colour][1])
            words = f"{thing.named('zh')[:2]} {thing.named('zh')[2:]} {thing.named('en')}"
            page.regions.append(region(thing.box, size, words))
        for language in LANGUAGES:
            self._ask(page, things, language, rng)
        return page

    def words(self) -> list[str]:
        """Colours, forms and places."""
        names = [words for words, _ in COLOURS] + list(FORMS) + list(PLACES)
        return [name[language] for name in names for language in LANGUAGES]

    def _scene(self, rng: random.Random) -> list[Thing]:
        size = self.settings.size
        half = size / 2
        quarters = rng.sample(range(4), rng.randint(1, 4))
        things = []
        for quarter in quarters:
            radius = size * rng.uniform(0.115, 0.2)
            room = half / 2 - radius - 1
            x = half / 2 + half * (quarter % 2) + rng.uniform(-room, room)
            y = half / 2 + half * (quarter // 2) + rng.uniform(-room, room)
            things.append(Thing(rng.randrange(len(COLOURS)), rng.randrange(len(FORMS)), quarter, x, y, radius))
        return things

    def _ask(self, page: Page, things: Sequence[Thing], language: Language, rng: random.Random) -> None:
        zh = language == "zh"
        thing = rng.choice(things)
        form, colour = FORMS[thing.form][language], COLOURS[thing.colour][0][language]
        one_form = sum(other.form == thing.form for other in things) == 1
        one_colour = sum(other.colour == thing.colour for other in things) == 1
        how_many = rng.choice(
            ("图里有几个图形?", "一共有多少个图形?") if zh else ("How many shapes are there?", "Count the shapes.")
        )
        page.ask("count", language, how_many, str(len(things)))
        if one_form:
            what = (
                (f"{form}是什么颜色?", f"{form}的颜色是?")
                if zh
                else (f"What color is the {form}?", f"The color of the {form}?")
            )
            page.ask("color", language, rng.choice(what), colour)
            where = f"{form}在哪里?" if zh else f"Where is the {form}?"
            page.ask("position", language, where, PLACES[thing.quarter][language])
            box = format_box(form, tuple(value / self.settings.size for value in thing.box))  # type: ignore[arg-type]
            page.ask("grounding", language, f"框出{form}。" if zh else f"Box the {form}.", box)
            self._ask_yes_no(page, thing, language, rng)
        if one_colour:
            what = (
                (f"{colour}的是什么?", f"{colour}的图形是什么?")
                if zh
                else (f"What is {colour}?", f"What shape is {colour}?")
            )
            page.ask("shape", language, rng.choice(what), form)
        self._ask_existence(page, things, language, rng)
        listed = [other.named(language) for other in sorted(things, key=lambda other: other.quarter)]
        caption = "、".join(listed) if zh else ", ".join(listed)
        page.ask("caption", language, "描述这张图。" if zh else "Describe the picture.", caption)

    def _ask_yes_no(self, page: Page, thing: Thing, language: Language, rng: random.Random) -> None:
        zh = language == "zh"
        form = FORMS[thing.form][language]
        # A wrong colour or place is drawn as the right one is: all are equally likely.
        wrong = (thing.colour + rng.randrange(1, len(COLOURS))) % len(COLOURS)
        true, false = (
            f"{form}是{name}的吗?" if zh else f"Is the {form} {name}?"
            for name in (COLOURS[thing.colour][0][language], COLOURS[wrong][0][language])
        )
        page.ask_pair("color_yesno", language, true, false)
        left, right = ("左边", "右边") if zh else ("left", "right")
        sides = (left, right) if thing.quarter % 2 == 0 else (right, left)
        true, false = (f"{form}在{side}吗?" if zh else f"Is the {form} on the {side}?" for side in sides)
        page.ask_pair("position_yesno", language, true, false)

    def _ask_existence(self, page: Page, things: Sequence[Thing], language: Language, rng: random.Random) -> None:
        zh = language == "zh"
        there = rng.choice(sorted({thing.colour for thing in things}))
        absent = rng.choice(sorted(set(range(len(COLOURS))) - {thing.colour for thing in things}))
        true, false = (
            f"图里有{COLOURS[index][0][language]}的图形吗?"
            if zh
            else f"Is there anything {COLOURS[index][0][language]}?"
            for index in (there, absent)
        )
        page.ask_pair("existence", language, true, false)


def draw_form(
    draw: ImageDraw.ImageDraw, form: int, box: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> None:
    """Draw form number ``form`` of ``FORMS`` so that it fills ``box``, in pixels."""
    left, top, right, bottom = box
    middle_x, middle_y, width, height = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    match FORMS[form]["en"]:
        case "circle":
            draw.ellipse(box, fill=colour)
        case "square":
            draw.rectangle(box, fill=colour)
        case "triangle":
            draw.polygon([(middle_x, top), (left, bottom), (right, bottom)], fill=colour)
        case "diamond":
            draw.polygon([(middle_x, top), (left, middle_y), (middle_x, bottom), (right, middle_y)], fill=colour)
        case "star":
            draw.polygon(_star(middle_x, middle_y, width / 2), fill=colour)
        case "cross":
            draw.rectangle((middle_x - width / 6, top, middle_x + width / 6, bottom), fill=colour)
            draw.rectangle((left, middle_y - height / 6, right, middle_y + height / 6), fill=colour)
        case "heart":
            draw.ellipse((left, top, middle_x, middle_y), fill=colour)
            draw.ellipse((middle_x, top, right, middle_y), fill=colour)
            draw.polygon(
                [(left + 1, middle_y - height / 6), (right - 1, middle_y - height / 6), (middle_x, bottom)], fill=colour
            )
        case "ring":
            draw.ellipse(box, outline=colour, width=max(3, round(width / 5)))


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    corners = []
    for number in range(10):
        angle = math.pi * number / 5 - math.pi / 2
        length = radius if number % 2 == 0 else radius * 0.42
        corners.append((x + length * math.cos(angle), y + length * math.sin(angle)))
    return corners
