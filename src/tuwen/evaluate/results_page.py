"""The report of an evaluation: one self-contained HTML file that opens and works offline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuwen.data.looking.page import jpeg, script_data, write_page
from tuwen.data.media import fetch
from tuwen.evaluate.benchmark import Item
from tuwen.evaluate.intervals import Interval
from tuwen.evaluate.run import Result
from tuwen.vision import PictureError, open_picture

# So many answers of a benchmark can be leafed through, those that are not right first.
MOST_SHOWN = 400
THUMBNAIL = 224
RADAR, MIDDLE, REACH = 420, 210, 140
FEWEST_AXES = 5
OURS = "本次 this model"


@dataclass(frozen=True, slots=True)
class Polygon:
    """One system on a radar, as SVG coordinates."""

    name: str
    points: str
    colour: str


COLOURS = ("#2457c5", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207")


def write_results(results: Sequence[Result], out: Path, model: str) -> None:
    """Write the report.

    Args:
        results: of each benchmark.
        out: the HTML file.
        model: what was measured, as its user calls it.

    Raises:
        TuwenError: when it cannot be written.
    """
    sections = [_section(result) for result in results]
    cards = {section["name"]: section.pop("cards") for section in sections}
    data = script_data(cards)
    write_page(out, "tuwen.evaluate", "results.html.jinja", model=model, sections=sections, data=data)


@dataclass(frozen=True, slots=True)
class Row:
    """A system's figures in a table.

    Attributes:
        name: of the system.
        cells: figures with their intervals, both None where there is none.
        source: where they were published; empty for what was measured here.
        kind: how the row looks.
    """

    name: str
    cells: Sequence[tuple[float | None, Interval | None]]
    source: str = ""
    kind: str = ""


def _section(result: Result) -> dict[str, Any]:
    benchmark, score = result.benchmark, result.score
    unread = sum(parsed.value is None for parsed in score.parsed.values())
    cut = sum(record.finish_reason == "length" for record in result.records.values())
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "summary": benchmark.summary,
        "summary_zh": benchmark.summary_zh,
        "scorer": result.scorer,
        "style": benchmark.style,
        "items": len(result.items),
        "unread": unread,
        "cut": cut,
        "names": list(score.headline),
        "rows": _rows(result),
        "whole": result.intervals.credits.get(""),
        "subtasks": _subtasks(result),
        "categories": _categories(result),
        "figures": list(_figures(score.scores, result.intervals.scores)),
        "radar": radar(result),
        "cards": _cards(result),
        "shown": min(len(result.items), MOST_SHOWN),
    }


def _rows(result: Result) -> list[Row]:
    """The figures that people quote: of this model, blind, and published ones."""
    names = list(result.score.headline)
    measured = [(OURS, result.score, result.intervals, "here")]
    if result.blind is not None:
        measured.append(("打乱图片 blind", *result.blind, "blind"))
    rows = [
        Row(name, [(score.headline.get(one), known.headline.get(one)) for one in names], kind=kind)
        for name, score, known, kind in measured
    ]
    for published in result.benchmark.published:
        if any(name in published.values for name in names):
            source = published.source + (f" · {published.note}" if published.note else "")
            rows.append(Row(published.system, [(published.values.get(name), None) for name in names], source))
    return rows


def _subtasks(result: Result) -> dict[str, Any] | None:
    """A row for each subtask, a column for each system that has published figures of all; None without subtasks."""
    ours = result.score.subtasks
    if not ours:
        return None
    others = [one for one in result.benchmark.published if all(name in one.values for name in ours)]
    rows = [
        (name, value, result.intervals.subtasks.get(name), [one.values[name] for one in others])
        for name, value in ours.items()
    ]
    return {"systems": [one.system for one in others], "rows": rows}


def _categories(result: Result) -> list[dict[str, Any]]:
    """Mean credit of each category with its interval, and what could not be read."""
    members: dict[str, list[Item]] = {}
    for item in result.items:
        members.setdefault(item.category, []).append(item)
    rows = []
    for name, interval in result.intervals.credits.items():
        if not name:
            continue
        ids = [item.id for item in members[name]]
        unread = sum(result.score.parsed[one].value is None for one in ids if one in result.score.parsed)
        rows.append({"name": name, "items": len(ids), "interval": interval, "unread": unread})
    return rows


def _figures(scores: Mapping[str, Any], known: Mapping[str, Any], place: str = "") -> Iterator[tuple[Any, ...]]:
    """All that the scorer reports: name, figure and interval."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _figures(value, known.get(name, {}), f"{place}{name} · ")
        elif value is not None:
            shown = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else str(value)
            yield f"{place}{name}", shown, known.get(name)


