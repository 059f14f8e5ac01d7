"""Language models with weights in 8 bits, by `torchao`; vision encoder and connector stay as they are."""

from __future__ import annotations

from torch import nn

from tuwen.config import MissingExtraError, TuwenError, unknown_name

KINDS = ("int8",)


def quantise(language_model: nn.Module, kind: str) -> None:
    """Replace the weights of all linear layers; products are formed in the type of the activations.

    Args:
        language_model: changed in place.
        kind: ``int8``: a scale for each output, as in LLM.int8's weight-only form.

    Raises:
        TuwenError: for an unknown kind.
        MissingExtraError: when `torchao` is not installed.
    """
    if kind not in KINDS:
        raise TuwenError(unknown_name("quantisation", kind, list(KINDS)))
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise MissingExtraError("torchao", "quantise") from None
    quantize_(language_model, Int8WeightOnlyConfig())
