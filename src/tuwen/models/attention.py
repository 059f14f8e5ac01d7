"""Attention for training on a CPU in bf16, where two batched products are twice as fast as the fused kernel.

Shape legend: B rows, A heads, G key/value heads, Q query places, K key places, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "tuwen_products"
# Scores of one layer, kept for the backward pass: 128 MiB in bf16.
MOST_SCORES = 2**26


def products_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention by two batched products where that is the faster way, else by `torch`'s fused kernel.

    Args:
        module: the attention layer; ``is_causal`` says what holds without a mask.
        query: [B, A, Q, E].
        key: [B, G, K, E].
        value: [B, G, K, E].
        attention_mask: bool, [B, 1 or A, Q, K], true where a query sees a key; or None.
        dropout: of the attention weights.
        scaling: of the scores; 1 / √E unless said.
        **kwargs: of the fused kernel.

    Returns:
        [B, Q, A, E], and no weights.
    """
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    if not _suits(module, query, key, attention_mask, dropout, dtype, kwargs):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    batch, heads, queries, width = query.shape
    keys, repeats = key.shape[2], heads // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    # Autocast would turn the scores into fp32 for the softmax and back.
    with torch.autocast(device, enabled=False):
        query_XQE, key_XKE, value_XKE = (
            tensor.to(dtype).reshape(batch * heads, -1, width) for tensor in (query, key, value)
        )
        scores_XQK = torch.baddbmm(
            _bias(attention_mask, (batch, heads, queries, keys), dtype),
            query_XQE,
            key_XKE.transpose(1, 2),
            alpha=width**-0.5 if scaling is None else scaling,
        )
        attended_XQE = torch.bmm(scores_XQK.softmax(dim=-1), value_XKE)
    return attended_XQE.view(batch, heads, queries, width).transpose(1, 2), None


def _suits(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    dropout: float,
    dtype: torch.dtype,
    kwargs: dict[str, Any],
) -> bool:
    if query.device.type != "cpu" or dtype != torch.bfloat16 or dropout or not torch.is_grad_enabled():
        return False
    if any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "cache")):
        return False
    if query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2] > MOST_SCORES:
        return False
    if mask is None:
        causal = kwargs.get("is_causal")
        return not (getattr(module, "is_causal", True) if causal is None else causal)
    return mask.dtype == torch.bool


def _bias(mask: Tensor | None, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """What is added to the scores, [B · A, Q, K]."""
    if mask is None:
        return torch.zeros((), dtype=dtype)
    # Not the lowest number: added to a score it must not become infinite.
    low = torch.finfo(dtype).min / 2
    batch, heads, queries, keys = shape
    return torch.where(mask, 0.0, low).to(dtype).expand(shape).reshape(batch * heads, queries, keys)


AttentionInterface.register(NAME, products_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def prefer_products(model: PreTrainedModel) -> None:
    """Let every part of ``model`` that now uses the fused kernel use ``products_attention``."""
    parts = {
        name: NAME
        for name in ("text_config", "vision_config")
        if getattr(getattr(model.config, name), "_attn_implementation", None) == "sdpa"
    }
    model.set_attn_implementation(parts)
