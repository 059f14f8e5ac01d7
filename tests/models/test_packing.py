"""A packed row computes what its conversations compute alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_mask
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModel, PreTrainedModel
from transformers.masking_utils import sdpa_mask

import tuwen.models.attention
import tuwen.models.language.qwen1  # noqa: F401
from tests.models.compositions import LANGUAGE, LANGUAGE_CONFIGS
from tests.models.rows import Item, Rows, conversations, lay_out, rows
from tuwen.config import TuwenError
from tuwen.models.packing import PACKED, PackedMask, packed_mask

# Gemma 3 has layers of both kinds, Mistral one window for all.
WINDOWED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 5},
    "gemma3_text": {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
}
TWO = [[Item(3, (2, 4)), Item(70)], [Item(2, (1, 1, 90)), Item(1)]]


def language_model(kind: str, attention: str = PACKED, **more: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**LANGUAGE_CONFIGS.get(kind, LANGUAGE), **more})
    model = AutoModel.from_config(config).train()
    model.set_attn_implementation(attention)
    return model


def run(model: PreTrainedModel, ids_RL: Tensor, layout: Rows) -> Tensor:
    mask = packed_mask(layout.segments, layout.parents, model.config)
    return model(ids_RL, attention_mask=mask, position_ids=layout.positions, use_cache=False).last_hidden_state


def check(model: PreTrainedModel, layout: Rows, tolerance: float = 1e-5) -> None:
    """States and gradients of a packed model and of the same conversations one by one."""
    torch.manual_seed(1)
    ids_RL = torch.randint(0, LANGUAGE["vocab_size"], layout.segments.shape)
    weights_RLH = torch.randn(*ids_RL.shape, LANGUAGE["hidden_size"])
    states_RLH = run(model, ids_RL, layout)
    # What a parent gives is counted once.
    counted = torch.zeros(ids_RL.shape, dtype=torch.bool)
    packed, alone = torch.zeros(()), torch.zeros(())
    for row, places in conversations(layout):
        own = places[~counted[row, places]]
        counted[row, places] = True
        states_1LH = model(ids_RL[row, places][None], use_cache=False).last_hidden_state[0, -len(own) :]
        torch.testing.assert_close(states_RLH[row, own], states_1LH, rtol=tolerance, atol=tolerance)
        packed = packed + (states_RLH[row, own] * weights_RLH[row, own]).sum()
        alone = alone + (states_1LH * weights_RLH[row, own]).sum()
    parameters = list(model.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(packed, parameters), torch.autograd.grad(alone, parameters), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * max(1.0, float(theirs.abs().max())))


@settings(max_examples=30, deadline=None)
@given(rows())
def test_says_who_sees_whom(layout: Rows) -> None:
    length = layout.segments.shape[1]
    for window in (3, None):
        dense = PackedMask(layout.segments, layout.parents).dense(window)
        wanted = torch.zeros_like(dense)
        for row, places in conversations(layout):
            for at, place in enumerate(places.tolist()):
                wanted[row, 0, place, places[max(0, at + 1 - (window or length)) : at + 1]] = True
        real = layout.segments >= 0
        assert torch.equal(dense[:, 0][real], wanted[:, 0][real])
        # A place that sees nothing would become NaN.
        assert dense.any(dim=-1).all()
    assert torch.equal(PackedMask(layout.segments, layout.parents).positions(), layout.positions)


def test_padding_may_have_any_number_below_0_and_stand_anywhere() -> None:
    segments = torch.tensor([[-1, -1, 0, 0, -1]])
    mask = PackedMask(segments, torch.full_like(segments, -1))
    assert mask.dense()[0, 0, 2:4].tolist() == [[False, False, True, False, False], [False, False, True, True, False]]
    assert [stripe.queries for stripe in mask.stripes(torch.float)] == [slice(2, 4)]
    assert [span.length for span in mask.spans()[0]] == [5]


@settings(max_examples=10, deadline=None)
@given(rows())
def test_whoever_computes_with_it_computes_with_the_dense_mask(layout: Rows) -> None:
    mask = packed_mask(layout.segments, layout.parents)
    dense = PackedMask(layout.segments, layout.parents).dense()
    assert mask.shape == dense.shape
    assert mask.dtype == torch.bool
    for same in (mask[..., :3] == dense[..., :3], mask.clone() == dense, mask.float() == dense.float()):
        assert same.all()
    query = torch.randn(*mask.shape[:1], 2, mask.shape[2], 4, requires_grad=True)
    got = nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    wanted = nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=dense)
    assert torch.equal(got, wanted)
    assert torch.equal(*(torch.autograd.grad(result.sum(), query)[0] for result in (got, wanted)))


@pytest.mark.parametrize("window", [None, 40])
def test_flex_attention_is_told_the_same(window: int | None) -> None:
    layout = lay_out([[Item(150, (30, 10)), Item(200)], [Item(20), Item(130)]])
    mask = PackedMask(layout.segments, layout.parents)
    blocks = mask.blocks(window)
    rows, _, length, _ = mask.shape
    wanted = mask.dense(window)
    assert torch.equal(create_mask(blocks.mask_mod, rows, 1, length, length, device="cpu"), wanted)
    padding = -length % 128
    wanted = nn.functional.pad(wanted, (0, padding, 0, padding)).unflatten(3, (-1, 128)).unflatten(2, (-1, 128))
    assert torch.equal(blocks.to_dense().bool(), wanted.any(dim=5).any(dim=3))
    assert not blocks.to_dense().all()


@pytest.mark.parametrize("kind", sorted(LANGUAGE_CONFIGS))
@pytest.mark.parametrize("attention", [PACKED, "sdpa", "eager"])
def test_states_and_gradients_equal_one_by_one(kind: str, attention: str) -> None:
    check(language_model(kind, attention), lay_out(TWO))


@settings(max_examples=15, deadline=None)
@given(rows())
def test_states_and_gradients_equal_one_by_one_for_any_rows(layout: Rows) -> None:
    check(language_model("llama"), layout)


@pytest.mark.parametrize("kind", sorted(WINDOWED))
def test_a_window_is_kept_within_each_conversation(kind: str) -> None:
    check(language_model(kind, **WINDOWED[kind]), lay_out(TWO))


@pytest.mark.parametrize("kind", sorted(WINDOWED))
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_that_would_not_keep_the_window_is_refused(kind: str, attention: str) -> None:
    model = language_model(kind, attention, **WINDOWED[kind])
    layout = lay_out(TWO)
    with pytest.raises(
        TuwenError, match=f"attention {attention}: cannot keep {kind}'s window of 5 .* a max_length of 5"
    ):
        packed_mask(layout.segments, layout.parents, model.config)
    check(model, lay_out([[Item(5), Item(2, (3, 1)), Item(4)]]))


def test_chunks_that_packed_rows_cannot_have_are_refused() -> None:
    model = language_model("llama4_text", attention_chunk_size=5)
    layout = lay_out(TWO)
    with pytest.raises(TuwenError, match="llama4_text sees text in chunks; packed rows need a max_length of 5"):
        packed_mask(layout.segments, layout.parents, model.config)


def test_attention_without_a_form_for_packed_rows_is_refused() -> None:
    config = language_model("llama").config
    config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(TuwenError, match="attention flash_attention_2 cannot keep packed conversations apart"):
        packed_mask(torch.zeros(1, 2), torch.full((1, 2), -1), config)


@pytest.mark.parametrize("kind", sorted(LANGUAGE_CONFIGS))
def test_editing_one_conversation_leaves_the_others_as_they_are(kind: str) -> None:
    model, layout = language_model(kind), lay_out(TWO)
    torch.manual_seed(1)
    ids_RL = torch.randint(0, LANGUAGE["vocab_size"], layout.segments.shape)
    before = run(model, ids_RL, layout)
    for number in layout.segments.unique().tolist():
        edited = ids_RL.where(layout.segments != number, ids_RL.flip(1))
        after = run(model, edited, layout)
        apart = (layout.segments != number) & (layout.parents != number) & (layout.segments >= 0)
        assert torch.equal(after[apart], before[apart])


def test_models_hand_the_mask_on_to_their_attention() -> None:
    seen = []

    def spy(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        seen.append(type(mask))
        return query.transpose(1, 2), None

    AttentionInterface.register("spy", spy)
    AttentionMaskInterface.register("spy", sdpa_mask)
    layout = lay_out(TWO)
    for kind in sorted(LANGUAGE_CONFIGS):
        model = language_model(kind, "spy")
        model(
            torch.zeros_like(layout.segments),
            attention_mask=PackedMask(layout.segments, layout.parents),
            position_ids=layout.positions,
            use_cache=False,
        )
        assert seen == [PackedMask] * model.config.num_hidden_layers, kind
        seen.clear()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool) -> None:
    model, layout = language_model("llama"), lay_out(TWO)
    ids_RL = torch.zeros_like(layout.segments)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        run(model, ids_RL, layout).square().mean().backward()
        return [parameter.grad.clone() for parameter in model.layers.parameters() if parameter.grad is not None]

    wanted = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    for mine, theirs in zip(gradients(), wanted, strict=True):
        assert torch.equal(mine, theirs)


def test_a_mask_that_is_an_argument_of_a_checkpoint_is_the_same_mask() -> None:
    layout = lay_out(TWO)
    mask = packed_mask(layout.segments, layout.parents)
    query = torch.randn(*mask.shape[:1], 2, mask.shape[2], 4, requires_grad=True)

    def attend(query: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    for reentrant in (False, True):
        assert torch.equal(checkpoint(attend, query, mask, use_reentrant=reentrant), attend(query, mask))
