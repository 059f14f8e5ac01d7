"""Rules go both ways, and shapes are known without weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tuwen.checkpoints.renames import OurWeights, Rule, interleaved, published_shapes, same, stacked
from tuwen.checkpoints.weights import WeightFiles


def both_ways(rule: Rule, theirs: Tensor) -> list[Tensor]:
    ours = rule.forward([theirs])
    back = rule.backward(ours)
    assert len(back) == 1
    assert torch.equal(back[0], theirs)
    shapes = {name: tensor.to("meta") for name, tensor in zip(rule.ours, ours, strict=True)}
    assert published_shapes([rule], shapes) == {rule.theirs[0]: tuple(theirs.shape)}
    return ours


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_every_rule_is_undone_by_its_inverse(heads: int, width: int, parts: int, bias: bool) -> None:
    rows = heads * parts * width
    theirs = torch.arange(float(rows * (1 if bias else 3))).reshape((rows,) if bias else (rows, 3))
    both_ways(same("t", "o"), theirs)
    both_ways(interleaved("t", "o", heads, parts), theirs)
    ours = both_ways(stacked("t", [f"o{part}" for part in range(parts)]), theirs)
    assert torch.equal(torch.cat(ours), theirs)


def test_interleaved_rows_come_part_by_part() -> None:
    # Two heads of width 1: q0 k0 v0 q1 k1 v1 → q0 q1 k0 k1 v0 v1.
    (ours,) = interleaved("t", "o", heads=2).forward([torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])])
    assert ours.tolist() == [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]


def test_what_is_published_as_one_is_read_and_changed_once(tmp_path: Path) -> None:
    fused = torch.arange(12.0).reshape(6, 2)
    save_file({"fused": fused, "plain": torch.ones(2)}, tmp_path / "model.safetensors")
    rule, changes = stacked("fused", ["q", "k", "v"]), []
    counted = replace(rule, forward=lambda tensors: changes.append(1) or rule.forward(tensors))
    shapes = {**dict.fromkeys("qkv", torch.empty(2, 2, device="meta")), "plain": torch.empty(2, device="meta")}
    ours = OurWeights(WeightFiles.find(tmp_path), [counted, same("plain", "plain")], shapes)
    assert list(ours) == ["q", "k", "v", "plain"]
    assert torch.equal(torch.cat([ours[name] for name in "qkv"]), fused)
    assert len(changes) == 1
    # In any order, and again: the same numbers, at the price of another change.
    for name in ("v", "plain", "q", "q", "k"):
        assert torch.equal(ours[name], torch.ones(2) if name == "plain" else fused["qkv".index(name) * 2 :][:2])
    assert len(changes) == 4


def test_stacked_needs_equal_parts() -> None:
    rule = stacked("t", ["a", "b", "c"])
    with pytest.raises(ValueError, match="shorter"):
        list(zip(rule.ours, rule.forward([torch.zeros(1, 2)]), strict=True))
