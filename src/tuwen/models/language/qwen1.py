"""Qwen-1 (arXiv 2309.16609), the language model of Qwen-VL: Qwen2 with two ways to go beyond its training length.

Dynamic NTK stretches the rotary base by a factor alpha that depends on the prompt's length; it is fixed when the prompt
is read and travels with the cache. Log-n scaling multiplies each query by a factor that grows with its position. Both
are off in training. A row's length is its highest position where the mask is on: padding does not count where
``position_ids`` leave it out, as those of ``generate`` do, so a batch gives what its rows give alone. (The original
counts padding on the left.) In a pack the longest neighbour counts.

Shape legend: B sequences, L places, H width, A heads, E width of a head, F = E / 2 frequencies.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2Attention,
    Qwen2DecoderLayer,
    Qwen2RotaryEmbedding,
    eager_attention_forward,
)

# Kept on the cache itself, so that it is copied, cut and thrown away with the keys that were turned by it.
_ALPHA = "tuwen_ntk_alpha_B"


class Qwen1Config(Qwen2Config):
    """Sizes of a Qwen-1 model in Qwen2's terms.

    Attributes:
        seq_length: S, places that the model was trained for; what is longer is stretched and scaled.
        use_dynamic_ntk: whether the rotary base grows with prompts longer than S.
        use_logn_attn: whether queries beyond place S are scaled by log(place) / log(S).
    """

    model_type = "tuwen_qwen1"

    seq_length: int = 2048
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True


def ntk_alpha(length_B: Tensor, seq_length: int) -> Tensor:
    """How far the rotary base is stretched for prompts of some lengths: 1 up to S, 3 up to 2 S, 7 up to 4 S …, [B]."""
    exponent_B = torch.ceil(torch.log2(length_B.double() / seq_length) + 1)
    return (2**exponent_B - 1).clamp(min=1)


class Qwen1RotaryEmbedding(Qwen2RotaryEmbedding):
    """Rotary tables in full precision whatever the model's, as the original's are."""

    def forward(self, x: Tensor, position_ids: Tensor, alpha_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, L, E] of places [B, L], with the base stretched by alpha [B]."""
        width = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        base = float(self.config.rope_parameters["rope_theta"])
        exponents_F = torch.arange(0, width, 2, dtype=torch.float, device=x.device) / width
        stretched = torch.ones(1, dtype=torch.double, device=x.device) if alpha_B is None else alpha_B.to(x.device)
        base_B1 = (base * stretched ** (width / (width - 2))).float()[:, None]
        frequencies_B1F = (1.0 / base_B1**exponents_F)[:, None]
        angles_BLF = position_ids[..., None].float() * frequencies_B1F
        angles_BLE = torch.cat((angles_BLF, angles_BLF), dim=-1)
        return angles_BLE.cos(), angles_BLE.sin()


