"""Attention that leaves out what is masked is the attention that torch's kernel computes with a dense mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.models.compositions import LANGUAGE, LANGUAGE_CONFIGS, compose, prompt
from tests.models.rows import Item, Rows, lay_out, rows
from tuwen.config import TuwenError
from tuwen.models.attention import by_spans, check_packed, flex_attention, packed_attention, prefer_packed
from tuwen.models.packing import FLEX, PACKED, PackedMask, packed_mask
from tuwen.models.striped_attention import striped_attention

CPU = torch.device("cpu")
MIXED = lay_out([[Item(150, (30, 70, 10)), Item(40)], [Item(2, (1, 1)), Item(260)]])


class Layer(nn.Module):
    """What attention functions want to know of a layer."""

    def __init__(self, groups: int = 1, causal: bool = True) -> None:
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, causal


def tensors(batch: int, length: int, heads: int = 4, key_heads: int = 2, dtype: Any = torch.float32) -> list[Tensor]:
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, count, length, 8) for count in (heads, key_heads, key_heads)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def same(got: Tensor, wanted: Tensor, inputs: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    """Results and gradients of [B, L, A, E]."""
    torch.testing.assert_close(got.float(), wanted, atol=tolerance, rtol=tolerance)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
    mine = torch.autograd.grad((got.float() * weights).sum(), inputs)
    for one, other in zip(mine, torch.autograd.grad((wanted * weights).sum(), theirs), strict=True):
        torch.testing.assert_close(one.float(), other, atol=3 * tolerance, rtol=3 * tolerance)


def check(attend: Callable[..., Tensor], layout: Rows, key_heads: int, dtype: torch.dtype, window: int | None) -> None:
    batch, length = layout.segments.shape
    mine = tensors(batch, length, key_heads=key_heads, dtype=dtype)
    theirs = [tensor.detach().float().requires_grad_() for tensor in mine]
    mask, layer = PackedMask(layout.segments, layout.parents), Layer(4 // key_heads)
    real = (layout.segments >= 0)[..., None, None]
    got = attend(layer, *mine, mask, sliding_window=window) * real
    wanted = sdpa_attention_forward(layer, *theirs, mask.dense(window))[0] * real
    same(got, wanted, mine, theirs, 1e-5 if dtype == torch.float32 else 3e-2)


def chosen(*arguments: Any, **kwargs: Any) -> Tensor:
    return packed_attention(*arguments, **kwargs)[0]


def by_stripes(
    layer: Layer, query: Tensor, key: Tensor, value: Tensor, mask: PackedMask, sliding_window: int | None = None
) -> Tensor:
    return striped_attention(query, key, value, mask.stripes(query.dtype, sliding_window), query.shape[3] ** -0.5)


@settings(max_examples=30, deadline=None)
@given(rows(), st.sampled_from([1, 2, 4]), st.sampled_from([None, 3, 90]))
@example(lay_out([[Item(300), Item(300)]]), 2, 90)
def test_equals_a_dense_mask_with_its_gradients(layout: Rows, key_heads: int, window: int | None) -> None:
    for attend in (chosen, by_stripes, by_spans):
        check(attend, layout, key_heads, torch.float32, window)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_equals_a_dense_mask_in_bf16(key_heads: int) -> None:
    for attend in (chosen, by_stripes, by_spans):
        check(attend, MIXED, key_heads, torch.bfloat16, None)


@pytest.mark.parametrize("autocast", [False, True])
def test_values_of_another_width_and_autocast(autocast: bool) -> None:
    batch, length = MIXED.segments.shape
    query, key, value = tensors(batch, length)
    mask = PackedMask(MIXED.segments, MIXED.parents)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got = chosen(Layer(2), query, key, value[..., :3], mask, scaling=0.1)
    assert got.dtype == (torch.bfloat16 if autocast else torch.float32)
    wanted, _ = sdpa_attention_forward(Layer(2), query, key, value[..., :3], mask.dense(), scaling=0.1)
    real = (MIXED.segments >= 0)[..., None, None]
    same(got * real, wanted * real, [query, key, value], [query, key, value], 3e-2 if autocast else 1e-5)


def test_flex_attention_equals_a_dense_mask() -> None:
    batch, length = MIXED.segments.shape
    # A CPU has no backward pass of it, and its compiler takes long.
    inputs = [tensor.detach() for tensor in tensors(batch, length)]
    mask = PackedMask(MIXED.segments, MIXED.parents)
    for window in (None, 40):
        with torch.compiler.set_stance("force_eager"):
            got, _ = flex_attention(Layer(2), *inputs, mask, scaling=0.3, sliding_window=window)
        wanted, _ = sdpa_attention_forward(Layer(2), *inputs, mask.dense(window), scaling=0.3)
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_work_and_memory_grow_with_conversations_not_with_rows() -> None:
    def cost(items: list[Item]) -> tuple[int, int]:
        """Multiplications forwards and backwards, and numbers kept in between."""
        layout, kept = lay_out([items]), 0
        mask = PackedMask(layout.segments, layout.parents)

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with FlopCounterMode(display=False) as flops, saved_tensors_hooks(keep, lambda tensor: tensor):
            by_stripes(Layer(2), *tensors(1, mask.shape[2]), mask).sum().backward()
        return flops.get_total_flops(), kept

    one, _ = cost([Item(256)])
    many, kept = cost([Item(256)] * 8)
    assert many == 8 * one
    assert kept == sum(tensor.numel() for tensor in tensors(1, 8 * 256))
    # A dense mask takes seven products of all places with all places.
    assert many < 0.11 * 7 * 2 * 4 * 8 * (8 * 256) ** 2
    shared, _ = cost([Item(256, (64,) * 8)])
    repeated, _ = cost([Item(256 + 64)] * 8)
    assert shared < 0.5 * repeated


def test_dropout_keeps_conversations_apart() -> None:
    layout = lay_out([[Item(20), Item(600), Item(3, (4, 5))]])
    query, key, value = tensors(1, layout.segments.shape[1])
    mask = PackedMask(layout.segments, layout.parents)
    got = chosen(Layer(2), query, key, value, mask, dropout=0.5)
    assert not torch.allclose(got, chosen(Layer(2), query, key, value, mask))
    second = layout.segments[0] == 1
    for tensor in torch.autograd.grad(got[:, second].sum(), (query, key, value)):
        assert not tensor[:, :, ~second].any()
        assert tensor[:, :, second].any()


def test_a_mask_that_has_become_a_tensor_is_taken_as_such() -> None:
    batch, length = MIXED.segments.shape
    inputs = tensors(batch, length)
    mask = packed_mask(MIXED.segments, MIXED.parents)
    wanted, _ = sdpa_attention_forward(Layer(2), *inputs, PackedMask(MIXED.segments, MIXED.parents).dense())
    for attend in (packed_attention, flex_attention):
        assert torch.equal(attend(Layer(2), *inputs, mask[:, :, :, :length].clone())[0], wanted)
    # What stripes cannot do is left to the kernel, with all of the mask.
    bias = torch.zeros(batch, 4, length, length)
    torch.testing.assert_close(packed_attention(Layer(2), *inputs, mask, position_bias=bias)[0], wanted)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("length", [7, 1100])
def test_without_a_mask_equals_the_kernel_in_bf16(batch: int, length: int) -> None:
    mine, layer = tensors(batch, length, dtype=torch.bfloat16), Layer(2, causal=False)
    theirs = [tensor.detach().float().requires_grad_() for tensor in mine]
    got, _ = packed_attention(layer, *mine, None)
    same(got, sdpa_attention_forward(layer, *theirs, None)[0], mine, theirs, 3e-2)


@pytest.mark.parametrize("case", ["fp32", "causal", "masked"])
def test_leaves_to_the_kernel_what_it_does_better(case: str) -> None:
    inputs = tensors(2, 7, dtype=torch.float32 if case == "fp32" else torch.bfloat16)
    mask = torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(1)) < 0.9 if case == "masked" else None
    layer = Layer(2, causal=case == "causal")
    assert torch.equal(packed_attention(layer, *inputs, mask)[0], sdpa_attention_forward(layer, *inputs, mask)[0])


@pytest.mark.parametrize("vision", ["clip_vision_model", "siglip_vision_model", "dinov2", "tuwen_conv_vit"])
@pytest.mark.parametrize("language", ["llama", "qwen3", "gemma", "tuwen_qwen1"])
def test_a_model_that_prefers_it_computes_the_same(vision: str, language: str) -> None:
    model = compose(vision, language).train()
    ids, pixels = prompt(model)
    segments = torch.zeros_like(ids)

    def run() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        mask = packed_mask(segments, segments - 1, model.config.text_config)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, pixel_values=pixels, attention_mask=mask, labels=ids).loss
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    wanted, wanted_gradient = run()
    assert prefer_packed(model, CPU) == {"language": PACKED, "vision": PACKED}
    got, got_gradient = run()
    torch.testing.assert_close(got, wanted, atol=5e-3, rtol=5e-3)
    assert torch.cosine_similarity(got_gradient, wanted_gradient, dim=0) > 0.999


def test_generates_what_it_generated_before() -> None:
    model = compose()
    ids, pixels = prompt(model)
    wanted = model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=5, do_sample=False)
    prefer_packed(model, CPU)
    assert torch.equal(model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=5, do_sample=False), wanted)


def test_chooses_by_device_and_by_name() -> None:
    model, gpu = compose(), torch.device("cuda")
    # The kernel of a GPU needs no help in the vision encoder.
    assert prefer_packed(model, gpu) == {"language": PACKED, "vision": "sdpa"}
    assert prefer_packed(model, gpu, "flex") == {"language": FLEX, "vision": "sdpa"}
    assert prefer_packed(model, CPU) == {"language": PACKED, "vision": PACKED}
    assert prefer_packed(model, CPU, "eager") == {"language": "eager", "vision": PACKED}
    assert prefer_packed(model, CPU, "auto")["language"] == "eager"
    assert prefer_packed(model, CPU, "sdpa")["language"] == "sdpa"


@pytest.mark.parametrize(
    ("device", "dropout", "message"),
    [("cpu", 0.0, "needs a GPU; use auto"), ("cuda", 0.1, "knows no dropout, attention_dropout is 0.1")],
)
def test_flex_attention_is_refused_where_it_would_fail(device: str, dropout: float, message: str) -> None:
    model = compose()
    model.config.text_config.attention_dropout = dropout
    with pytest.raises(TuwenError, match=f"attention flex: {message}"):
        prefer_packed(model, torch.device(device), "flex")


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("language", ["llama", "gemma", "mistral", "tuwen_qwen1"])
def test_models_that_keep_conversations_apart_pass(language: str, attention: Any) -> None:
    model = compose(language=language).train()
    prefer_packed(model, CPU, attention)
    check_packed(model)
    assert model.model.language_model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_with_layers_that_know_no_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LANGUAGE_CONFIGS, "recurrent_gemma", LANGUAGE)
    model = compose(language="recurrent_gemma")
    prefer_packed(model, CPU)
    with pytest.raises(TuwenError, match="recurrent_gemma cannot be trained on packed rows: .* see each other"):
        check_packed(model)


def test_a_model_that_computes_something_else_when_packed_is_refused() -> None:
    model = compose()
    # Alone, each place now sees those behind it.
    model.config.text_config.is_causal = False
    prefer_packed(model, CPU)
    with pytest.raises(TuwenError, match="qwen2 with attention tuwen_packed computes a packed conversation .*% off"):
        check_packed(model)


def test_attention_that_does_not_run_is_refused() -> None:
    model = compose()
    prefer_packed(model, torch.device("cuda"), "flex")
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(TuwenError, match="qwen2 with attention tuwen_flex cannot be trained .* backward on CPU"),
    ):
        check_packed(model)
