"""Attention by two products is the attention that the fused kernel computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.models.compositions import compose, prompt
from tuwen.models.attention import NAME, prefer_products, products_attention


class Layer(nn.Module):
    """What the fused kernel wants to know of a layer."""

    def __init__(self, groups: int, causal: bool) -> None:
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, causal


def inputs(dtype: torch.dtype, heads: int = 4, groups: int = 2, length: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, heads, length, 8), (2, groups, length, 8), (2, groups, length, 8))
    query, key, value = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    return query, key, value


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("masked", [True, False])
def test_equals_the_fused_kernel_with_its_gradients(groups: int, masked: bool) -> None:
    mask = torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(1)) < 0.4 if masked else None
    if mask is not None:
        mask |= torch.eye(7, dtype=torch.bool)
    layer = Layer(4 // groups, causal=False)
    mine, theirs = inputs(torch.bfloat16, groups=groups), inputs(torch.float32, groups=groups)
    got, _ = products_attention(layer, *mine, mask)
    wanted, _ = sdpa_attention_forward(layer, *theirs, mask)
    torch.testing.assert_close(got.float(), wanted, atol=3e-2, rtol=3e-2)
    (got.float() ** 2).sum().backward()
    (wanted**2).sum().backward()
    for one, other in zip(mine, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.float(), other.grad, atol=8e-2, rtol=8e-2)


@pytest.mark.parametrize("case", ["fp32", "causal", "no gradient"])
def test_leaves_to_the_fused_kernel_what_it_does_better(case: str) -> None:
    query, key, value = inputs(torch.float32 if case == "fp32" else torch.bfloat16)
    layer = Layer(2, causal=case == "causal")
    with torch.set_grad_enabled(case != "no gradient"):
        got, _ = products_attention(layer, query, key, value, None)
        wanted, _ = sdpa_attention_forward(layer, query, key, value, None)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("vision", ["clip_vision_model", "siglip_vision_model", "dinov2", "tuwen_conv_vit"])
@pytest.mark.parametrize("language", ["llama", "qwen3", "gemma"])
def test_a_model_that_prefers_it_computes_the_same(vision: str, language: str) -> None:
    model = compose(vision, language).train()
    ids, pixels = prompt(model)
    length = ids.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]

    def run() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, pixel_values=pixels, attention_mask=mask, labels=ids).loss
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    wanted, wanted_gradient = run()
    prefer_products(model)
    assert model.config.text_config._attn_implementation == NAME
    assert model.config.vision_config._attn_implementation == NAME
    got, got_gradient = run()
    torch.testing.assert_close(got, wanted, atol=5e-3, rtol=5e-3)
    assert torch.cosine_similarity(got_gradient, wanted_gradient, dim=0) > 0.999
