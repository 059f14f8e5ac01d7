"""Layers that keep their inputs alone for the backward pass and compute the rest again (arXiv 1604.06174)."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.policies import MODULES, ModuleName, ModulePolicy
from tuwen.train.stage import Stage


def set_gradient_checkpointing(model: TuwenForConditionalGeneration, stage: Stage) -> None:
    """Turn it on in the modules of which the stage says so, and off in the others.

    Layers are computed again while they are in training mode only. Their inputs need no gradients of their own.

    Raises:
        TuwenError: when a module has no layers that can do it.
    """
    parts: dict[ModuleName, nn.Module] = {
        "vision": model.model.vision_tower,
        "connector": model.model.connector,
        "language": model.model.language_model,
    }
    for name in MODULES:
        wanted = stage.modules.get(name, ModulePolicy(mode="frozen")).gradient_checkpointing
        layers = [layer for layer in parts[name].modules() if isinstance(layer, GradientCheckpointingLayer)]
        if wanted and not layers:
            raise TuwenError(
                f"stages.{stage.name}.modules.{name}.gradient_checkpointing: {type(parts[name]).__name__} has no "
                "layers that can be computed again; remove it"
            )
        for layer in layers:
            layer.gradient_checkpointing = wanted
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
