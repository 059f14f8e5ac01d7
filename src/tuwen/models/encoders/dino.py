"""DINOv2 (arXiv 2304.07193, registers 2309.16588) and DINOv3 (arXiv 2508.10104) vision encoders."""

from __future__ import annotations

from tuwen.models.encoders.base import ENCODERS, EncoderKind

ENCODERS.register("dinov2")(EncoderKind(final_norm=("layernorm",), prefix=lambda config: 1))
WITH_REGISTERS = EncoderKind(
    final_norm=("layernorm", "norm"),
    prefix=lambda config: 1 + config.num_register_tokens,
)
ENCODERS.register("dinov2_with_registers")(WITH_REGISTERS)
ENCODERS.register("dinov3_vit")(WITH_REGISTERS)
