"""Memory of a device in a stage, part by part, under the way in which processes share the work.

What weights, gradients and optimiser take is counted; what a pass takes is rehearsed (see ``rehearsal``); what engines
hold for a moment, such as gathered layers, is known from how they work. The driver, its libraries' workspaces and gaps
between tensors come on top, see ``BESIDES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.engines.deepspeed import REDUCED_AT_ONCE
from tuwen.train.engines.fsdp import blocks_of
from tuwen.train.engines.zero3 import FETCHED_AHEAD
from tuwen.train.modules.groups import Group
from tuwen.train.modules.placement import BYTES, Precision, weight_types
from tuwen.train.planning.rehearsal import BatchShape, Rehearsal, rehearse
from tuwen.train.policies import Base
from tuwen.train.settings import Distribution
from tuwen.train.stage import Stage

# What no tensor of ours takes, about.
BESIDES = 2 * 2**30
# Bytes that the optimiser keeps for a trained number: two moments for AdamW, one for Muon, in fp32 unless in 8 bits.
STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2 + 2 * 4 / 256, "muon": 4.0}
# Smaller tensors have their moments in fp32 always (`bitsandbytes`).
SMALLEST_IN_8_BITS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Memory of one device.

    Attributes:
        parts: bytes by part, each at its most, in the order in which people think of them.
        peak: bytes at the moment that needs the most; not all parts are there at the same time.
        host: bytes of the processor's memory, for each device.
    """

    parts: Mapping[str, float]
    peak: float
    host: float = 0.0

    @property
    def needed(self) -> float:
        """Bytes that the device must have, with what comes on top."""
        return self.peak + BESIDES


@dataclass(slots=True, kw_only=True)
class _Sizes:
    """Bytes of a whole model in a stage, before processes share them.

    Attributes:
        held: its weights as each stage holds them.
        trained: numbers that are trained.
        states: of the optimiser.
        average: of the moving average of weights.
        reference: of the weights as they were before the stage, where answers are compared under them.
        layer: weights of the largest layer, in the working type.
        layer_held: the same as they are held.
        layer_trained: numbers that are trained of the layer with most of them.
        inside: ids of the weights of layers.
        rest: weights outside of layers, in the working type.
        rest_held: the same as they are held.
        rest_trained: numbers that are trained of those.
        number: bytes of a number in the working type.
        unpacked: of the largest weight in 4 bits, when it is multiplied with.
    """

    held: float
    trained: int
    states: float
    average: float
    reference: float
    layer: float
    layer_held: float
    layer_trained: int
    inside: set[int]
    rest: float
    rest_held: float
    rest_trained: int
    number: int
    unpacked: float

    @property
    def gradients(self) -> float:
        """Gradients, in fp32."""
        return 4.0 * self.trained

    @property
    def layer_added_up(self) -> float:
        """A layer's gradients whole, and once more in fp32 as they are added up."""
        return (4.0 + self.number) * self.layer_trained


@dataclass(frozen=True, slots=True)
class _Way:
    """How processes hold a model.

    Attributes:
        parts: (sizes, processes that it is split over, all processes) → bytes that each of them holds.
        on_host: parts that ``offload`` puts into the processor's memory.
        gathers: whether passes work on copies in the working type, and gradients are added up layer by layer.
        reserves: whether gradients have their places from the beginning.
    """

    parts: Callable[[_Sizes, int, int], dict[str, float]]
    on_host: frozenset[str] = frozenset()
    gathers: bool = True
    reserves: bool = False


def _whole(sizes: _Sizes, split: int, processes: int) -> dict[str, float]:
    return {
        "weights": sizes.held,
        "gradients": sizes.gradients,
        "optimiser": sizes.states,
        "average": sizes.average,
        "reference": sizes.reference,
        # Gradients are copied into buckets that processes add up.
        "communication": sizes.gradients if processes > 1 else 0.0,
    }


def _fully_sharded(sizes: _Sizes, split: int, processes: int) -> dict[str, float]:
    return {
        "weights": sizes.held / split,
        "gradients": sizes.gradients / split,
        "optimiser": sizes.states / split,
        "average": sizes.average / split,
        "reference": sizes.reference / split,
        # A layer and the next one, which is fetched meanwhile; what belongs to none stays for the whole pass.
        "gathered": 2 * sizes.layer + sizes.rest,
        # What belongs to no layer is added up at the end of the pass.
        "communication": sizes.layer_added_up + sizes.number * sizes.rest_trained,
    }


def _zero2(sizes: _Sizes, split: int, processes: int) -> dict[str, float]:
    """DeepSpeed keeps a process's part of the trained weights once more, to update it there."""
    return {
        "weights": sizes.held,
        "master weights": 4 * sizes.trained / split,
        "gradients": sizes.gradients / split,
        "optimiser": sizes.states / split,
        "average": sizes.average,
        "reference": sizes.reference,
        "communication": 4 * min(sizes.trained, REDUCED_AT_ONCE),
    }


def _zero3(sizes: _Sizes, split: int, processes: int) -> dict[str, float]:
    """Weights are gathered as they are held."""
    fetched = min(sizes.held - sizes.layer_held - sizes.rest_held, 4.0 * FETCHED_AHEAD)
    return {
        **_zero2(sizes, split, processes),
        "weights": sizes.held / split,
        "average": sizes.average / split,
        "reference": sizes.reference / split,
        "gathered": sizes.layer_held + sizes.rest_held + fetched,
    }


