"""The files of a VisualCLA folder for a model that came from elsewhere."""

from __future__ import annotations

import json
from typing import Any

from tuwen.checkpoints.layouts._preprocessor import preprocessor_from_policy
from tuwen.checkpoints.layouts._slow_llama import slow_llama_files
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor

TEXT, VISION = "text_encoder", "vision_encoder"
WEIGHTS = "pytorch_model.bin"
# What the original was written with; its code reads what that version wrote.
VERSION = "4.30.2"
VISION_KEYS = (
    "attention_dropout", "hidden_act", "hidden_size", "image_size", "initializer_factor", "initializer_range",
    "intermediate_size", "layer_norm_eps", "num_attention_heads", "num_channels", "num_hidden_layers", "patch_size",
    "projection_dim",
)  # fmt: skip
TEXT_KEYS = (
    "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "initializer_range", "intermediate_size",
    "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id",
    "rms_norm_eps", "vocab_size",
)  # fmt: skip


def part_of(name: str) -> str:
    """The weight file that a published tensor is in."""
    if name.startswith(("model.", "lm_head.")):
        return f"{TEXT}/{WEIGHTS}"
    return f"{VISION}/{WEIGHTS}" if name.startswith("vision_model.") else WEIGHTS


def derived_files(config: TuwenConfig, processor: TuwenProcessor) -> dict[str, bytes]:
    """All files but weights, by their relative paths.

    Raises:
        TuwenError: when tokenizer or image policy cannot be written in this layout.
    """
    text = {"model_type": "llama", "tie_word_embeddings": False, "transformers_version": VERSION, "use_cache": True}
    text |= {key: getattr(config.text_config, key) for key in TEXT_KEYS}
    vision = {"model_type": "clip_vision_model", "transformers_version": VERSION}
    vision |= {key: getattr(config.vision_config, key) for key in VISION_KEYS}
    connector = config.connector.model_dump()
    whole = {
        "initializer_range": 0.02,
        "layer_norm_eps": connector["layer_norm_eps"],
        "model_type": "visualcla",
        "text_config": text,
        "transformers_version": VERSION,
        "use_visual_resampler": True,
        "vision_config": vision,
        "visual_resampler_config": {
            "hidden_size": config.vision_config.hidden_size,
            "intermediate_size": connector["intermediate_size"] or 4 * config.vision_config.hidden_size,
            "num_attention_heads": connector["num_heads"],
            "num_hidden_layers": connector["num_layers"],
            "num_query_tokens": connector["num_queries"],
        },
        "vocab_size": config.text_config.vocab_size,
    }
    ids = {key: text[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    contents: dict[str, Any] = {
        "config.json": whole,
        "preprocessor_config.json": preprocessor_from_policy(processor.policy),
        f"{TEXT}/config.json": {"architectures": ["LlamaForCausalLM"], **text},
        f"{TEXT}/generation_config.json": {"_from_model_config": True, **ids, "transformers_version": VERSION},
        f"{VISION}/config.json": {"architectures": ["CLIPVisionModel"], **vision},
    }
    files = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in contents.items()}
    return {**slow_llama_files(processor.tokenizer), **files}
