"""One self-contained HTML file that shows a run: curves, scores and pictures with answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from tuwen.config import TuwenError
from tuwen.data.media import fetch
from tuwen.evaluate.held_out import Outcome, TaskScore
from tuwen.vision import open_picture

WIDTH, HEIGHT, MARGIN = 420, 160, 34
COLOURS = ("#2457c5", "#c2410c", "#15803d", "#7e22ce")
POINTS = 160


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a plot, as SVG coordinates."""

    name: str
    colour: str
    points: str
    last: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves of a stage over its steps."""

    title: str
    curves: tuple[Curve, ...]
    steps: int
    highest: float


def write_report(
    out: Path,
    *,
    title: str,
    scores: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    metrics: Path,
    facts: Mapping[str, str],
    recipe: str,
) -> None:
    """Write the report to the file ``out``.

    Args:
        out: the HTML file.
        title: its heading.
        scores: as in ``scores.json``.
        outcomes: what was asked and answered; some of each task are shown.
        metrics: JSONL of the training steps.
        facts: what is said about the run in a line each.
        recipe: its text.

    Raises:
        TuwenError: when the file cannot be written.
    """
    source = (files("tuwen.evaluate") / "report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(source).render(
        title=title,
        scores=scores,
        plots=read_plots(metrics),
        cards=[_card(outcome) for outcome in pick(outcomes)],
        facts=facts,
        recipe=recipe,
        size=(WIDTH, HEIGHT, MARGIN),
    )
    try:
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None


def scores_json(tasks: Mapping[str, TaskScore], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Scores of all tasks, their means, and the time that each part of the run took, in seconds."""
    kinds = ("accuracy", "blind", "chance")
    return {
        "tasks": {
            name: {**{kind: round(getattr(task, kind), 2) for kind in kinds}, "n": task.n}
            for name, task in tasks.items()
        },
        "mean": {kind: round(sum(getattr(task, kind) for task in tasks.values()) / len(tasks), 2) for kind in kinds},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def pick(outcomes: Sequence[Outcome], right: int = 3, wrong: int = 2) -> list[Outcome]:
    """A few right and wrong outcomes of each task, the first of each kind, each about another picture."""
    left: dict[tuple[str, bool], int] = {}
    shown: set[tuple[str, int]] = set()
    picked = []
    for outcome in sorted(outcomes, key=lambda one: one.sample.task):
        task = outcome.sample.task
        room = left.setdefault((task, outcome.right), right if outcome.right else wrong)
        if not outcome.sample.images or not room:
            continue
        picture = (task, id(outcome.sample.images[0]))
        if picture not in shown:
            shown.add(picture)
            left[task, outcome.right] = room - 1
            picked.append(outcome)
    return picked


def _card(outcome: Outcome) -> dict[str, Any]:
    stream = io.BytesIO()
    picture = open_picture(fetch(outcome.sample.images[0]))
    picture.thumbnail((256, 256))
    picture.save(stream, format="PNG", optimize=True)
    return {
        "task": outcome.sample.task,
        "image": base64.b64encode(stream.getvalue()).decode("ascii"),
        "question": outcome.sample.messages[-2].text,
        "expected": outcome.sample.answer,
        "given": outcome.given,
        "blind": outcome.blind,
        "right": outcome.right,
    }


def read_plots(metrics: Path) -> list[Plot]:
    """The losses of each stage in a run's ``metrics.jsonl``, averaged over short stretches."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        stages.setdefault(record["stage"], []).append(record)
    return [_plot(stage, records) for stage, records in stages.items()]


def _plot(stage: str, records: Sequence[Mapping[str, Any]]) -> Plot:
    names = [name for name in ("answers", "regions") if name in records[0]]
    series = {name: _averaged([float(record[name]) for record in records]) for name in names}
    highest = max((max(values) for values in series.values()), default=1.0) or 1.0
    curves = tuple(
        Curve(name, COLOURS[place], _points(values, highest), values[-1])
        for place, (name, values) in enumerate(series.items())
    )
    return Plot(stage, curves, len(records), highest)


def _averaged(values: Sequence[float]) -> list[float]:
    stride = max(1, len(values) // POINTS)
    return [
        sum(part) / len(part) for start in range(0, len(values), stride) if (part := values[start : start + stride])
    ]


def _points(values: Sequence[float], highest: float) -> str:
    across = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    up = (HEIGHT - 2 * MARGIN) / highest
    return " ".join(
        f"{MARGIN + place * across:.1f},{HEIGHT - MARGIN - value * up:.1f}" for place, value in enumerate(values)
    )
