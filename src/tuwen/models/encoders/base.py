"""How each kind of vision encoder is called, and what its features mean.

A vision encoder is a `transformers` model. What differs between kinds, and what no configuration says, is
kept here: what stands before the patches, which layer normalises at the end, and how pixels go in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tuwen.config import Registry, TuwenError
from tuwen.vision.grid import PatchGrid

_HERE = "tuwen.models.encoders"
ENCODERS = Registry(
    "vision encoder",
    {
        "chinese_clip_vision_model": f"{_HERE}.clip",
        "clip_vision_model": f"{_HERE}.clip",
        "dinov2": f"{_HERE}.dino",
        "dinov2_with_registers": f"{_HERE}.dino",
        "dinov3_vit": f"{_HERE}.dino",
        "siglip2_vision_model": f"{_HERE}.siglip",
        "siglip_vision_model": f"{_HERE}.siglip",
        "tuwen_conv_vit": f"{_HERE}.conv_vit",
        "tuwen_qwen_vit": f"{_HERE}.qwen_vit",
    },
)


def _as_they_are(pixel_values_B3HW: Tensor, config: Any) -> dict[str, Any]:
    return {"pixel_values": pixel_values_B3HW}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderKind:
    """What Tuwen has to know of a kind of vision encoder, filed under its exact ``model_type``.

    Attributes:
        final_norm: where the normalisation after the last layer sits in the module; the first of these
            paths that exists is taken, as `transformers` moved some of them.
        prefix: configuration → class and register tokens that come before the patches.
        inputs: (pixels [B, 3, H, W], configuration) → keyword arguments of the encoder's ``forward``.
    """

    final_norm: tuple[str, ...]
    prefix: Callable[[Any], int] = lambda config: 0
    inputs: Callable[[Tensor, Any], dict[str, Any]] = _as_they_are

    def norm(self, encoder: nn.Module) -> nn.Module:
        """The normalisation that follows the last layer of ``encoder``."""
        for path in self.final_norm:
            try:
                return encoder.get_submodule(path)
            except AttributeError:
                continue
        raise TuwenError(f"{type(encoder).__name__} has no {' or '.join(self.final_norm)}: set post_layernorm to false")


def encoder_kind(vision_config: Any) -> EncoderKind:
    """The kind of encoder that ``vision_config`` (a `transformers` configuration) describes.

    Raises:
        TuwenError: when its ``model_type`` is not a known vision encoder.
    """
    kind: EncoderKind = ENCODERS.get(vision_config.model_type)
    return kind


def patch_grid(vision_config: Any, height: int, width: int, select: str) -> PatchGrid:
    """The features that a tile of ``height`` × ``width`` pixels gives.

    Raises:
        TuwenError: when the tile is smaller than a patch.
    """
    size = vision_config.patch_size
    patch_height, patch_width = (size, size) if isinstance(size, int) else tuple(size)
    if height < patch_height or width < patch_width:
        raise TuwenError(
            f"image_policy: tiles of {width}x{height} pixels are smaller than the vision encoder's "
            f"patches of {patch_width}x{patch_height}"
        )
    prefix = encoder_kind(vision_config).prefix(vision_config) if select == "all" else 0
    return PatchGrid(rows=height // patch_height, columns=width // patch_width, prefix=prefix)


def flatten_patches(pixel_values_B3HW: Tensor, patch_size: int) -> Tensor:
    """Pixels [B, 3, H, W] → [B, patches, patch_size² · 3], row by row, channels last (SigLIP 2)."""
    batch, channels, height, width = pixel_values_B3HW.shape
    rows, columns = height // patch_size, width // patch_size
    cut = pixel_values_B3HW[:, :, : rows * patch_size, : columns * patch_size]
    cut = cut.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size * patch_size * channels)


def spatial_shapes(pixel_values_B3HW: Tensor, patch_size: int) -> Tensor:
    """Rows and columns of patches of each tile: [B, 2]; read one by one, so kept where that does not wait for a GPU."""
    batch, _, height, width = pixel_values_B3HW.shape
    return torch.tensor([height // patch_size, width // patch_size], device="cpu").expand(batch, 2)
