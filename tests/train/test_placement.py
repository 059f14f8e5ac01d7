"""What weights are held in: trained ones in fp32, others in what they can do with, and nothing lost unless said."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from tests.models.compositions import ENCODER_CONFIGS, LANGUAGE_CONFIGS, compose
from tests.train.stages import backward, batch, disturb, gradients, logits, stage_of
from tuwen.config import MissingExtraError, TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.nf4 import is_packed, numbers
from tuwen.train.modules.groups import Group, make_groups
from tuwen.train.modules.lora import add_lora, fold_lora, merged_state_dict, save_adapter
from tuwen.train.modules.optimizer import GroupedOptimizer
from tuwen.train.modules.placement import Precision, held_in, place_weights, weight_types

FROZEN = {"mode": "frozen"}
FULL = {"mode": "full"}
LORA = {"mode": "lora"}


def placed(model: TuwenForConditionalGeneration, modules: dict[str, Any], precision: Precision = "bf16") -> list[Group]:
    stage = stage_of(modules)
    add_lora(model, stage)
    groups = make_groups(model, stage)
    place_weights(model, stage, precision)
    return groups


def held(model: TuwenForConditionalGeneration) -> dict[str, set[str]]:
    """What the tensors of each part are held in, adapters apart."""
    found: dict[str, set[str]] = {}
    for name, tensor in model.named_parameters():
        part = "adapters" if ".lora_" in name else name.removeprefix("model.").split(".")[0]
        found.setdefault(part, set()).add(held_in(tensor))
    return found


def rounded(model: TuwenForConditionalGeneration) -> TuwenForConditionalGeneration:
    """As published in bf16, read in fp32."""
    return model.bfloat16().float()


def test_what_is_exact_in_bf16_is_held_in_it_and_the_rest_is_not() -> None:
    model = compose(language="llama")
    rounded(model.model.language_model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = placed(model, {"connector": FULL, "language": LORA})
    assert held(model) == {
        "vision_tower": {"fp32"},
        "connector": {"fp32"},
        # The output head was not rounded, and of a module everything is held alike.
        "language_model": {"fp32"},
        "lm_head": {"fp32"},
        "adapters": {"fp32"},
    }
    fold_lora(model)
    rounded(model.lm_head)
    before["lm_head.weight"] = model.lm_head.weight.data.clone()
    groups = placed(model, {"connector": FULL, "language": LORA})
    assert held(model)["language_model"] == held(model)["lm_head"] == {"bf16"}
    assert held(model)["vision_tower"] == held(model)["connector"] == held(model)["adapters"] == {"fp32"}
    assert all(torch.equal(value, before[name]) for name, value in merged_state_dict(model).items())
    assert all(tensor.dtype == torch.float32 for group in groups for tensor in group.tensors)


@pytest.mark.parametrize(
    ("base", "precision", "wanted"),
    [("bf16", "bf16", "bf16"), ("fp32", "bf16", "fp32"), (None, "bf16", "fp32"), (None, "fp32", "fp32")],
)
def test_a_base_is_held_in_what_is_said(base: str | None, precision: Precision, wanted: str) -> None:
    model = compose()
    settings = {} if base is None else {"base": base}
    stage = stage_of({"vision": {**FROZEN, **settings}, "connector": FULL, "language": {**LORA, **settings}})
    add_lora(model, stage)
    make_groups(model, stage)
    types = weight_types(model, stage, precision)
    place_weights(model, stage, precision)
    assert {name: held_in(tensor) for name, tensor in model.named_parameters()} == types
    assert held(model)["vision_tower"] == held(model)["language_model"] == {wanted}
    assert held(model)["adapters"] == held(model)["connector"] == {"fp32"}


def test_half_precision_without_mixed_precision_is_refused() -> None:
    message = r"stages\.one\.modules\.language\.base: bf16 needs the recipe's precision to be bf16"
    with pytest.raises(TuwenError, match=message):
        placed(compose(), {"connector": FULL, "language": {**FROZEN, "base": "bf16"}}, "fp32")


def test_of_a_model_without_numbers_the_stored_type_is_believed() -> None:
    config = compose().config
    config.text_config.dtype = "bfloat16"
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
        model.tie_weights()
    placed(model, {"connector": FULL, "language": LORA})
    assert held(model)["language_model"] == {"bf16"}
    assert held(model)["vision_tower"] == {"fp32"}


CONNECTORS: list[dict[str, Any]] = [
    {"type": "mlp"},
    {"type": "cross_attention", "num_queries": 4, "num_heads": 2, "width": 16},
    {"type": "resampler", "num_queries": 4, "num_heads": 2, "num_layers": 2},
    {"type": "qformer", "num_queries": 4, "hidden_size": 32, "num_layers": 2, "num_heads": 2},
    {"type": "abstractor", "num_queries": 4, "depth": 1},
]


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda settings: settings["type"])
@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_every_part_trains_beside_parts_in_half_precision(connector: dict[str, Any], mode: str) -> None:
    half = {"base": "bf16"}
    own = {"mode": mode, **(half if mode != "full" else {})}
    model = compose(connector=connector)
    groups = placed(model, {"vision": {**LORA, **half}, "connector": own, "language": {**LORA, **half}})
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        backward(model)
    names = {name for name, gradient in gradients(groups).items() if gradient is not None}
    assert {"model.vision_tower", "model.language_model"} <= {".".join(name.split(".")[:2]) for name in names}
    assert any(name.startswith("model.connector.") for name in names) == (mode != "frozen")


@pytest.mark.parametrize(
    ("vision", "language"),
    [(vision, "qwen2") for vision in ENCODER_CONFIGS] + [("clip_vision_model", name) for name in LANGUAGE_CONFIGS],
)
@pytest.mark.parametrize("mode", ["lora", "embeddings"])
def test_every_kind_of_model_trains_with_a_base_in_half_precision(vision: str, language: str, mode: str) -> None:
    model = compose(vision=vision, language=language)
    half = {"base": "bf16"}
    groups = placed(model, {"vision": {**LORA, **half}, "connector": FULL, "language": {"mode": mode, **half}})
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        backward(model)
    reached = [name for name, gradient in gradients(groups).items() if gradient is not None]
    assert {group.module for group in groups if set(group.names) & set(reached)} == {"vision", "connector", "language"}


def test_four_bits_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(MissingExtraError, match=r"run `pip install 'tuwen\[qlora\]'`"):
        placed(compose(), {"language": {**LORA, "base": "nf4"}})


NF4 = {"connector": FULL, "language": {**LORA, "base": "nf4", "lora": {"rank": 4}}}


def test_a_base_in_4_bits_is_small_and_the_rest_is_as_before() -> None:
    pytest.importorskip("bitsandbytes")
    model = compose(language="llama")
    linear = {
        f"{name}.weight"
        for name, module in model.model.language_model.named_modules(prefix="model.language_model")
        if isinstance(module, nn.Linear)
    }
    total = sum(tensor.numel() for tensor in model.parameters())
    placed(model, NF4)
    packed = {name.replace(".base_layer.", "."): one for name, one in model.named_parameters() if is_packed(one)}
    assert packed.keys() == linear
    assert all(tensor.numel() * 2 == numbers(tensor) for tensor in packed.values())
    assert sum(numbers(one) for name, one in model.named_parameters() if ".lora_" not in name) == total


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_on_4_bits_are_merged_with_what_they_were_trained_on(
    kind: str, precision: Precision, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    start = compose()
    modules = {"connector": FULL, "language": {**LORA, "base": "nf4", "lora": {"type": kind}}}
    model, stage = copy.deepcopy(start), stage_of(modules)
    config = add_lora(model, stage)
    groups = make_groups(model, stage)
    place_weights(model, stage, precision)
    optimizer = GroupedOptimizer(groups, stage)
    model.train()
    losses = []
    for step in range(6):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            losses.append(backward(model, seed=0))
        optimizer.step(step)
    assert losses[-1] < losses[0]
    disturb(groups)
    inputs = batch(model)
    wanted = logits(model, inputs)
    merged = copy.deepcopy(start)
    merged.load_state_dict(merged_state_dict(model))
    near = 1e-5 if precision == "fp32" else 0.05
    torch.testing.assert_close(logits(merged, inputs), wanted, rtol=near, atol=near)

    save_adapter(model, config, tmp_path / "adapter")
    fold_lora(model)
    torch.testing.assert_close(logits(model, inputs), logits(merged, inputs))
    assert [type(module) for module in model.modules()] == [type(module) for module in start.modules()]
    # `peft` adds the adapter to the base as it was published, which is the rounded one nearly.
    opened = PeftModel.from_pretrained(start, str(tmp_path / "adapter"))
    assert float((logits(opened, inputs) - wanted).abs().max()) < 0.5 * float(wanted.abs().max())


def test_4_bits_in_one_stage_and_none_in_the_next() -> None:
    pytest.importorskip("bitsandbytes")
    model = compose()
    placed(model, {"vision": {**FROZEN, "base": "nf4"}, **NF4})
    fold_lora(model)
    assert not any(is_packed(tensor) for tensor in model.parameters())
    before = merged_state_dict(model)
    placed(model, {"vision": LORA, "connector": FULL, "language": {**LORA, "base": "fp32"}})
    assert all(torch.equal(value, before[name]) for name, value in merged_state_dict(model).items())
    assert held(model)["vision_tower"] == held(model)["language_model"] == {"fp32"}


def test_4_bits_of_nothing_are_refused() -> None:
    model = compose(connector={"type": "identity"})
    with pytest.raises(TuwenError, match=r"modules\.connector\.base: nf4 has no effect, there is no linear layer"):
        placed(model, {"connector": {**FROZEN, "base": "nf4"}, "language": FULL})
