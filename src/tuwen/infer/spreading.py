"""A model over several GPUs, layer after layer, where one is too small for it (`accelerate`'s dispatch)."""

from __future__ import annotations

from collections.abc import Mapping

from accelerate import dispatch_model, infer_auto_device_map
from torch import nn

from tuwen.config import TuwenError

Place = int | str


def whole_layers(model: nn.Module) -> list[str]:
    """Class names of layers that must not be cut, as every part of the model says."""
    found: set[str] = set()
    for module in model.modules():
        found |= set(getattr(module, "_no_split_modules", None) or ())
    return sorted(found)


def device_map(model: nn.Module, memory: Mapping[Place, int | str] | None = None) -> dict[str, Place]:
    """Which part of a model goes where: each GPU is filled before the next one gets something.

    Args:
        model: with its weights' types settled.
        memory: what may be used of each device, in bytes or as ``"20GiB"``; what is free unless said.

    Raises:
        TuwenError: when it does not fit on all of them together.
    """
    limits = None if memory is None else dict(memory)
    found: dict[str, Place] = infer_auto_device_map(model, limits, no_split_module_classes=whole_layers(model))
    outside = sorted(name for name, place in found.items() if place == "disk")
    if outside:
        raise TuwenError(
            f"device auto: {outside[0]} and what comes after it fits on no device; use --quantize, or a smaller --dtype"
        )
    return found


def spread(model: nn.Module) -> None:
    """Put a model onto all GPUs, and what is left into the processor's memory; it is called as before.

    Raises:
        TuwenError: when it does not fit.
    """
    dispatch_model(model, device_map(model))
