"""Attention for training: packed conversations kept apart, each device in its own way.

Shape legend: B rows, A heads, G key/value heads, Q query places, K key places, E width of a head, L places of a row,
H width of the language model.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from tuwen.config import TuwenError
from tuwen.models.packing import FLEX, PACKED, PackedMask, packed_mask
from tuwen.models.striped_attention import striped_attention, whole_rows

AttentionName = Literal["auto", "sdpa", "eager", "flex"]
# Where stripes would be slower: places of a row, and scores of a layer, which are 16 MiB in bf16.
SHORT_ROW, FEW_SCORES = 512, 2**23
# A row to try a model with: the pieces' lengths and parents. It is longer than a block of FlexAttention.
TRIED_LENGTHS, TRIED_PARENTS = (50, 40, 30, 30), (-1, -1, 1, 1)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention that computes little of what a ``PackedMask`` hides; `torch`'s kernel for any other mask.

    On a CPU it goes stripe by stripe, where rows are short over all at once; elsewhere with one call of `torch`'s
    kernel an item. Without a mask where all see all, as in a vision encoder, stripes are 1.5 to 6 times as fast as that
    kernel on a CPU in bf16, the more so the fewer places.

    Args:
        module: the attention layer; ``is_causal`` says what holds without a mask.
        query: [B, A, Q, E].
        key: [B, G, K, E].
        value: [B, G, K, E].
        attention_mask: ``PackedMask``, or as `torch`'s kernel takes it.
        dropout: of the attention weights.
        scaling: of the scores; 1 / √E unless said.
        **kwargs: of `torch`'s kernel; ``sliding_window`` of the layer.

    Returns:
        [B, Q, A, E], and no weights.
    """
    dtype, window = _dtype(query), kwargs.get("sliding_window")
    kwargs.update(dropout=dropout, scaling=scaling)
    packed = attention_mask if isinstance(attention_mask, PackedMask) else None
    if any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "cache")):
        seen = attention_mask if packed is None else packed.dense(window)
        return sdpa_attention_forward(module, query, key, value, seen, **kwargs)
    all_seen = attention_mask is None and dtype == torch.bfloat16 and not _causal(module, kwargs)
    if query.device.type == "cpu" and not dropout and (packed is not None or all_seen):
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        if not _few_scores(query, key):
            stripes = whole_rows(query) if packed is None else packed.stripes(dtype, window)
            return striped_attention(query, key, value, stripes, _scale(query, scaling)), None
        if dtype == torch.bfloat16:
            bias = None if packed is None else packed.bias(dtype, window)
            return products_attention(query, key, value, bias, _scale(query, scaling)), None
    if packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if query.device.type == "cpu" and _few_scores(query, key):
        return sdpa_attention_forward(module, query, key, value, packed.dense(window), **kwargs)
    return by_spans(module, query, key, value, packed, **kwargs), None


def _scale(query_BAQE: Tensor, scaling: float | None) -> float:
    return query_BAQE.shape[3] ** -0.5 if scaling is None else scaling


def _few_scores(query_BALE: Tensor, key_BGLE: Tensor) -> bool:
    """Whether starting more products takes longer than the scores that stripes save, and the scores may be kept."""
    rows, heads, queries, _ = query_BALE.shape
    keys = key_BGLE.shape[2]
    return keys <= SHORT_ROW and rows * heads * queries * keys <= FEW_SCORES


