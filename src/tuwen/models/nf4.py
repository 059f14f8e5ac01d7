"""Linear layers in 4 bits (NF4 with scales in 8 bits, QLoRA, arXiv 2305.14314), by `bitsandbytes`, on GPUs and CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from tuwen.config import MissingExtraError

# Of a weight: half a byte, a scale of a byte for 64 numbers, and one of four bytes for 256 scales.
BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a layer's weight is used by the layer alone; attention of `torch` takes its output weight past it."""
    return isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)


def quantised(linear: nn.Linear, device: torch.device, compute: torch.dtype) -> nn.Module:
    """A layer in 4 bits that computes as ``linear`` does, nearly.

    Args:
        linear: keeps its weight.
        device: where the new layer is, and where its weight is rounded.
        compute: the type that products are formed in.

    Raises:
        MissingExtraError: when `bitsandbytes` is not installed.
    """
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError:
        raise MissingExtraError("bitsandbytes", "qlora") from None
    layer: Any = Linear4bit(
        linear.in_features, linear.out_features, bias=False, compute_dtype=compute, quant_type="nf4", device="meta"
    )
    weight = linear.weight.data.to(device)
    # The weight is rounded as it is moved, to where it already is if need be.
    layer.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", module=layer).to(device)
    layer.bias = linear.bias
    # A faster way for some CPUs, in which evaluation would round the scales once more, for good.
    layer.support_avx512bf16_for_cpu = False
    quantised_layer: nn.Module = layer.train(linear.training)
    return quantised_layer


def is_quantised(module: nn.Module) -> bool:
    """Whether a layer holds its weight in 4 bits."""
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


def is_packed(tensor: Tensor) -> bool:
    """Whether a weight is one in 4 bits."""
    return getattr(tensor, "quant_state", None) is not None


def numbers(tensor: Tensor) -> int:
    """How many numbers a weight stands for."""
    state: Any = getattr(tensor, "quant_state", None)
    return tensor.numel() if state is None else int(state.shape.numel())


@torch.no_grad()
def dequantised(module: nn.Module) -> Tensor:
    """The weight that a layer in 4 bits computes with, float32 [outputs, inputs]."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = module.weight
    whole: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return whole.float()
