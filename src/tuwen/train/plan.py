"""What a recipe would train, said before it is trained: parameters, memory, data, steps, hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tuwen.config import TuwenError, first_line
from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.nf4 import numbers
from tuwen.train.feeding import check_mixture
from tuwen.train.modules.groups import Group, named_module_parameters
from tuwen.train.modules.placement import held_in, weight_types
from tuwen.train.planning.amounts import Amounts, Assumed, amounts_assumed, amounts_of_data
from tuwen.train.planning.devices import DEVICES, find_device
from tuwen.train.planning.flops import StepFlops, count_flops
from tuwen.train.planning.inputs import (
    absent_folders,
    check_sources,
    open_planned_data,
    planned_config,
    planned_policy,
)
from tuwen.train.planning.memory import MemoryPlan, plan_memory
from tuwen.train.planning.rehearsal import imagined_model
from tuwen.train.recipe import Recipe
from tuwen.train.settings import Distribution
from tuwen.train.stage import Stage
from tuwen.vision.grid import Grid

# Part of a device's peak that is reached, unless its speed is said; and the devices that are shown where none is named.
UTILISATION = 0.4
USUAL_DEVICES = ("H100", "A100", "4090")
NOTHING = Assumed()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a plan is made for.

    Attributes:
        devices: how many train, one a process.
        device: which, see ``find_device``; the one of this machine unless said, or a few usual ones.
        flops: FLOP/s that each reaches; ``UTILISATION`` of its peak unless said.
        assumed: of data that is not there; where anything is said here, data is not looked for.
    """

    devices: int = 1
    device: str | None = None
    flops: float | None = None
    assumed: Assumed = NOTHING


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a device trains.

    Attributes:
        name: of the device.
        flops: FLOP/s that it reaches.
        memory: of it in bytes, where it is known.
    """

    name: str
    flops: float
    memory: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What a stage will do.

    Attributes:
        stage: as the recipe says.
        table: what is trained, for people.
        trained: the same as values.
        amounts: what it goes through.
        flops: of each token, tile and so on.
        memory: of each device.
        step_flops: operations of a step, over all devices.
        hours: by the name of the device; None where the number of steps is not known.
    """

    stage: Stage
    table: Table
    trained: list[dict[str, Any]]
    amounts: Amounts
    flops: StepFlops
    memory: MemoryPlan
    step_flops: float
    hours: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do.

    Attributes:
        devices: how many train.
        distribution: how they share the work.
        speeds: of devices that hours are said for.
        stages: one after the other.
        missing: why the data was not looked at; empty where it was.
        absent: folders of parts that are not there; the recipe says what they hold.
        said: whether the speed of devices was said, not reckoned.
    """

    devices: int
    distribution: Distribution
    speeds: list[Speed]
    stages: list[StagePlan]
    missing: str = ""
    absent: tuple[str, ...] = ()
    said: bool = False

    @property
    def hours(self) -> dict[str, float | None]:
        """Of all stages, by the name of the device."""
        found: dict[str, float | None] = {}
        for speed in self.speeds:
            known = [stage.hours[speed.name] for stage in self.stages]
            found[speed.name] = None if None in known else sum(hours for hours in known if hours is not None)
        return found

    def values(self) -> dict[str, Any]:
        """Everything, as JSON holds it; memory in bytes."""
        return {
            "devices": self.devices,
            "distribution": self.distribution.model_dump(mode="json"),
            "missing": self.missing,
            "absent": list(self.absent),
            "speeds": [asdict(speed) for speed in self.speeds],
            "hours": self.hours,
            "stages": [
                {
                    "name": stage.stage.name,
                    "trained": stage.trained,
                    "amounts": asdict(stage.amounts),
                    "flops": {**asdict(stage.flops), "step": stage.step_flops},
                    "memory": {"needed": stage.memory.needed, **asdict(stage.memory)},
                    "hours": stage.hours,
                }
                for stage in self.stages
            ],
        }


def plan_run(recipe: Recipe, request: PlanRequest = PlanRequest()) -> RunPlan:
    """What a recipe trains, stage by stage, and what that takes (`tuwen train --plan`).

    No weight is read and none is made. Data is indexed and its first batches are made, where it is there.

    Raises:
        TuwenError: as ``train`` would, for what can be seen without weights.
    """
    _check_devices(recipe.distribution, request.devices)
    check_mixture(recipe)
    check_sources(recipe)
    speeds = _speeds(request)
    config = planned_config(recipe)
    data, missing = None, ""
    if request.assumed == NOTHING:
        try:
            data = open_planned_data(recipe, config)
        except TuwenError as error:
            missing = str(error)
    stages = []
    for number, stage in enumerate(recipe.stages):
        if data is None:
            amounts = amounts_assumed(stage, config, planned_policy(recipe), request.assumed, request.devices)
        else:
            amounts = amounts_of_data(
                recipe, number, data.mixtures[number], data.processor, config, devices=request.devices
            )
        stages.append(_plan_stage(recipe, stage, config, amounts, request=request, speeds=speeds))
    return RunPlan(
        devices=request.devices,
        distribution=recipe.distribution,
        speeds=speeds,
        stages=stages,
        missing=missing,
        absent=absent_folders(recipe),
        said=request.flops is not None,
    )


def _plan_stage(
    recipe: Recipe,
    stage: Stage,
    config: TuwenConfig,
    amounts: Amounts,
    *,
    request: PlanRequest,
    speeds: Sequence[Speed],
) -> StagePlan:
    model, groups = imagined_model(config, stage)
    types = weight_types(model, stage, recipe.precision)
    table, trained = describe_groups(model, groups, stage, types), _trained_values(model, groups, types)
    shape = amounts.shape
    try:
        flops = count_flops(model, stage, Grid(1, shape.height, shape.width))
        memory = plan_memory(
            model,
            groups,
            stage,
            shape,
            precision=recipe.precision,
            distribution=recipe.distribution,
            devices=request.devices,
        )
    except (RuntimeError, NotImplementedError) as error:
        # Looking at numbers that are not there.
        raise TuwenError(f"stages.{stage.name}: this model cannot be planned, {first_line(error)}") from error
    step_flops = flops.of(amounts.tokens, amounts.squares, amounts.tiles, amounts.answers)
    hours: dict[str, float | None] = {}
    for speed in speeds:
        known = None if amounts.steps is None else amounts.steps * step_flops / (speed.flops * request.devices * 3600)
        most = None if stage.minutes is None else stage.minutes / 60
        hours[speed.name] = min((limit for limit in (known, most) if limit is not None), default=None)
    return StagePlan(
        stage=stage,
        table=table,
        trained=trained,
        amounts=amounts,
        flops=flops,
        memory=memory,
        step_flops=step_flops,
        hours=hours,
    )


def _check_devices(distribution: Distribution, devices: int) -> None:
    if devices == 1 and distribution.type != "ddp":
        raise TuwenError(f"distribution.type: {distribution.type} needs several devices; say how many by --devices")
    if devices % distribution.replicas:
        raise TuwenError(
            f"distribution.replicas: {devices} devices cannot be split into {distribution.replicas} groups"
        )


def _speeds(request: PlanRequest) -> list[Speed]:
    """What hours are said for: the device that is named, the one that is here, or a few usual ones."""
    names = list(USUAL_DEVICES)
    here = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    if request.device is not None:
        names = [request.device]
    elif here in DEVICES:
        names = [here]
    elif request.flops is not None:
        return [Speed("device", request.flops)]
    devices = [(name, find_device(name)) for name in names]
    return [Speed(name, request.flops or UTILISATION * device.peak, device.memory * 2**30) for name, device in devices]


def _trained_values(
    model: TuwenForConditionalGeneration, groups: Sequence[Group], types: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "module": module,
            "parameters": sum(numbers(tensor) for _, tensor in parameters),
            "held_in": sorted({types[name] for name, _ in parameters}),
            "groups": [
                {
                    "part": group.part,
                    "rule": group.rule,
                    "parameters": sum(tensor.numel() for tensor in group.tensors),
                    "learning_rate": group.learning_rate,
                    "weight_decay": group.weight_decay,
                }
                for group in groups
                if group.module == module
            ],
        }
        for module, parameters in named_module_parameters(model).items()
    ]


def describe_groups(
    model: TuwenForConditionalGeneration,
    groups: Sequence[Group],
    stage: Stage,
    types: Mapping[str, str] | None = None,
) -> Table:
    """A table of what is trained: a row for each module, part, rule and decay, with parameters, rates and types.

    Args:
        model: with its adapters.
        groups: from ``make_groups``.
        stage: that trains it.
        types: what each weight will be held in, from ``weight_types``; what it is held in unless said.
    """
    title = f"stage {stage.name}: {stage.duration}, {stage.batch} a step"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for heading in ("module", "mode", "parameters", "trained", "rule", "rate", "decay", "dtype"):
        justify: Literal["left", "right"] = "right" if heading in ("parameters", "trained") else "left"
        # In a narrow window what has blanks goes over several lines, so that nothing is cut off.
        table.add_column(heading, justify=justify, no_wrap=heading not in ("rate", "dtype"))
    for module, parameters in named_module_parameters(model).items():
        mode = stage.modules[module].mode if module in stage.modules else "frozen"
        total = f"{sum(numbers(tensor) for _, tensor in parameters):,}"
        held = {types[name] if types is not None else held_in(tensor) for name, tensor in parameters}
        kinds: dict[tuple[str, str, float], list[Group]] = {}
        # What the mode is named after comes first.
        for group in sorted(groups, key=lambda group: group.part != mode):
            if group.module == module:
                kinds.setdefault((group.part, group.rule, group.weight_decay), []).append(group)
        if not kinds:
            table.add_row(module, mode, total, "0", "-", "-", "-", ", ".join(sorted(held)))
        for place, ((part, rule, decay), members) in enumerate(kinds.items()):
            count = f"{sum(tensor.numel() for group in members for tensor in group.tensors):,}"
            rates = [group.learning_rate for group in members]
            span = dict.fromkeys(f"{rate:.1e}" for rate in (min(rates), max(rates)))
            row = (count, rule, " – ".join(span), f"{decay:g}")
            if place == 0:
                table.add_row(module, part, total, *row, ", ".join(sorted(held)))
            else:
                table.add_row("", part, "", *row, "")
    return table
