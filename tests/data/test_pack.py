"""Packing changes where tokens stand, never what is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from tuwen.config import TuwenError
from tuwen.data.pack import Packed, TokenSequence, pack
from tuwen.models.packing import packed_mask

TOKENS = st.lists(st.integers(1, 40), min_size=2, max_size=9)


@st.composite
def groups(draw: st.DrawFn) -> list[list[TokenSequence]]:
    """A few groups whose samples begin alike, with some tokens at the end of each trained."""
    result = []
    numbers = list(range(16))
    for _ in range(draw(st.integers(1, 4))):
        shared = draw(TOKENS)
        group = []
        for _ in range(draw(st.integers(1, 4))):
            ids = shared + draw(TOKENS)
            trained = draw(st.integers(1, len(ids) - 1))
            labels = [-100] * (len(ids) - trained) + ids[len(ids) - trained :]
            group.append(TokenSequence(input_ids=ids, labels=labels, owner=numbers.pop()))
        result.append(group)
    return result


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=41, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    return AutoModelForCausalLM.from_config(config).eval()


MODEL = small_model()


def mask(packed: Packed) -> torch.Tensor:
    return packed_mask(torch.from_numpy(packed.segments), torch.from_numpy(packed.parents))


def loss_one_by_one(everything: list[list[TokenSequence]]) -> torch.Tensor:
    """Of each owner."""
    losses = torch.zeros(16)
    for sequence in (sequence for group in everything for sequence in group):
        logits = MODEL(torch.tensor([sequence.input_ids])).logits[0, :-1]
        labels = torch.tensor(sequence.labels[1:])
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        losses = losses.index_add(0, torch.tensor([sequence.owner]), loss[None])
    return losses


def loss_packed(everything: list[list[TokenSequence]], max_length: int | None) -> torch.Tensor:
    packed = pack(everything, pad_token_id=0, max_length=max_length)
    logits = MODEL(
        torch.from_numpy(packed.input_ids),
        attention_mask=mask(packed),
        position_ids=torch.from_numpy(packed.position_ids),
    ).logits
    labels = torch.from_numpy(packed.labels)
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    owners = torch.from_numpy(packed.owners)
    return torch.zeros(16).index_add(0, owners[owners >= 0], losses[owners >= 0])


@settings(max_examples=25, deadline=None)
@given(groups(), st.sampled_from([None, 200]))
def test_packed_loss_and_gradients_equal_one_by_one(
    everything: list[list[TokenSequence]], max_length: int | None
) -> None:
    parameters = list(MODEL.parameters())
    expected, found = loss_one_by_one(everything), loss_packed(everything, max_length)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(found.sum(), parameters),
        torch.autograd.grad(expected.sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(groups())
def test_every_trained_token_is_packed_once(everything: list[list[TokenSequence]]) -> None:
    packed = pack(everything, pad_token_id=0)
    expected = sorted(label for group in everything for one in group for label in one.labels[1:] if label != -100)
    assert sorted(packed.labels[packed.labels != -100].tolist()) == expected
    assert sorted(packed.items) == list(range(len(everything)))


def test_a_shared_beginning_is_written_once() -> None:
    group = [TokenSequence(input_ids=[1, 2, 3, end], labels=[-100, -100, -100, end]) for end in (7, 8, 9)]
    packed = pack([group], pad_token_id=0)
    # The place before the first trained token differs in what it predicts, so it stays with each branch.
    assert packed.input_ids.tolist() == [[1, 2, 3, 7, 3, 8, 3, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2, 3, 2, 3]]


def test_editing_one_sample_leaves_the_others_logits() -> None:
    def logits(last: int) -> np.ndarray:
        group = [
            TokenSequence(input_ids=[1, 2, 3, 4], labels=[-100, -100, -100, 4]),
            TokenSequence(input_ids=[1, 2, 5, last], labels=[-100, -100, -100, last]),
        ]
        packed = pack([group], pad_token_id=0)
        with torch.no_grad():
            return (
                MODEL(
                    torch.from_numpy(packed.input_ids),
                    attention_mask=mask(packed),
                    position_ids=torch.from_numpy(packed.position_ids),
                )
                .logits[0, :4]
                .numpy()
            )

    np.testing.assert_allclose(logits(6), logits(30), atol=1e-6)


def test_a_group_longer_than_a_row_is_named() -> None:
    with pytest.raises(TuwenError, match="picture-7: its 1 samples take 5 tokens, more than max_length 4"):
        pack([[TokenSequence(input_ids=[1] * 5, labels=[1] * 5, name="picture-7")]], 0, max_length=4)
