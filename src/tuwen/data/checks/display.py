"""What a person sees of a check: totals by reason, the first findings of each, and what was written."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuwen.data.check import NamedFinding, Report, Verdict, all_reasons
from tuwen.data.checks.fix import Fixed

COLOURS = {"error": "red", "warning": "yellow"}
CHINESE = {"error": "错误", "warning": "警告"}


def summary(report: Report, seconds: float) -> Text:
    """How much was looked at, and how much of it is good, in a line."""
    dataset = report.dataset
    files = dataset.files[0] if len(dataset.files) == 1 else f"{len(dataset.files)} files"
    bad = report.with_verdict(Verdict.BAD | Verdict.REPAIRABLE)
    rate = report.samples / max(seconds, 1e-9)
    text = Text(f"{files} · {dataset.format.name} · ")
    text.append(f"{report.samples:,} samples", style="bold")
    text.append(f" in {seconds:.1f} s ({rate:,.0f}/s) · ", style="dim")
    text.append(f"{report.samples - bad:,} good 可用", style="green" if not bad else "")
    if bad:
        text.append(f" · {bad:,} bad 有误", style="red bold")
    return text


def running(report: Report) -> str:
    """How far it has come, in a line."""
    errors, warnings = report.total("error"), report.total("warning")
    return f"{report.samples:,} samples 样本  {errors:,} errors 错误  {warnings:,} warnings 警告"


def findings(report: Report) -> RenderableType:
    """Totals by reason, errors first, and the findings that the report has kept."""
    reasons = all_reasons()
    order = sorted(report.counts, key=lambda name: (reasons[name].severity, -report.counts[name], name))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("reason 原因", no_wrap=True)
    table.add_column("")
    table.add_column("count 数量", justify="right")
    table.add_column("meaning 含义")
    for name in order:
        reason = reasons[name]
        kind = Text(f"{reason.severity} {CHINESE[reason.severity]}", style=COLOURS[reason.severity])
        table.add_row(name, kind, f"{report.counts[name]:,}", f"{reason.title} {reason.chinese}")
    lines = [line for name in order for line in _named(report, name)]
    return Group(Text(), table, *lines)


def _named(report: Report, name: str) -> list[Text]:
    kept = report.examples.get(name, [])
    lines = [Text(), Text(name, style=f"bold {COLOURS[all_reasons()[name].severity]}"), *map(_line, kept)]
    if len(kept) < report.counts[name]:
        more = report.counts[name] - len(kept)
        lines.append(Text(f"  … and {more:,} more: --json FILE names all 其余见 --json", style="dim"))
    return lines if kept else []


def _line(finding: NamedFinding) -> Text:
    text = Text(f"  {finding.where}")
    if finding.id:
        text.append(f" · {finding.id}", style="cyan")
    # Container and format begin their messages with the same place.
    detail = finding.detail.removeprefix(f"{finding.where}: ")
    # Half a surrogate pair cannot be written to a terminal.
    text.append(f" · {detail}".encode("utf-8", errors="replace").decode(), style="dim")
    return text


def written(fixed: Fixed, out: Path) -> RenderableType:
    """What was written, and what was changed in it."""
    lines = [Text(f"\n{out}: {fixed.kept:,} samples kept 保留, {fixed.left_out:,} left out 剔除")]
    lines += [Text(f"  {count:,}: {change}") for change, count in sorted(fixed.changes.items())]
    return Group(*lines)