def radar(result: Result) -> dict[str, Any] | None:
    """Subtasks on the axes of a radar, each as a part of the highest figure there; None without enough of them."""
    ours = result.score.subtasks
    axes = [name for name in ours if any(name in published.values for published in result.benchmark.published)]
    if len(axes) < FEWEST_AXES:
        return None
    systems: list[tuple[str, Mapping[str, float]]] = [(OURS, ours)]
    systems += [
        (published.system, published.values)
        for published in result.benchmark.published
        if all(axis in published.values for axis in axes)
    ]
    most = {axis: max(*(values[axis] for _, values in systems), 1e-9) for axis in axes}
    angles = {axis: 2 * math.pi * place / len(axes) - math.pi / 2 for place, axis in enumerate(axes)}

    def at(axis: str, part: float) -> str:
        reach = REACH * part
        return f"{MIDDLE + reach * math.cos(angles[axis]):.1f},{MIDDLE + reach * math.sin(angles[axis]):.1f}"

    polygons = [
        Polygon(name, " ".join(at(axis, values[axis] / most[axis]) for axis in axes), COLOURS[place % len(COLOURS)])
        for place, (name, values) in enumerate(systems)
    ]
    rings = [" ".join(at(axis, part) for axis in axes) for part in (0.25, 0.5, 0.75, 1.0)]
    labels = []
    for axis in axes:
        x, y = (float(part) for part in at(axis, 1.13).split(","))
        anchor = "middle" if abs(x - MIDDLE) < 12 else "start" if x > MIDDLE else "end"
        labels.append({"x": x, "y": y + 4, "anchor": anchor, "name": axis, "most": f"{most[axis]:g}"})
    return {"size": RADAR, "polygons": polygons, "rings": rings, "labels": labels}


def _outcome(result: Result, item: Item) -> str:
    parsed = result.score.parsed.get(item.id)
    if parsed is None or parsed.credit is None:
        return "unscored"
    if parsed.value is None:
        return "unread"
    if parsed.credit >= 1:
        return "right"
    return "wrong" if parsed.credit <= 0 else "partly"


def _cards(result: Result) -> list[dict[str, Any]]:
    """What is shown of each answer, those that are not right first."""
    order = {"unread": 0, "wrong": 1, "partly": 2, "unscored": 3, "right": 4}
    chosen = sorted(result.items, key=lambda item: order[_outcome(result, item)])[:MOST_SHOWN]
    small: dict[str, list[str]] = {}
    cards = []
    for item in chosen:
        record = result.records[item.id]
        key = record.images or item.id
        if key not in small:
            small[key] = [_thumbnail(image) for image in item.images]
        parsed = result.score.parsed.get(item.id)
        cards.append(
            {
                "id": item.id,
                "category": item.category,
                "outcome": _outcome(result, item),
                "pictures": small[key],
                "question": "\n".join(message.text for message in item.messages),
                "expected": item.answer,
                "answer": record.answer,
                "parsed": None if parsed is None else parsed.value,
                "finish": record.finish_reason,
            }
        )
    return cards


def _thumbnail(image: Any) -> str:
    try:
        return jpeg(open_picture(fetch(image)), THUMBNAIL)
    except PictureError:
        return ""
