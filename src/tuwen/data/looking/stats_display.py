"""Statistics of a data set in a terminal: tables with bars."""

from __future__ import annotations

from collections.abc import Mapping

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuwen.data.looking.stats import UNNAMED, Statistics, quantile
from tuwen.data.looking.stats_values import QUANTILES, TITLES, ranked_tasks, summary_of, unit_of

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = " ▁▂▃▄▅▆▇█"
BAR = 20
MOST_TASKS = 24
FREQUENT = 8


def tables(found: Statistics) -> RenderableType:
    """Everything, for people."""
    parts: list[RenderableType] = [_summary(found), Text(), _tasks(found), Text(), _lengths(found)]
    rankings = {
        "short answers 短回答": found.answers.top(FREQUENT),
        "questions begin 提问开头": found.openings.top(FREQUENT),
        "sources 来源": [] if set(found.sources) == {UNNAMED} else found.sources.most_common(FREQUENT),
    }
    frequent = [_ranking(title, rows) for title, rows in rankings.items() if rows]
    return Group(*parts, Text(), Columns(frequent, padding=(0, 4)))


def _summary(found: Statistics) -> Text:
    chinese, english = unit_of(found)
    length = sum(task.length for task in found.tasks.values())
    text = Text()
    text.append(f"{found.samples:,} samples 样本", style="bold")
    text.append(f" · {found.different_pictures():,} pictures 图片 (used {found.places:,}×)")
    text.append(f" · {length:,} {english} {chinese}, {100 * found.trained_share:.1f}% trained 训练")
    languages = ", ".join(f"{name} {count:,}" for name, count in found.languages.most_common())
    text.append(f" · {languages}")
    for count, what in ((found.broken, "unusable 不可用"), (found.lost, "pictures that cannot be opened 打不开的图片")):
        if count:
            text.append(f"\n{count:,} {what}", style="red bold")
    if found.problem:
        problem = found.problem.encode("utf-8", errors="replace").decode()
        text.append(f": {problem} (see tuwen data check)", style="red")
    return text


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def _tasks(found: Statistics) -> Table:
    table = _table("task 任务", "samples", "%", "", "zh", "en", "turns", unit_of(found)[1], "trained")
    tasks = ranked_tasks(found)
    for name, task in tasks[:MOST_TASKS]:
        table.add_row(
            name,
            f"{task.samples:,}",
            f"{100 * task.samples / found.samples:.1f}",
            Text(bar(task.samples / tasks[0][1].samples), style="blue"),
            f"{task.languages['zh']:,}",
            f"{task.languages['en']:,}",
            f"{task.turns / task.samples:.1f}",
            f"{task.length / task.samples:,.0f}",
            f"{100 * task.trained / (task.length or 1):.0f}%",
        )
    if len(tasks) > MOST_TASKS:
        rest = sum(task.samples for _, task in tasks[MOST_TASKS:])
        table.add_row(Text(f"… {len(tasks) - MOST_TASKS} more 其余", style="dim"), f"{rest:,}")
    return table


def _lengths(found: Statistics) -> Table:
    english = unit_of(found)[1]
    table = _table(f"{english} and counts", "", "mean", *QUANTILES)
    rows: list[tuple[str, Mapping[int, int]]] = [(TITLES[name], counts) for name, counts in found.lengths.items()]
    rows += [("回答轮数 answers a sample", found.turns), ("图片数 pictures a sample", found.pictures)]
    rows += [("图片长边 longer side, px", found.sides)]
    for title, counts in rows:
        if counts:
            summary = summary_of(dict(counts))
            figures = [f"{summary['mean']:,.1f}", *(f"{summary[name]:,}" for name in QUANTILES)]
            table.add_row(title, Text(sparkline(counts), style="blue"), *figures)
    return table


def _ranking(title: str, rows: list[tuple[str, int]]) -> Table:
    table = _table(title, "n", "")
    for text, count in rows:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= 24 else shown[:23] + "…"
        share = bar(count / rows[0][1], 10)
        table.add_row(Text(shown.encode("utf-8", errors="replace").decode()), f"{count:,}", Text(share, style="blue"))
    return table


def bar(share: float, width: int = BAR) -> str:
    """A bar that is ``share`` (0–1) of so many characters long, to an eighth of a character."""
    eighths = max(1, round(share * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(counts: Mapping[int, int], width: int = 32) -> str:
    """A histogram in a line, up to the length that 99% have at most."""
    last, first = quantile(counts, 0.99), min(counts)
    first = 0 if first * 2 < last else first
    bins = [0] * min(width, last - first + 1)
    for length, count in counts.items():
        place = (min(length, last) - first) * len(bins) // (last - first + 1)
        bins[place] += count
    highest = max(bins)
    return "".join(_LEVELS[-(-count * 8 // highest)] for count in bins)
