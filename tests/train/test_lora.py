"""Adapters: what was trained is what `peft` opens, what is merged, and what the next stage starts with."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from tests.models.compositions import compose
from tests.train.stages import backward, batch, disturb, gradients, logits, stage_of
from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.groups import make_groups
from tuwen.train.modules.lora import add_lora, fold_lora, merged_state_dict, save_adapter
from tuwen.train.modules.new_rows import EmbeddingWithNewRows

LORA: dict[str, Any] = {"mode": "lora"}
DORA: dict[str, Any] = {"mode": "lora", "lora": {"type": "dora", "rank": 4}}
STABILISED: dict[str, Any] = {"mode": "lora", "lora": {"rank": 8, "alpha": 3.5, "rank_stabilised": True}}
FULL: dict[str, Any] = {"mode": "full"}
CASES: dict[str, dict[str, Any]] = {
    "lora": {"vision": LORA, "language": LORA},
    "one of them stabilised": {"vision": LORA, "connector": LORA, "language": STABILISED},
    "all stabilised": {"language": STABILISED},
    "dora": {"language": DORA},
    "one of them dora": {"vision": DORA, "connector": FULL, "language": STABILISED},
    "embeddings beside": {"connector": FULL, "language": {**LORA, "embeddings": True}},
    "embeddings alone": {"vision": LORA, "language": {"mode": "embeddings"}},
    "new rows beside": {"connector": FULL, "language": {**DORA, "new_rows": 60}},
    "new rows alone": {"vision": LORA, "language": {"mode": "embeddings", "new_rows": 63}},
    "vision in full": {"vision": FULL, "language": LORA},
    "language in full": {"vision": LORA, "language": FULL},
}


def base(language: str = "qwen2", **parts: Any) -> TuwenForConditionalGeneration:
    return compose(language=language, connector={"type": "mlp"}, **parts)


@pytest.mark.parametrize("language", ["qwen2", "llama"])
@pytest.mark.parametrize("case", CASES)
def test_merged_folded_and_opened_by_peft_are_what_was_trained(case: str, language: str, tmp_path: Path) -> None:
    start, stage = base(language), stage_of(CASES[case])
    trained = copy.deepcopy(start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = add_lora(trained, stage)
        groups = make_groups(trained, stage)
    assert config is not None
    disturb(groups)
    inputs = batch(trained)
    wanted = logits(trained, inputs)
    assert float((wanted - logits(start, inputs)).abs().max()) > 0.1

    merged = copy.deepcopy(start)
    merged.load_state_dict(merged_state_dict(trained))
    torch.testing.assert_close(logits(merged, inputs), wanted, rtol=1e-5, atol=1e-5)

    save_adapter(trained, config, tmp_path / "adapter")
    opened = PeftModel.from_pretrained(copy.deepcopy(start), str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(opened, inputs), wanted, rtol=1e-5, atol=1e-5)

    fold_lora(trained)
    torch.testing.assert_close(logits(trained, inputs), wanted, rtol=1e-5, atol=1e-5)
    assert trained.state_dict().keys() == start.state_dict().keys()
    assert [type(module) for module in trained.modules()] == [type(module) for module in start.modules()]
    assert (trained.lm_head.weight is trained.get_input_embeddings().weight) == start.config.tie_word_embeddings


@settings(max_examples=15)
@given(
    rank=st.integers(1, 12),
    alpha=st.floats(0.5, 64),
    stabilised=st.booleans(),
    kind=st.sampled_from(["lora", "dora"]),
    start_as=st.sampled_from(["uniform", "gaussian"]),
)
def test_adapters_change_nothing_until_they_are_trained(
    rank: int, alpha: float, stabilised: bool, kind: str, start_as: str
) -> None:
    start = base()
    lora = {"type": kind, "rank": rank, "alpha": alpha, "rank_stabilised": stabilised, "initialisation": start_as}
    adapted, stage = copy.deepcopy(start), stage_of({"language": {"mode": "lora", "lora": lora}})
    add_lora(adapted, stage)
    make_groups(adapted, stage)
    inputs = batch(start)
    torch.testing.assert_close(logits(adapted, inputs), logits(start, inputs), rtol=1e-5, atol=1e-5)
    before = start.state_dict()
    for name, value in merged_state_dict(adapted).items():
        torch.testing.assert_close(value, before[name], rtol=1e-5, atol=1e-6)


def test_each_module_has_its_own_dropout_rank_and_start() -> None:
    wanted = {
        "vision": {"mode": "lora", "lora": {"dropout": 0.5, "rank": 4, "targets": ["q_proj"]}},
        "connector": {"mode": "lora", "lora": {"rank": 2}},
        "language": {"mode": "lora", "lora": {"dropout": 0.1, "rank": 6, "initialisation": "orthogonal"}},
    }
    model = base()
    add_lora(model, stage_of(wanted))
    found: dict[str, set[tuple[float, int]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            dropout = module.lora_dropout["default"]
            rate = dropout.p if isinstance(dropout, nn.Dropout) else 0.0
            found.setdefault(name.split(".")[1], set()).add((rate, module.r["default"]))
            assert bool(module.lora_B["default"].weight.any()) == ("language_model" in name)
    assert found == {"vision_tower": {(0.5, 4)}, "connector": {(0.0, 2)}, "language_model": {(0.1, 6)}}


def test_settings_that_agree_need_no_patterns(tmp_path: Path) -> None:
    model = base()
    config = add_lora(model, stage_of({"vision": STABILISED, "language": STABILISED}))
    save_adapter(model, config, tmp_path / "adapter")
    stored = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (stored["r"], stored["lora_alpha"], stored["use_rslora"]) == (8, 3.5, True)
    assert not stored["rank_pattern"]
    assert not stored["alpha_pattern"]


def test_what_was_trained_is_read_back_by_our_own_reader(tmp_path: Path) -> None:
    model, stage = base(), stage_of({**CASES["one of them stabilised"], "connector": FULL})
    config = add_lora(model, stage)
    disturb(make_groups(model, stage))
    save_adapter(model, config, tmp_path / "adapter")
    adapter = read_adapter(tmp_path / "adapter")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert adapter.pairs.keys() == layers.keys()
    for name, layer in layers.items():
        torch.testing.assert_close(adapter.delta(name), layer.get_delta_weight("default"))
    assert {f"model.connector.{name}" for name in model.model.connector.state_dict()} == adapter.full.keys()


@pytest.mark.parametrize("case", ["dora", "new rows beside", "one of them dora"])
def test_a_model_without_numbers_takes_what_was_trained(case: str) -> None:
    stage = stage_of(CASES[case])
    trained = base()
    add_lora(trained, stage)
    disturb(make_groups(trained, stage))
    with torch.device("meta"):
        shapes = TuwenForConditionalGeneration(trained.config)
        shapes.tie_weights()
        add_lora(shapes, stage)
    shapes.load_state_dict(trained.state_dict(), assign=True)
    mine, theirs = merged_state_dict(shapes), merged_state_dict(trained)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_attention_of_torch_is_no_target() -> None:
    connector = {"type": "cross_attention", "num_queries": 4, "num_heads": 2, "width": 16}
    model, stage = compose(connector=connector), stage_of({"connector": LORA})
    add_lora(model, stage)
    groups = make_groups(model, stage)
    disturb(groups)
    backward(model)
    assert all(gradient is not None for gradient in gradients(groups).values())
    with pytest.raises(TuwenError, match="no linear layer is called 'out_proj'; there are kv_proj"):
        add_lora(
            compose(connector=connector), stage_of({"connector": {"mode": "lora", "lora": {"targets": ["out_proj"]}}})
        )


def test_a_module_without_linear_layers_has_no_adapter() -> None:
    with pytest.raises(TuwenError, match=r"modules\.connector\.lora: it has no linear layer; set its mode to full"):
        add_lora(compose(connector={"type": "identity"}), stage_of({"connector": LORA}))


@pytest.mark.parametrize("language", ["qwen2", "llama"])
@pytest.mark.parametrize("mode", ["lora", "embeddings"])
def test_of_the_rows_only_new_ones_are_trained(language: str, mode: str) -> None:
    model, stage = base(language), stage_of({"language": {"mode": mode, "new_rows": 60}})
    same = base(language)
    inputs = batch(model)
    add_lora(model, stage)
    assert isinstance(model.get_input_embeddings(), EmbeddingWithNewRows)
    torch.testing.assert_close(logits(model, inputs), logits(same, inputs))

    groups = make_groups(model, stage)
    rows = [tensor for group in groups if group.part == "new rows" for tensor in group.tensors]
    assert [tensor.shape[0] for tensor in rows] == [4] * (1 if same.config.tie_word_embeddings else 2)
    same.requires_grad_(True)
    for one in (model, same):
        one.train()
        backward(one)
    # Their gradients are those that the rows would have in the whole table.
    torch.testing.assert_close(rows[0].grad, same.get_input_embeddings().weight.grad[60:])
    if len(rows) == 2:
        torch.testing.assert_close(rows[1].grad, same.lm_head.weight.grad[60:])
    before = {name: value.clone() for name, value in same.state_dict().items()}
    disturb([group for group in groups if group.part == "new rows"])
    after = merged_state_dict(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"lm_head.weight", "model.language_model.embed_tokens.weight"}
    for name in changed:
        assert torch.equal(after[name][:60], before[name][:60])
        assert (after[name][60:] != before[name][60:]).any(dim=1).all()


def test_rows_that_cannot_be_trained_alone_are_refused() -> None:
    # Gemma's embeddings are a table times a number.
    with pytest.raises(TuwenError, match=r"new_rows: the embeddings are a \w+, not a table; train them in full"):
        add_lora(base("gemma"), stage_of({"language": {"mode": "lora", "new_rows": 60}}))
    with pytest.raises(TuwenError, match=r"modules\.language\.new_rows: there is no row 64, the last one is 63"):
        add_lora(base(), stage_of({"language": {"mode": "lora", "new_rows": 64}}))


@pytest.mark.parametrize("language", ["qwen2", "llama"])
@pytest.mark.parametrize("case", ["one of them dora", "embeddings beside", "new rows beside"])
def test_our_own_reader_folds_what_was_trained(case: str, language: str, tmp_path: Path) -> None:
    start, stage = base(language), stage_of(CASES[case])
    trained = copy.deepcopy(start)
    config = add_lora(trained, stage)
    disturb(make_groups(trained, stage))
    wanted = merged_state_dict(trained)
    start.save_pretrained(tmp_path / "base")
    save_adapter(trained, config, tmp_path / "adapter")
    folded = fold(WeightFiles.find(tmp_path / "base"), read_adapter(tmp_path / "adapter"))
    for name in folded:
        torch.testing.assert_close(folded[name], wanted[name], rtol=1e-5, atol=1e-5)
    assert wanted.keys() - {"lm_head.weight"} <= set(folded)
