"""Adapters folded in as `peft` merges them, and refused in one line where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError


class Small(nn.Module):
    """Two blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(6, 10), "down": nn.Linear(10, 6)}) for _ in range(2))
        self.head = nn.Linear(6, 4)

    def forward(self, x_B6: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x_B6 = block["down"](block["up"](x_B6))
        return self.head(x_B6)


def publish(folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """A base and an adapter on it, written by `peft`; returns the weights that `peft` itself merges."""
    torch.manual_seed(0)
    base = Small()
    save_file(base.state_dict(), folder / "model.safetensors")
    arguments = {"r": 4, "lora_alpha": 6, "target_modules": ["up", "down"], "modules_to_save": ["head"], **settings}
    model = get_peft_model(base, LoraConfig(**arguments))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name or "trainable_tokens_delta" in name:
            nn.init.normal_(parameter)
    model.save_pretrained(str(folder / "adapter"))
    return dict(model.merge_and_unload().state_dict())


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **settings}), encoding="utf-8")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"blocks.0.up": 2}, "alpha_pattern": {"down": 3, "blocks.1.up": 5}},
        {"rank_pattern": {"^blocks.1.down": 8}, "use_rslora": True, "alpha_pattern": {r"blocks\.\d\.up": 1}},
        {"modules_to_save": None, "target_modules": "all-linear"},
        {"bias": "all"},
        {"init_lora_weights": "gaussian"},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"down": 2}, "modules_to_save": None},
        {"modules_to_save": None, "trainable_token_indices": {"head": [3, 0]}},
    ],
)
@pytest.mark.parametrize("pickled", [False, True])
def test_folding_is_what_peft_merges(tmp_path: Path, settings: dict[str, Any], pickled: bool) -> None:
    merged = publish(tmp_path, **settings)
    stored = tmp_path / "adapter" / "adapter_model.safetensors"
    if pickled:
        torch.save(load_file(stored), tmp_path / "adapter" / "adapter_model.bin")
        stored.unlink()
    folded = fold(WeightFiles.find(tmp_path), read_adapter(tmp_path / "adapter"))
    assert set(folded) == set(merged)
    for name, wanted in merged.items():
        assert folded.shape(name) == tuple(wanted.shape)
        torch.testing.assert_close(folded[name], wanted, msg=name)


def test_the_sum_is_rounded_once(tmp_path: Path) -> None:
    publish(tmp_path)
    adapter = read_adapter(tmp_path / "adapter")
    base = WeightFiles.find(tmp_path)
    half = fold(base, adapter, dtype=torch.float16)
    for name in base:
        assert half.dtype(name) == half[name].dtype == torch.float16
    wanted = (base["blocks.0.up.weight"] + adapter.delta("blocks.0.up")).half()
    assert torch.equal(half["blocks.0.up.weight"], wanted)


