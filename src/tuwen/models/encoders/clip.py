"""CLIP (arXiv 2103.00020) and Chinese-CLIP (arXiv 2211.01335) vision encoders: one class token."""

from __future__ import annotations

from tuwen.models.encoders.base import ENCODERS, EncoderKind

CLIP = EncoderKind(
    final_norm=("post_layernorm", "vision_model.post_layernorm"),
    prefix=lambda config: 1,
)
ENCODERS.register("clip_vision_model")(CLIP)
ENCODERS.register("chinese_clip_vision_model")(CLIP)