class Qwen1Attention(Qwen2Attention):
    """Qwen2's attention with rotary tables of its own and scaled queries."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Any = None,
        *,
        rotary: tuple[Tensor, Tensor] | None = None,
        query_scale_BL: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of [B, L, H].

        Args:
            hidden_states: [B, L, H].
            position_embeddings: cosines and sines [B, L, E] of an unstretched base.
            attention_mask: as the chosen attention function takes it.
            past_key_values: the cache.
            rotary: cosines and sines in place of ``position_embeddings``.
            query_scale_BL: factors of the queries.
            **kwargs: of the attention function.

        Returns:
            [B, L, H], and the weights where the attention function gives them.
        """
        places = hidden_states.shape[:-1]
        query_BALE, key_BALE, value_BALE = (
            layer(hidden_states).view(*places, -1, self.head_dim).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos_B1LE, sin_B1LE = (table[:, None] for table in rotary or position_embeddings)
        query_BALE, key_BALE = (_rotate(tensor, cos_B1LE, sin_B1LE) for tensor in (query_BALE, key_BALE))
        if query_scale_BL is not None:
            query_BALE = query_BALE * query_scale_BL[:, None, :, None].to(query_BALE.dtype)
        if past_key_values is not None:
            key_BALE, value_BALE = past_key_values.update(key_BALE, value_BALE, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attended_BLAE, weights = attend(
            self,
            query_BALE,
            key_BALE,
            value_BALE,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            **kwargs,
        )
        return self.o_proj(attended_BLAE.reshape(*places, -1).contiguous()), weights


def _rotate(tensor_BALE: Tensor, cos_B1LE: Tensor, sin_B1LE: Tensor) -> Tensor:
    precise = tensor_BALE.float()
    first, second = precise.chunk(2, dim=-1)
    turned = precise * cos_B1LE + torch.cat((-second, first), dim=-1) * sin_B1LE
    return turned.to(tensor_BALE.dtype)


class Qwen1DecoderLayer(Qwen2DecoderLayer):
    """A layer of Qwen2 around ``Qwen1Attention``."""

    def __init__(self, config: Qwen1Config, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.self_attn = Qwen1Attention(config, layer_idx)


class Qwen1Model(Qwen2Model):
    """The language model without its output head."""

    config_class = Qwen1Config
    _no_split_modules = ["Qwen1DecoderLayer"]
    # Whether a cache is empty is asked outside of the graph.
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen1Config) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Qwen1DecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.rotary_emb = Qwen1RotaryEmbedding(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As ``Qwen2Model.forward``; in evaluation alpha is computed where the cache is empty and kept in it."""
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if not self.training:
            if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
                past_key_values = DynamicCache(config=self.config)
            if position_ids is None:
                past = past_key_values.get_seq_length() if past_key_values is not None else 0
                position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past)[None]
            if self.config.use_dynamic_ntk:
                alpha_B = self._alpha(position_ids, attention_mask, past_key_values)
                kwargs["rotary"] = self.rotary_emb(inputs_embeds, position_ids, alpha_B)
            if self.config.use_logn_attn:
                kwargs["query_scale_BL"] = self._query_scale(position_ids)
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

    def cache_values(self, prompt_length: int) -> dict[str, float]:
        """What a cache keeps of a prompt so long beside keys and values, for whoever makes caches of their own."""
        if not self.config.use_dynamic_ntk:
            return {}
        return {_ALPHA: float(ntk_alpha(torch.tensor(prompt_length), self.config.seq_length))}

    def _alpha(self, position_ids_BL: Tensor, mask: Any, cache: Any) -> Tensor | None:
        if cache is not None and cache.get_seq_length() > 0:
            alpha_B: Tensor | None = getattr(cache, _ALPHA, None)
            return alpha_B
        places_BL = position_ids_BL + 1
        if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] == places_BL.shape[1]:
            places_BL = places_BL.where(mask != 0, 1)
        alpha_B = ntk_alpha(places_BL.amax(dim=-1), self.config.seq_length)
        if cache is not None:
            setattr(cache, _ALPHA, alpha_B)
        return alpha_B

    def _query_scale(self, position_ids_BL: Tensor) -> Tensor:
        place_BL = (position_ids_BL + 1).float()
        return (place_BL.log() / math.log(self.config.seq_length)).where(place_BL > self.config.seq_length, 1.0)


class Qwen1ForCausalLM(Qwen2ForCausalLM):
    """The language model with its output head, on its own."""

    config_class = Qwen1Config
    _no_split_modules = ["Qwen1DecoderLayer"]
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen1Config) -> None:
        super().__init__(config)
        self.model = Qwen1Model(config)
        self.post_init()


AutoConfig.register("tuwen_qwen1", Qwen1Config, exist_ok=True)
AutoModel.register(Qwen1Config, Qwen1Model, exist_ok=True)
AutoModelForCausalLM.register(Qwen1Config, Qwen1ForCausalLM, exist_ok=True)
