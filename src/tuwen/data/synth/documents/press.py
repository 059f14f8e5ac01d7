"""A sheet that a document is set on: pieces of text with their places, row by row."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import PIL.Image
from PIL import ImageDraw

from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.fonts import Typeface, ink_of
from tuwen.data.synth.reading.layout import Line, rectangle

# What a place is: ("field", label) or ("cell", row, column).
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Style:
    """How a piece of text is set.

    Attributes:
        scale: of the characters, relative to plain ones.
        heavy: in the face of headings.
        ink: colour; that of plain text unless said.
    """

    scale: float = 1.0
    heavy: bool = False
    ink: Colour | None = None


PLAIN = Style()


@dataclass(slots=True)
class Press:
    """A sheet and the type that is set on it; lengths are in pixels of the sheet.

    Attributes:
        rng: of everything that is chosen.
        face: of plain text.
        heavy: of headings.
        size: of plain characters.
        ink: of plain text.
        accent: of bands, rules and headings.
        colon: between a label and its value.
        image: RGB, ``SCALE`` times the sheet's size.
        rows: what is written, in reading order.
        lines: the same with its places.
        places: of values and cells.
    """

    rng: random.Random
    face: Typeface
    heavy: Typeface
    size: float
    ink: Colour
    accent: Colour
    colon: str
    image: PIL.Image.Image = field(default_factory=lambda: PIL.Image.new("RGB", (SCALE, SCALE)))
    rows: list[list[str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    places: dict[Key, Line] = field(default_factory=dict)

    @property
    def sheet(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.width // SCALE, self.image.height // SCALE

    @property
    def margin(self) -> float:
        """Between the sheet's edge and the type."""
        return 1.2 * self.size

    @property
    def step(self) -> float:
        """From one row to the next."""
        return 1.55 * self.size

    def length(self, text: str, style: Style = PLAIN) -> float:
        """Of a text."""
        face = self.heavy if style.heavy else self.face
        return face.at(round(self.size * style.scale * SCALE)).getlength(text) / SCALE

    def new_row(self) -> None:
        """What is written from here on is read after all before it."""
        self.rows.append([])

    def write(
        self, place: tuple[float, float], text: str, style: Style = PLAIN, *, key: Key = (), align: float = 0.0
    ) -> None:
        """Write a piece of the present row.

        Args:
            place: x, and y of the baseline.
            text: one line.
            style: of the characters.
            key: under which the place is kept; nothing is kept for an empty one.
            align: what lies at x: 0 the start, 0.5 the middle, 1 the end.
        """
        font = (self.heavy if style.heavy else self.face).at(round(self.size * style.scale * SCALE))
        mask, (left, top) = ink_of(text, font)
        x = round((place[0] - align * self.length(text, style)) * SCALE) + left
        y = round(place[1] * SCALE) + top
        self.image.paste(style.ink or self.ink, (x, y), mask)
        right, bottom = x + mask.width, y + mask.height
        line = Line(text, rectangle(x / SCALE, y / SCALE, right / SCALE, bottom / SCALE))
        self.lines.append(line)
        self.rows[-1].append(text)
        if key:
            self.places[key] = line

    def fill(self, box: Sequence[float], colour: Colour) -> None:
        """Paint a box: left, top, right, bottom."""
        left, top, right, bottom = (round(side * SCALE) for side in box)
        ImageDraw.Draw(self.image).rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def rule(self, start: tuple[float, float], stop: tuple[float, float], colour: Colour, width: float = 0.7) -> None:
        """Draw a straight line."""
        ends = (start[0] * SCALE, start[1] * SCALE, stop[0] * SCALE, stop[1] * SCALE)
        ImageDraw.Draw(self.image).line(ends, fill=colour, width=max(1, round(width * SCALE)))


class Block(ABC):
    """A part of a document, as wide as the sheet."""

    @abstractmethod
    def width(self, press: Press) -> float:
        """The least that it needs between the margins."""

    @abstractmethod
    def height(self, press: Press) -> float:
        """That it takes."""

    @abstractmethod
    def draw(self, press: Press, top: float) -> None:
        """Set it below ``top``."""


def sheet_size(press: Press, blocks: Sequence[Block], least: float) -> tuple[int, int]:
    """Width and height of a sheet that holds all blocks, at least so wide."""
    width = max(least, *(block.width(press) for block in blocks)) + 2 * press.margin
    return round(width), round(sum(block.height(press) for block in blocks) + 2 * press.margin)


def set_blocks(press: Press, blocks: Sequence[Block]) -> None:
    """Set all blocks below each other."""
    top = press.margin
    for block in blocks:
        block.draw(press, top)
        top += block.height(press)
