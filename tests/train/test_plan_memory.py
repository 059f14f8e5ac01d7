"""What a plan says of memory is what is measured: of passes by the allocator, of the rest by tensors that are there."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from tests.models.compositions import ENCODER_CONFIGS, IMAGE_TOKEN_ID, LANGUAGE_CONFIGS
from tuwen.data.collator import Batch
from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.modules.lora import add_lora
from tuwen.train.modules.optimizer import GroupedOptimizer, make_groups
from tuwen.train.modules.placement import place_weights
from tuwen.train.planning.memory import MemoryPlan, plan_memory
from tuwen.train.planning.rehearsal import (
    UNMASKED,
    BatchShape,
    Rehearsal,
    blank_pixels,
    forward_pass,
    imagined_model,
    rehearse,
)
from tuwen.train.settings import Distribution
from tuwen.train.stage import Stage

ROOT = Path(__file__).parents[2]
SHAPE = BatchShape(rows=2, length=128, tiles=3, height=64, width=64, answers=60)
LARGER: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
}
LARGER_VISION: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "image_size": 64,
}
MODES: dict[str, dict[str, Any]] = {
    "full": {"mode": "full", "learning_rate": 0.001},
    "lora": {"mode": "lora", "learning_rate": 0.001, "lora": {"rank": 8, "dropout": 0.1}},
    "frozen": {"mode": "frozen"},
}


def config_of(vision: str, language: str, connector: dict[str, Any] | None = None) -> TuwenConfig:
    """Large enough for tensors to weigh more than what is around them."""
    sizes = {**LARGER_VISION} if "num_attention_heads" in ENCODER_CONFIGS[vision] else {}
    return TuwenConfig(
        vision_config={"model_type": vision, **ENCODER_CONFIGS[vision], **sizes},
        text_config={"model_type": language, **LANGUAGE_CONFIGS[language], **LARGER},
        connector_config=connector or {"type": "mlp"},
        # Layers behind the one that is taken would be saved for and dropped at once.
        vision_feature={"layers": [-1]},
        image_token_id=IMAGE_TOKEN_ID,
    )


def stage_of(modes: str, *, checkpointing: bool = False, **more: Any) -> Stage:
    """A stage from three modes, of the vision encoder, the connector and the language model."""
    vision, connector, language = (dict(MODES[mode]) for mode in modes.split())
    for place, policy in enumerate((vision, language)):
        policy["gradient_checkpointing"] = checkpointing and (place == 1 or vision["mode"] != "frozen")
    modules = {"vision": vision, "connector": connector, "language": language}
    return Stage.model_validate({"name": "x", "steps": 1, "groups": 1, "modules": modules, **more})


def real_model(config: TuwenConfig, stage: Stage, *, frozen_in_bf16: bool) -> TuwenForConditionalGeneration:
    """The same as ``imagined_model`` makes, with numbers."""
    torch.manual_seed(0)
    model = TuwenForConditionalGeneration(TuwenConfig.from_dict(config.to_dict()))
    model.tie_weights()
    add_lora(model, stage)
    make_groups(model, stage)
    set_gradient_checkpointing(model, stage)
    hold(model, frozen_in_bf16=frozen_in_bf16)
    return model.train()


def hold(model: nn.Module, *, frozen_in_bf16: bool) -> None:
    for weight in model.parameters():
        if frozen_in_bf16 and not weight.requires_grad:
            weight.data = weight.data.bfloat16()


class Kept:
    """A tensor that the backward pass wants."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@dataclass
class Measured:
    """Bytes of a pass on this machine."""

    kept: int
    peak: int


