"""Every trained tensor has one group, its own rate, and an optimiser that goes on exactly where it was."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file, save_file

from tests.models.compositions import ENCODER_CONFIGS, compose
from tests.train.stages import backward, gradients, stage_of
from tuwen.config import MissingExtraError, TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.groups import Group, make_groups
from tuwen.train.modules.lora import add_lora
from tuwen.train.modules.optimizer import GroupedOptimizer
from tuwen.train.plan import describe_groups
from tuwen.train.stage import Stage

MODES: dict[str, list[dict[str, Any]]] = {
    "vision": [{"mode": "frozen"}, {"mode": "full"}, {"mode": "lora"}, {"mode": "full", "layer_decay": 0.5}],
    "connector": [{"mode": "frozen"}, {"mode": "full"}, {"mode": "lora"}],
    "language": [
        {"mode": "full"},
        {"mode": "full", "embeddings_learning_rate": 0.5},
        {"mode": "embeddings"},
        {"mode": "embeddings", "new_rows": 60},
        {"mode": "lora", "layer_decay": 0.5},
        {"mode": "lora", "embeddings": True, "weight_decay": 0.1},
        {"mode": "lora", "new_rows": 60, "embeddings_learning_rate": 0.5, "lora": {"type": "dora", "b_scale": 4}},
    ],
}


def prepared(stage: Stage, **parts: Any) -> tuple[TuwenForConditionalGeneration, list[Group]]:
    model = compose(**parts)
    add_lora(model, stage)
    return model, make_groups(model, stage)


@settings(max_examples=40)
@given(
    modules=st.fixed_dictionaries({name: st.sampled_from(choices) for name, choices in MODES.items()}),
    optimizer=st.sampled_from(["adamw", "muon", "adamw_8bit"]),
    language=st.sampled_from(["qwen2", "llama"]),
)
def test_every_trained_tensor_is_in_exactly_one_group(modules: dict[str, Any], optimizer: str, language: str) -> None:
    stage = stage_of(modules, optimizer={"type": optimizer})
    model, groups = prepared(stage, language=language, connector={"type": "resampler", "num_heads": 2})
    grouped = [(name, id(tensor)) for group in groups for name, tensor in zip(group.names, group.tensors, strict=True)]
    assert sorted(grouped) == sorted((name, id(one)) for name, one in model.named_parameters() if one.requires_grad)
    trained = {group.module for group in groups}
    assert trained == {name for name, policy in modules.items() if policy["mode"] != "frozen"}
    for group in groups:
        assert group.rule in ({"muon", "adamw"} if optimizer == "muon" else {optimizer})
        matrices = all(tensor.ndim == 2 for tensor in group.tensors) and group.part in ("lora", "full")
        assert matrices or (group.rule != "muon" and group.weight_decay == 0)
        plain = any(".lora_" not in name and ".new_rows" not in name for name in group.names)
        assert not (plain and modules[group.module]["mode"] == "lora" and group.part != "embeddings")


def test_lora_embeddings_and_the_rest_have_rates_of_their_own() -> None:
    lora = {"mode": "lora", "learning_rate": 1e-4, "weight_decay": 0.1, "lora": {"b_scale": 16}}
    stage = stage_of(
        {
            "connector": {"mode": "full", "learning_rate": 1e-3},
            "language": {**lora, "embeddings": True, "embeddings_learning_rate": 2e-5},
        }
    )
    _, groups = prepared(stage, language="llama")
    rates = {
        "lora_A" if "lora_A" in name else "lora_B" if "lora_B" in name else name.split(".")[-2]: group.learning_rate
        for group in groups
        for name in group.names
    }
    assert rates == {
        "projection": 1e-3,
        "lora_A": 1e-4,
        "lora_B": pytest.approx(16e-4),
        "embed_tokens": 2e-5,
        "lm_head": 2e-5,
    }
    assert {group.weight_decay for group in groups if group.part == "embeddings"} == {0.0}
    assert {group.weight_decay for group in groups if group.part == "lora"} == {0.1}


@pytest.mark.parametrize("encoder", ENCODER_CONFIGS)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_earlier_layers_of_an_encoder_have_lower_rates(encoder: str, mode: str) -> None:
    stage = stage_of({"vision": {"mode": mode, "layer_decay": 0.5}})
    _, groups = prepared(stage, vision=encoder)
    rates = {name: group.learning_rate for group in groups for name in group.names}
    # Of two layers the second has the whole rate; what comes before the first has a quarter of it.
    for name, rate in rates.items():
        number = next((part for part in name.split(".") if part.isdecimal() and ".stem." not in name), None)
        if number is not None:
            assert rate == {"0": 0.005, "1": 0.01}[number], name
        elif any(word in name for word in ("post_layernorm", "vision_tower.norm", "tower.layernorm", "tower.head")):
            assert rate == 0.01, name
        elif any(word in name for word in ("embedding", "stem", "pre_")):
            assert rate == 0.0025, name
    assert len(set(rates.values())) >= 2


def test_layers_of_a_language_model_decay_to_its_embeddings() -> None:
    stage = stage_of({"language": {"mode": "full", "layer_decay": 0.5}})
    for language, head in (("llama", 0.01), ("qwen2", None)):
        _, groups = prepared(stage, language=language)
        rates = {name: group.learning_rate for group in groups for name in group.names}
        assert rates["model.language_model.embed_tokens.weight"] == 0.0025
        assert rates["model.language_model.layers.0.mlp.up_proj.weight"] == 0.005
        assert rates["model.language_model.layers.1.mlp.up_proj.weight"] == 0.01
        assert rates["model.language_model.norm.weight"] == 0.01
        assert rates.get("lm_head.weight") == head


def test_warm_up_is_steps_or_a_part_of_the_stage() -> None:
    modules = {
        "vision": {"mode": "full", "warmup": 20},
        "connector": {"mode": "full", "schedule": {"type": "constant"}},
        "language": {"mode": "full", "warmup": 0},
    }
    _, groups = prepared(stage_of(modules, warmup=0.1, schedule={"type": "linear"}))
    one_of = {group.module: group for group in groups}

    def highest(module: str) -> int:
        rates = [one_of[module].rate(step, 200) for step in range(200)]
        assert max(rates) == pytest.approx(0.01, rel=0.01)
        return rates.index(max(rates))

    assert [highest(name) for name in ("vision", "connector", "language")] == [19, 19, 0]
    # A stage of another length has another warm-up where it is a part of it.
    assert one_of["connector"].rate(19, 400) == pytest.approx(0.005)
    assert one_of["vision"].rate(19, 400) == pytest.approx(0.01)


def train(model: TuwenForConditionalGeneration, optimizer: GroupedOptimizer, steps: range) -> None:
    model.train()
    for step in steps:
        backward(model, seed=step)
        optimizer.step(step)


def digest(model: TuwenForConditionalGeneration) -> str:
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(name.encode() + value.contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


EVERYTHING = {
    "vision": {"mode": "full", "layer_decay": 0.9, "weight_decay": 0.1},
    "connector": {"mode": "full"},
    "language": {"mode": "lora", "embeddings": True, "lora": {"type": "dora"}},
}


@pytest.mark.parametrize("kind", ["adamw", "muon", "adamw_8bit"])
def test_three_steps_and_three_more_are_six(kind: str, tmp_path: Path) -> None:
    if kind == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    stage = stage_of(EVERYTHING, optimizer={"type": kind}, warmup=2)
    # Wide enough for 8 bits, which small tensors are not given.
    connector = {"type": "mlp", "hidden_size": 256}
    model, groups = prepared(stage, connector=connector)
    whole = copy.deepcopy(model)
    train(whole, GroupedOptimizer(make_groups(whole, stage), stage), range(6))

    optimizer = GroupedOptimizer(groups, stage)
    train(model, optimizer, range(3))
    save_file(optimizer.state_tensors(), tmp_path / "optimizer.safetensors")
    half = copy.deepcopy(model)
    again = GroupedOptimizer(make_groups(half, stage), stage)
    again.load_state_tensors(load_file(tmp_path / "optimizer.safetensors"))
    train(half, again, range(3, 6))
    assert digest(half) == digest(whole)

    forgetful = GroupedOptimizer(groups, stage)
    train(model, forgetful, range(3, 6))
    assert digest(model) != digest(whole)


def test_a_state_of_other_tensors_is_refused() -> None:
    stage = stage_of({"connector": {"mode": "full"}})
    model, groups = prepared(stage)
    optimizer = GroupedOptimizer(groups, stage)
    train(model, optimizer, range(1))
    _, others = prepared(stage_of({"vision": {"mode": "full"}}))
    with pytest.raises(TuwenError, match=r"optimizer: model\.connector\.\S+ is not among the tensors that are trained"):
        GroupedOptimizer(others, stage).load_state_tensors(optimizer.state_tensors())


def test_an_optimiser_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    stage = stage_of({"connector": {"mode": "full"}}, optimizer={"type": "adamw_8bit"})
    _, groups = prepared(stage)
    with pytest.raises(MissingExtraError, match=r"bitsandbytes is not installed: run `pip install 'tuwen\[qlora\]'`"):
        GroupedOptimizer(groups, stage)


def test_rates_that_are_shown_are_the_modules_own() -> None:
    stage = stage_of({"connector": {"mode": "full"}, "language": {"mode": "lora"}}, optimizer={"type": "muon"})
    model, groups = prepared(stage)
    backward(model)
    shown = GroupedOptimizer(groups, stage).step(0)
    # The language model has matrices alone, whose rate is Muon's.
    assert shown == {"connector": pytest.approx(0.01), "language": pytest.approx(0.06)}


def test_the_table_shows_every_module_with_its_parts() -> None:
    stage = stage_of(
        {
            "vision": {"mode": "full", "layer_decay": 0.5, "weight_decay": 0.05},
            "connector": {"mode": "frozen"},
            "language": {"mode": "lora", "embeddings": True, "embeddings_learning_rate": 0.5},
        }
    )
    model, groups = prepared(stage, language="llama")
    for width in (80, 140):
        console = Console(width=width)
        with console.capture() as capture:
            console.print(describe_groups(model, groups, stage))
        assert "…" not in capture.get()
    lines = [line.split() for line in capture.get().splitlines()]
    rows = [line for line in lines if len(line) > 4 and line[0] in ("vision", "connector", "language", "embeddings")]
    assert [row[0] for row in rows] == ["vision", "connector", "language", "embeddings"]
    assert rows[0][1] == "full"
    assert rows[0][5:8] == ["2.5e-03", "–", "1.0e-02"]
    assert rows[1][1:] == ["frozen", "1,056", "0", "-", "-", "-", "fp32"]
    assert rows[2][1] == "lora"
    assert rows[3] == ["embeddings", "4,096", "adamw", "5.0e-01", "0"]
    shown = sum(int(row[3].replace(",", "")) for row in rows[:3]) + 4096
    trained = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    # The second row of the encoder, its matrices, begins with its mode.
    second = next(line for line in lines if line[:1] == ["full"])
    assert shown + int(second[1].replace(",", "")) == trained


@pytest.mark.slow
def test_tensors_that_are_split_over_processes_are_trained_alike() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = subprocess.run(
        [*command, "-m", "tests.train.sharded_steps"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr


def test_gradients_reach_everything_that_is_trained() -> None:
    model, groups = prepared(stage_of(EVERYTHING))
    model.train()
    backward(model)
    # The last layer of the encoder is behind the one whose features are taken.
    missing = {name for name, gradient in gradients(groups).items() if gradient is None}
    assert all("layers.1." in name or "post_layernorm" in name for name in missing)
