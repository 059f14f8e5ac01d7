"""Keys and values in blocks, and the attention that reads them; every place of a step is a row of its own.

A step computes places of many conversations. They are given to the language model as a batch of rows of length 1: all
layers but attention treat places alike whatever row they stand in, and what differs from conversation to conversation
(position, stretch of rotary tables) differs from row to row. Attention looks up, for each conversation, the blocks that
hold its keys and values. Conversations that take one place are attended together, those of similar length in one call.

Shape legend: L places of a step, A heads, G key/value heads, E width of a head, R rows of a group, Q places of each of
them, N blocks, S places of a block, K = N · S keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from tuwen.config import TuwenError

PAGED = "tuwen_paged"
# What attention functions may be asked for that this one does not compute.
UNKNOWN = ("softcap", "s_aux", "position_bias", "sinks")


@dataclass(frozen=True, slots=True)
class Span:
    """What a step computes of one conversation.

    Attributes:
        start: its first place, in the conversation.
        count: places.
        blocks: of the conversation, as many as hold all places up to the last of these.
    """

    start: int
    count: int
    blocks: Sequence[int]


class KeyValues:
    """The tensors of a pool of blocks; a layer's are made when it first writes.

    Args:
        blocks: N.
        size: S.
    """

    def __init__(self, blocks: int, size: int) -> None:
        self.blocks, self.size = blocks, size
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, slots_L: Tensor, key_LG1E: Tensor, value_LG1E: Tensor) -> None:
        """Keep keys and values in places ``block · S + place in the block``."""
        if layer not in self._layers:
            self._layers[layer] = (self._new(key_LG1E), self._new(value_LG1E))
        for kept_NSGE, new_LG1E in zip(self._layers[layer], (key_LG1E, value_LG1E), strict=True):
            kept_NSGE.flatten(0, 1).index_copy_(0, slots_L, new_LG1E[:, :, 0])

    def read(self, layer: int, tables_RN: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [R, G, K, E] of rows of blocks."""
        rows, blocks = tables_RN.shape
        key, value = (
            kept_NSGE.index_select(0, tables_RN.flatten())
            .view(rows, blocks * self.size, *kept_NSGE.shape[2:])
            .transpose(1, 2)
            for kept_NSGE in self._layers[layer]
        )
        return key, value

    def clear(self, blocks: Sequence[int]) -> None:
        """Fill blocks with zeros."""
        for tensors in self._layers.values():
            for kept_NSGE in tensors:
                kept_NSGE[torch.tensor(blocks, device=kept_NSGE.device)] = 0

    def bytes_per_place(self) -> int:
        """Of all layers together that have written."""
        return sum(
            tensor[0, 0].numel() * tensor.element_size() for tensors in self._layers.values() for tensor in tensors
        )

    def _new(self, like_LG1E: Tensor) -> Tensor:
        # Zeros, because a weight of 0 does not hide what is no number.
        return like_LG1E.new_zeros(self.blocks, self.size, like_LG1E.shape[1], like_LG1E.shape[3])


@dataclass(frozen=True, slots=True)
class Group:
    """Conversations that are attended in one call.

    Attributes:
        places: of the step, R · Q, side by side.
        tables_RN: their blocks, the shorter ones' filled up with block 0.
        starts_R: the first place of each in its conversation.
        count: Q.
    """

    places: slice
    tables_RN: Tensor
    starts_R: Tensor
    count: int


