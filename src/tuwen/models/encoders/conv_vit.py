"""A small vision transformer behind a convolutional stem, for training from scratch.

A stem of strided convolutions instead of one patch projection lets a small transformer learn with far
fewer pictures ("Early Convolutions Help Transformers See Better", arXiv 2106.14881).

Shape legend: B tiles, H and W pixels, N patches, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tuwen.models.encoders.base import ENCODERS, EncoderKind
from tuwen.models.encoders.vit import ViT, ViTBlock


class ConvViTConfig(PretrainedConfig):
    """Sizes of a ``ConvViT``.

    Args:
        image_size: height and width of a tile, in pixels.
        patch_size: pixels a patch covers in each direction; the stem halves its input log2 of this times.
        stem_channels: channels after each halving but the last, which gives ``hidden_size``.
        hidden_size: D.
        num_hidden_layers: transformer layers.
        num_attention_heads: A.
        intermediate_size: width inside the feed-forward layers.
        layer_norm_eps: of all layer norms.
        initializer_range: standard deviation of fresh linear weights.
    """

    model_type = "tuwen_conv_vit"

    def __init__(
        self,
        *,
        image_size: int = 128,
        patch_size: int = 16,
        stem_channels: tuple[int, ...] | list[int] = (24, 48, 96),
        hidden_size: int = 160,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 5,
        intermediate_size: int = 640,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.patch_size = patch_size
        self.stem_channels = list(stem_channels)
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        super().__init__(**kwargs)
        if 2 ** (len(self.stem_channels) + 1) != patch_size:
            raise ValueError(
                f"vision.config.stem_channels: patches of {patch_size} pixels need "
                f"{patch_size.bit_length() - 2} numbers, found {len(self.stem_channels)}"
            )


class ConvViT(ViT):
    """The encoder: stem, learned positions, transformer layers, one final norm."""

    config_class = ConvViTConfig

    def __init__(self, config: ConvViTConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        before = 3
        for after in [*config.stem_channels, config.hidden_size]:
            layers.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1))
            if after != config.hidden_size:
                layers += [nn.GroupNorm(1, after), nn.GELU()]
            before = after
        self.stem = nn.Sequential(*layers)
        side = config.image_size // config.patch_size
        self.position_embedding = nn.Parameter(torch.empty(1, side * side, config.hidden_size))
        self.blocks = nn.ModuleList(ViTBlock(config, "tanh") for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution, which is where pixels enter."""
        return self.stem[0]

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Pixels [B, 3, H, W] → features [B, N, D], normalised last state and all states before the norm."""
        hidden_BND = self.stem(pixel_values).flatten(2).transpose(1, 2)
        return self._through_blocks(hidden_BND + self.position_embedding, output_hidden_states, self.norm)


ENCODERS.register("tuwen_conv_vit")(EncoderKind(final_norm=("norm",)))
AutoConfig.register("tuwen_conv_vit", ConvViTConfig, exist_ok=True)
AutoModel.register(ConvViTConfig, ConvViT, exist_ok=True)
