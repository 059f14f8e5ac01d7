"""The parts that documents are made of: headings, labelled values, tables, rules, portraits, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import ImageDraw

from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.documents.press import PLAIN, Block, Press, Style
from tuwen.data.synth.documents.records import Field, Table

WHITE: Colour = (255, 255, 255)
Ruling = Literal["none", "lines", "grid", "zebra", "head"]


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Heading(Block):
    """A line of its own.

    Attributes:
        text: of it.
        style: of the characters.
        align: 0 left, 0.5 in the middle, 1 right.
        band: white on a band of the accent's colour.
    """

    text: str
    style: Style = field(default_factory=lambda: Style(1.5, heavy=True))
    align: float = 0.5
    band: bool = False

    def width(self, press: Press) -> float:
        """Of the text."""
        return press.length(self.text, self.style)

    def height(self, press: Press) -> float:
        """Of a line and its leading."""
        return press.size * self.style.scale * (2.2 if self.band else 1.75)

    def draw(self, press: Press, top: float) -> None:
        """Set it."""
        width, _ = press.sheet
        height, style = self.height(press), self.style
        if self.band:
            # From edge to edge, and up to the sheet's top where it is the first.
            press.fill((0, 0 if top <= press.margin else top, width, top + 0.85 * height), press.accent)
            style = Style(style.scale, style.heavy, WHITE)
        x = press.margin + self.align * (width - 2 * press.margin)
        press.new_row()
        press.write((x, top + 0.62 * height), self.text, style, align=self.align)


@dataclass(frozen=True, slots=True)
class Pairs(Block):
    """Labels with their values.

    Attributes:
        fields: in reading order.
        columns: side by side.
        spread: labels at the left margin, values at the right one.
        strong: labels of fields whose values are set heavily.
        indent: kept free at the left.
    """

    fields: Sequence[Field]
    columns: int = 1
    spread: bool = False
    strong: Sequence[str] = ()
    indent: float = 0.0

    def _widths(self, press: Press) -> list[float]:
        widths = [0.0] * self.columns
        for number, item in enumerate(self.fields):
            length = press.length(item.label + press.colon) + press.length(item.value, self._style(item)) + press.size
            widths[number % self.columns] = max(widths[number % self.columns], length)
        return widths

    def _style(self, item: Field) -> Style:
        return Style(1.15, heavy=True) if item.label in self.strong else PLAIN

    def width(self, press: Press) -> float:
        """Of the widest pairs."""
        return self.indent + sum(self._widths(press)) + press.size * (self.columns - 1)

    def height(self, press: Press) -> float:
        """Of all rows."""
        return press.step * -(-len(self.fields) // self.columns) + 0.4 * press.size

    def draw(self, press: Press, top: float) -> None:
        """Set them."""
        widths = self._widths(press)
        spare = (press.sheet[0] - 2 * press.margin - self.width(press)) / self.columns
        starts = [press.margin + self.indent + sum(widths[:n]) + n * (press.size + spare) for n in range(self.columns)]
        for number, item in enumerate(self.fields):
            row, column = divmod(number, self.columns)
            if not column:
                press.new_row()
            x, y = starts[column], top + (row + 0.68) * press.step
            label = item.label + press.colon
            press.write((x, y), label)
            if self.spread:
                place, align = press.sheet[0] - press.margin, 1.0
            else:
                place, align = x + press.length(label) + 0.4 * press.size, 0.0
            press.write((place, y), item.value, self._style(item), key=("field", item.label), align=align)


@dataclass(frozen=True, slots=True)
class Boxes(Block):
    """A form's cells: each label in a grey cell, its value in the next; long ones take a row of their own.

    Attributes:
        fields: in reading order.
        half: how wide a pair of cells is at most when two stand side by side, in characters.
    """

    fields: Sequence[Field]
    half: float = 14.5

    def _rows(self, press: Press) -> list[list[Field]]:
        rows: list[list[Field]] = []
        for item in self.fields:
            if rows and len(rows[-1]) == 1 and self._short(press, item) and self._short(press, rows[-1][0]):
                rows[-1].append(item)
            else:
                rows.append([item])
        return rows

    def _short(self, press: Press, item: Field) -> bool:
        return self._labels(press) + press.length(item.value) + press.size <= self.half * press.size

    def _labels(self, press: Press) -> float:
        return max(press.length(item.label) for item in self.fields) + press.size

    def width(self, press: Press) -> float:
        """Of the widest row."""
        labels = self._labels(press)
        values = [[press.length(item.value) + press.size for item in row] for row in self._rows(press)]
        return max(max(len(row) * (labels + max(row)) for row in values), 18 * press.size)

    def height(self, press: Press) -> float:
        """Of all rows."""
        return len(self._rows(press)) * 1.25 * press.step + 0.5 * press.size

    def draw(self, press: Press, top: float) -> None:
        """Set them."""
        width, labels, height = press.sheet[0] - 2 * press.margin, self._labels(press), 1.25 * press.step
        grey, line = _mixed(press.accent, WHITE, 0.82), _mixed(press.accent, WHITE, 0.3)
        for number, row in enumerate(self._rows(press)):
            press.new_row()
            y = top + number * height
            for column, item in enumerate(row):
                x = press.margin + column * width / len(row)
                right = x + width / len(row)
                press.fill((x, y, x + labels, y + height), grey)
                for start, stop in (((x, y), (right, y)), ((x, y + height), (right, y + height))):
                    press.rule(start, stop, line)
                for side in (x, x + labels, right):
                    press.rule((side, y), (side, y + height), line)
                press.write((x + 0.5 * press.size, y + 0.66 * height), item.label)
                place = (x + labels + 0.5 * press.size, y + 0.66 * height)
                press.write(place, item.value, key=("field", item.label))


@dataclass(frozen=True, slots=True)
class Grid(Block):
    """A table: words to the left, numbers to the right of their columns.

    Attributes:
        table: headings and rows.
        ruling: what separates the rows.
    """

    table: Table
    ruling: Ruling = "none"

    def _widths(self, press: Press) -> list[float]:
        rows = [self.table.headings, *self.table.rows]
        columns = zip(*rows, strict=True)
        return [
            max(press.length(cell, Style(heavy=not number)) for number, cell in enumerate(column)) + 1.1 * press.size
            for column in columns
        ]

    def width(self, press: Press) -> float:
        """Of all columns."""
        return sum(self._widths(press))

    def height(self, press: Press) -> float:
        """Of all rows."""
        return (len(self.table.rows) + 1) * press.step + 0.6 * press.size

    def draw(self, press: Press, top: float) -> None:
        """Set it."""
        widths = self._widths(press)
        spare = (press.sheet[0] - 2 * press.margin - sum(widths)) / len(widths)
        ends = [press.margin + sum(widths[: n + 1]) + (n + 1) * spare for n in range(len(widths))]
        left = press.margin
        rows = [self.table.headings, *self.table.rows]
        self._rule(press, top, (left, *ends))
        for number, row in enumerate(rows):
            press.new_row()
            y = top + (number + 0.68) * press.step
            head = number == 0
            ink = WHITE if head and self.ruling == "head" else None
            for column, cell in enumerate(row):
                align = 0.0 if column == 0 else 1.0
                x = left + 0.35 * press.size if column == 0 else ends[column] - 0.45 * press.size
                key = () if head else ("cell", number - 1, column)
                press.write((x, y), cell, Style(heavy=head, ink=ink), key=key, align=align)

    def _rule(self, press: Press, top: float, sides: Sequence[float]) -> None:
        left, right, count = sides[0], sides[-1], len(self.table.rows) + 1
        line = _mixed(press.accent, WHITE, 0.35)
        if self.ruling == "head":
            press.fill((left, top, right, top + press.step), press.accent)
        if self.ruling == "zebra":
            for number in range(0, count, 2):
                y = top + number * press.step
                press.fill((left, y, right, y + press.step), _mixed(press.accent, WHITE, 0.85))
        for number in range(count + 1):
            y = top + number * press.step
            if self.ruling in ("grid", "lines") or (self.ruling == "head" and number == count):
                press.rule((left, y), (right, y), line)
        if self.ruling == "grid":
            for side in sides:
                press.rule((side, top), (side, top + count * press.step), line)


@dataclass(frozen=True, slots=True)
class Rule(Block):
    """A line across the sheet.

    Attributes:
        kind: of line.
    """

    kind: Literal["solid", "dashed", "double"] = "solid"

    def width(self, press: Press) -> float:
        """Nothing."""
        return 0.0

    def height(self, press: Press) -> float:
        """Some air around it."""
        return 0.9 * press.size

    def draw(self, press: Press, top: float) -> None:
        """Draw it."""
        left, right, y = press.margin, press.sheet[0] - press.margin, top + 0.4 * press.size
        if self.kind == "dashed":
            dash = 0.45 * press.size
            for number in range(int((right - left) / dash / 2)):
                start = left + 2 * number * dash
                press.rule((start, y), (start + dash, y), press.ink)
            return
        press.rule((left, y), (right, y), press.ink)
        if self.kind == "double":
            press.rule((left, y + 2), (right, y + 2), press.ink)


@dataclass(frozen=True, slots=True)
class Portrait(Block):
    """Pairs beside the outline of a head and shoulders.

    Attributes:
        pairs: to the right of it.
        side: of the portrait's frame, in characters.
    """

    pairs: Sequence[Field]
    side: float = 6.0

    def _block(self, press: Press) -> Pairs:
        return Pairs(self.pairs, indent=(self.side + 1.5) * press.size, strong=[self.pairs[0].label])

    def width(self, press: Press) -> float:
        """Of the frame and the pairs."""
        return self._block(press).width(press)

    def height(self, press: Press) -> float:
        """Of the higher of the two."""
        return max(self.side * 1.25 * press.size + 0.8 * press.size, self._block(press).height(press))

    def draw(self, press: Press, top: float) -> None:
        """Draw both."""
        size = press.size
        left, right = press.margin, press.margin + self.side * size
        bottom, middle = top + self.side * 1.25 * size, (left + right) / 2
        press.fill((left, top, right, bottom), _mixed(press.accent, WHITE, 0.75))
        shade = _mixed(press.accent, WHITE, 0.35)
        draw = ImageDraw.Draw(press.image)
        head = (middle - 1.35 * size, top + 1.2 * size, middle + 1.35 * size, top + 4.1 * size)
        draw.ellipse([side * SCALE for side in head], fill=shade)
        # Shoulders: the upper half of an ellipse that stands on the frame's lower edge.
        reach = (middle - 2.5 * size, bottom - 2.7 * size, middle + 2.5 * size, bottom + 2.7 * size)
        draw.pieslice([side * SCALE for side in reach], 180, 360, fill=shade)
        self._block(press).draw(press, top)


@dataclass(frozen=True, slots=True)
class Bars(Block):
    """A bar code that says nothing.

    Attributes:
        widths: of bars and gaps in turn, in parts of a character.
    """

    widths: Sequence[float]

    def width(self, press: Press) -> float:
        """Of all bars and gaps."""
        return sum(self.widths) * press.size

    def height(self, press: Press) -> float:
        """Of a bar and some air."""
        return 3.2 * press.size

    def draw(self, press: Press, top: float) -> None:
        """Draw it in the middle."""
        x = (press.sheet[0] - self.width(press)) / 2
        for number, width in enumerate(self.widths):
            if number % 2 == 0:
                press.fill((x, top + 0.4 * press.size, x + width * press.size, top + 3 * press.size), press.ink)
            x += width * press.size