def test_names_of_the_base_may_differ(tmp_path: Path) -> None:
    merged = publish(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    save_file({f"model.{name}": tensor for name, tensor in stored.items()}, tmp_path / "model.safetensors")
    base = WeightFiles.find(tmp_path)
    folded = fold(base, read_adapter(tmp_path / "adapter"), lambda name: f"model.{name}")
    torch.testing.assert_close(folded["model.blocks.1.down.weight"], merged["blocks.1.down.weight"])
    torch.testing.assert_close(folded["model.head.weight"], merged["head.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"use_dora": True},
            r"adapter_model\.safetensors: .*lora_B.weight: its lora_magnitude_vector is missing",
        ),
        ({"fan_in_fan_out": True}, r"adapter_config\.json: fan_in_fan_out: True cannot be folded"),
        ({"lora_bias": True}, r"adapter_config\.json: lora_bias: True cannot be folded"),
        ({"init_lora_weights": "pissa"}, r"adapter_config\.json: init_lora_weights: 'pissa' changes the base"),
        ({"peft_type": "IA3"}, r"adapter_config\.json: peft_type: 'IA3' cannot be folded"),
        ({"lora_alpha": "much"}, r"adapter_config\.json: lora_alpha: expected a number above 0, found 'much'"),
        ({"r": 5}, r"adapter_model\.safetensors: .*lora_A.weight has shape .*, but adapter_config.json says rank 5"),
        ({"rank_pattern": {"(": 2}}, r"adapter_config\.json: rank_pattern: not a mapping of patterns"),
        ({"alpha_pattern": [1]}, r"adapter_config\.json: alpha_pattern: not a mapping of patterns"),
    ],
)
def test_settings_that_cannot_be_folded_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    publish(tmp_path)
    change(tmp_path, **settings)
    with pytest.raises(TuwenError, match=message) as caught:
        read_adapter(tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def damaged(folder: Path, old: str, new: str | None, shape: tuple[int, ...] | None = None) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    state = load_file(path)
    tensor = state.pop(f"base_model.model.{old}")
    if new is not None:
        state[new] = tensor if shape is None else torch.zeros(shape)
    save_file(state, path)


A = "blocks.0.up.lora_A.weight"


@pytest.mark.parametrize(
    ("new", "shape", "message"),
    [
        (None, None, r"blocks\.0\.up\.lora_B\.weight: its lora_A is missing"),
        (
            f"base_model.model.{A}",
            (4, 7),
            r"give a change of shape \[10, 7\], but blocks.0.up.weight .* has shape \[10",
        ),
        (f"base_model.model.{A}", (3, 6), r"lora_A.weight of shape \[3, 6\] and its lora_B of shape \[10, 4\] cannot"),
        (f"model.{A}", None, r"model\.blocks\.0\.up\.lora_A\.weight: expected a name that begins with base_model"),
        ("base_model.model.blocks.0.up.lora_embedding_A", None, "only LoRA on linear layers can be folded"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, new: str | None, shape: tuple[int, ...] | None, message: str
) -> None:
    publish(tmp_path)
    damaged(tmp_path, A, new, shape)
    with pytest.raises(TuwenError, match=rf"adapter_model\.safetensors: .*{message}") as caught:
        fold(WeightFiles.find(tmp_path), read_adapter(tmp_path / "adapter"))
    assert "\n" not in str(caught.value)


def test_a_layer_that_the_base_does_not_have_is_named(tmp_path: Path) -> None:
    publish(tmp_path)
    adapter = read_adapter(tmp_path / "adapter")
    with pytest.raises(TuwenError, match=r"adapter_model\.safetensors: .*: the base in .* has no other\.blocks\.0"):
        fold(WeightFiles.find(tmp_path), adapter, lambda name: f"other.{name}")


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (
            None,
            r"adapter_config\.json: trainable_token_indices: expected whole numbers for head, each once, found None",
        ),
        ({"other": [1, 2]}, r"expected whole numbers for head, each once, found None"),
        ({"head": [1, 1]}, r"expected whole numbers for head, each once, found \[1, 1\]"),
        ([1], r"adapter_model\.safetensors: .* has shape \[2, 6\], but adapter_config.json names 1 rows of head"),
        ([1, 4], r"gives rows up to 4 of width 6, but head.weight in .* has shape \[4, 6\]"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, indices: Any, message: str) -> None:
    publish(tmp_path, modules_to_save=None, trainable_token_indices={"head": [0, 2]})
    change(tmp_path, trainable_token_indices=indices)
    with pytest.raises(TuwenError, match=message) as caught:
        fold(WeightFiles.find(tmp_path), read_adapter(tmp_path / "adapter"))
    assert "\n" not in str(caught.value)


def test_a_magnitude_of_another_shape_is_named(tmp_path: Path) -> None:
    publish(tmp_path, use_dora=True)
    name = "blocks.0.up.lora_magnitude_vector"
    damaged(tmp_path, name, f"base_model.model.{name}", (9,))
    with pytest.raises(TuwenError, match=r"lora_magnitude_vector has shape \[9\], expected \[10\]"):
        read_adapter(tmp_path / "adapter")
