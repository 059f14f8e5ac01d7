"""SigLIP (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786) vision encoders: patches only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tuwen.models.encoders.base import ENCODERS, EncoderKind, flatten_patches, spatial_shapes

NORM = ("post_layernorm", "vision_model.post_layernorm")


def _patches(pixel_values_B3HW: Tensor, config: Any) -> dict[str, Any]:
    patches_BNP = flatten_patches(pixel_values_B3HW, config.patch_size)
    return {
        "pixel_values": patches_BNP,
        "pixel_attention_mask": torch.ones(patches_BNP.shape[:2], dtype=torch.long, device=patches_BNP.device),
        "spatial_shapes": spatial_shapes(pixel_values_B3HW, config.patch_size),
    }


ENCODERS.register("siglip_vision_model")(EncoderKind(final_norm=NORM))
ENCODERS.register("siglip2_vision_model")(EncoderKind(final_norm=NORM, inputs=_patches))
