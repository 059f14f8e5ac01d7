"""What a model folder holds, in a page; no weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.opening import layout_title, read_folder
from tuwen.checkpoints.refusal import quiet
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

SIZES = ((336, 336), (1024, 768), (768, 1024), (1920, 1080))


def describe(path: Path) -> RenderableType:
    """Parts, sizes, tokens per picture and prompt of a model folder (`tuwen describe`).

    Raises:
        TuwenError: when it is not a model folder.
    """
    published = read_folder(path)
    config, processor, files = published.config, published.processor, published.files
    with quiet(), torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
    model.tie_weights()
    parts = Table(title=f"{path}: {layout_title(published.layout)}", title_justify="left")
    stored = sum(file.stat().st_size for file in {files.path(name) for name in files})
    for heading in ("part", "kind", "parameters"):
        parts.add_column(heading, justify="right" if heading == "parameters" else "left")
    rows = (
        ("vision encoder", config.vision_config.model_type, model.model.vision_tower),
        ("connector", config.connector_config["type"], model.model.connector),
        ("language model", config.text_config.model_type, model.model.language_model),
        ("together", f"{stored / 2**20:,.1f} MiB on disk, {str(published.dtype).removeprefix('torch.')}", model),
    )
    for name, kind, module in rows:
        parts.add_row(name, kind, f"{sum(tensor.numel() for tensor in module.parameters()):,}")
    details = Table.grid(padding=(0, 2))
    feature = config.feature
    details.add_row(
        "vision feature", f"layers {feature.layers}, {feature.select}, post_layernorm {feature.post_layernorm}"
    )
    details.add_row("connector", Text(json.dumps(config.connector_config)))
    details.add_row("image policy", Text(json.dumps(processor.policy.to_dict())))
    counts = [f"{width}x{height}: {processor.num_image_tokens(width, height)}" for width, height in SIZES]
    details.add_row("tokens a picture", ", ".join(counts))
    details.add_row("vocabulary", f"{len(processor.tokenizer):,}, image token {processor.image_token_id}")
    details.add_row("generation", Text(json.dumps(_shown(published.generation), ensure_ascii=False)))
    return Group(parts, details, Text("prompt", style="bold"), Text(_example(processor)))


def _shown(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Generation defaults without the notes that `transformers` adds and what is not set."""
    return {
        name: value for name, value in generation.items() if value is not None and name not in ("transformers_version",)
    }


def _example(processor: TuwenProcessor) -> str:
    messages = [Message.of("user", Image(), "图里有什么?")]
    one = [processor.num_image_tokens(*SIZES[0])]
    return processor.renderer.render(messages, one, add_generation_prompt=True).text
