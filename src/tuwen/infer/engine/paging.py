"""Whether a language model can be computed step by step from blocks, and how many blocks fit.

Shape legend: L places of a step, H width of the language model, S places of a block.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tuwen.config import TuwenError, first_line
from tuwen.infer.engine.attention import PAGED, KeyValues, Span, Step, in_order
from tuwen.infer.engine.settings import EngineSettings

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# Their rotary tables depend on the longest neighbour.
NEIGHBOURLY = {"dynamic", "longrope"}
# What the model is tried with: lengths of conversations, and steps: whose places, from where on, how many.
TRIED_LENGTHS = (45, 20, 19)
TRIED_STEPS = (
    ((0, 0, 17), (1, 0, 19), (2, 0, 5)),
    ((0, 17, 27), (1, 19, 1), (2, 5, 13)),
    ((0, 44, 1), (2, 18, 1)),
)
TRIED_BLOCK = 8
# Share of the norm: rounding, as other kernels sum in another order.
ALLOWED = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}


def language_states(language: nn.Module, embeddings_L1H: Tensor, step: Step) -> Tensor:
    """Last hidden states [L, H] of a step's places."""
    found: Tensor = language(
        inputs_embeds=embeddings_L1H,
        attention_mask=step.mask,
        position_ids=step.position_ids_L1,
        past_key_values=step,
        use_cache=True,
        return_dict=True,
    ).last_hidden_state
    return found[:, 0]


def use_paged(model: Any) -> str:
    """Let the language model attend to blocks, and try it.

    Returns:
        The name of the attention that it had.

    Raises:
        TuwenError: when it cannot be computed so.
    """
    config = model.config.text_config
    name, before = config.model_type, config._attn_implementation
    if unknown := sorted(set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS):
        raise TuwenError(f"{name}: the engine does not know its layers of type {unknown[0]}; set batching to false")
    if found := _rope_types(config) & NEIGHBOURLY:
        raise TuwenError(
            f"{name}: rotary tables of type {found.pop()} depend on other requests of a batch; set batching to false"
        )
    if not getattr(model.get_decoder(), "_supports_sdpa", False):
        raise TuwenError(f"{name}: has attention that only itself can compute; set batching to false")
    try:
        model.set_attn_implementation({"text_config": PAGED})
        deviation = _deviation(model)
    except Exception as error:
        model.set_attn_implementation({"text_config": before})
        raise TuwenError(f"{name}: the engine cannot compute it: {first_line(error)}; set batching to false") from error
    if not deviation < ALLOWED[model.dtype]:
        model.set_attn_implementation({"text_config": before})
        raise TuwenError(f"{name}: computed by the engine it is {deviation:.0%} off; set batching to false")
    return cast(str, before)


def cache_blocks(model: Any, settings: EngineSettings, context: int) -> int:
    """How many blocks to make.

    Raises:
        TuwenError: when not even one fits.
    """
    size = settings.block_tokens
    if settings.cache_tokens is not None:
        count = settings.cache_tokens // size
    else:
        each = _bytes_per_place(model) * size
        count = int(_free_bytes(model.device) * settings.memory_share) // each
        count = min(count, settings.max_running * -(-context // size))
    if count < 1:
        raise TuwenError(f"keys and values: no memory for a block of {size} places")
    return count


def conversation_values(language: nn.Module, prompt_length: int) -> dict[str, float]:
    """What a language model's cache keeps of a prompt beside keys and values, by name; nothing for most."""
    values = getattr(language, "cache_values", None)
    return dict(values(prompt_length)) if values is not None else {}


def _rope_types(config: Any) -> set[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [part for part in parameters.values() if isinstance(part, dict)] or [parameters]
    return {str(part.get("rope_type", "default")) for part in nested}


@torch.inference_mode()
def _deviation(model: Any) -> float:
    """How far states of conversations computed together, in pieces, are from those of each computed alone."""
    language: Any = model.get_decoder()
    embed = language.get_input_embeddings()
    ids = [torch.arange(length, device=model.device) * 7 % model.config.text_config.vocab_size
           for length in TRIED_LENGTHS]  # fmt: skip
    alone = [language(inputs_embeds=embed(one)[None], use_cache=False).last_hidden_state[0].float() for one in ids]
    paged = [torch.zeros_like(states) for states in alone]
    kept, blocks = _trial(model)
    for planned in TRIED_STEPS:
        spans = [
            (number, Span(start, count, blocks[number][: -(-(start + count) // TRIED_BLOCK)]))
            for number, start, count in planned
        ]
        spans.sort(key=lambda item: in_order(item[1].count, len(item[1].blocks)))
        values = [conversation_values(language, TRIED_LENGTHS[number]) for number, _ in spans]
        step = Step([span for _, span in spans], kept, model.device, joined(values))
        parts = [ids[number][span.start : span.start + span.count] for number, span in spans]
        states = language_states(language, embed(torch.cat(parts))[:, None], step).float()
        for (number, span), found in zip(spans, states.split([span.count for _, span in spans]), strict=True):
            paged[number][span.start : span.start + span.count] = found
    expected, found = torch.cat(alone), torch.cat(paged)
    return float((found - expected).norm() / expected.norm())


def joined(values: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """What conversations keep, name by name."""
    return {name: [one[name] for one in values] for name in values[0]}


def _trial(model: Any) -> tuple[KeyValues, list[list[int]]]:
    """A small pool, and blocks of each tried conversation, out of order."""
    counts = [-(-length // TRIED_BLOCK) for length in TRIED_LENGTHS]
    numbers = iter(range(sum(counts), 0, -1))
    return KeyValues(sum(counts) + 1, TRIED_BLOCK), [[next(numbers) for _ in range(count)] for count in counts]


@torch.inference_mode()
def _bytes_per_place(model: Any) -> int:
    language: Any = model.get_decoder()
    kept, blocks = _trial(model)
    values = joined([conversation_values(language, 1)])
    step = Step([Span(0, 1, blocks[0][:1])], kept, model.device, values)
    ids = torch.zeros(1, dtype=torch.long, device=model.device)
    language_states(language, language.get_input_embeddings()(ids)[:, None], step)
    return kept.bytes_per_place()


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
