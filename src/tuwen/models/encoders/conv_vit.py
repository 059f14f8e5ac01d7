"""A small vision transformer behind a convolutional stem, for training from scratch.

A stem of strided convolutions instead of one patch projection lets a small transformer learn with far
fewer pictures ("Early Convolutions Help Transformers See Better", arXiv 2106.14881).

Shape legend: B tiles, C channels, H and W pixels, N patches, D width, A attention heads, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tuwen.models.encoders.base import ENCODERS, EncoderKind


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


class ConvViTBlock(nn.Module):
    """A pre-norm transformer layer without masks."""

    def __init__(self, config: ConvViTConfig) -> None:
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
        expanded = functional.gelu(self.expand(self.norm2(hidden_BND)), approximate="tanh")
        return hidden_BND + self.contract(expanded)


class ConvViT(PreTrainedModel):
    """The encoder: stem, learned positions, transformer layers, one final norm."""

    config_class = ConvViTConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = False
    _no_split_modules = ["ConvViTBlock"]
    _supports_sdpa = True
    _supports_attention_backend = True

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
        self.blocks = nn.ModuleList(ConvViTBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=self.config.initializer_range)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ConvViT):
            nn.init.trunc_normal_(module.position_embedding, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution, which is where pixels enter."""
        return self.stem[0]

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Pixels [B, 3, H, W] → features [B, N, D], normalised last state and all states before the norm."""
        hidden_BND = self.stem(pixel_values).flatten(2).transpose(1, 2)
        hidden_BND = hidden_BND + self.position_embedding
        states = [hidden_BND]
        for block in self.blocks:
            hidden_BND = block(hidden_BND)
            states.append(hidden_BND)
        normalised = self.norm(hidden_BND)
        return BaseModelOutputWithPooling(
            last_hidden_state=normalised,
            pooler_output=normalised.mean(dim=1),
            hidden_states=tuple(states) if output_hidden_states else None,
        )


ENCODERS.register("tuwen_conv_vit")(EncoderKind(final_norm=("norm",)))
