"""Runs as one self-contained HTML page: curves to zoom into, what the model said in between, recipes side by side."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuwen.config import to_yaml
from tuwen.data.looking.page import jpeg, script_data, write_page
from tuwen.train.looking.charts import Chart, Curve, ShortCurve, make_charts, shorten
from tuwen.train.looking.run_facts import differences, facts
from tuwen.train.looking.run_table import model_name
from tuwen.train.run_folder import Generation, Generations, RunFolder, shown
from tuwen.vision import open_picture

# More cannot be told apart on a screen.
MOST_POINTS = 1000
MOST_SAMPLES, MOST_MOMENTS = 64, 100
MOST_REASONS = 20
THUMBNAIL = 320
DIGITS = 5


def write_run_page(runs: Sequence[RunFolder], out: Path, *, metrics: Sequence[str] = (), weight: float = 0.9) -> None:
    """Write the page.

    Args:
        runs: what is shown, each with a colour of its own; at least one.
        out: the HTML file.
        metrics: names of metrics or families; all unless said.
        weight: of smoothing when the page is opened, see ``smooth``.

    Raises:
        TuwenError: when it cannot be written, or no run has such a metric.
    """
    axes: list[dict[str, Any]] = []
    charts = [_chart(chart, axes) for chart in make_charts(runs, metrics)]
    cards, hidden = _cards(runs)
    data = {
        "runs": [run.name for run in runs],
        "stages": [_stages(run) for run in runs],
        "axes": axes,
        "charts": charts,
        "samples": cards,
        "weight": weight,
    }
    told = [facts(run) for run in runs]
    write_page(
        out,
        "tuwen.train.looking",
        "run_page.html.jinja",
        names=[run.name for run in runs],
        places=[shown(run.path.absolute()) for run in runs],
        models=[model_name(run.recipe) for run in runs],
        facts=list(zip(*told, strict=True)),
        differences=differences(runs) if len(runs) > 1 else [],
        recipes=[to_yaml(run.recipe) if run.recipe else "" for run in runs],
        environments=[to_yaml(run.environment) if run.environment else "" for run in runs],
        reasons=[run.bad_samples.reasons.most_common(MOST_REASONS) for run in runs],
        problems=[run.problems for run in runs],
        shown=len(cards),
        hidden=hidden,
        data=script_data(data),
    )


def _stages(run: RunFolder) -> list[dict[str, Any]]:
    """Where each stage begins, in steps and in hours of the run."""
    places, times = [place for place, _ in run.metrics.track.keys], run.metrics.times
    began = min((time for time in times if math.isfinite(time)), default=math.nan)
    found = []
    for place, name in enumerate(run.metrics.track.stages):
        first = bisect_left(places, place)
        if first < len(places) and places[first] == place:
            hours = (times[first] - began) / 3600
            found.append({"name": name, "steps": run.starts[name], "hours": hours if math.isfinite(hours) else None})
    return found


def _chart(chart: Chart, axes: list[dict[str, Any]]) -> dict[str, Any]:
    measure = chart.measure
    return {
        "name": chart.name,
        "chinese": measure.chinese,
        "english": measure.english,
        "unit": measure.unit,
        "fromZero": measure.from_zero,
        "noisy": measure.noisy,
        "curves": [_curve(curve, measure.factor, axes) for curve in chart.curves],
    }


def _curve(curve: Curve, factor: float, axes: list[dict[str, Any]]) -> dict[str, Any]:
    short = shorten(curve, MOST_POINTS)
    values: dict[str, Any] = {
        "run": curve.run,
        "label": curve.label,
        "axis": _axis(short, axes),
        "values": _rounded(short.values, factor),
    }
    if len(short.steps) < len(curve.steps):
        values |= {"low": _rounded(short.low, factor), "high": _rounded(short.high, factor)}
    return values


def _axis(short: ShortCurve, axes: list[dict[str, Any]]) -> int:
    """The place of a curve's axis; the metrics of a run share one."""
    axis = {"steps": short.steps, "hours": _rounded(short.hours), "ends": list(short.ends)}
    if axis not in axes:
        axes.append(axis)
    return axes.index(axis)


def _rounded(values: Iterable[float], factor: float = 1.0) -> list[float | None]:
    return [float(f"{value * factor:.{DIGITS}g}") if math.isfinite(value) else None for value in values]


def _cards(runs: Sequence[RunFolder]) -> tuple[list[dict[str, Any]], int]:
    """A card for each validation sample, and how many there are beyond those that are shown."""
    cards: dict[tuple[str, str, str], dict[str, Any]] = {}
    for place, run in enumerate(runs):
        for said in _some(run.samples):
            at = run.starts[said.stage] + said.step
            for one in said.samples:
                key = (one.name, one.prompt, one.expected)
                if key not in cards:
                    cards[key] = _card(one)
                if len(cards) <= MOST_SAMPLES and not cards[key]["picture"] and one.picture:
                    cards[key] |= _picture(run, one.picture)
                moment = {"run": place, "at": at, "stage": said.stage, "step": said.step, "text": one.generated}
                cards[key]["said"].append(moment)
    found = list(cards.values())
    return found[:MOST_SAMPLES], max(0, len(found) - MOST_SAMPLES)


def _some(said: Sequence[Generations]) -> list[Generations]:
    """As many moments as can be leafed through, the first and the last among them."""
    if len(said) <= MOST_MOMENTS:
        return list(said)
    return [said[round(place * (len(said) - 1) / (MOST_MOMENTS - 1))] for place in range(MOST_MOMENTS)]


def _card(one: Generation) -> dict[str, Any]:
    return {"name": one.name, "prompt": one.prompt, "expected": one.expected, "picture": "", "lost": "", "said": []}


def _picture(run: RunFolder, name: str) -> Mapping[str, str]:
    """A small copy of a picture in the run's folder, or why there is none."""
    try:
        path = (run.path / name).resolve()
        if not path.is_relative_to(run.path.resolve()):
            return {"lost": f"{name}: lies outside of the run's folder"}
        return {"picture": jpeg(open_picture(path, name=name), THUMBNAIL), "lost": ""}
    except (ValueError, OSError, RuntimeError) as error:
        # A name may be no path at all, or lead in a circle.
        return {"lost": str(error)}
