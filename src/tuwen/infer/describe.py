"""What a model folder holds, in a page; no weight is read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import quiet, read_config
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

SIZES = ((336, 336), (1024, 768), (768, 1024), (1920, 1080))


def describe(path: Path) -> RenderableType:
    """Parts, sizes, tokens per picture and prompt of a model folder (`tuwen describe`).

    Raises:
        TuwenError: when it is not a model folder.
    """
    config = read_config(path)
    with quiet():
        processor = TuwenProcessor.from_pretrained(path)
        with torch.device("meta"):
            model = TuwenForConditionalGeneration(config)
        model.tie_weights()
    parts = Table(title=str(path), title_justify="left")
    for heading in ("part", "kind", "parameters"):
        parts.add_column(heading, justify="right" if heading == "parameters" else "left")
    rows = (
        ("vision encoder", config.vision_config.model_type, model.model.vision_tower),
        ("connector", config.connector_config["type"], model.model.connector),
        ("language model", config.text_config.model_type, model.model.language_model),
        ("together", f"{_stored_bytes(path) / 2**20:.1f} MiB on disk", model),
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
    return Group(parts, details, Text("prompt", style="bold"), Text(_example(processor)))


def _example(processor: TuwenProcessor) -> str:
    messages = [Message.of("user", Image(), "图里有什么?")]
    one = [processor.num_image_tokens(*SIZES[0])]
    return processor.renderer.render(messages, one, add_generation_prompt=True).text


def _stored_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))