class Step:
    """One step's places; stands for the cache (of `transformers`) that a language model writes to.

    Args:
        spans: what is computed of whom, those of one place first; see ``in_order``.
        kept: where keys and values are.
        device: of the model.
        values: further values of the cache, by name: one for each span, given to the language model as [L].
    """

    def __init__(
        self,
        spans: Sequence[Span],
        kept: KeyValues,
        device: torch.device,
        values: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.kept = kept
        size = kept.size
        positions, slots = [], []
        for span in spans:
            places = np.arange(span.start, span.start + span.count)
            positions.append(places)
            slots.append(np.asarray(span.blocks)[places // size] * size + places % size)
        self.position_ids_L1 = torch.from_numpy(np.concatenate(positions)).to(device)[:, None]
        self._slots_L = torch.from_numpy(np.concatenate(slots)).to(device)
        self._groups = _groups(spans, device)
        self._masks: dict[Hashable, Tensor | None] = {}
        self.mask = _StepMask.of(self, len(self._slots_L), device)
        counts = torch.tensor([span.count for span in spans])
        for name, found in (values or {}).items():
            setattr(self, name, torch.tensor(found, dtype=torch.double).repeat_interleave(counts).to(device))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Never 0: what a cache keeps of a prompt is there from the start."""
        return 1

    def update(self, key_LG1E: Tensor, value_LG1E: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values; ``attend`` looks up the rest."""
        self.kept.write(layer_idx, self._slots_L, key_LG1E, value_LG1E)
        return key_LG1E, value_LG1E

    def attend(self, module: nn.Module, query_LA1E: Tensor, **kwargs: Any) -> Tensor:
        """Attention of each place to its own conversation up to itself, [L, 1, A, E]."""
        found = []
        window = kwargs.get("sliding_window")
        kwargs["is_causal"] = False
        layer: Any = module.layer_idx
        for number, group in enumerate(self._groups):
            key_RGKE, value_RGKE = self.kept.read(layer, group.tables_RN)
            rows = len(group.starts_R)
            query_RAQE = query_LA1E[group.places, :, 0].unflatten(0, (rows, group.count)).transpose(1, 2)
            mask = self._mask(number, group, window)
            attended_RQAE, _ = sdpa_attention_forward(module, query_RAQE, key_RGKE, value_RGKE, mask, **kwargs)
            found.append(attended_RQAE.flatten(0, 1))
        return torch.cat(found)[:, None]

    def _mask(self, number: int, group: Group, window: int | None) -> Tensor | None:
        """Who sees what, bool [R, 1, Q, K]."""
        if (number, window) not in self._masks:
            device = group.starts_R.device
            keys_K = torch.arange(group.tables_RN.shape[1] * self.kept.size, device=device)
            places_RQ1 = (group.starts_R[:, None] + torch.arange(group.count, device=device))[..., None]
            mask_RQK = keys_K <= places_RQ1
            if window is not None:
                mask_RQK &= keys_K > places_RQ1 - window
            self._masks[number, window] = mask_RQK[:, None]
        return self._masks[number, window]


class _StepMask(Tensor):
    """What is handed down to attention in place of a mask: 4-dimensional, so that models leave it as it is."""

    step: Step

    @classmethod
    def of(cls, step: Step, length: int, device: torch.device) -> _StepMask:
        mask = torch.ones(length, 1, 1, 1, dtype=torch.bool, device=device).as_subclass(cls)
        mask.step = step
        return mask


def in_order(count: int, blocks: int) -> tuple[bool, int]:
    """What to sort a step's spans by, so that those attended together stand side by side."""
    return count > 1, (blocks - 1).bit_length()


def _groups(spans: Sequence[Span], device: torch.device) -> list[Group]:
    groups: list[Group] = []
    start = 0
    numbered = enumerate(spans)
    for _, members in groupby(
        numbered,
        # Padding at most doubles what is read; longer stretches stand alone.
        lambda item: (item[0] if item[1].count > 1 else -1, (len(item[1].blocks) - 1).bit_length()),
    ):
        own = [span for _, span in members]
        table = np.zeros((len(own), max(len(span.blocks) for span in own)), dtype=np.int64)
        for row, span in enumerate(own):
            table[row, : len(span.blocks)] = span.blocks
        places = slice(start, start + sum(span.count for span in own))
        starts_R = torch.tensor([span.start for span in own], device=device)
        groups.append(Group(places, torch.from_numpy(table).to(device), starts_R, own[0].count))
        start = places.stop
    return groups


def paged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of a ``Step``; `torch`'s kernel for whoever else calls the model meanwhile.

    Args:
        module: the attention layer.
        query: [B, A, Q, E].
        key: [B, G, K, E].
        value: [B, G, K, E].
        attention_mask: of a step, or as `torch`'s kernel takes it.
        dropout: of the attention weights.
        scaling: of the scores; 1 / √E unless said.
        **kwargs: of `torch`'s kernel; ``sliding_window`` of the layer.

    Returns:
        [B, Q, A, E], and no weights.

    Raises:
        TuwenError: when a step's layer asks for what is not computed here.
    """
    kwargs.update(dropout=dropout, scaling=scaling)
    if not isinstance(attention_mask, _StepMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if asked := [name for name in UNKNOWN if kwargs.get(name) is not None]:
        raise TuwenError(f"attention with {asked[0]} is not computed by the engine")
    return attention_mask.step.attend(module, query, **kwargs), None


AttentionInterface.register(PAGED, paged_attention)
# For all that is no step, such as answers that are given one by one meanwhile.
AttentionMaskInterface.register(PAGED, sdpa_mask)
