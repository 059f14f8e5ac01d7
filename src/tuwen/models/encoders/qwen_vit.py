"""Qwen-VL's vision transformer (arXiv 2308.12966), of the shape of OpenCLIP's ViT-bigG: patches only, no final norm.

Shape legend: B tiles, H and W pixels, N patches, D width, A attention heads, E width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tuwen.models.encoders.base import ENCODERS, EncoderKind


class QwenViTConfig(PretrainedConfig):
    """Sizes of a ``QwenViT``.

    Args:
        image_size: height and width of a tile, in pixels.
        patch_size: pixels a patch covers in each direction.
        hidden_size: D.
        num_hidden_layers: transformer layers.
        num_attention_heads: A.
        intermediate_size: width inside the feed-forward layers.
        num_positions: entries of the table of positions, a square number; it is resized to the grid of patches.
        layer_norm_eps: of all layer norms.
        initializer_range: standard deviation of fresh linear weights.
    """

    model_type = "tuwen_qwen_vit"

    def __init__(
        self,
        *,
        image_size: int = 448,
        patch_size: int = 14,
        hidden_size: int = 1664,
        num_hidden_layers: int = 48,
        num_attention_heads: int = 16,
        intermediate_size: int = 8192,
        num_positions: int = 256,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.num_positions = num_positions
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        super().__init__(**kwargs)
        if hidden_size % num_attention_heads:
            raise ValueError(f"num_attention_heads {num_attention_heads} does not divide hidden_size {hidden_size}")
        if math.isqrt(num_positions) ** 2 != num_positions:
            raise ValueError(f"num_positions {num_positions} is not a square number")


class QwenViTBlock(nn.Module):
    """A pre-norm transformer layer without masks."""

    def __init__(self, config: QwenViTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
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
        return hidden_BND + self.contract(functional.gelu(self.expand(self.norm2(hidden_BND))))


class QwenViT(PreTrainedModel):
    """The encoder: patches, resized positions, a norm, transformer layers."""

    config_class = QwenViTConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = False
    _no_split_modules = ["QwenViTBlock"]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: QwenViTConfig) -> None:
        super().__init__(config)
        size, width = config.patch_size, config.hidden_size
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=size, stride=size, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(config.num_positions, width))
        self.pre_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(QwenViTBlock(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, QwenViT):
            nn.init.trunc_normal_(module.position_embedding, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The projection of patches, which is where pixels enter."""
        return self.patch_embedding

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Pixels [B, 3, H, W] → features [B, N, D] of the last layer, their mean, and all states where asked for."""
        patches_BDRC = self.patch_embedding(pixel_values)
        positions_ND = self._positions(*patches_BDRC.shape[-2:])
        hidden_BND = self.pre_norm(patches_BDRC.flatten(2).transpose(1, 2) + positions_ND)
        states = [hidden_BND]
        for block in self.blocks:
            hidden_BND = block(hidden_BND)
            states.append(hidden_BND)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_BND,
            pooler_output=hidden_BND.mean(dim=1),
            hidden_states=tuple(states) if output_hidden_states else None,
        )

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid of patches, resized in full precision, [N, D]."""
        table_PD = self.position_embedding
        side = math.isqrt(len(table_PD))
        if (rows, columns) == (side, side):
            return table_PD
        square = table_PD.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = functional.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).reshape(rows * columns, -1).to(table_PD.dtype)


# There is no final norm; asking for one is answered with this name.
ENCODERS.register("tuwen_qwen_vit")(EncoderKind(final_norm=("final_norm",)))
AutoConfig.register("tuwen_qwen_vit", QwenViTConfig, exist_ok=True)
AutoModel.register(QwenViTConfig, QwenViT, exist_ok=True)
