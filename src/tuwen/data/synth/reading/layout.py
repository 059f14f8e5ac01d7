"""Lines of text on a sheet: one large line, lists, paragraphs, columns, scattered signs, upright Chinese.

A layout writes phrases of a corpus and says in which order the lines are read.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import PIL.Image
from PIL import ImageDraw, ImageFont

from tuwen.data.synth.canvas import SCALE, Colour
from tuwen.data.synth.fonts import Typeface, ink_of
from tuwen.data.synth.vocabulary.chinese import FULL_WIDTH
from tuwen.data.synth.vocabulary.corpus import Corpus, Phrase

# The smallest characters, in pixels of the sheet: below it strokes of Chinese characters run together.
LEAST = {"simplified": 15, "traditional": 16, "latin": 13}
USUAL = 448
# Closing marks must not begin a line and stay with what is before them; opening ones stay with what follows.
_CLOSING = "。、”》" + ",:;?!)".translate(FULL_WIDTH)
_OPENING = "“《" + "(".translate(FULL_WIDTH)
_PIECE = re.compile(rf"[{_OPENING}]?(?:[!-~]{{1,40}}|[^!-~\s])[{_CLOSING}]{{0,3}}|\s")
_MARKS = str.maketrans("", "", _CLOSING + _OPENING)
Corner = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text.

    Attributes:
        text: what is written.
        corners: of the box around its ink, in pixels of the sheet.
    """

    text: str
    corners: tuple[Corner, ...]


@dataclass(slots=True)
class Board:
    """A sheet that is being written on; all lengths are in pixels of the sheet.

    Attributes:
        image: RGB, ``SCALE`` times the sheet's size.
        rng: of everything that is chosen.
        corpus: of the phrases.
        faces: to choose from.
        ink: colour of the text unless a layout chooses another.
        lines: in reading order.
        phrases: that are written, each whole.
    """

    image: PIL.Image.Image
    rng: random.Random
    corpus: Corpus
    faces: Sequence[Typeface]
    ink: Colour
    lines: list[Line] = field(default_factory=list)
    phrases: list[Phrase] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.width // SCALE, self.image.height // SCALE

    @property
    def least(self) -> int:
        """The smallest size of characters; on larger sheets than ``USUAL`` it grows, but less than the sheet does."""
        return round(LEAST[self.corpus.script] * max(1.0, max(self.size) / USUAL) ** 0.5)

    def font(self, size: float, face: Typeface | None = None) -> ImageFont.FreeTypeFont:
        """A face, any unless said, as it is drawn: ``SCALE`` times the size."""
        return (face or self.rng.choice(self.faces)).at(round(size * SCALE))

    def write(self, place: Corner, text: str, font: ImageFont.FreeTypeFont, ink: Colour | None = None) -> None:
        """A line whose ink begins at a place: its left and top."""
        mask, _ = ink_of(text, font)
        self.lines.append(Line(text, rectangle(*self.stamp(mask, place, ink))))

    def stamp(
        self, mask: PIL.Image.Image, place: Corner, ink: Colour | None = None
    ) -> tuple[float, float, float, float]:
        """Put ink at a place; its left, top, right and bottom there."""
        left, top = (round(side * SCALE) for side in place)
        self.image.paste(ink or self.ink, (left, top), mask)
        return left / SCALE, top / SCALE, (left + mask.width) / SCALE, (top + mask.height) / SCALE

    def trim(self, margin: float) -> None:
        """Cut the sheet off around the text, ``margin`` pixels away where there is so much of it."""
        places = [corner for line in self.lines for corner in line.corners]
        xs, ys = zip(*places, strict=True)
        width, height = self.size
        left, top = max(0, round(min(xs) - margin)), max(0, round(min(ys) - margin))
        right, bottom = min(width, round(max(xs) + margin)), min(height, round(max(ys) + margin))
        self.image = self.image.crop((left * SCALE, top * SCALE, right * SCALE, bottom * SCALE))
        self.lines = [Line(line.text, tuple((x - left, y - top) for x, y in line.corners)) for line in self.lines]


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[Corner, ...]:
    """Its corners, clockwise from the top left."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines that are at most so wide, in pixels of the font.

    Chinese breaks anywhere but before closing punctuation, English between words.
    """
    lines, line, length = [], "", 0.0
    for piece in _PIECE.findall(text):
        if line and not piece.isspace() and length + _length(font, piece) > width:
            lines.append(line.rstrip())
            line, length = "", 0.0
        if line or not piece.isspace():
            line += piece
            length += _length(font, piece)
    return [*lines, line.rstrip()] if line.strip() else lines


