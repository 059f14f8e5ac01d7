"""Curves in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import uniplot
from rich.console import Group, RenderableType
from rich.text import Text

from tuwen.config import TuwenError
from tuwen.train.looking.charts import VALIDATION, Chart, Curve, make_charts, shorten, smooth
from tuwen.train.run_folder import RunFolder, shown

COLOURS = ("blue", "red", "green", "magenta", "cyan", "yellow")
HEIGHT = 12
# Space for the numbers at the right.
MARGIN = 14
# A column of the terminal is two dots wide.
DOTS = 2
# What is beyond these is shown in powers of ten.
SMALL, LARGE = 0.05, 1e6
FLAT = 1e-9


def drawn_charts(
    runs: Sequence[RunFolder], wanted: Sequence[str], *, weight: float, width: int
) -> Iterator[RenderableType]:
    """The charts of some runs, for a terminal.

    Args:
        runs: what is compared.
        wanted: names of metrics or families; the losses unless said.
        weight: of smoothing, see ``smooth``.
        width: of the terminal, in columns.

    Raises:
        TuwenError: when there is nothing to draw, or no metric of that name.
    """
    charts = make_charts(runs, wanted)
    if not wanted:
        losses = {VALIDATION + "loss", *(name for run in runs for name in run.losses)}
        charts = [chart for chart in charts if chart.name in losses] or charts
    if not charts:
        raise TuwenError(f"{', '.join(shown(run.path) for run in runs)}: no step has been written yet")
    for chart in charts:
        yield _drawn(chart, weight, max(20, width - MARGIN))
    stages = {run.name: _stages(run) for run in runs}
    for name, line in stages.items() if len(set(stages.values())) > 1 else [("", _stages(runs[0]))]:
        yield Text(f"{name}  {line}" if name else line, style="dim")


def _drawn(chart: Chart, weight: float, width: int) -> RenderableType:
    measure = chart.measure
    curves = [smooth(curve, weight) if measure.noisy else curve for curve in chart.curves]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(curves))]
    lines = list(_lines(curves, DOTS * width, measure.factor))
    title = Text(f"{measure.chinese} {measure.english}".strip(), style="bold")
    if not lines:
        return title.append("  没有可画的数值 no finite values\n", style="not bold")
    factor, power = _readable([value for line in lines for value in line.values])
    title.append("".join(f", {unit}" for unit in (measure.unit, power) if unit))
    picture = uniplot.plot_to_string(
        xs=[line.steps for line in lines],
        ys=[[value * factor for value in line.values] for line in lines],
        lines=True,
        color=[colours[line.curve] for line in lines],
        character_set="braille",
        rounded_corners=True,
        width=width,
        height=HEIGHT,
        x_gridlines=sorted({curve.steps[end] - 0.5 for curve in curves for end in curve.ends[:-1]}),
        y_gridlines=[],
        **_bounds(lines, factor, measure.from_zero),
    )
    # A curve's name stays beside its colour where the legend is broken.
    legend = Text("  ").join(
        Text.assemble(("━━", colour), f"\u00a0{curve.label}\u00a0", (_last(curve, measure.factor), "dim"))
        for colour, curve in zip(colours, curves, strict=True)
    )
    drawing = Text.from_ansi(picture.rstrip("\n"), no_wrap=True, overflow="crop")
    return Group(title, drawing, legend, "")


@dataclass(frozen=True, slots=True)
class _Line:
    """What is drawn in one go: a stage of a curve, by its place in the chart."""

    curve: int
    steps: list[float]
    values: list[float]


def _lines(curves: Sequence[Curve], most: int, factor: float) -> Iterator[_Line]:
    for place, curve in enumerate(curves):
        short = shorten(curve, most)
        for first, end in pairwise((0, *short.ends)):
            pairs = zip(short.steps[first:end], short.values[first:end], strict=True)
            finite = [(float(step), value * factor) for step, value in pairs if math.isfinite(value)]
            if finite:
                yield _Line(place, [step for step, _ in finite], [value for _, value in finite])


def _readable(values: Sequence[float]) -> tuple[float, str]:
    """A factor that makes very small and very large values readable on an axis, and its name."""
    most = max(abs(value) for value in values)
    if most == 0 or SMALL <= most < LARGE:
        return 1.0, ""
    exponent = math.floor(math.log10(most))
    return 10.0**-exponent, f"×1e{exponent}"


def _bounds(lines: Sequence[_Line], factor: float, from_zero: bool) -> dict[str, float]:
    steps = [step for line in lines for step in line.steps]
    values = [value * factor for line in lines for value in line.values]
    low, high = min(values), max(values)
    # A line that neither rises nor falls goes through the middle; means of one value may differ in their last digit.
    flat = high - low <= FLAT * abs(high)
    room = (abs(high) / 10 or 1.0) if flat else (high - low) / 20
    bottom = low - room if low < 0 else 0.0 if from_zero else max(0.0, low - room)
    return {"x_min": min(steps), "x_max": max(*steps, min(steps) + 1), "y_min": bottom, "y_max": high + room}


def _last(curve: Curve, factor: float) -> str:
    value = next((value for value in reversed(curve.values) if math.isfinite(value)), math.nan)
    return f"{value * factor:.4g}"


def _stages(run: RunFolder) -> str:
    """Which steps belong to which stage, as the upright lines have it."""
    starts = list(run.starts.items())
    ends = [*(f"{start:,}" for _, start in starts[1:]), ""]
    parts = [f"{stage} {start + 1:,}–{end}" for (stage, start), end in zip(starts, ends, strict=True)]
    return "阶段 stages  " + " │ ".join(parts)