def products_attention(
    query_BAQE: Tensor, key_BGKE: Tensor, value_BGKE: Tensor, bias_B1QK: Tensor | None, scaling: float
) -> Tensor:
    """Attention as two batched products over all places, with the weights kept for the backward pass; [B, Q, A, E]."""
    batch, heads, queries, _ = query_BAQE.shape
    keys = key_BGKE.shape[2]
    # Heads that share a key stand one behind the other: X = B · G, Y = Q · A / G.
    query_XYE, key_XKE, value_XKE = (
        part.reshape(batch * key_BGKE.shape[1], -1, part.shape[3]) for part in (query_BAQE, key_BGKE, value_BGKE)
    )
    # Autocast would turn the scores into fp32 for the softmax and back.
    with torch.autocast(query_BAQE.device.type, enabled=False):
        scores_XYK = torch.baddbmm(query_XYE.new_zeros(()), query_XYE, key_XKE.transpose(1, 2), beta=0, alpha=scaling)
        if bias_B1QK is not None:
            scores_XYK = scores_XYK.view(batch, heads, queries, keys).add_(bias_B1QK).view_as(scores_XYK)
        attended_XYE = torch.bmm(scores_XYK.softmax(dim=-1), value_XKE)
    return attended_XYE.view(batch, heads, queries, -1).transpose(1, 2)


def by_spans(
    module: nn.Module, query_BALE: Tensor, key_BGLE: Tensor, value_BGLE: Tensor, mask: PackedMask, **kwargs: Any
) -> Tensor:
    """Block-diagonal attention, one call of `torch`'s kernel an item; [B, L, A, E]."""
    rows = []
    tensors = (tensor.split(1) for tensor in (query_BALE, key_BGLE, value_BGLE))
    for spans, *row in zip(mask.spans(kwargs.get("sliding_window")), *tensors, strict=True):
        lengths = [span.length for span in spans]
        found = []
        for span, *part in zip(spans, *(tensor.split(lengths, dim=2) for tensor in row), strict=True):
            seen = None if span.mask_LL is None else span.mask_LL[None, None]
            found.append(sdpa_attention_forward(module, *part, seen, **{**kwargs, "is_causal": True})[0])
        rows.append(torch.cat(found, dim=1))
    return torch.cat(rows)


def flex_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """FlexAttention (arXiv 2412.05496) where the mask is a ``PackedMask``, else `torch`'s kernel.

    The arguments are those of ``packed_attention``, and so is what is returned.
    """
    kwargs.update(dropout=dropout, scaling=scaling)
    if not isinstance(attention_mask, PackedMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    blocks = attention_mask.blocks(kwargs.get("sliding_window"))
    query, key, value = (tensor.to(_dtype(query)) for tensor in (query, key, value))
    attended, _ = flex_attention_forward(module, query, key, value, blocks, **kwargs)
    return attended, None


def _dtype(query: Tensor) -> torch.dtype:
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def _causal(module: nn.Module, kwargs: dict[str, Any]) -> bool:
    said = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if said is None else said)


for _name, _function in ((PACKED, packed_attention), (FLEX, flex_attention)):
    AttentionInterface.register(_name, _function)
    # For all that is not packed, such as answers that are generated to look at.
    AttentionMaskInterface.register(_name, sdpa_mask)


def prefer_packed(model: PreTrainedModel, device: torch.device, attention: AttentionName = "auto") -> dict[str, str]:
    """Choose the attention that ``model`` is trained with on ``device``; ``packed_mask`` makes the mask for it.

    ``auto`` is ``packed_attention`` for a language model that can use `torch`'s kernel, and on a CPU for such a vision
    encoder, too. The other names are the language model's alone: `torch`'s kernel with a dense mask, `transformers`'
    plain attention with a dense mask, and FlexAttention, which is compiled and needs a GPU.

    Returns:
        The name of the attention of the language model and of the vision encoder.

    Raises:
        TuwenError: when the language model cannot use what is asked for.
    """
    parts = {"text_config": _of_language(model, device, attention)}
    if attention == "auto" and device.type == "cpu" and model.config.vision_config._attn_implementation == "sdpa":
        parts["vision_config"] = PACKED
    try:
        model.set_attn_implementation(parts)
    except (ValueError, ImportError) as error:
        raise TuwenError(f"attention {attention}: {str(error).splitlines()[0]}") from error
    return {
        "language": model.config.text_config._attn_implementation,
        "vision": model.config.vision_config._attn_implementation,
    }


