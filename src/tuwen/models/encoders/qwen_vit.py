"""Qwen-VL's vision transformer (arXiv 2308.12966), of the shape of OpenCLIP's ViT-bigG: patches only, no final norm.

Shape legend: B tiles, H and W pixels, N patches in R rows and C columns, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tuwen.models.encoders.base import ENCODERS, EncoderKind
from tuwen.models.encoders.vit import ViT, ViTBlock
from tuwen.models.positions import resize_positions


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


class QwenViT(ViT):
    """The encoder: patches, resized positions, a norm, transformer layers."""

    config_class = QwenViTConfig

    def __init__(self, config: QwenViTConfig) -> None:
        super().__init__(config)
        size, width = config.patch_size, config.hidden_size
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=size, stride=size, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(config.num_positions, width))
        self.pre_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(ViTBlock(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The projection of patches, which is where pixels enter."""
        return self.patch_embedding

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Pixels [B, 3, H, W] → features [B, N, D] of the last layer, their mean, and all states where asked for."""
        patches_BDRC = self.patch_embedding(pixel_values)
        positions_ND = resize_positions(self.position_embedding, *patches_BDRC.shape[-2:])
        patches_BND = patches_BDRC.flatten(2).transpose(1, 2)
        hidden_BND = self.pre_norm(patches_BND + positions_ND.to(self.position_embedding.dtype))
        return self._through_blocks(hidden_BND, output_hidden_states)


# There is no final norm; asking for one is answered with this name.
ENCODERS.register("tuwen_qwen_vit")(EncoderKind(final_norm=("final_norm",)))
AutoConfig.register("tuwen_qwen_vit", QwenViTConfig, exist_ok=True)
AutoModel.register(QwenViTConfig, QwenViT, exist_ok=True)
