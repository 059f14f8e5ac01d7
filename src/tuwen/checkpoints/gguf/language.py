"""Language models that llama.cpp has under a name of its own: their settings and tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tuwen.checkpoints.gguf.contents import Value
from tuwen.checkpoints.renames import Rule, same
from tuwen.config import TuwenError

OURS, HEAD = "model.language_model.", "lm_head."
QUERY_KEY = re.compile(r"layers\.\d+\.self_attn\.([qk])_proj\.")
Keys = gguf.Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A kind of language model.

    Attributes:
        kind: llama.cpp's.
        neighbours: whether rotary embedding turns neighbouring numbers of a head, and not those of its two halves
            as in `transformers`.
        wanted: settings that must have this value where a configuration has them, as llama.cpp has nothing else.
        free_heads: whether heads may have another width than the hidden size divided by their number.
        rope_types: kinds of rotary scaling.
    """

    kind: Any
    neighbours: bool = False
    wanted: Mapping[str, Any]
    free_heads: bool = True
    rope_types: tuple[str, ...] = ("default", "linear")

    @property
    def name(self) -> str:
        """llama.cpp's name."""
        return str(gguf.MODEL_ARCH_NAMES[self.kind])


# By the ``model_type`` of `transformers`.
ARCHITECTURES = {
    "llama": Architecture(
        kind=gguf.MODEL_ARCH.LLAMA,
        neighbours=True,
        wanted={"hidden_act": "silu"},
        rope_types=("default", "linear", "llama3"),
    ),
    "qwen2": Architecture(
        kind=gguf.MODEL_ARCH.QWEN2,
        wanted={"hidden_act": "silu", "use_sliding_window": False},
        free_heads=False,
    ),
    "qwen3": Architecture(
        kind=gguf.MODEL_ARCH.QWEN3,
        wanted={"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False},
    ),
}


def architecture_of(text: Any) -> Architecture:
    """The kind of a language model.

    Args:
        text: its configuration of `transformers`.

    Raises:
        TuwenError: naming the setting that llama.cpp does not have.
    """
    known = ", ".join(ARCHITECTURES)
    if text.model_type not in ARCHITECTURES:
        raise TuwenError(
            f"text_config.model_type: GGUF is written for the language models {known}; found {text.model_type}"
        )
    found = ARCHITECTURES[text.model_type]
    for key, wanted in found.wanted.items():
        if (value := getattr(text, key, wanted)) != wanted:
            raise TuwenError(f"text_config.{key}: llama.cpp's {found.name} has {wanted!r}; found {value!r}")
    if not found.free_heads and _head_width(text) * text.num_attention_heads != text.hidden_size:
        raise TuwenError(
            f"text_config.head_dim: llama.cpp's {found.name} has hidden_size / num_attention_heads "
            f"({text.hidden_size} / {text.num_attention_heads}); found {_head_width(text)}"
        )
    rope = _rope(text)
    if rope["rope_type"] not in found.rope_types or rope.get("partial_rotary_factor", 1) != 1:
        raise TuwenError(
            f"text_config.rope_parameters: for {found.name} rotary embedding of whole heads is written, of the types "
            f"{', '.join(found.rope_types)}; found {rope}"
        )
    return found


def language_values(text: Any) -> dict[str, Value]:
    """Settings of a language model, GGUF key → value.

    Raises:
        TuwenError: as ``architecture_of``.
    """
    name = architecture_of(text).name
    rope, width = _rope(text), _head_width(text)
    values: dict[str, Value] = {
        Keys.LLM.VOCAB_SIZE: text.vocab_size,
        Keys.LLM.CONTEXT_LENGTH: text.max_position_embeddings,
        Keys.LLM.EMBEDDING_LENGTH: text.hidden_size,
        Keys.LLM.BLOCK_COUNT: text.num_hidden_layers,
        Keys.LLM.FEED_FORWARD_LENGTH: text.intermediate_size,
        Keys.Attention.HEAD_COUNT: text.num_attention_heads,
        Keys.Attention.HEAD_COUNT_KV: text.num_key_value_heads,
        Keys.Attention.KEY_LENGTH: width,
        Keys.Attention.VALUE_LENGTH: width,
        Keys.Attention.LAYERNORM_RMS_EPS: float(text.rms_norm_eps),
        Keys.Rope.DIMENSION_COUNT: width,
        Keys.Rope.FREQ_BASE: float(rope["rope_theta"]),
    }
    if rope["rope_type"] == "linear":
        values[Keys.Rope.SCALING_TYPE] = gguf.RopeScalingType.LINEAR.value
        values[Keys.Rope.SCALING_FACTOR] = float(rope["factor"])
    return {key.format(arch=name): value for key, value in values.items()}


def language_rules(text: Any, ours: Iterable[str]) -> list[Rule]:
    """Tensors of the language model's file.

    Args:
        text: its configuration.
        ours: names of all our weights.
    """
    found = architecture_of(text)
    names = gguf.get_tensor_name_map(found.kind, text.num_hidden_layers)
    rules = []
    for name in ours:
        if not name.startswith((OURS, HEAD)):
            continue
        rest = name.removeprefix(OURS)
        theirs = names.get_name(rest if name.startswith(HEAD) else f"model.{rest}", try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise TuwenError(f"{name}: llama.cpp's {found.name} has no such weight")
        parts = QUERY_KEY.match(rest)
        if found.neighbours and parts:
            heads = text.num_attention_heads if parts[1] == "q" else text.num_key_value_heads
            rules.append(Rule(theirs=(theirs,), ours=(name,), forward=halves(heads), backward=neighbours(heads)))
        else:
            rules.append(same(theirs, name))
    if _rope(text)["rope_type"] == "llama3":
        factors = _frequency_factors(text)
        rules.append(Rule(theirs=("rope_freqs.weight",), ours=(), backward=lambda tensors: [factors]))
    return rules


def neighbours(heads: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """Rows of query or key in which the two numbers that rotary embedding turns together lie beside each other."""
    return lambda tensors: [tensors[0].unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensors[0].shape)]


def halves(heads: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """Undoes ``neighbours``."""
    return lambda tensors: [tensors[0].unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(tensors[0].shape)]


def _frequency_factors(text: Any) -> Tensor:
    """By what llama.cpp divides each rotary frequency to get Llama 3's, [head width / 2]."""
    width, base = _head_width(text), float(_rope(text)["rope_theta"])
    plain = base ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](text, torch.device("cpu"))
    return plain / scaled


def _rope(text: Any) -> dict[str, Any]:
    return {"rope_type": "default", **(text.rope_parameters or {})}


def _head_width(text: Any) -> int:
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