def _of_language(model: PreTrainedModel, device: torch.device, attention: AttentionName) -> str:
    config: PretrainedConfig = model.config.text_config
    if attention == "auto":
        now: str = config._attn_implementation
        return PACKED if now in ("sdpa", FLEX) else now
    if attention != "flex":
        return attention
    if device.type == "cpu":
        raise TuwenError("attention flex: needs a GPU; use auto")
    if not model.get_decoder()._supports_flex_attn:
        raise TuwenError(f"attention flex: {config.model_type} does not support it; use auto")
    if getattr(config, "attention_dropout", 0.0):
        raise TuwenError(f"attention flex: knows no dropout, attention_dropout is {config.attention_dropout}; use auto")
    return FLEX


def check_packed(model: PreTrainedModel) -> None:
    """Try on a short row whether the language model keeps packed conversations apart and computes what it would alone.

    It is the model itself that is asked, on its device and with its attention: layers that mix places without asking a
    mask, such as state space models and linear attention, go over from one conversation to the next.

    Raises:
        TuwenError: when it does not.
    """
    language, config = cast(PreTrainedModel, model.get_decoder()), model.config.text_config
    training = language.training
    language.eval()
    try:
        leak, deviation = _try_row(language, config)
    finally:
        language.train(training)
    if leak:
        raise TuwenError(
            f"{config.model_type} cannot be trained on packed rows: it lets conversations see each other, so it has "
            "layers that do not ask the mask"
        )
    if not deviation < 0.1:
        raise TuwenError(
            f"{config.model_type} with attention {config._attn_implementation} computes a packed conversation "
            f"{deviation:.0%} off from the same one alone; use another attention"
        )


def _try_row(language: PreTrainedModel, config: PretrainedConfig) -> tuple[float, float]:
    """How far the last conversation of a row depends on the others, and how far it is from what it is alone."""
    device = next(language.parameters()).device
    numbers_L = torch.arange(len(TRIED_LENGTHS)).repeat_interleave(torch.tensor(TRIED_LENGTHS)).to(device)
    segments_1L, parents_1L = numbers_L[None], torch.tensor(TRIED_PARENTS, device=device)[numbers_L][None]
    places_1L = PackedMask(segments_1L, parents_1L).positions()
    last_L = numbers_L == len(TRIED_LENGTHS) - 1
    mine_L = last_L | (numbers_L == TRIED_PARENTS[-1])
    ids_1L = torch.arange(len(numbers_L), device=device)[None] % config.vocab_size
    embeddings_1LH = cast(nn.Module, language.get_input_embeddings())(ids_1L).detach().requires_grad_()

    def states(here_L: Tensor, mask: Tensor | None) -> Tensor:
        inputs = {"inputs_embeds": embeddings_1LH[:, here_L], "position_ids": places_1L[:, here_L]}
        found: Tensor = language(**inputs, attention_mask=mask, use_cache=False).last_hidden_state
        return found.float()

    with torch.no_grad():
        alone_1LH = states(mine_L, None)
    mask = packed_mask(segments_1L, parents_1L, config)
    try:
        with torch.enable_grad():
            packed_1LH = states(numbers_L >= 0, mask)
            # Not the sum of all, which a last norm may keep constant.
            (gradient_1LH,) = torch.autograd.grad(packed_1LH[:, last_L, ::2].sum(), embeddings_1LH)
    except Exception as error:
        raise TuwenError(
            f"{config.model_type} with attention {config._attn_implementation} cannot be trained on packed rows: "
            f"{str(error).splitlines()[0]}"
        ) from error
    deviation = (packed_1LH[:, mine_L].detach() - alone_1LH).norm() / alone_1LH.norm()
    return float(gradient_1LH[:, ~mine_L].abs().max()), float(deviation)
