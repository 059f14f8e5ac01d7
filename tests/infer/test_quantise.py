"""A language model in 8 bits: smaller, and nearly the same."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import tuwen
from tests.conftest import refused, run_cli
from tests.models.compositions import compose, prompt
from tuwen.infer.quantise import quantise


@pytest.mark.parametrize("language", ["llama", "qwen3"])
@pytest.mark.parametrize(("kind", "library", "share"), [("int8", "torchao", 0.03), ("int4", "bitsandbytes", 0.3)])
def test_logits_hardly_change_and_the_rest_not_at_all(language: str, kind: str, library: str, share: float) -> None:
    pytest.importorskip(library)
    model = compose(language=language)
    smaller = copy.deepcopy(model)
    quantise(smaller.get_decoder(), kind)
    ids, pixels = prompt(model)
    with torch.inference_mode():
        before, after = (one(input_ids=ids, pixel_values=pixels).logits for one in (model, smaller))
        features, same = (one.get_image_features(pixels).pooler_output for one in (model, smaller))
    assert torch.equal(features, same)
    assert not torch.equal(before, after)
    assert float((before - after).abs().max()) < share * float(before.abs().max())


@pytest.mark.parametrize(("kind", "library"), [("int8", "torchao"), ("int4", "bitsandbytes")])
def test_chat_in_few_bits(toy_run: Path, kind: str, library: str) -> None:
    pytest.importorskip(library)
    result = run_cli("chat", toy_run / "model", "什么?", "--quantize", kind, "--max-new-tokens", 3)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert tuwen.load(toy_run / "model", quantize=kind).chat("什么?", max_new_tokens=2).token_ids


def test_an_unknown_quantisation_is_refused(toy_run: Path) -> None:
    message = refused("chat", toy_run / "model", "什么?", "--quantize", "int3")
    assert message == "unknown quantisation 'int3': choose one of int8, int4; did you mean 'int8'?"
