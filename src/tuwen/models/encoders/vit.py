"""What our own vision transformers (arXiv 2010.11929) share: their layers, the way through them, fresh values.

Shape legend: B tiles, N patches, D width, A attention heads, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class ViTBlock(GradientCheckpointingLayer):
    """A pre-norm transformer layer without masks.

    Args:
        config: sizes, of an encoder.
        approximate: ``none`` for the exact GELU, ``tanh`` for the faster one.
    """

    def __init__(self, config: Any, approximate: str = "none") -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.approximate = approximate
        self.heads = config.num_attention_heads
        self.is_causal = False
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.expand = nn.Linear(width, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, width)

    def forward(self, hidden_BND: Tensor) -> Tensor:
        """[B, N, D] → [B, N, D]."""
        batch, patches, width = hidden_BND.shape
        mixed = self.query_key_value(self.norm1(hidden_BND))
        query_BANE, key_BANE, value_BANE = mixed.view(batch, patches, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, sdpa_attention_forward)
        attended_BNAE, _ = attend(self, query_BANE, key_BANE, value_BANE, None)
        hidden_BND = hidden_BND + self.projection(attended_BNAE.reshape(batch, patches, width))
        expanded = functional.gelu(self.expand(self.norm2(hidden_BND)), approximate=self.approximate)
        return hidden_BND + self.contract(expanded)


class ViT(PreTrainedModel):
    """Base of an encoder that has a ``position_embedding`` and ``blocks`` of ``ViTBlock``."""

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ViTBlock"]
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ViT):
            nn.init.trunc_normal_(module.position_embedding, std=self.config.initializer_range)

    def _through_blocks(
        self, hidden_BND: Tensor, all_states: bool, final_norm: nn.Module | None = None
    ) -> BaseModelOutputWithPooling:
        """Embedded patches → the last state, normalised if at all, its mean, and all states before the norm."""
        states = [hidden_BND]
        for block in self.blocks:
            hidden_BND = block(hidden_BND)
            states.append(hidden_BND)
        last_BND = hidden_BND if final_norm is None else final_norm(hidden_BND)
        return BaseModelOutputWithPooling(
            last_hidden_state=last_BND,
            pooler_output=last_BND.mean(dim=1),
            hidden_states=tuple(states) if all_states else None,
        )
