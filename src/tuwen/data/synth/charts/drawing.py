"""Kinds of charts, each drawn so that every value can be read off its scale or stands beside it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import PIL.Image

from tuwen.chat.grounding import Box
from tuwen.data.synth.canvas import SCALE, smooth
from tuwen.data.synth.charts.data import Chart
from tuwen.data.synth.charts.plot import PAINTS, Plot, markings
from tuwen.data.synth.fonts import Typeface

# Width and height in parts of the longer side.
FORMATS = ((1.0, 0.75), (1.0, 0.75), (1.0, 0.65), (1.0, 1.0), (0.85, 1.0))


def draw_chart(chart: Chart, face: Typeface, longer: int, rng: random.Random) -> tuple[PIL.Image.Image, Plot]:
    """A picture of the chart, and where everything is in it.

    Args:
        chart: what is drawn.
        face: of all text.
        longer: side of the picture, in pixels.
        rng: of colours and proportions; the figures are the chart's.
    """
    across, down = rng.choice(FORMATS)
    size = (round(across * longer) * SCALE, round(down * longer) * SCALE)
    dark = rng.random() < 0.15
    low, high = (15, 45) if dark else (238, 255)
    ground = (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))
    ink = rng.randint(225, 255) if dark else rng.randint(0, 60)
    faint = 70 if dark else 205
    image = PIL.Image.new("RGB", size, ground)
    plot = Plot(chart, image, face, longer * 0.03, (ink,) * 3, (faint,) * 3, rng)
    plot.write_title()
    DRAWINGS[chart.kind](plot)
    return smooth(image), plot


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie between the axes, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def y(self, chart: Chart, value: float) -> float:
        """The height of a value on an upright scale."""
        return self.bottom - (self.bottom - self.top) * value / chart.top

    def x(self, chart: Chart, value: float) -> float:
        """The place of a value on a level scale."""
        return self.left + (self.right - self.left) * value / chart.top


def _upright_frame(plot: Plot) -> _Frame:
    """Axes, scale and names of the categories below."""
    chart, size, (width, height) = plot.chart, plot.size, plot.sides
    left = max(plot.length(str(value)) for value in markings(chart)) + 1.6 * size
    frame = _Frame(left, plot.top + 2.4 * size, width - size, height - 3.6 * size)
    plot.write((0.6 * size, plot.top + size), chart.upward, "lm")
    plot.write(((frame.left + frame.right) / 2, height - 1.0 * size), chart.across, "mm")
    for value in markings(chart):
        y = frame.y(chart, value)
        plot.line((frame.left, y), (frame.right, y), plot.faint if value else plot.ink)
        plot.write((frame.left - 0.5 * size, y), str(value), "rm")
    plot.line((frame.left, frame.top), (frame.left, frame.bottom), plot.ink)
    slot = (frame.right - frame.left) / len(chart.categories)
    scale = min(1.0, 0.95 * slot / max(plot.length(name) for name in chart.categories))
    for place, name in enumerate(chart.categories):
        plot.write((frame.left + (place + 0.5) * slot, frame.bottom + 1.1 * size), name, "mm", scale)
    return frame


def _draw_bars(plot: Plot) -> None:
    """Upright bars, side by side where there are several series."""
    chart, frame = plot.chart, _upright_frame(plot)
    slot = (frame.right - frame.left) / len(chart.categories)
    share = plot.rng.uniform(0.5, 0.8)
    width = slot * share / len(chart.series)
    for number, series in enumerate(chart.series):
        for place, value in enumerate(series.values):
            left = frame.left + (place + 0.5 - share / 2) * slot + number * width
            box = (left, frame.y(chart, value), left + width * 0.95, frame.bottom)
            plot.fill(box, PAINTS[series.colours[place]])
            plot.spots[number, place] = box
            if chart.printed:
                scale = min(0.9, slot / len(chart.series) / plot.length(str(value)))
                plot.write(((box[0] + box[2]) / 2, box[1] - 0.25 * plot.size), str(value), "mb", scale)
    plot.line((frame.left, frame.bottom), (frame.right, frame.bottom), plot.ink)


def _draw_rows(plot: Plot) -> None:
    """Bars from left to right."""
    chart, size, (width, height) = plot.chart, plot.size, plot.sides
    left = max(plot.length(name) for name in chart.categories) + 1.4 * size
    frame = _Frame(left, plot.top + 2.2 * size, width - 2.8 * size, height - 3.6 * size)
    plot.write((0.6 * size, plot.top + size), chart.across, "lm")
    plot.write(((frame.left + frame.right) / 2, height - 1.0 * size), chart.upward, "mm")
    for value in markings(chart):
        x = frame.x(chart, value)
        plot.line((x, frame.top), (x, frame.bottom), plot.faint if value else plot.ink)
        plot.write((x, frame.bottom + size), str(value), "mm")
    slot, share = (frame.bottom - frame.top) / len(chart.categories), plot.rng.uniform(0.45, 0.75)
    series = chart.series[0]
    for place, (name, value) in enumerate(zip(chart.categories, series.values, strict=True)):
        middle = frame.top + (place + 0.5) * slot
        box = (frame.left, middle - slot * share / 2, frame.x(chart, value), middle + slot * share / 2)
        plot.fill(box, PAINTS[series.colours[place]])
        plot.spots[0, place] = box
        plot.write((frame.left - 0.5 * size, middle), name, "rm")
        if chart.printed:
            plot.write((box[2] + 0.3 * size, middle), str(value), "lm", 0.9)
    plot.line((frame.left, frame.top), (frame.left, frame.bottom), plot.ink)


def _draw_lines(plot: Plot) -> None:
    """A line with a mark at each value, for each series."""
    chart, frame = plot.chart, _upright_frame(plot)
    slot = (frame.right - frame.left) / len(chart.categories)
    radius = 0.32 * plot.size
    for number, series in enumerate(chart.series):
        colour = PAINTS[series.colours[0]]
        points = [
            (frame.left + (place + 0.5) * slot, frame.y(chart, value)) for place, value in enumerate(series.values)
        ]
        for start, stop in pairwise(points):
            plot.line(start, stop, colour, 2.0)
        for place, (x, y) in enumerate(points):
            box = (x - radius, y - radius, x + radius, y + radius)
            plot.canvas.ellipse([side * SCALE for side in box], fill=colour)
            plot.spots[number, place] = box
            if chart.printed:
                plot.write((x, y - 0.5 * plot.size), str(series.values[place]), "mb", 0.9)


def _draw_pie(plot: Plot) -> None:
    """Slices with their share inside and a legend, or with name and share beside them."""
    chart, size, (width, height) = plot.chart, plot.size, plot.sides
    series, legend = chart.series[0], plot.rng.random() < 0.5
    side = max(plot.length(f"{name} 100%") for name in chart.categories) + 1.5 * size
    room = (width - side if legend else width - 2 * side, height - plot.top - (1 if legend else 3) * size)
    radius = 0.46 * min(room)
    middle = ((width - side) / 2 if legend else width / 2, plot.top + (height - plot.top) / 2)
    box = [(centre + sign * radius) * SCALE for sign in (-1, 1) for centre in middle]
    angle = plot.rng.uniform(0, 360)
    for place, (name, value) in enumerate(zip(chart.categories, series.values, strict=True)):
        stop = angle + 3.6 * value
        plot.canvas.pieslice(box, angle, stop, fill=PAINTS[series.colours[place]], outline=plot.faint, width=SCALE)
        plot.spots[0, place] = _slice_box(middle, radius, angle, stop)
        half = math.radians((angle + stop) / 2)
        reach = radius * 0.68 if legend else radius + 0.7 * size
        x, y = middle[0] + reach * math.cos(half), middle[1] + reach * math.sin(half)
        if legend:
            # White on dark slices, black on light ones.
            light = sum(PAINTS[series.colours[place]]) > 400
            plot.write((x, y), f"{value}%", "mm", ink=(0, 0, 0) if light else (255, 255, 255))
            line = middle[1] + (place - (len(chart.categories) - 1) / 2) * 1.8 * size
            plot.swatch((width - side + 0.4 * size, line), PAINTS[series.colours[place]])
            plot.write((width - side + 1.7 * size, line), name, "lm")
        else:
            plot.write((x, y), f"{name} {value}%", "lm" if math.cos(half) > 0 else "rm")
        angle = stop


def _slice_box(middle: tuple[float, float], radius: float, start: float, stop: float) -> Box:
    """The box around a slice: its tip, and its arc at every degree."""
    angles = [math.radians(start + (stop - start) * step / 90) for step in range(91)]
    xs = [middle[0], *(middle[0] + radius * math.cos(angle) for angle in angles)]
    ys = [middle[1], *(middle[1] + radius * math.sin(angle) for angle in angles)]
    return min(xs), min(ys), max(xs), max(ys)


DRAWINGS: dict[str, Callable[[Plot], None]] = {
    "bars": _draw_bars,
    "grouped": _draw_bars,
    "lines": _draw_lines,
    "pie": _draw_pie,
    "rows": _draw_rows,
}
