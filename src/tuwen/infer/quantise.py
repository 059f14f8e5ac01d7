"""Language models with weights in 8 or 4 bits; vision encoder and connector stay as they are."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tuwen.config import MissingExtraError, TuwenError, unknown_name
from tuwen.models.nf4 import is_plain_linear, quantised


def quantise(language_model: nn.Module, kind: str) -> None:
    """Replace the weights of all linear layers; products are formed in the type of the activations.

    Args:
        language_model: changed in place.
        kind: ``int8``: a scale for each output, as in LLM.int8's weight-only form, by `torchao`; ``int4``: NF4 with a
            scale for each 64 numbers (QLoRA, arXiv 2305.14314), by `bitsandbytes`, which is slow on CPUs.

    Raises:
        TuwenError: for an unknown kind.
        MissingExtraError: when the library is not installed.
    """
    if kind not in KINDS:
        raise TuwenError(unknown_name("quantisation", kind, list(KINDS)))
    KINDS[kind](language_model)


def _in_8_bits(language_model: nn.Module) -> None:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise MissingExtraError("torchao", "quantise") from None
    quantize_(language_model, Int8WeightOnlyConfig())


def _in_4_bits(language_model: nn.Module) -> None:
    # One after the other, so that no weight is there twice for long.
    for path, module in list(language_model.named_modules()):
        if isinstance(module, nn.Linear) and is_plain_linear(module):
            layer = quantised(module, module.weight.device, module.weight.dtype)
            language_model.set_submodule(path, layer)


KINDS: dict[str, Callable[[nn.Module], None]] = {"int8": _in_8_bits, "int4": _in_4_bits}
