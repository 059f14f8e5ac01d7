"""A chart while it is drawn: its frame, title, scale, legend, and text with its places."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import PIL.Image
from PIL import ImageDraw

from tuwen.chat.grounding import Box
from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.charts.data import Chart, Series
from tuwen.data.synth.fonts import Typeface, ink_of

# In the order of COLOURS, without its black: what is drawn must not be taken for ink.
PAINTS: tuple[Colour, ...] = (
    (214, 45, 45),
    (245, 140, 30),
    (222, 182, 10),
    (45, 160, 75),
    (45, 95, 215),
    (140, 70, 185),
    (240, 130, 180),
)


@dataclass(slots=True)
class Plot:
    """A chart while it is drawn; lengths are in pixels of the picture.

    Attributes:
        chart: what is drawn.
        image: RGB, ``SCALE`` times the picture's size.
        face: of all text.
        size: of its characters.
        ink: of text and axes.
        faint: of the lines of the scale.
        rng: of everything that is chosen.
        spots: (series, category) → where its bar, point or slice is.
        texts: what is written, with its places.
        top: where the title and the legend end.
    """

    chart: Chart
    image: PIL.Image.Image
    face: Typeface
    size: float
    ink: Colour
    faint: Colour
    rng: random.Random
    spots: dict[tuple[int, int], Box] = field(default_factory=dict)
    texts: list[tuple[str, Box]] = field(default_factory=list)
    top: float = 0.0

    @property
    def canvas(self) -> ImageDraw.ImageDraw:
        """To draw on."""
        return ImageDraw.Draw(self.image)

    @property
    def sides(self) -> tuple[float, float]:
        """Width and height."""
        return self.image.width / SCALE, self.image.height / SCALE

    def length(self, text: str, scale: float = 1.0) -> float:
        """Of a text."""
        return self.face.at(round(self.size * scale * SCALE)).getlength(text) / SCALE

    def write(
        self, place: tuple[float, float], text: str, anchor: str, scale: float = 1.0, ink: Colour | None = None
    ) -> None:
        """Write a text.

        Args:
            place: x and y of the anchor.
            text: one line.
            anchor: as PIL names them: ``mm`` for the middle, ``rm`` for the middle of the right side, ``mb`` below.
            scale: of the characters, relative to plain ones.
            ink: colour; that of all text unless said.
        """
        font = self.face.at(round(self.size * scale * SCALE))
        mask, (left, _) = ink_of(text, font)
        x = round(place[0] * SCALE - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * font.getlength(text)) + left
        # Level with the middle of the ink, which the middle of a font's line is not.
        y = round(place[1] * SCALE - {"m": 0.5, "b": 1.0}[anchor[1]] * mask.height)
        self.image.paste(ink or self.ink, (x, y), mask)
        self.texts.append((text, (x / SCALE, y / SCALE, (x + mask.width) / SCALE, (y + mask.height) / SCALE)))

    def line(self, start: tuple[float, float], stop: tuple[float, float], colour: Colour, width: float = 0.7) -> None:
        """Draw a straight line."""
        ends = (start[0] * SCALE, start[1] * SCALE, stop[0] * SCALE, stop[1] * SCALE)
        self.canvas.line(ends, fill=colour, width=max(1, round(width * SCALE)))

    def fill(self, box: Box, colour: Colour) -> None:
        """Paint a box, to the pixel that its right and lower sides fall in."""
        left, top, right, bottom = (round(side * SCALE) for side in box)
        self.canvas.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def write_title(self) -> None:
        """Title and legend at the top."""
        chart, width = self.chart, self.sides[0]
        scale = min(1.3, 0.94 * width / self.length(chart.title))
        self.write((width / 2, 1.3 * self.size), chart.title, "mm", scale)
        self.top = 2.4 * self.size
        if len(chart.series) > 1:
            self._write_legend(chart.series)

    def _write_legend(self, series: tuple[Series, ...]) -> None:
        lengths = [self.length(one.name) + 2.8 * self.size for one in series]
        x, y = (self.sides[0] - sum(lengths)) / 2, self.top + 0.6 * self.size
        for one, length in zip(series, lengths, strict=True):
            self.swatch((x, y), PAINTS[one.colours[0]])
            self.write((x + 1.3 * self.size, y), one.name, "lm")
            x += length
        self.top += 1.5 * self.size

    def swatch(self, place: tuple[float, float], colour: Colour) -> None:
        """A square of a colour in a legend; ``place`` is the middle of its left side."""
        half = 0.45 * self.size
        self.fill((place[0], place[1] - half, place[0] + 2 * half, place[1] + half), colour)


def markings(chart: Chart) -> range:
    """The values at which the scale is marked."""
    return range(0, chart.top + 1, chart.tick)
