"""What each weight is held in while a stage trains: fp32 where it is trained, else what it can do with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tuwen.config import TuwenError
from tuwen.models import nf4
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.groups import named_module_parameters
from tuwen.train.policies import Base, ModulePolicy
from tuwen.train.stage import Stage

Precision = Literal["fp32", "bf16"]
# Memory of a number.
BYTES: dict[Base, float] = {"fp32": 4, "bf16": 2, "nf4": nf4.BYTES}
DTYPES: dict[Base, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def weight_types(model: TuwenForConditionalGeneration, stage: Stage, precision: Precision) -> dict[str, Base]:
    """What each weight is to be held in, by its name; nothing is changed.

    Of a model without weights (on ``meta``), the type that it was made with says what its numbers need.

    Args:
        model: with its adapters, after ``make_groups``.
        stage: that trains it.
        precision: of the recipe.

    Raises:
        TuwenError: when a module is to be held in what it cannot be held in.
    """
    linear = {id(module.weight) for module in model.modules() if nf4.is_plain_linear(module)} - {
        id(model.lm_head.weight)
    }
    types: dict[str, Base] = {}
    for module, parameters in named_module_parameters(model).items():
        base = stage.modules.get(module, ModulePolicy(mode="frozen")).base
        where = f"stages.{stage.name}.modules.{module}.base"
        if base == "bf16" and precision == "fp32":
            raise TuwenError(f"{where}: bf16 needs the recipe's precision to be bf16; set it, or remove base")
        untrained = [(name, tensor) for name, tensor in parameters if not tensor.requires_grad]
        if base == "nf4" and not any(id(tensor) in linear for _, tensor in untrained):
            raise TuwenError(f"{where}: nf4 has no effect, there is no linear layer that is not trained; remove it")
        rest: Base = "fp32" if precision == "fp32" else "bf16"
        if base != "bf16" and not all(_is_exact_in_bf16(tensor) for _, tensor in untrained):
            rest = "fp32"
        if base == "fp32":
            rest = "fp32"
        for name, tensor in parameters:
            if tensor.requires_grad:
                types[name] = "fp32"
            else:
                types[name] = "nf4" if base == "nf4" and id(tensor) in linear else rest
    return types


def _is_exact_in_bf16(tensor: Tensor) -> bool:
    if tensor.dtype == torch.bfloat16 or nf4.is_packed(tensor):
        return True
    if tensor.is_meta:
        return False
    return bool((tensor == tensor.to(torch.bfloat16)).all())


@torch.no_grad()
def place_weights(
    model: TuwenForConditionalGeneration,
    stage: Stage,
    precision: Precision,
    device: torch.device | None = None,
) -> None:
    """Hold each weight as ``weight_types`` says, and put it onto the device, one at a time.

    Trained tensors stay the same objects, so that groups made before hold them still.

    Args:
        model: with its adapters, after ``make_groups``; changed in place.
        stage: that trains it.
        precision: of the recipe.
        device: where everything goes; where it is unless said.

    Raises:
        TuwenError: when a module is to be held in what it cannot be held in.
        MissingExtraError: when `bitsandbytes` is needed and not installed.
    """
    types = weight_types(model, stage, precision)
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    compute = DTYPES["bf16" if precision == "bf16" else "fp32"]
    for path, module in list(model.named_modules()):
        is_linear = isinstance(module, nn.Linear) and not nf4.is_quantised(module)
        if is_linear and types.get(names.get(id(module.weight), "")) == "nf4":
            owner, _, child = path.rpartition(".")
            assert isinstance(module, nn.Linear)
            layer = nf4.quantised(module, device or module.weight.device, compute)
            setattr(model.get_submodule(owner), child, layer)
    for name, tensor in model.named_parameters():
        if not nf4.is_packed(tensor):
            tensor.data = tensor.data.to(device or tensor.device, DTYPES[types[name]])
    if device is not None:
        # Buffers; tables of rotary positions among them need their precision.
        model.to(device)


def held_in(tensor: Tensor) -> str:
    """What a weight is held in, for people."""
    if nf4.is_packed(tensor):
        return "nf4"
    known = {dtype: name for name, dtype in DTYPES.items()}
    return known.get(tensor.dtype) or str(tensor.dtype).removeprefix("torch.")
