"""A plan in a terminal: what is trained, memory part by part, data and steps, hours on devices."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuwen.data.looking.stats_display import bar
from tuwen.train.plan import UTILISATION, RunPlan, Speed, StagePlan
from tuwen.train.planning.memory import BESIDES

LABELS = {
    "weights": "weights 权重",
    "master weights": "master weights 主权重",
    "gradients": "gradients 梯度",
    "optimiser": "optimiser 优化器",
    "average": "moving average 滑动平均",
    "reference": "reference 参考模型",
    "gathered": "gathered weights 聚集的权重",
    "communication": "communication 通信缓冲",
    "batch": "batch 批次",
    "vision": "activations of vision 视觉激活",
    "connector": "activations of connector 连接器激活",
    "language": "activations of language 语言激活",
    "losses": "logits and losses 输出与损失",
    "copies": "bf16 copies of weights 权重副本",
    "passing": "for a moment 临时",
}
BAR = 28
MIB, GIB = 2**20, 2**30
# Stages that have a column of their own.
MOST_COLUMNS = 3


def plan_lines(plan: RunPlan) -> RenderableType:
    """Everything, for people; fits 100 columns."""
    parts: list[RenderableType] = []
    for stage in plan.stages:
        parts += [stage.table, _facts(stage), Text(), _memory(plan, stage), Text()]
    if plan.absent:
        line = f"not here, planned by the sizes in the recipe 目录不在, 按配方所写的尺寸: {', '.join(plan.absent)}"
        parts += [Text(line, "yellow"), Text()]
    if plan.missing:
        line = f"data is not there, say its size by --samples and --tokens-per-sample 数据不在此处: {plan.missing}"
        parts += [Text(line, "yellow"), Text()]
    return Lines(*parts, _hours(plan))


def _facts(stage: StagePlan) -> Table:
    """Data, a step, and the whole stage."""
    amounts, shape = stage.amounts, stage.amounts.shape
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=84)
    total = sum(module["parameters"] for module in stage.trained)
    trained = sum(group["parameters"] for module in stage.trained for group in module["groups"])
    table.add_row("parameters 参数", f"{_count(total)}, {100 * trained / total:.3g}% trained")
    epoch = amounts.epoch
    if epoch is not None:
        left_out = f", {epoch.left_out:,} left out" if epoch.left_out else ""
        table.add_row(
            "data 数据",
            f"{epoch.samples:,} samples ({epoch.with_pictures:,} with pictures{left_out}) · "
            f"{_count(epoch.tokens)} tokens, {_count(epoch.trained)} trained · {epoch.sequences:,} sequences, "
            f"{100 * epoch.empty:.1f}% empty · {epoch.steps:,} steps an epoch",
        )
    elif amounts.note:
        table.add_row("data 数据", amounts.note)
    rows = [f"{shape.rows:,} × {shape.length:,} tokens, {shape.answers:,} of them trained"] if shape.rows else []
    regions = [f"{shape.regions:,} regions"] if shape.regions else []
    table.add_row("batch 批次", ", ".join([*rows, f"{shape.tiles:,} tiles of {shape.width}×{shape.height}", *regions]))
    read = [f"{_count(amounts.tokens)} tokens"] if amounts.tokens else []
    table.add_row("step 每步", " · ".join([*read, f"{_count(amounts.tiles)} tiles", _operations(stage)]))
    if amounts.steps is None:
        table.add_row("stage 阶段", "say how many samples there are by --samples 用 --samples 给出样本数")
    else:
        parts = [f"{amounts.steps:,} steps"]
        parts += [f"{_count(amounts.steps * amounts.tokens)} tokens"] if amounts.tokens else []
        parts += [f"{_count(amounts.steps * stage.step_flops, ' ')}FLOP"]
        parts += [f"{stage.stage.minutes:g} minutes at most"] if stage.stage.minutes else []
        table.add_row("stage 阶段", " · ".join(parts))
    return table


def _operations(stage: StagePlan) -> str:
    """Operations of a step and what they are spent on."""
    amounts, flops = stage.amounts, stage.flops
    parts = {
        "pictures": flops.tile * amounts.tiles,
        "language": flops.token * amounts.tokens,
        "attention": flops.square * amounts.squares,
        "output head": flops.answer * amounts.answers,
    }
    shown = ", ".join(f"{name} {100 * part / stage.step_flops:.0f}%" for name, part in parts.items() if part)
    return f"{_count(stage.step_flops, ' ')}FLOP ({shown})"


def _memory(plan: RunPlan, stage: StagePlan) -> Table:
    memory = stage.memory
    way = f" of each of {plan.devices} devices, {plan.distribution.type}" if plan.devices > 1 else ""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"memory 显存{way}", no_wrap=True, min_width=37)
    unit, name_of_unit = (GIB, "GiB") if memory.peak >= GIB else (MIB, "MiB")
    table.add_column(name_of_unit, justify="right", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True, max_width=BAR)
    largest = max(memory.parts.values())
    for name, size in memory.parts.items():
        if size >= 0.0005 * memory.peak:
            table.add_row(LABELS[name], f"{size / unit:,.2f}", Text(bar(size / largest, BAR), style="blue"))
    besides = f"+ about {BESIDES / GIB:g} GiB for the driver"
    table.add_row("[bold]together at most 峰值", f"[bold]{memory.peak / unit:,.2f}", Text(besides, style="dim"))
    if memory.host:
        table.add_row("processor's memory 内存", f"{memory.host / unit:,.2f}", Text("for each device", style="dim"))
    return table


def _hours(plan: RunPlan) -> Table:
    """How long it takes on each device, and whether it fits."""
    devices = f"{plan.devices} × " if plan.devices > 1 else ""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = "time 用时" + ("" if plan.said else f", at {100 * UTILISATION:.0f}% of what a device can do at most")
    table.add_column("device 设备", no_wrap=True)
    table.add_column("TFLOP/s", justify="right")
    names = [stage.stage.name for stage in plan.stages] if 1 < len(plan.stages) <= MOST_COLUMNS else []
    for name in names:
        table.add_column(name, justify="right", overflow="ellipsis", max_width=14)
    table.add_column("in all 合计", justify="right", no_wrap=True)
    table.add_column("memory 显存", no_wrap=True)
    for speed in plan.speeds:
        stages = [_time(stage.hours[speed.name]) for stage in plan.stages] if names else []
        table.add_row(
            f"{devices}{speed.name}",
            f"{speed.flops / 1e12:,.0f}",
            *stages,
            f"[bold]{_time(plan.hours[speed.name])}",
            _fits(plan, speed),
        )
    return table


def _fits(plan: RunPlan, speed: Speed) -> str:
    if speed.memory is None:
        return ""
    needed = max(stage.memory.needed for stage in plan.stages)
    shown = f"{needed / GIB:,.1f} of {speed.memory / GIB:,.0f} GiB"
    return f"{shown}" if needed <= speed.memory else f"[red]{shown}: too little 不足"


def _time(hours: float | None) -> str:
    if hours is None:
        return "?"
    for unit, length in (("s", 1 / 3600), ("min", 1 / 60), ("h", 1.0)):
        if hours < 100 * length:
            return f"{hours / length:.1f} {unit}"
    return f"{hours / 24:,.1f} days"


def _count(number: float, gap: str = "") -> str:
    """A large number with a letter for its thousands."""
    for power, letter in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g}{gap}{letter}"
    return f"{number:.3g}{gap}"
