"""Qwen-1 beyond its training length: alpha is fixed with the prompt, lives with the cache, and nothing leaks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.qwen1 import Qwen1Config, Qwen1ForCausalLM, Qwen1Model, ntk_alpha

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def model_of(**settings: Any) -> Qwen1ForCausalLM:
    torch.manual_seed(0)
    model = Qwen1ForCausalLM(Qwen1Config(**SIZES, **{"seq_length": 8, **settings})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def ids_of(length: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(1, 64, (rows, length), generator=generator)


def generated(model: Qwen1ForCausalLM, ids: Tensor, **arguments: Any) -> Tensor:
    with torch.inference_mode():
        output: Tensor = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0, **arguments)
    return output[:, ids.shape[1] :]


def test_alpha() -> None:
    lengths = torch.tensor([1, 60, 64, 65, 128, 129, 256, 257])
    assert ntk_alpha(lengths, 64).tolist() == [1, 1, 1, 3, 3, 7, 7, 15]


def test_within_the_training_length_it_is_qwen2() -> None:
    model = model_of(seq_length=64)
    other = Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval()
    other.load_state_dict(model.state_dict())
    ids = ids_of(40)
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, other(ids).logits)
    assert generated(model, ids).tolist() == generated(other, ids).tolist()


def test_in_training_it_is_qwen2() -> None:
    model = model_of().train()
    other = Qwen2ForCausalLM(Qwen2Config(**SIZES)).train()
    other.load_state_dict(model.state_dict())
    ids = ids_of(40)
    torch.testing.assert_close(model(ids).logits, other(ids).logits)
    model.gradient_checkpointing_enable()
    model(ids, labels=ids).loss.backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad is not None


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_alpha_of_the_prompt_holds_for_the_answer(implementation: str) -> None:
    """Cached and recomputed differ where the answer passes the training length, as in the original."""
    model = model_of()
    model.set_attn_implementation(implementation)
    ids = ids_of(7)
    assert generated(model, ids).tolist() != generated(model, ids, use_cache=False).tolist()
    long = ids_of(17)
    assert generated(model, long).tolist() == generated(model, long, use_cache=False).tolist()


def test_conversations_do_not_touch_each_other() -> None:
    model = model_of()
    short, long = ids_of(5), ids_of(30)
    alone = generated(model, short)
    with torch.inference_mode():
        first = model(short, use_cache=True)
        model(long, use_cache=True)
        kept = copy.deepcopy(first.past_key_values)
        step = first.logits[:, -1:].argmax(-1)
        tokens = [step]
        for _ in range(11):
            step = model(step, past_key_values=kept, use_cache=True).logits[:, -1:].argmax(-1)
            tokens.append(step)
            model(long, use_cache=True)
    assert torch.cat(tokens, dim=1).tolist() == alone.tolist()
    assert not any("alpha" in name for module in model.modules() for name in vars(module))


def test_padding_and_neighbours_change_nothing() -> None:
    model = model_of()
    rows = [ids_of(length)[0] for length in (5, 12, 20)]
    alone = [generated(model, row[None])[0].tolist() for row in rows]
    ids = torch.stack([torch.cat([torch.zeros(20 - len(row), dtype=torch.long), row]) for row in rows])
    together = generated(model, ids, attention_mask=(ids != 0).long())
    assert together.tolist() == alone


def test_padding_on_the_right_changes_nothing() -> None:
    model = model_of()
    row, padding = ids_of(7), torch.zeros(1, 20, dtype=torch.long)
    ids = torch.cat([row, padding], dim=1)
    with torch.inference_mode():
        padded = model(ids, attention_mask=(ids != 0).long()).logits[:, :7]
        torch.testing.assert_close(padded, model(row).logits)


def test_the_second_part_of_a_prompt_keeps_alpha_of_the_first() -> None:
    model = model_of(use_logn_attn=False)
    ids = ids_of(20)
    with torch.inference_mode():
        first = model(ids[:, :7], use_cache=True)
        second = model(ids[:, 7:], past_key_values=first.past_key_values, use_cache=True).logits
        unstretched = model_of(use_logn_attn=False, use_dynamic_ntk=False)(ids).logits[:, 7:]
    torch.testing.assert_close(second, unstretched)


def test_a_static_cache_is_used_again_without_traces() -> None:
    model = model_of()
    outputs = [generated(model, ids_of(n), cache_implementation="static").tolist() for n in (20, 5, 20)]
    assert outputs[0] == outputs[2]
    assert outputs[:2] == [generated(model, ids_of(n)).tolist() for n in (20, 5)]


def test_rotary_tables_are_precise_in_half_precision() -> None:
    model = model_of().bfloat16()
    cos, sin = model.model.rotary_emb(torch.zeros(1, dtype=torch.bfloat16), torch.arange(4)[None])
    assert (cos.dtype, sin.dtype) == (torch.float32, torch.float32)
    with torch.inference_mode():
        assert model(ids_of(20)).logits.dtype == torch.bfloat16


def test_it_is_known_to_the_auto_classes(tmp_path: Path) -> None:
    model = model_of()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(again, Qwen1ForCausalLM)
    assert isinstance(AutoModel.from_config(AutoConfig.from_pretrained(tmp_path)), Qwen1Model)
    ids = ids_of(20)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, again(ids).logits)
    config = TuwenConfig(text_config={"model_type": "tuwen_qwen1", **SIZES, "seq_length": 8})
    assert config.to_dict()["text_config"]["seq_length"] == 8
