"""The files of a LLaVA-1.5 folder for a model that did not come from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tuwen.checkpoints.layouts._preprocessor import preprocessor_from_policy
from tuwen.checkpoints.layouts._tokenizer_files import tokenizer_files
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.encoders.base import encoder_kind
from tuwen.models.processing import TuwenProcessor

ARCHITECTURE = "LlavaForConditionalGeneration"
ENCODERS = ("chinese_clip_vision_model", "clip_vision_model", "siglip_vision_model")
# Numbers of a weight file at most: 5 GB in half precision.
SHARD = 2_500_000_000


def fresh_files(config: TuwenConfig, processor: TuwenProcessor) -> dict[str, bytes]:
    """All files but weights for a model that did not come from such a folder."""
    values = _llava_values(config, processor)
    generation = {
        name: value
        for name in ("bos_token_id", "eos_token_id")
        if (value := values["text_config"].get(name)) is not None
    }
    settings = {
        "processor_class": "LlavaProcessor",
        "image_token": processor.image_token,
        "patch_size": config.vision_config.patch_size,
        "vision_feature_select_strategy": values["vision_feature_select_strategy"],
        "num_additional_image_tokens": encoder_kind(config.vision_config).prefix(config.vision_config),
    }
    return {
        **tokenizer_files(processor.tokenizer),
        "chat_template.jinja": (processor.chat_template or "").encode(),
        "config.json": _json(values),
        "generation_config.json": _json(generation),
        "preprocessor_config.json": _json(preprocessor_from_policy(processor.policy)),
        "processor_config.json": _json(settings),
    }


def _llava_values(config: TuwenConfig, processor: TuwenProcessor) -> dict[str, Any]:
    vision, text, connector = config.vision_config, config.text_config, config.connector_config
    if vision.model_type not in ENCODERS:
        raise TuwenError(f"vision_config: LLaVA-1.5 takes {', '.join(ENCODERS)}; this model has {vision.model_type}")
    settings = config.connector.model_dump()
    wanted = {**settings, "depth": 2, "input_norm": False}
    if connector["type"] != "mlp" or settings != wanted or settings["hidden_size"] not in (None, text.hidden_size):
        raise TuwenError(
            f"connector_config: LLaVA-1.5 has an mlp of two layers; this model has {json.dumps(connector)}"
        )
    feature = config.feature
    if feature.post_layernorm:
        raise TuwenError("vision_feature.post_layernorm: LLaVA-1.5 takes features without it; this model with it")
    has_class = encoder_kind(vision).prefix(vision) > 0
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "llava",
        "ignore_index": -100,
        "image_seq_length": processor.tokens_per_tile,
        "image_token_index": config.image_token_id,
        "pad_token_id": processor.tokenizer.pad_token_id,
        "projector_hidden_act": settings["activation"],
        "text_config": text.to_dict(),
        "tie_word_embeddings": config.tie_word_embeddings,
        "vision_config": vision.to_dict(),
        "vision_feature_layer": feature.layers[0] if len(feature.layers) == 1 else feature.layers,
        "vision_feature_select_strategy": "default" if feature.select == "patch" and has_class else "full",
    }


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=2, default=str) + "\n").encode()