def measure(model: TuwenForConditionalGeneration, stage: Stage, *, autocast: bool) -> Measured:
    """What a pass saves for its backward half, and the most that the allocator gives out in it, gradients counted."""
    pixels = blank_pixels(SHAPE)
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return forward_pass(model, stage, SHAPE, pixels)

    def keep(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        alive.add(kept)
        return kept

    with saved_tensors_hooks(keep, lambda kept: kept.tensor):
        loss = forward()
    gc.collect()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {one.tensor.untyped_storage().data_ptr(): one.tensor.untyped_storage().nbytes() for one in alive}
    del loss
    return Measured(
        kept=sum(size for place, size in saved.items() if place not in {*weights, pixels.data_ptr()}),
        peak=allocated(lambda: forward().backward()),
    )


def allocated(run: Any) -> int:
    """The most that is allocated at once while ``run`` is called, by what the allocator reports."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    now = most = 0
    assert profiled.profiler is not None
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def peak_of(rehearsal: Rehearsal) -> int:
    """The most at once with gradients as they arrive, without the batch."""
    most = gradients = 0
    for moment in rehearsal.moments:
        gradients += 4 * moment.weight.numel() if moment.weight is not None else 0
        most = max(most, moment.total - moment.held.get("batch", 0) + gradients)
    return most


@pytest.mark.parametrize("checkpointing", [False, True], ids=["whole", "checkpointing"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16, frozen in bf16"])
@pytest.mark.parametrize(
    "modes", ["full full full", "frozen full frozen", "frozen full lora", "lora full lora", "full full frozen"]
)
def test_a_pass_holds_what_is_rehearsed(modes: str, precision: str, checkpointing: bool) -> None:
    config, stage = config_of("clip_vision_model", "qwen2"), stage_of(modes, checkpointing=checkpointing)
    frozen_in_bf16, autocast = "frozen" in precision, precision != "fp32"
    model = real_model(config, stage, frozen_in_bf16=frozen_in_bf16)
    model.set_attn_implementation({"text_config": UNMASKED, "vision_config": UNMASKED})
    imagined, _ = imagined_model(config, stage)
    hold(imagined, frozen_in_bf16=frozen_in_bf16)
    rehearsal = rehearse(imagined, stage, SHAPE, autocast=autocast, on_gpu=False)
    measured = measure(model, stage, autocast=autocast)
    assert peak_of(rehearsal) == pytest.approx(measured.peak, rel=0.03)
    if not checkpointing:
        kept = sum(rehearsal.kept.values()) - rehearsal.kept["batch"]
        assert kept == pytest.approx(measured.kept, rel=0.01)


COMPOSITIONS = [
    *((vision, "llama", {"type": "linear"}) for vision in ENCODER_CONFIGS),
    *(("siglip_vision_model", language, {"type": "mlp"}) for language in LANGUAGE_CONFIGS),
    *(("tuwen_qwen_vit", "tuwen_qwen1", {"type": name}) for name in ("cross_attention", "resampler", "qformer")),
]


@pytest.mark.parametrize(("vision", "language", "connector"), COMPOSITIONS, ids=lambda part: str(part))
def test_whatever_the_parts_are(vision: str, language: str, connector: dict[str, Any]) -> None:
    config, stage = config_of(vision, language, connector), stage_of("full full full")
    model = real_model(config, stage, frozen_in_bf16=False)
    model.set_attn_implementation({"text_config": UNMASKED, "vision_config": UNMASKED})
    measured = measure(model, stage, autocast=False)
    imagined, _ = imagined_model(config, stage)
    rehearsal = rehearse(imagined, stage, SHAPE, autocast=False)
    assert peak_of(rehearsal) == pytest.approx(measured.peak, rel=0.1)


@pytest.mark.parametrize("modes", ["full full full", "frozen full lora"])
def test_training_itself_holds_about_as_much(modes: str) -> None:
    """With who sees whom in packed rows, which a rehearsal leaves out."""
    config, stage = config_of("clip_vision_model", "llama"), stage_of(modes)
    model = real_model(config, stage, frozen_in_bf16=False)
    trained, batch = TrainedModel(model, stage.sums), packed_batch(model)
    imagined, _ = imagined_model(config, stage)
    rehearsal = rehearse(imagined, stage, SHAPE, autocast=False)
    measured = allocated(lambda: trained(batch)["answers"].sum().backward())
    assert peak_of(rehearsal) == pytest.approx(measured, rel=0.1)


def packed_batch(model: TuwenForConditionalGeneration) -> Batch:
    """A batch of ``SHAPE``, four samples in two rows."""
    rows, length, answers = SHAPE.rows, SHAPE.length, SHAPE.answers
    with torch.no_grad():
        tokens = model.get_image_features(blank_pixels(SHAPE)).pooler_output.shape[:2].numel()
    ids, labels = torch.full((rows, length), 7), torch.full((rows, length), -100)
    ids.view(-1)[:tokens] = IMAGE_TOKEN_ID
    labels.view(-1)[-answers:] = 3
    halves = torch.arange(length).expand(rows, length) // (length // 2)
    return Batch(
        input_ids=ids,
        labels=labels,
        owners=torch.where(labels >= 0, 0, -1),
        position_ids=(torch.arange(length) % (length // 2)).expand(rows, length),
        segments=halves.contiguous(),
        parents=torch.full((rows, length), -1),
        trained=torch.tensor([answers]),
        names=["sample"],
        tasks=["task"],
        pixel_values=blank_pixels(SHAPE),
        region_places=torch.zeros(0, dtype=torch.long),
        region_tokens=torch.zeros(0, dtype=torch.long),
        region_weights=torch.zeros(0),
        pictures=SHAPE.tiles,
    )


def planned(
    stage: Stage, *, precision: Any = "fp32", devices: int = 1, shape: BatchShape = SHAPE, **distribution: Any
) -> MemoryPlan:
    model, groups = imagined_model(config_of("clip_vision_model", "qwen2"), stage)
    ways = Distribution.model_validate(distribution)
    return plan_memory(model, groups, stage, shape, precision=precision, distribution=ways, devices=devices)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamw_8bit"])
@pytest.mark.parametrize("modes", ["full full full", "frozen full lora"])
def test_weights_gradients_and_states_are_those_of_a_step(modes: str, optimizer: str) -> None:
    if optimizer == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    stage = stage_of(modes, optimizer={"type": optimizer}, ema=0.999)
    model = real_model(config_of("clip_vision_model", "qwen2"), stage, frozen_in_bf16=False)
    groups = make_groups(model, stage)
    place_weights(model, stage, "fp32")
    for group in groups:
        for tensor in group.tensors:
            tensor.grad = torch.ones_like(tensor)
    trained = [tensor for group in groups for tensor in group.tensors]
    optimisers = GroupedOptimizer(groups, stage)
    gradients = sum(tensor.grad.nbytes for tensor in trained if tensor.grad is not None)
    optimisers.step(0)
    # In 8 bits, each tensor has tables whose size does not grow with it.
    states = [state.nbytes for name, state in optimisers.state_tensors().items() if "qmap" not in name]
    plan = planned(stage).parts
    assert plan["weights"] == sum(weight.nbytes for weight in model.parameters())
    assert plan["gradients"] == gradients == plan["average"]
    assert plan["optimiser"] == pytest.approx(sum(states), rel=0.02)


def test_four_bits_hold_what_they_say() -> None:
    pytest.importorskip("bitsandbytes")
    stage = stage_of("frozen full lora")
    stage.modules["language"] = stage.modules["language"].model_copy(update={"base": "nf4"})
    model = real_model(config_of("clip_vision_model", "qwen2"), stage, frozen_in_bf16=False)
    place_weights(model, stage, "fp32")
    # Beside each layer there are tables whose size does not grow with it.
    held = {tensor.data_ptr(): tensor.nbytes for name, tensor in model.state_dict().items() if "quant_" not in name}
    assert planned(stage).parts["weights"] == pytest.approx(sum(held.values()), rel=0.01)


TRAINED = stage_of("full full full")


def test_a_reference_is_a_copy_of_what_is_trained_without_adapters() -> None:
    compared = planned(stage_of("frozen full lora", objectives={"preference": 1.0}))
    alone = planned(stage_of("frozen full lora", objectives={"preference": 1.0}, preference={"type": "simpo"}))
    connector = sum(
        weight.numel()
        for weight in imagined_model(config_of("clip_vision_model", "qwen2"), TRAINED)[0].model.connector.parameters()
    )
    assert compared.parts["reference"] == 4 * connector
    assert compared.parts == {**alone.parts, "reference": 4 * connector}


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize(("type", "devices"), [("fsdp", 2), ("fsdp", 48), ("zero2", 5), ("zero3", 2)])
def test_what_is_split_adds_up_to_the_whole(type: str, devices: int, offload: bool) -> None:
    whole, split = planned(TRAINED), planned(TRAINED, type=type, devices=devices, offload=offload)
    moved = split.host * devices
    if offload:
        assert not {"gradients", "optimiser", "master weights"} & set(split.parts)
        assert moved >= whole.parts["optimiser"] + whole.parts["gradients"]
    else:
        for part in ("gradients", "optimiser"):
            assert devices * split.parts[part] == pytest.approx(whole.parts[part])
        assert moved == 0
    if type != "zero2" and not offload:
        assert devices * split.parts["weights"] == pytest.approx(whole.parts["weights"])
    assert split.peak <= sum(split.parts.values()) * 1.001


def test_replicas_are_groups_that_hold_the_whole() -> None:
    one = planned(TRAINED, type="fsdp", devices=4)
    two = planned(TRAINED, type="fsdp", devices=8, replicas=2)
    assert one == two


def test_gradients_arrive_as_memory_is_set_free_unless_batches_accumulate() -> None:
    once, accumulated = planned(TRAINED), planned(stage_of("full full full", accumulate=2))
    assert once.parts == accumulated.parts
    assert once.peak < accumulated.peak
    assert accumulated.peak == pytest.approx(sum(accumulated.parts.values()), rel=0.001)


def test_checkpointing_holds_less_and_frozen_modules_in_front_hold_nothing() -> None:
    plain, less = planned(TRAINED), planned(stage_of("full full full", checkpointing=True))
    assert less.parts["language"] < plain.parts["language"] / 4
    assert less.parts["vision"] < plain.parts["vision"] / 4
    assert less.peak < plain.peak
    assert "vision" not in planned(stage_of("frozen full lora")).parts


@pytest.mark.parametrize(("rows", "tiles"), [(1, 0), (3, 2), (8, 1)])
def test_activations_grow_with_rows_and_tiles(rows: int, tiles: int) -> None:
    shape = replace(SHAPE, rows=rows, tiles=tiles)
    one = planned(TRAINED, shape=shape).parts
    more = planned(TRAINED, shape=replace(shape, rows=2 * rows, tiles=2 * max(1, tiles))).parts
    assert more["language"] == pytest.approx(2 * one["language"], rel=0.02)
    assert more["vision"] == pytest.approx(2 * one["vision"], rel=0.02)
    assert more["weights"] == one["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "processes"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
@pytest.mark.parametrize("modes", ["lora full lora", "full full full"])
def test_whole_steps_take_what_is_planned(modes: str, distribution: str, processes: int, tmp_path: Path) -> None:
    vision = {**LARGER_VISION, "model_type": "clip_vision_model", "patch_size": 8, "hidden_size": 192}
    language = {**LARGER, "model_type": "qwen2", "hidden_size": 256, "vocab_size": 2000, "num_hidden_layers": 4}
    # It follows from the others.
    del language["head_dim"]
    policies = dict(zip(("vision", "connector", "language"), (MODES[mode] for mode in modes.split()), strict=True))
    recipe = {
        "model": {
            "vision": {"config": vision},
            "vision_feature": {"layers": [-1]},
            "connector": {"type": "mlp"},
            "language": {"config": language},
            "image_policy": {"type": "square", "size": 64},
            "tokenizer": {"path": "nowhere"},
        },
        "sources": [{"type": "data", "path": "nowhere"}],
        "precision": "fp32",
        "stages": [{"name": "x", "epochs": 1, "sequences": 2, "max_length": 256, "modules": policies}],
        "distribution": {"type": distribution},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    result = subprocess.run(
        [sys.executable, *launch, str(ROOT / "benchmarks" / "plan.py"), str(path), "--tokens-per-sample", "96"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    (ratio,) = re.findall(r"planned / measured ([0-9.]+)", result.stdout)
    assert float(ratio) == pytest.approx(1, abs=0.1)