_MOVED = frozenset({"gradients", "optimiser", "average", "reference", "master weights"})
_WAYS = {
    "ddp": _Way(_whole, gathers=False),
    "fsdp": _Way(_fully_sharded, on_host=_MOVED | {"weights"}),
    "zero2": _Way(_zero2, on_host=_MOVED, gathers=False),
    "zero3": _Way(_zero3, on_host=_MOVED | {"weights"}, gathers=False, reserves=True),
}


def plan_memory(
    model: TuwenForConditionalGeneration,
    groups: Sequence[Group],
    stage: Stage,
    shape: BatchShape,
    *,
    precision: Precision,
    distribution: Distribution,
    devices: int,
) -> MemoryPlan:
    """Memory of each device that a stage needs.

    Args:
        model: from ``imagined_model``; the types of its weights are changed.
        groups: what of it is trained, from there too.
        stage: that trains it.
        shape: of the largest batch of one process.
        precision: of the recipe.
        distribution: how processes share the work.
        devices: how many there are, one a process.

    Raises:
        TuwenError: when a module is to be held in what it cannot be held in.
    """
    way = _WAYS[distribution.type]
    bf16 = precision == "bf16"
    types = weight_types(model, stage, precision)
    sizes = _sizes(model, groups, stage, types, bf16=bf16)
    parts = way.parts(sizes, devices // distribution.replicas, devices)
    host = {name: size for name, size in parts.items() if distribution.offload and name in way.on_host}
    parts = {name: size for name, size in parts.items() if size and name not in host}
    for name, weight in model.named_parameters():
        in_bf16 = bf16 if way.gathers else types[name] != "fp32" and bf16
        weight.data = weight.data.to(torch.bfloat16 if in_bf16 else torch.float32)
    rehearsal = rehearse(model, stage, shape, autocast=bf16)
    return MemoryPlan(
        parts={**parts, **_of_passes(rehearsal, sizes)},
        peak=_peak(way, parts, rehearsal, sizes, accumulate=stage.accumulate > 1),
        host=sum(host.values()),
    )


def _of_passes(rehearsal: Rehearsal, sizes: _Sizes) -> dict[str, float]:
    """What a pass holds for its backward half, and what is there for a moment besides."""
    kept = {name: float(size) for name, size in rehearsal.kept.items()}
    passing = max(0.0, rehearsal.most.total - sum(kept.values())) + sizes.unpacked
    return {**kept, "passing": passing}


def _peak(way: _Way, parts: Mapping[str, float], rehearsal: Rehearsal, sizes: _Sizes, *, accumulate: bool) -> float:
    """The most at once: in a pass, while activations go and gradients come, or in the optimiser's step after it."""
    gradients, communication = parts.get("gradients", 0.0), parts.get("communication", 0.0)
    fixed = sum(parts.values()) - gradients - communication
    most = 0.0
    arrived = rest_arrived = layers_added_up = 0.0
    for moment in rehearsal.moments:
        if moment.weight is not None:
            arrived += moment.weight.numel() / sizes.trained
            if id(moment.weight) in sizes.inside:
                layers_added_up = sizes.layer_added_up
            else:
                rest_arrived += sizes.number * moment.weight.numel()
        # Gradients of later batches find those of the first.
        there = gradients * (1.0 if accumulate or way.reserves else arrived)
        added_up = min(communication, layers_added_up + rest_arrived) if way.gathers else communication
        most = max(most, moment.total + sizes.unpacked + there + added_up)
    return fixed + max(most, gradients)


def _sizes(
    model: TuwenForConditionalGeneration,
    groups: Sequence[Group],
    stage: Stage,
    types: Mapping[str, Base],
    *,
    bf16: bool,
) -> _Sizes:
    number = 2 if bf16 else 4
    names = {id(weight): name for name, weight in model.named_parameters()}

    def working(weights: Sequence[nn.Parameter]) -> float:
        return sum(weight.numel() * min(number, BYTES[types[names[id(weight)]]]) for weight in weights)

    def as_held(weights: Sequence[nn.Parameter]) -> float:
        return sum(weight.numel() * BYTES[types[names[id(weight)]]] for weight in weights)

    every = list(model.parameters())
    layers = [list(layer.parameters()) for layer in blocks_of(model)]
    inside = {id(weight) for layer in layers for weight in layer}
    rest = [weight for weight in every if id(weight) not in inside]
    trained = _trained(every)
    in_4_bits = [weight.numel() for weight in every if types[names[id(weight)]] == "nf4"]
    return _Sizes(
        held=as_held(every),
        trained=trained,
        states=sum(_state_bytes(group.rule, tensor.numel()) for group in groups for tensor in group.tensors),
        average=4.0 * trained if stage.ema is not None else 0.0,
        reference=_reference_bytes(groups, stage),
        layer=max((working(layer) for layer in layers), default=0.0),
        layer_held=max((as_held(layer) for layer in layers), default=0.0),
        layer_trained=max((_trained(layer) for layer in layers), default=0),
        inside=inside,
        rest=working(rest),
        rest_held=as_held(rest),
        rest_trained=_trained(rest),
        number=number,
        unpacked=number * max(in_4_bits, default=0),
    )


def _trained(weights: Sequence[nn.Parameter]) -> int:
    return sum(weight.numel() for weight in weights if weight.requires_grad)


def _reference_bytes(groups: Sequence[Group], stage: Stage) -> float:
    """Of the copies that answers are compared under, see ``Reference``."""
    if "preference" not in stage.wanted or not stage.preference.has_reference:
        return 0.0
    return 4.0 * sum(tensor.numel() for group in groups if group.part != "lora" for tensor in group.tensors)


def _state_bytes(rule: str, numbers: int) -> float:
    small = rule == "adamw_8bit" and numbers < SMALLEST_IN_8_BITS
    return numbers * STATE_BYTES["adamw" if small else rule]
