"""Layers that are computed again in the backward pass: the same gradients with less kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.models.compositions import ENCODER_CONFIGS, LANGUAGE_CONFIGS, compose
from tests.train.stages import backward, batch, disturb, gradients, stage_of
from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.modules.groups import Group, make_groups
from tuwen.train.modules.lora import add_lora
from tuwen.train.policies import ModuleName

ON = {"gradient_checkpointing": True}
LORA = {"mode": "lora", "lora": {"dropout": 0.3}}
FULL = {"mode": "full"}
FROZEN = {"mode": "frozen"}
RESAMPLER = {"type": "resampler", "num_queries": 4, "num_heads": 2, "num_layers": 2}
CASES: list[Any] = [
    *(pytest.param("vision", {"vision": {**LORA, **ON}}, {"vision": name}, id=name) for name in ENCODER_CONFIGS),
    *(pytest.param("language", {"language": {**LORA, **ON}}, {"language": name}, id=name) for name in LANGUAGE_CONFIGS),
    pytest.param("vision", {"vision": {**FULL, **ON}}, {}, id="vision in full"),
    # Nothing that goes into the language model's first layer needs a gradient but for the connector's tokens.
    pytest.param("language", {"connector": FULL, "language": {**FROZEN, **ON}}, {}, id="frozen language"),
    pytest.param("connector", {"connector": {**FULL, **ON}}, {"connector": RESAMPLER}, id="resampler"),
    pytest.param("connector", {"connector": {**LORA, **ON}}, {"connector": RESAMPLER}, id="resampler with lora"),
    pytest.param(
        "connector",
        {"connector": {**FULL, **ON}},
        {"connector": {"type": "abstractor", "num_queries": 4, "depth": 1}},
        id="abstractor",
    ),
    pytest.param(
        "connector",
        {"connector": {**FULL, **ON}},
        {"connector": {"type": "qformer", "num_queries": 4, "hidden_size": 32, "num_layers": 2, "num_heads": 2}},
        id="qformer",
    ),
]


def part(model: TuwenForConditionalGeneration, name: ModuleName) -> nn.Module:
    parts = {"vision": model.model.vision_tower, "connector": model.model.connector}
    return parts.get(name, model.model.language_model)


def step(
    model: TuwenForConditionalGeneration, groups: list[Group], module: ModuleName
) -> tuple[dict[str, torch.Tensor | None], int, int]:
    """Gradients of a batch, calls inside the module's layers, and bytes kept for the backward pass."""
    calls, kept = 0, {}

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    layers = [layer for layer in part(model, module).modules() if isinstance(layer, GradientCheckpointingLayer)]
    hooks = [next(layer.children()).register_forward_pre_hook(count) for layer in layers]
    model.train()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backward(model)
    for hook in hooks:
        hook.remove()
    return gradients(groups), calls, sum(kept.values())


@pytest.mark.parametrize(("module", "modules", "parts"), CASES)
def test_gradients_are_the_same_and_less_is_kept(
    module: ModuleName, modules: dict[str, Any], parts: dict[str, Any]
) -> None:
    stage = stage_of(modules)
    plain = compose(**parts)
    add_lora(plain, stage)
    disturb(make_groups(plain, stage))
    thrifty = copy.deepcopy(plain)
    set_gradient_checkpointing(thrifty, stage)
    wanted, calls, kept = step(plain, make_groups(plain, stage), module)
    found, calls_again, kept_again = step(thrifty, make_groups(thrifty, stage), module)
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-7, msg=name)
    assert any(gradient is not None for gradient in wanted.values())
    # Layers behind the chosen one are not gone through again.
    assert calls < calls_again <= 2 * calls
    assert kept_again < kept


def test_the_next_stage_and_evaluation_are_as_they_were() -> None:
    model = compose()
    stage = stage_of({"language": {**FULL, **ON}})
    set_gradient_checkpointing(model, stage)
    groups = make_groups(model, stage)
    with torch.enable_grad():
        model.eval()
        once = model(**batch(model)).logits
    assert once.requires_grad
    _, twice, _ = step(model, groups, "language")
    set_gradient_checkpointing(model, stage_of({"language": FULL}))
    _, once_again, _ = step(model, groups, "language")
    assert twice == 2 * once_again


def test_a_connector_without_layers_is_refused() -> None:
    message = r"stages\.one\.modules\.connector\.gradient_checkpointing: MLPConnector has no layers"
    with pytest.raises(TuwenError, match=message):
        set_gradient_checkpointing(compose(connector={"type": "mlp"}), stage_of({"connector": {**FULL, **ON}}))
