"""Qwen-VL and its finetunes (arXiv 2308.12966; Belle-VL): one folder with the vision part inside the language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tuwen.checkpoints.layouts._qwen import (
    Settings,
    check_expressible,
    composition,
    language_config,
    language_rules,
    language_values,
    resampler_rules,
    vision_config,
    vision_rules,
    vision_values,
)
from tuwen.checkpoints.layouts._qwen_files import (
    GENERATION,
    NEWER_LABEL,
    dtype_of,
    generation_of,
    ignored,
    kept_files,
    kept_json,
    outgoing,
    processor_of,
    read_options,
    settled,
    small_files,
    special_ids,
    stored_config,
    tokenizer_of,
)
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.refusal import check_sizes
from tuwen.checkpoints.renames import Rule
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.tiktoken import END_OF_TEXT, IMAGE_START
from tuwen.models.processing import TuwenProcessor

ARCHITECTURE = "QWenLMHeadModel"
VISUAL = "transformer.visual."
# Of a config.json, besides what the model says; the code that the original loads is published in such files.
FRESH: dict[str, Any] = {
    "architectures": [ARCHITECTURE],
    "attn_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_qwen.QWenConfig",
        "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
    },
    "bf16": False,
    "emb_dropout_prob": 0.0,
    "fp16": False,
    "fp32": False,
    "model_type": "qwen",
    "onnx_safe": None,
    "scale_attn_weights": True,
    "tokenizer_type": "QWenTokenizer",
    "use_cache": True,
    "use_flash_attn": False,
}
FRESH_GENERATION = {**GENERATION, "chat_format": "chatml", "max_window_size": 6144}


def fresh_values(config: TuwenConfig) -> dict[str, Any]:
    """A ``config.json`` for a model that was made elsewhere."""
    return {**FRESH, "torch_dtype": str(config.dtype or "float32").removeprefix("torch.")}


@LAYOUTS.register("qwen-vl")
class QwenVL(Layout):
    """Folders of ``QWenLMHeadModel`` whose configuration has a ``visual`` section."""

    name: ClassVar[str] = "qwen-vl"
    title: ClassVar[str] = "Qwen-VL (Qwen-VL, Qwen-VL-Chat, Belle-VL)"

    def recognises(self, folder: Path) -> bool:
        """By ``model_type``, ``architectures`` and the section ``visual`` in ``config.json``."""
        values = stored_config(folder) or {}
        return ARCHITECTURE in (values.get("architectures") or []) and isinstance(values.get("visual"), dict)

    def read(self, folder: Path) -> Published:
        """See ``Layout.read``."""
        path = folder / "config.json"
        settings = Settings(path, read_json(path))
        visual = Settings(f"{path}: visual", settings.values.get("visual") or {})
        tokenizer = tokenizer_of(folder)
        special = special_ids(tokenizer, settings)
        if visual.integer("image_start_id") != special[IMAGE_START]:
            raise visual.wrong("image_start_id", f"{special[IMAGE_START]}, the id of {IMAGE_START}")
        if visual.integer("output_dim") != settings.integer("hidden_size"):
            raise visual.wrong("output_dim", f"hidden_size {settings.integer('hidden_size')}")
        files = WeightFiles.find(folder)
        check_sizes(settings.values, len(files), path)
        dtype = dtype_of([files])
        config = composition(language_config(settings, special[END_OF_TEXT]), vision_config(visual), special, dtype)
        return Published(
            layout=self.name,
            config=config,
            processor=processor_of(tokenizer, config, read_options(folder), NEWER_LABEL, path_bytes=True),
            generation=generation_of(folder, special),
            files=files,
            rules=published_rules(config),
            dtype=dtype,
            ignored=ignored,
            keep=kept_files(folder, [files]),
        )

    def write(self, config: TuwenConfig, processor: TuwenProcessor, keep: Mapping[str, bytes]) -> Outgoing:
        """See ``Layout.write``; a model made elsewhere gets one safetensors file."""
        check_expressible(config, processor, self.name)
        text = config.text_config
        image_start = processor.tokenizer.convert_tokens_to_ids(IMAGE_START)
        old = kept_json(keep, "config.json").get("visual", {})
        visual = {**old, **vision_values(config.vision_config, old, image_start, text.hidden_size)}
        end = {"eos_token_id": text.eos_token_id, "pad_token_id": text.eos_token_id}
        files = {
            "config.json": settled(
                keep, "config.json", {**language_values(text), "visual": visual}, fresh_values(config)
            ),
            **small_files(processor, {**FRESH_GENERATION, **end}, keep),
        }
        rules = published_rules(config)
        fresh = {name: "model.safetensors" for rule in rules for name in rule.theirs}
        return outgoing(rules, files, keep, fresh)


def published_rules(config: TuwenConfig) -> list[Rule]:
    """Published names ↔ ours of all weights."""
    return [
        *language_rules(config.text_config.num_hidden_layers),
        *vision_rules(config.vision_config, VISUAL),
        *resampler_rules(config, VISUAL),
    ]
