"""Stages and steps on tiny models, for tests of what is trained and how."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.compositions import IMAGE_TOKEN_ID
from tuwen.config import parse_config
from tuwen.models.encoders.base import patch_grid
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.groups import Group
from tuwen.train.stage import Stage


def stage_of(modules: dict[str, Any], **settings: Any) -> Stage:
    """A stage called ``one``; modules that are trained have a learning rate of 0.01 unless said."""
    rated = {
        name: values if values["mode"] == "frozen" else {"learning_rate": 0.01, **values}
        for name, values in modules.items()
    }
    return parse_config(Stage, {"name": "one", "steps": 6, "groups": 1, "modules": rated, **settings}, "test")


def batch(model: TuwenForConditionalGeneration, seed: int = 0) -> dict[str, torch.Tensor]:
    """Two sequences with a picture each, all of their tokens trained."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    config = model.config
    tokens = config.connector.num_tokens(patch_grid(config.vision_config, 32, 32, config.feature.select))
    words = torch.randint(6, 64, (2, 8), generator=generator)
    ids = torch.cat([torch.full((2, tokens), IMAGE_TOKEN_ID), words], dim=1)
    labels = torch.cat([torch.full((2, tokens), -100), words], dim=1)
    return {"input_ids": ids, "pixel_values": pixels, "labels": labels}


def backward(model: TuwenForConditionalGeneration, seed: int = 0) -> float:
    """Gradients of one batch; returns its loss."""
    loss = model(**batch(model, seed)).loss
    loss.backward()
    return float(loss.detach())


def gradients(groups: list[Group]) -> dict[str, torch.Tensor | None]:
    """Of every trained tensor, by its name."""
    return {
        name: None if tensor.grad is None else tensor.grad.clone()
        for group in groups
        for name, tensor in zip(group.names, group.tensors, strict=True)
    }


@torch.no_grad()
def disturb(groups: list[Group]) -> None:
    """Change every trained tensor, as training would."""
    generator = torch.Generator().manual_seed(7)
    for group in groups:
        for tensor in group.tensors:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


@torch.no_grad()
def logits(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a model says, out of training."""
    return model.eval()(**{name: value for name, value in inputs.items() if name != "labels"}).logits
