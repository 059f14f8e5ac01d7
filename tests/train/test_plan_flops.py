"""Operations of a step are those that are counted while one is computed, and what is known of language models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.train.test_plan_memory import SHAPE, config_of, real_model, stage_of
from tuwen.models.configuration import TuwenConfig
from tuwen.train.planning.devices import DEVICES, SHORT, find_device, peak_flops
from tuwen.train.planning.flops import stage_flops
from tuwen.train.planning.rehearsal import UNMASKED, blank_pixels, forward_pass, imagined_model
from tuwen.vision.grid import Grid

TILE = Grid(1, SHAPE.height, SHAPE.width)
BIG: dict[str, Any] = {"model_type": "qwen2", "vocab_size": 152064, "num_attention_heads": 28, "num_key_value_heads": 4}
BIG |= {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 4}
VISION: dict[str, Any] = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, "hidden_size": 1024}
VISION |= {"intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "modes", ["full full full", "frozen full frozen", "frozen full lora", "lora full lora", "full full frozen"]
)
def test_operations_are_those_of_a_step(modes: str, checkpointing: bool) -> None:
    config, stage = config_of("siglip_vision_model", "qwen2"), stage_of(modes)
    model = real_model(config, stage, frozen_in_bf16=False)
    model.set_attn_implementation({"text_config": UNMASKED, "vision_config": UNMASKED})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        forward_pass(model, stage, SHAPE, blank_pixels(SHAPE)).backward()
    # What is computed once more is not counted.
    flops = stage_flops(config, stage_of(modes, checkpointing=checkpointing), TILE)
    squares = SHAPE.rows * SHAPE.length**2
    # `torch` counts both halves of causal attention.
    whole = flops.of(SHAPE.rows * SHAPE.length, 2 * squares, SHAPE.tiles, SHAPE.answers)
    assert whole == pytest.approx(counted.get_total_flops(), rel=1e-6)


@pytest.mark.parametrize(("modes", "factor"), [("full full full", 6), ("full full frozen", 4), ("full full lora", 4)])
def test_a_token_takes_six_operations_a_parameter_or_four_of_frozen_ones(modes: str, factor: int) -> None:
    config = TuwenConfig(vision_config=VISION, text_config=BIG, connector_config={"type": "mlp"})
    stage = stage_of(modes)
    flops = stage_flops(config, stage, Grid(1, 336, 336))
    model, _ = imagined_model(config, stage_of("full full full"))
    parameters = sum(weight.numel() for weight in model.model.language_model.layers.parameters())
    assert parameters == pytest.approx(4 * 0.233e9, rel=0.01)
    assert flops.token == pytest.approx(factor * parameters, rel=0.02)
    # 12 · layers · width · length² (PaLM), of which causal attention needs half.
    assert flops.square == pytest.approx(6 * 4 * 3584)
    assert flops.answer == (4 if factor == 4 else 6) * 152064 * 3584


def test_the_models_own_configuration_is_left_as_it_is() -> None:
    config = config_of("clip_vision_model", "qwen2")
    before = config.to_json_string(), config.text_config._attn_implementation
    stage_flops(config, stage_of("full full full"), TILE)
    assert (config.to_json_string(), config.text_config._attn_implementation) == before


def test_what_is_not_trained_by_answers_is_not_computed() -> None:
    stage = stage_of("full full full", objectives={"regions": 1.0})
    flops = stage_flops(config_of("tuwen_conv_vit", "llama"), stage, TILE)
    assert flops.token == flops.square == 0
    assert flops.tile > 0
    assert flops.answer > 0


def test_peaks_are_known_by_the_names_that_torch_reports() -> None:
    assert peak_flops("NVIDIA A100-SXM4-80GB", torch.bfloat16) == 312e12
    assert peak_flops("NVIDIA H100 80GB HBM3", torch.bfloat16) == 989e12
    assert peak_flops("NVIDIA GeForce RTX 4090", torch.float16) == 165e12
    assert peak_flops("Tesla V100-SXM2-32GB", torch.float16) == 125e12
    assert peak_flops("Tesla V100-SXM2-32GB", torch.bfloat16) is None
    assert peak_flops("NVIDIA A100-SXM4-80GB", torch.float32) is None
    assert peak_flops("NVIDIA A100", torch.bfloat16) is None
    assert peak_flops("", torch.bfloat16) is None


def test_every_short_name_is_a_device() -> None:
    assert set(SHORT.values()) <= set(DEVICES)
    assert find_device("H20").name == "NVIDIA H20" == find_device("NVIDIA H20").name
