"""Tiny parts to compose in tests: every encoder and several language models, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODER_CONFIGS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {**SIZES, "image_size": 32, "patch_size": 8},
    "chinese_clip_vision_model": {**SIZES, "image_size": 32, "patch_size": 8},
    "siglip_vision_model": {**SIZES, "image_size": 32, "patch_size": 8},
    "siglip2_vision_model": {**SIZES, "num_patches": 16, "patch_size": 8},
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
    "dinov2_with_registers": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "num_register_tokens": 3,
    },
    "dinov3_vit": {**SIZES, "image_size": 32, "patch_size": 8, "num_register_tokens": 4},
    "tuwen_qwen_vit": {**SIZES, "image_size": 32, "patch_size": 8},
    "tuwen_conv_vit": {**SIZES, "image_size": 32, "patch_size": 8, "stem_channels": [8, 16]},
}
LANGUAGE = {**SIZES, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64, "pad_token_id": 0}
LANGUAGE_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**LANGUAGE, "tie_word_embeddings": False},
    "qwen2": {**LANGUAGE, "tie_word_embeddings": True},
    "qwen3": {**LANGUAGE, "tie_word_embeddings": True},
    "gemma": {**LANGUAGE, "tie_word_embeddings": True},
    "mistral": {**LANGUAGE, "tie_word_embeddings": False},
    "tuwen_qwen1": {**LANGUAGE, "tie_word_embeddings": False},
}
IMAGE_TOKEN_ID = 5


def compose(
    vision: str = "clip_vision_model",
    language: str = "qwen2",
    connector: dict[str, Any] | None = None,
    **feature: Any,
) -> TuwenForConditionalGeneration:
    """A tiny model of the named parts with random weights, the same every time."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    config = TuwenConfig(
        vision_config={"model_type": vision, **ENCODER_CONFIGS[vision]},
        text_config={"model_type": language, **ids, **LANGUAGE_CONFIGS[language]},
        connector_config=connector or {"type": "linear"},
        vision_feature=feature,
        image_token_id=IMAGE_TOKEN_ID,
    )
    return TuwenForConditionalGeneration(config).eval()


def prompt(model: TuwenForConditionalGeneration, pictures: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [1, L] and pixels [pictures, 3, 32, 32] of a prompt with some pictures."""
    torch.manual_seed(1)
    pixels = torch.randn(pictures, 3, 32, 32)
    with torch.no_grad():
        tokens = model.get_image_features(pixels).pooler_output.shape[1]
    ids = [1, *([7, *[IMAGE_TOKEN_ID] * tokens] * pictures), 8, 9]
    return torch.tensor([ids]), pixels