@lru_cache(maxsize=32768)
def _length(font: ImageFont.FreeTypeFont, piece: str) -> float:
    return font.getlength(piece)


def ink_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[float, float]:
    """Width and height of a text's ink, in pixels of the sheet."""
    left, top, right, bottom = font.getbbox(text)
    return (right - left) / SCALE, (bottom - top) / SCALE


def fitting(board: Board, text: str, room: tuple[float, float], most: float) -> ImageFont.FreeTypeFont | None:
    """A font as large as the room allows, at most ``most``; None where the text would be too small to read."""
    face = board.rng.choice(board.faces)
    size = most
    while size >= board.least:
        font = board.font(size, face)
        width, height = ink_size(text, font)
        if width <= room[0] and height <= room[1]:
            return font
        size = min(size - 1, size * max(0.5, room[0] / width))
    return None


def one_line(board: Board) -> None:
    """One line, as large as fits."""
    width, height = board.size
    rng = board.rng
    font, phrase = None, Phrase("", "")
    while font is None:
        phrase = rng.choice((board.corpus.short, board.corpus.mixed, board.corpus.heading))(rng)
        font = fitting(board, phrase.text, (width * 0.92, height * 0.5), rng.uniform(0.08, 0.3) * max(width, height))
    ink = ink_size(phrase.text, font)
    x, y = (rng.uniform(0.04, 0.96) * (side - length) for side, length in zip((width, height), ink, strict=True))
    board.phrases.append(phrase)
    board.write((x, y), phrase.text, font)


def line_list(board: Board) -> None:
    """Some lines below each other, each a phrase of its own, set flush or centred."""
    width, height = board.size
    rng = board.rng
    align, same = rng.choice((0.0, 0.5, 0.5, 1.0, None)), rng.random() < 0.6
    face, size = rng.choice(board.faces), rng.uniform(1.1, 2.0) * board.least
    margin = 0.05 * width
    y = rng.uniform(0.04, 0.12) * height
    for _ in range(rng.randint(3, 9)):
        phrase = board.corpus.any_line(rng)
        most = size if same else rng.uniform(1.0, 2.4) * board.least
        font = fitting(board, phrase.text, (width - 2 * margin, height), most)
        if font is None:
            continue
        ink_width, ink_height = ink_size(phrase.text, board.font(most, face))
        font = board.font(most, face) if same and ink_width <= width - 2 * margin else font
        ink_width, ink_height = ink_size(phrase.text, font)
        if y + ink_height > 0.96 * height:
            break
        spare = width - 2 * margin - ink_width
        board.phrases.append(phrase)
        board.write((margin + spare * (rng.random() if align is None else align), y), phrase.text, font)
        y += ink_height + most * rng.uniform(0.4, 1.0)
    if not board.lines:
        one_line(board)


