"""Self-contained HTML pages about data: a template, plots as plain numbers for SVG, pictures inside the page."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import log10
from pathlib import Path
from typing import Any

import jinja2
import PIL.Image

from tuwen.config import TuwenError
from tuwen.data.media import as_data_url

WIDTH, HEIGHT = 420, 150
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 12, 20
MOST_BARS, MOST_TICKS, WIDEST_BAR = 40, 6, 56
# What lies beyond goes into the last bar, so that one long sample does not flatten all others.
SHOWN_SHARE = 0.99
THUMBNAIL = 288


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram, as SVG coordinates.

    Attributes:
        x, y, width, height: of the bar.
        label: what it stands for, with its count.
    """

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A number at a place of an axis, as an SVG coordinate."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of lengths.

    Attributes:
        bars: from the shortest to the longest.
        ticks: numbers below them.
        lines: places that are marked, such as the median.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    lines: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a map, as SVG coordinates, with its darkness (0–1)."""

    x: float
    y: float
    side: float
    darkness: float
    label: str


@dataclass(frozen=True, slots=True)
class SizeMap:
    """How many pictures there are of each size; both axes are logarithmic.

    Attributes:
        cells: that hold pictures.
        across: ticks for widths.
        up: ticks for heights.
        side: of the whole map.
    """

    cells: tuple[Cell, ...]
    across: tuple[Mark, ...]
    up: tuple[Mark, ...]
    side: float


def histogram(counts: Mapping[int, int], lines: Mapping[str, float]) -> Histogram:
    """A histogram with bars of a round width.

    Args:
        counts: of each length; at least one.
        lines: names and lengths of what is marked.
    """
    total, seen, last = sum(counts.values()), 0, 0
    for length in sorted(counts):
        seen += counts[length]
        last = length
        if seen >= SHOWN_SHARE * total:
            break
    step = _round_step(last + 1, MOST_BARS)
    first = min(counts) // step if min(counts) > 0 and last - min(counts) < last / 2 else 0
    bins = [0] * (last // step - first + 1)
    for length, count in counts.items():
        bins[min(length // step - first, len(bins) - 1)] += count
    width = min(WIDEST_BAR, (WIDTH - LEFT - RIGHT) / len(bins))
    start = (WIDTH - width * len(bins)) / 2
    room, highest = HEIGHT - TOP - BOTTOM, max(bins)
    longest = max(counts)

    def place(length: float) -> float:
        return round(start + (length / step - first) * width, 1)

    def label(number: int) -> str:
        low, high = (first + number) * step, (first + number + 1) * step - 1
        high = longest if number == len(bins) - 1 else high
        return f"{low:,}–{high:,}: {bins[number]:,}" if high > low else f"{low:,}: {bins[number]:,}"

    bars = tuple(
        Bar(
            round(start + number * width, 1),
            round(HEIGHT - BOTTOM - room * count / highest, 1),
            round(max(1.0, width - (1 if width > 3 else 0)), 1),
            round(room * count / highest, 1),
            label(number),
        )
        for number, count in enumerate(bins)
        if count
    )
    every = _round_step(len(bins) * step, MOST_TICKS)
    middle = width / 2 if step == 1 else 0.0
    ticks = tuple(
        Mark(round(place(value) + middle, 1), f"{value:,}")
        for value in range(-(-first * step // every) * every, (first + len(bins)) * step, every)
    )
    marked = tuple(
        Mark(round(place(min(value, last)) + middle, 1), f"{name} {value:,.0f}") for name, value in lines.items()
    )
    return Histogram(bars, ticks, marked)


def _round_step(span: int, most: int) -> int:
    """1, 2 or 5 times a power of ten, so that a span takes ``most`` of it."""
    step = 1
    while span > step * most:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step


def size_map(sizes: Mapping[tuple[int, int], int], steps: int = 4) -> SizeMap | None:
    """A map of picture sizes; None without pictures.

    Args:
        sizes: counts by binary logarithms of width and height, in ``steps`` for each doubling.
        steps: see ``sizes``.
    """
    if not sizes:
        return None
    sides = [side for size in sizes for side in size]
    low, high = min(sides) // steps * steps, -(-(max(sides) + 1) // steps) * steps
    side = (WIDTH / 2) / (high - low)
    most = max(sizes.values())

    def pixels(value: int) -> int:
        return round(2 ** (value / steps))

    cells = tuple(
        Cell(
            round((width - low) * side, 1),
            round((high - height - 1) * side, 1),
            round(side, 2),
            # By the logarithm, so that rare sizes can be seen beside common ones.
            round(0.15 + 0.85 * log10(1 + 9 * count / most), 3),
            f"≈ {pixels(width)}×{pixels(height)}: {count:,}",
        )
        for (width, height), count in sorted(sizes.items())
    )
    doublings = range(low, high, steps)
    across = tuple(Mark(round((value - low) * side, 1), str(pixels(value))) for value in doublings)
    up = tuple(Mark(round((high - value) * side, 1), str(pixels(value))) for value in doublings)
    return SizeMap(cells, across, up, WIDTH / 2)


def jpeg(picture: PIL.Image.Image, most: int = THUMBNAIL) -> str:
    """A small copy of an RGB picture as a ``data:`` URL."""
    small = picture.copy()
    small.thumbnail((most, most))
    return _data_url(small, "JPEG", quality=82)


def png(picture: PIL.Image.Image) -> str:
    """A picture as it is, as a ``data:`` URL."""
    return _data_url(picture, "PNG", optimize=True)


def _data_url(picture: PIL.Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return as_data_url(kind.lower(), stream.getvalue())


def script_data(value: Any) -> str:
    """JSON for inside a script element: nothing in it is taken for markup, whatever a model has said."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def write_page(out: Path, package: str, template: str, **values: Any) -> None:
    """Fill a template and write the page; see ``fill_page``.

    Args:
        out: the HTML file.
        package: see there.
        template: see there.
        **values: see there.

    Raises:
        TuwenError: when the file cannot be written.
    """
    html = fill_page(package, template, **values)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Text of broken data may hold half a surrogate pair.
        out.write_text(html, encoding="utf-8", errors="replace")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None


def fill_page(package: str, template: str, **values: Any) -> str:
    """A page from a template.

    Args:
        package: that the template lies in; what it extends lies beside this module.
        template: its name.
        **values: what it is filled with; all of it is escaped.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: _template(package, name)),
    )
    return environment.get_template(template).render(**values, plot=(WIDTH, HEIGHT, BOTTOM, TOP))


def _template(package: str, name: str) -> str:
    here = files(package) / name
    return (here if here.is_file() else files("tuwen.data.looking") / name).read_text(encoding="utf-8")
