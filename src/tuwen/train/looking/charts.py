"""Which curves of some runs belong into one chart, and how noisy ones are made smooth and short."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tuwen.config import TuwenError, unknown_name
from tuwen.train.looking.step_lines import NAN, StepNumbers
from tuwen.train.run_folder import RunFolder

VALIDATION = "validation/"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is known of a metric, or of all metrics of a family.

    Attributes:
        chinese: its title.
        english: its title.
        unit: of what is shown.
        factor: from what is written to what is shown.
        from_zero: whether its axis begins at 0.
        noisy: whether single steps jump, so that a smooth curve says more.
    """

    chinese: str
    english: str
    unit: str = ""
    factor: float = 1.0
    from_zero: bool = False
    noisy: bool = True


# In the order in which they are shown.
MEASURES = {
    "loss": Measure("损失", "loss"),
    "answers": Measure("回答损失", "loss of answers"),
    "regions": Measure("区域损失", "loss of regions"),
    "preference": Measure("偏好损失", "loss of preference"),
    "preferred": Measure("偏好正确率", "better answers preferred", "%", 100),
    "margin": Measure("奖励差", "margin of rewards"),
    "chosen reward": Measure("较好回答的奖励", "reward of better answers"),
    "rejected reward": Measure("较差回答的奖励", "reward of worse answers"),
    VALIDATION + "loss": Measure("验证损失", "validation loss", noisy=False),
    VALIDATION + "tasks": Measure("各任务验证损失", "validation loss of tasks", noisy=False),
    VALIDATION + "weights": Measure("任务权重", "weights of tasks", noisy=False),
    "tasks": Measure("各任务损失", "loss of tasks"),
    "grad norm": Measure("梯度范数", "gradient norm"),
    "lr": Measure("学习率", "learning rate", noisy=False),
    "tokens/s": Measure("每秒回答词元", "answer tokens a second", from_zero=True),
    "images/s": Measure("每秒图片", "pictures a second", from_zero=True),
    "mfu": Measure("算力利用率", "model FLOP utilisation", "%", 100, from_zero=True),
    "data wait": Measure("等待数据", "waiting for data", "%", 100, from_zero=True),
    "peak memory": Measure("内存峰值", "peak memory", "GiB", 1 / 2**30, from_zero=True, noisy=False),
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric of a run.

    Attributes:
        run: place of the run among those that are shown.
        label: what tells the curve from others in its chart.
        steps: counted over all stages, rising.
        hours: since the run began, of each step; NaN where it is not known.
        values: NaN where there is none.
        ends: where in ``steps`` each stage ends.
    """

    run: int
    label: str
    steps: Sequence[int]
    hours: Sequence[float]
    values: Sequence[float]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves with the same axes.

    Attributes:
        name: of the metric, or of the family whose metrics are all in it.
        measure: what is known of it.
        curves: at least one.
    """

    name: str
    measure: Measure
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A file's numbers under the names that people use."""

    run: int
    numbers: StepNumbers
    prefix: str
    steps: list[int]
    hours: list[float]
    ends: tuple[int, ...]


def make_charts(runs: Sequence[RunFolder], wanted: Sequence[str] = ()) -> list[Chart]:
    """The charts of some runs.

    Metrics of a family, such as the learning rates, share a chart where there is one run; with several runs each metric
    has its own chart, with a curve for each run.

    Args:
        runs: what is compared; at least one.
        wanted: names of metrics or families; all unless said.

    Raises:
        TuwenError: when no run has a metric of that name.
    """
    sources = [source for place, run in enumerate(runs) for source in _sources(place, run)]
    families = {
        source.prefix + name: source.prefix + family
        for source in sources
        for name in source.numbers.columns
        if (family := name.rpartition("/")[0]) in source.numbers.families
    }
    names = list(dict.fromkeys(source.prefix + name for source in sources for name in source.numbers.columns))
    chosen = _chosen(names, families, wanted)
    groups: dict[str, list[str]] = {}
    for name in chosen:
        groups.setdefault(families.get(name, name) if len(runs) == 1 else name, []).append(name)
    known = list(MEASURES)
    losses = [loss for run in runs for loss in run.losses]

    def rank(name: str) -> tuple[int, str]:
        kind = families.get(name, name)
        if kind in known:
            return known.index(kind), name
        return (0 if kind in losses else len(known)), name

    return [
        Chart(name, _measure(name, families, losses), tuple(_curves(runs, sources, members)))
        for name, members in sorted(groups.items(), key=lambda group: rank(group[0]))
    ]


def _chosen(names: Sequence[str], families: dict[str, str], wanted: Sequence[str]) -> list[str]:
    if not wanted:
        return list(names)
    chosen: list[str] = []
    for one in wanted:
        found = [name for name in names if one in (name, families.get(name)) or name.startswith(f"{one}/")]
        if not found:
            raise TuwenError(unknown_name("metric", one, sorted({*names, *families.values()})))
        chosen += found
    return list(dict.fromkeys(chosen))


def _measure(name: str, families: dict[str, str], losses: Sequence[str]) -> Measure:
    family = families.get(name)
    if name in MEASURES:
        return MEASURES[name]
    if family in MEASURES:
        known = MEASURES[family]
        member = name.removeprefix(f"{family}/")
        return Measure(known.chinese, f"{known.english}: {member}", known.unit, known.factor, noisy=known.noisy)
    if name in losses:
        return Measure(f"{name} 损失", f"loss of {name}")
    return Measure(name, "", noisy=not name.startswith(VALIDATION))


def _sources(place: int, run: RunFolder) -> Iterator[_Source]:
    began = min((time for time in run.metrics.times if math.isfinite(time)), default=NAN)
    for prefix, numbers in (("", run.metrics), (VALIDATION, run.validation)):
        stages, keys = numbers.track.stages, numbers.track.keys
        steps = [run.starts[stages[stage]] + step for stage, step in keys]
        ends = [after for after, (one, other) in enumerate(pairwise(keys), 1) if one[0] != other[0]]
        hours = [(time - began) / 3600 for time in numbers.times]
        yield _Source(place, numbers, prefix, steps, hours, (*ends, len(keys)))


def _curves(runs: Sequence[RunFolder], sources: Sequence[_Source], members: Sequence[str]) -> Iterator[Curve]:
    for source in sources:
        for name in members:
            inner = name.removeprefix(source.prefix)
            if not name.startswith(source.prefix) or inner not in source.numbers.columns:
                continue
            parts = [runs[source.run].name] if len(runs) > 1 else []
            parts += [name.rpartition("/")[2]] if len(members) > 1 else []
            label = " · ".join(parts) or name
            yield Curve(source.run, label, source.steps, source.hours, source.numbers.column(inner), source.ends)


def smooth(curve: Curve, weight: float) -> Curve:
    """The exponential mean of a curve, each stage for itself, free of the bias towards its beginning.

    It is what TensorBoard shows; values that are not finite are passed over.

    Args:
        curve: what is too noisy.
        weight: of what came before (0–1); 0 changes nothing.
    """
    values, first = array("d"), 0
    for end in curve.ends:
        mean, left = 0.0, 1.0
        for value in curve.values[first:end]:
            if math.isfinite(value):
                mean, left = weight * mean + (1 - weight) * value, left * weight
                values.append(mean / (1 - left))
            else:
                values.append(NAN)
        first = end
    return Curve(curve.run, curve.label, curve.steps, curve.hours, values, curve.ends)


@dataclass(frozen=True, slots=True)
class ShortCurve:
    """A curve with as many points as can be told apart.

    Attributes:
        steps: of the points.
        hours: of the points; NaN where it is not known.
        values: means over the steps that a point stands for; NaN where there is none.
        low: least of them.
        high: greatest of them.
        ends: where in ``steps`` each stage ends.
    """

    steps: list[int]
    hours: list[float]
    values: list[float]
    low: list[float]
    high: list[float]
    ends: tuple[int, ...]


def shorten(curve: Curve, most: int) -> ShortCurve:
    """A curve in about ``most`` points, each of as many steps; none stands for steps of two stages."""
    size = max(1, math.ceil(len(curve.steps) / most))
    short = ShortCurve([], [], [], [], [], ())
    ends, first = [], 0
    for end in curve.ends:
        for start in range(first, end, size):
            stop = min(start + size, end)
            finite = [value for value in curve.values[start:stop] if math.isfinite(value)]
            middle = (start + stop - 1) // 2
            short.steps.append(curve.steps[middle])
            short.hours.append(curve.hours[middle])
            short.values.append(math.fsum(finite) / len(finite) if finite else NAN)
            short.low.append(min(finite, default=NAN))
            short.high.append(max(finite, default=NAN))
        ends.append(len(short.steps))
        first = end
    return ShortCurve(short.steps, short.hours, short.values, short.low, short.high, tuple(ends))
