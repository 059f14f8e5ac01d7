"""What is said about runs in words: how they went, and in what their recipes differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tuwen.train.looking.run_table import STATES, short_time
from tuwen.train.run_folder import RunFolder

# What a value may take in a table.
LONGEST = 300


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about a run.

    Attributes:
        title: in Chinese and English.
        value: for people; empty where it is not known.
        wrong: whether somebody should look at it.
    """

    title: str
    value: str
    wrong: bool = False


def facts(run: RunFolder) -> list[Fact]:
    """How a run went; always the same titles, so that runs can be put side by side."""
    metrics, validation = run.metrics, run.validation
    last_of_stages = dict(metrics.track.keys)
    times = [time for time in metrics.times if math.isfinite(time)]
    losses = [f"{name} {value:.4g}" for name in run.losses if (value := metrics.recent(name)) is not None]
    # A stage may train the vision encoder without answers.
    spoken = [speed for speed in metrics.column("tokens/s") if speed > 0]
    bad = run.bad_samples
    return [
        Fact("状态 state", STATES[run.state()][0]),
        Fact("步 steps", f"{sum(last_of_stages.values()):,}"),
        Fact("用时 time", short_time(max(times) - min(times)) if times else ""),
        Fact("最后损失 last loss", ", ".join(losses)),
        Fact("最低验证损失 least validation loss", _least(run) if len(validation) else ""),
        Fact("回答词元/秒 answer tokens a second", _middle(spoken, "{:,.0f}")),
        Fact("算力利用率 model FLOP utilisation", _middle(metrics.column("mfu"), "{:.1%}")),
        Fact("等待数据 waiting for data", _middle(metrics.column("data wait"), "{:.1%}")),
        Fact("内存峰值 peak memory", _most_memory(run)),
        Fact("剔除的样本 samples left out", f"{bad.left_out:,}", wrong=bad.left_out > 0),
        Fact("截短的样本 samples shortened", f"{bad.shortened:,}"),
    ]


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _middle(values: Sequence[float], form: str) -> str:
    found = _finite(values)
    return form.format(median(found)) if found else ""


def _most_memory(run: RunFolder) -> str:
    found = _finite(run.metrics.column("peak memory"))
    return f"{max(found) / 2**30:.3g} GiB" if found else ""


def _least(run: RunFolder) -> str:
    losses = run.validation.column("loss")
    found = [(loss, place) for place, loss in enumerate(losses) if math.isfinite(loss)]
    if not found:
        return ""
    loss, place = min(found)
    stage, step = run.validation.track.keys[place]
    return f"{loss:.4g} ({run.validation.track.stages[stage]} {step:,})"


def differences(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """Keys of recipes and environments whose values are not the same in all runs, with the value in each.

    Stages are told apart by their names, not by their places.
    """
    flat = [_flat({**run.recipe, **({"environment": run.environment} if run.environment else {})}) for run in runs]
    keys = dict.fromkeys(key for values in flat for key in values)
    rows = [(key, [values.get(key, "–") for values in flat]) for key in keys]
    return [(key, [_short(value) for value in values]) for key, values in rows if len(set(values)) > 1]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        value = {_key(part, place): part for place, part in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, part in value.items():
        found |= _flat(part, f"{prefix}.{key}" if prefix else str(key))
    return found


def _key(part: Any, place: int) -> str:
    name = part.get("name") if isinstance(part, Mapping) else None
    return name if isinstance(name, str) else str(place)