def paragraphs(board: Board, columns: int = 1) -> None:
    """Sentences in one or more columns, below a title or without one; columns are read from left to right."""
    width, height = board.size
    rng = board.rng
    face, size = rng.choice(board.faces), rng.uniform(1.0, 1.5 if columns > 1 else 1.9) * board.least
    margin, top = 0.05 * width, 0.05 * height
    if rng.random() < 0.5:
        title = board.corpus.heading(rng)
        font = fitting(board, title.text, (width - 2 * margin, height), size * rng.uniform(1.2, 1.8))
        if font is not None:
            ink_width, ink_height = ink_size(title.text, font)
            board.phrases.append(title)
            board.write((margin + (width - 2 * margin - ink_width) * rng.choice((0, 0.5)), top), title.text, font)
            top += ink_height + size
    gap = 0.06 * width
    column_width = (width - 2 * margin - gap * (columns - 1)) / columns
    step = size * rng.uniform(1.35, 1.9)
    font = board.font(size, face)
    for column in range(columns):
        left = margin + column * (column_width + gap)
        most = int((0.95 * height - top - size) / step) + 1
        rows = _rows(board, font, column_width, rng.randint(max(1, most // 2), max(1, most)))
        for number, row in enumerate(rows):
            _write_row(board, row, (left, top + number * step), font)


def _rows(board: Board, font: ImageFont.FreeTypeFont, width: float, most: int) -> list[str]:
    """Rows of whole sentences that fit; at least one sentence, cut to shorter phrases where none fits."""
    between = " " if board.corpus.script == "latin" else ""
    text, rows = "", list[str]()
    for _ in range(4 * most):
        phrase = board.corpus.sentence(board.rng) if most > 1 else board.corpus.short(board.rng)
        longer = text + between * bool(text) + phrase.text
        wrapped = wrap(longer, font, width * SCALE)
        if len(wrapped) > most or any(font.getlength(row) > width * SCALE for row in wrapped):
            if rows:
                break
            continue
        text, rows = longer, wrapped
        board.phrases.append(phrase)
    return rows


def _write_row(board: Board, row: str, place: Corner, font: ImageFont.FreeTypeFont) -> None:
    """A row at its baseline's height, which ink alone does not give: commas sit low, dashes in the middle."""
    mask, (left, top) = ink_of(row, font)
    _, (_, ascent) = ink_of("国" if board.corpus.script != "latin" else "H", font)
    box = board.stamp(mask, (place[0] + left / SCALE, place[1] + (top - ascent) / SCALE))
    board.lines.append(Line(row, rectangle(*box)))


def two_columns(board: Board) -> None:
    """Sentences in two columns."""
    paragraphs(board, 2)


def scattered(board: Board) -> None:
    """Signs in cells of an invisible grid, each turned a little; read row by row, from left to right."""
    width, height = board.size
    rng = board.rng
    rows, columns = rng.randint(2, 4), rng.choice((1, 1, 2, 2)) if width > 16 * board.least else 1
    cells = sorted(rng.sample(range(rows * columns), rng.randint(2, rows * columns)))
    for cell in cells:
        row, column = divmod(cell, columns)
        box = (column * width / columns, row * height / rows, (column + 1) * width / columns, (row + 1) * height / rows)
        _sign(board, box)
    if not board.lines:
        one_line(board)


def _sign(board: Board, box: tuple[float, float, float, float]) -> None:
    """A phrase on a plate of its own or on the bare sheet, whole inside a box."""
    rng = board.rng
    room = (box[2] - box[0], box[3] - box[1])
    phrase = rng.choice((board.corpus.short, board.corpus.mixed))(rng)
    font = fitting(board, phrase.text, (room[0] * 0.78, room[1] * 0.4), rng.uniform(1.1, 2.8) * board.least)
    if font is None:
        return
    plate, around = _plate(board, phrase.text, font, rng.random() < 0.6)
    width, height = plate.width / SCALE, plate.height / SCALE
    # Turned so little that it stays in the box.
    steepest = max(0.0, min(14.0, 50 * (room[1] - height) / width, 50 * (room[0] - width) / height))
    angle = rng.uniform(-1, 1) * steepest
    turned = plate.rotate(angle, PIL.Image.Resampling.BICUBIC, expand=True)
    spare = [max(0.0, side - length / SCALE) for side, length in zip(room, turned.size, strict=True)]
    left, top = (round((box[side] + spare[side] * rng.random()) * SCALE) for side in (0, 1))
    board.image.paste(turned, (left, top), turned)
    target = (left + turned.width / 2, top + turned.height / 2)
    corners = tuple(_turned(point, (plate.width / 2, plate.height / 2), target, angle) for point in around)
    board.phrases.append(phrase)
    board.lines.append(Line(phrase.text, corners))


def _plate(
    board: Board, text: str, font: ImageFont.FreeTypeFont, coloured: bool
) -> tuple[PIL.Image.Image, tuple[Corner, ...]]:
    """A text on a plate (RGBA), and the corners of its ink on it, in pixels of what is drawn."""
    rng = board.rng
    dark = rng.random() < 0.5
    red, green, blue = (rng.randint(20, 110) if dark else rng.randint(190, 255) for _ in range(3))
    shade = rng.randint(225, 255) if dark else rng.randint(0, 70)
    ink = (shade, shade, shade) if coloured else board.ink
    mask, _ = ink_of(text, font)
    width, height = mask.size
    # What shows through a half-covered pixel of a bare plate must be the ink's colour.
    ground = (red, green, blue, 255) if coloured else (*ink, 0)
    plate = PIL.Image.new("RGBA", (round(width + 1.4 * height), round(1.8 * height)), ground)
    if coloured and rng.random() < 0.4:
        ImageDraw.Draw(plate).rectangle((2, 2, plate.width - 3, plate.height - 3), outline=(*ink, 255), width=SCALE)
    x, y = (plate.width - width) // 2, (plate.height - height) // 2
    if coloured:
        plate.paste((*ink, 255), (x, y), mask)
    else:
        # Pasting through the mask would leave the ink half as strong at its edges.
        plate.paste(mask_as(ink, mask), (x, y))
    return plate, rectangle(x, y, x + width, y + height)


def mask_as(ink: Colour, mask: PIL.Image.Image) -> PIL.Image.Image:
    """Ink on nothing: RGBA of one colour, as opaque as the mask."""
    layer = PIL.Image.new("RGBA", mask.size, ink)
    layer.putalpha(mask)
    return layer


def _turned(point: Corner, pivot: Corner, target: Corner, angle: float) -> Corner:
    """A point of a layer after the layer was turned (degrees, counter-clockwise) and its pivot put on a target."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = point[0] - pivot[0], point[1] - pivot[1]
    return (target[0] + x * cosine + y * sine) / SCALE, (target[1] - x * sine + y * cosine) / SCALE


def upright(board: Board) -> None:
    """Chinese from top to bottom, in columns that are read from right to left."""
    width, height = board.size
    rng = board.rng
    size = rng.uniform(1.0, 2.6) * board.least
    font = board.font(size)
    pitch, step = size * rng.uniform(1.02, 1.2), size * rng.uniform(1.3, 2.0)
    longest = int(0.9 * height / pitch)
    columns = rng.randint(1, max(1, int(0.92 * width / step)))
    x = rng.uniform(0.5 * (width + columns * step), width - 0.04 * width) - size / 2
    y = rng.uniform(0.04, 0.08) * height
    while len(board.lines) < columns:
        phrase = _without_marks(rng.choice((board.corpus.short, board.corpus.sentence))(rng))
        if phrase is not None and len(phrase.text) <= longest:
            board.phrases.append(phrase)
            _write_upright(board, phrase.text, (x - len(board.lines) * step, y), font, pitch)


def _without_marks(phrase: Phrase) -> Phrase | None:
    """Without punctuation, which has other forms in upright text; None where Latin letters or digits are left."""
    text, other = phrase.text.translate(_MARKS), phrase.other.translate(_MARKS)
    return None if re.search("[!-~]", text + other) else Phrase(text, other)


def _write_upright(board: Board, text: str, place: Corner, font: ImageFont.FreeTypeFont, pitch: float) -> None:
    """A column around a middle (x) from a top (y), a character every ``pitch``."""
    boxes = []
    for number, character in enumerate(text):
        mask, _ = ink_of(character, font)
        middle = place[1] + (number + 0.5) * pitch
        boxes.append(board.stamp(mask, (place[0] - mask.width / 2 / SCALE, middle - mask.height / 2 / SCALE)))
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    board.lines.append(Line(text, rectangle(left, top, right, bottom)))


# How a line is asked for by its number: lines count down the sheet, or columns from the right; others are not counted.
Counting = Literal["line", "column", "none"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out text.

    Attributes:
        write: onto a board.
        counting: of its lines.
    """

    write: Callable[[Board], None]
    counting: Counting


LAYOUTS: dict[str, Layout] = {
    "columns": Layout(two_columns, "none"),
    "line": Layout(one_line, "none"),
    "list": Layout(line_list, "line"),
    "paragraphs": Layout(paragraphs, "line"),
    "scattered": Layout(scattered, "none"),
    "upright": Layout(upright, "column"),
}
