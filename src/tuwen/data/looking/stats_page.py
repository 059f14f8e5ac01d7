"""Statistics of a data set as one self-contained HTML page, with some samples of each task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuwen.chat.grounding import parse_boxes
from tuwen.chat.messages import Image
from tuwen.config import TuwenError
from tuwen.data.dataset import Dataset
from tuwen.data.looking.page import histogram, jpeg, size_map, write_page
from tuwen.data.looking.stats import UNNAMED, Statistics, quantile
from tuwen.data.looking.stats_values import MOST_FREQUENT, TITLES, ranked_tasks, unit_of
from tuwen.data.media import fetch
from tuwen.data.sample import Picture, Sample
from tuwen.vision.pictures import open_picture

COLOURS = {"sample": "#2457c5", "text": "#5b6676", "answers": "#15803d", "pictures": "#7e22ce"}
MOST_TASKS = 16
MOST_GALLERIES = 24
MOST_PICTURES = 3
MOST_TURNS = 6
LONGEST_TURN = 360
WHO = {"user": "问 user", "assistant": "答 assistant", "system": "系统 system"}


def write_stats_page(out: Path, found: Statistics, dataset: Dataset, model: str = "") -> None:
    """Write the page.

    Args:
        out: the HTML file.
        found: in the data set.
        dataset: for the samples that are shown.
        model: whose tokens were counted.

    Raises:
        TuwenError: when the file cannot be written.
    """
    first, more = Path(dataset.files[0]).name, len(dataset.files) - 1
    sources = found.sources.most_common(MOST_FREQUENT)
    chinese, english = unit_of(found)
    measured = f"{english} of {model}" if model else english
    write_page(
        out,
        "tuwen.data.looking",
        "stats.html.jinja",
        name=f"{first} + {more}" if more else first,
        lead=f"{dataset.files[0]} · {dataset.format.name} · 长度按{chinese}计 lengths in {measured}",
        numbers=list(_numbers(found)),
        problem=found.problem,
        unit=f"{chinese} {english}",
        most_tasks=MOST_TASKS,
        tasks=[_task(name, task, found) for name, task in ranked_tasks(found)],
        histograms=list(_histograms(found)),
        sizes=size_map(found.sizes),
        median_side=quantile(found.sides, 0.5),
        answers={"rows": found.answers.top(MOST_FREQUENT), "total": sum(task.turns for task in found.tasks.values())},
        openings={"rows": found.openings.top(MOST_FREQUENT), "total": found.openings.total},
        sources=sources if [name for name, _ in sources] != [UNNAMED] else [],
        samples=found.samples,
        gallery=list(_gallery(found, dataset)),
    )


def _numbers(found: Statistics) -> Iterator[dict[str, Any]]:
    chinese, english = unit_of(found)
    counts = [
        (found.samples, "样本 samples"),
        (found.different_pictures(), f"图片 pictures, 用 used {found.places:,}×"),
        (len(found.tasks), "任务 tasks"),
        (sum(task.length for task in found.tasks.values()), f"{chinese}总数 {english}"),
    ]
    for value, title in counts:
        yield {"value": _short(value), "title": title, "wrong": False}
    yield {"value": f"{100 * found.trained_share:.1f}%", "title": "训练占比 trained share", "wrong": False}
    for value, title in ((found.broken, "不可用样本 unusable"), (found.lost, "打不开的图片 pictures lost")):
        if value:
            yield {"value": f"{value:,}", "title": title, "wrong": True}


def _short(value: int) -> str:
    for size, sign in ((10**9, "B"), (10**6, "M")):
        if value >= 10 * size:
            return f"{value / size:,.0f} {sign}"
        if value >= size:
            return f"{value / size:.2f} {sign}"
    return f"{value:,}"


def _task(name: str, task: Any, found: Statistics) -> dict[str, Any]:
    most = max(other.samples for other in found.tasks.values())
    return {
        "name": name,
        "samples": task.samples,
        "share": task.samples / found.samples,
        "bar": task.samples / most,
        "zh": task.languages["zh"],
        "en": task.languages["en"],
        "turns": task.turns / task.samples,
        "length": task.length / task.samples,
        "trained": task.trained / task.length if task.length else 0.0,
    }


def _histograms(found: Statistics) -> Iterator[dict[str, Any]]:
    chinese, english = unit_of(found)
    for name, counts in found.lengths.items():
        if counts:
            yield _histogram(f"{TITLES[name]}, {chinese} {english}", counts, COLOURS[name])
    yield _histogram("回答轮数 answers a sample", found.turns, "#c2410c")
    yield _histogram("图片数 pictures a sample", found.pictures, "#c2410c")


def _histogram(title: str, counts: dict[int, int], colour: str) -> dict[str, Any]:
    marks = {"p50": quantile(counts, 0.5), "p90": quantile(counts, 0.9), "p99": quantile(counts, 0.99)}
    note = " · ".join([*(f"{name} {value:,}" for name, value in marks.items()), f"max {max(counts):,}"])
    lines = {"p50": marks["p50"], "p90": marks["p90"]}
    return {"title": title, "note": note, "plot": histogram(counts, lines), "colour": colour}


def _gallery(found: Statistics, dataset: Dataset) -> Iterator[dict[str, Any]]:
    for name, task in ranked_tasks(found)[:MOST_GALLERIES]:
        cards = [_card(dataset.sample(place)) for *_, place in found.gallery.get(name, [])]
        if cards:
            yield {"task": name, "samples": task.samples, "cards": cards}


def _card(sample: Sample) -> dict[str, Any]:
    boxes = [grounding.box for message in sample.messages for grounding in parse_boxes(message.text)]
    shown = sample.images[:MOST_PICTURES]
    turns = []
    for message in sample.messages[:MOST_TURNS]:
        pictures = sum(isinstance(part, Image) for part in message.parts)
        text = message.text if len(message.text) <= LONGEST_TURN else message.text[:LONGEST_TURN] + "…"
        turns.append(
            {"role": message.role, "who": WHO[message.role] + (f" ▣×{pictures}" if pictures else ""), "text": text}
        )
    left = (len(sample.images) - len(shown), len(sample.messages) - len(turns))
    more = [f"{count} {what}" for count, what in zip(left, ("图 more pictures", "轮 more turns"), strict=True) if count]
    return {
        "name": f"{sample.id} · {sample.language}" + (f" · {sample.source}" if sample.source else ""),
        # What a text says of boxes belongs to the picture when there is just one.
        "pictures": [_picture(picture, boxes if len(sample.images) == 1 else []) for picture in shown],
        "turns": turns,
        "more": ", ".join(f"+ {part}" for part in more),
    }


def _picture(picture: Picture, boxes: list[tuple[float, float, float, float]]) -> dict[str, Any]:
    name = f"{len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
    try:
        opened = open_picture(fetch(picture), name=name)
    except TuwenError as error:
        return {"url": "", "name": str(error), "boxes": []}
    percent = [
        tuple(round(100 * side, 2) for side in (box[0], box[1], box[2] - box[0], box[3] - box[1])) for box in boxes
    ]
    return {"url": jpeg(opened), "name": name, "boxes": percent}
