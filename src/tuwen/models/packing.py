"""Rows that hold many conversations: who sees whom.

A row is cut into *pieces*, numbered from 0; padding has a number below 0. A place sees what stands before it in its own
piece and all of that piece's *parent*, a beginning that several pieces share and that stands before them in the row.
A piece without parent and the branches behind it are an *item*: no item sees another.

Shape legend: R rows, L places of a row; of a stripe: Q queries, K keys, H keys that not all its queries see.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import groupby
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils._pytree import tree_map
from transformers import PretrainedConfig

from tuwen.config import TuwenError
from tuwen.models.striped_attention import STRIPE, Stripe, padded_size

# Names of our attention functions, see `tuwen.models.attention`.
PACKED, FLEX = "tuwen_packed", "tuwen_flex"
# Neighbours that are shorter together are given to a kernel in one call: starting it would take longer than the scores.
ONE_CALL = 512
Made = TypeVar("Made")


class Piece(NamedTuple):
    """A stretch of a row; see the module's text.

    Attributes:
        places: where it stands.
        parent: where its parent stands; None where it has none.
        padding: whether it is padding.
    """

    places: slice
    parent: slice | None
    padding: bool


class Span(NamedTuple):
    """One item of a row, or several that stand side by side.

    Attributes:
        length: places.
        mask_LL: bool, who sees whom; None where each place sees all before it.
    """

    length: int
    mask_LL: Tensor | None


class PackedMask(Tensor):
    """Who sees whom: bool [R, 1, L, L], true where the row's place sees the column's place.

    Attention functions that know it ask for the form that they need, so that most of it is never written down. For all
    others it is the tensor that it claims to be, made when first computed with.

    Args:
        segments_RL: the piece that each place belongs to; pieces are contiguous. Below 0 for padding.
        parents_RL: the piece that it also sees, -1 for none.
    """

    segments_RL: Tensor
    parents_RL: Tensor

    @staticmethod
    def __new__(cls, segments_RL: Tensor, parents_RL: Tensor) -> PackedMask:
        rows, length = segments_RL.shape
        return Tensor._make_wrapper_subclass(
            cls, (rows, 1, length, length), dtype=torch.bool, device=segments_RL.device
        )

    def __init__(self, segments_RL: Tensor, parents_RL: Tensor) -> None:
        self.segments_RL, self.parents_RL = segments_RL, parents_RL
        self._made: dict[Any, Any] = {}

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute with the dense tensor."""
        plain = tree_map(lambda value: value.dense() if isinstance(value, PackedMask) else value, (args, kwargs or {}))
        return function(*plain[0], **plain[1])

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PackedMask(shape={tuple(self.shape)}, device={self.device})"

    def dense(self, window: int | None = None) -> Tensor:
        """A plain tensor.

        Args:
            window: how many places a place sees at most, itself and those before it in its conversation.
        """
        window = self.binding(window)

        def make() -> Tensor:
            rows_R111 = torch.arange(self.shape[0], device=self.device)[:, None, None, None]
            places_L = torch.arange(self.shape[2], device=self.device)
            return self._sees(window)(rows_R111, 0, places_L[:, None], places_L)

        return self._once(("dense", window), make)

    def blocks(self, window: int | None = None) -> BlockMask:
        """For FlexAttention; ``window`` as in ``dense``."""
        window = self.binding(window)
        rows, _, length, _ = self.shape

        def make() -> BlockMask:
            return create_block_mask(self._sees(window), rows, None, length, length, device=self.device)

        return self._once(("blocks", window), make)

    def spans(self, window: int | None = None) -> list[list[Span]]:
        """Stretches of each row that do not see each other; padding is among them. ``window`` as in ``dense``."""
        window = self.binding(window)
        see = self._sees(window)

        def make(row: int, members: list[Piece]) -> Span:
            start, stop = members[0].places.start, members[-1].places.stop
            if len(members) == 1 and (window is None or stop - start <= window):
                return Span(stop - start, None)
            places_L = torch.arange(start, stop, device=self.device)
            return Span(stop - start, see(row, 0, places_L[:, None], places_L))

        return self._once(
            ("spans", window),
            lambda: [
                [make(row, members) for members in _neighbours(pieces)] for row, pieces in enumerate(self.pieces())
            ],
        )

    def bias(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """What is added to the scores where all are computed, [R, 1, L, L]; ``window`` as in ``dense``."""
        window = self.binding(window)
        # Not -∞: padding sees nothing, and the softmax of its scores would be no number.
        hidden = torch.finfo(dtype).min / 2

        def make() -> Tensor:
            return torch.zeros(self.shape, dtype=dtype, device=self.device).masked_fill_(~self.dense(window), hidden)

        return self._once(("bias", dtype, window), make)

    def stripes(self, dtype: torch.dtype, window: int | None = None) -> list[Stripe]:
        """For ``striped_attention``, in which padding sees nothing.

        Args:
            dtype: of the scores.
            window: see ``dense``.
        """
        window = self.binding(window)
        see = self._sees(window)

        def make(row: int, queries: slice, keys: tuple[slice, ...]) -> Stripe:
            places_Q, *places = (torch.arange(part.start, part.stop, device=self.device) for part in (queries, *keys))
            hidden_QK = ~see(row, 0, places_Q[:, None], torch.cat(places))
            # All queries see the first keys, most often.
            hidden_QH = hidden_QK[:, int(hidden_QK.any(dim=0).byte().argmax()) :]
            sizes = padded_size(hidden_QK.shape[0], dtype), padded_size(hidden_QK.shape[1], dtype)
            more_queries, more_keys = sizes[0] - hidden_QK.shape[0], sizes[1] - hidden_QK.shape[1]
            bias_QH = torch.zeros(hidden_QH.shape, dtype=dtype, device=self.device).masked_fill_(hidden_QH, -torch.inf)
            bias_QH = functional.pad(bias_QH, (0, more_keys), value=-torch.inf)
            bias_QH = functional.pad(bias_QH, (0, 0, 0, more_queries))
            return Stripe(slice(row, row + 1), queries, keys, sizes, bias_QH)

        return self._once(
            ("stripes", dtype, window),
            lambda: [make(row, *parts) for row, pieces in enumerate(self.pieces()) for parts in _stripes(pieces)],
        )

    def pieces(self) -> list[list[Piece]]:
        """The pieces of each row."""

        def make() -> list[list[Piece]]:
            rows = zip(self.segments_RL.tolist(), self.parents_RL.tolist(), strict=True)
            return [_pieces(segments, parents) for segments, parents in rows]

        return self._once("pieces", make)

    def positions(self) -> Tensor:
        """Each place's number in its conversation, [R, L]; 0 for padding."""

        def make() -> Tensor:
            positions_RL = torch.zeros_like(self.segments_RL)
            for row, pieces in enumerate(self.pieces()):
                for piece in pieces:
                    if not piece.padding:
                        first = _length(piece.parent)
                        places = torch.arange(first, first + _length(piece.places), device=self.device)
                        positions_RL[row, piece.places] = places
            return positions_RL

        return self._once("positions", make)

    def binding(self, window: int | None) -> int | None:
        """``window`` where a conversation is longer, else None."""
        if not window or window >= self.shape[2]:
            return None
        return window if self._once("longest", lambda: int(self.positions().max()) + 1) > window else None

    def _sees(self, window: int | None) -> Callable[[Any, Any, Any, Any], Tensor]:
        """Whether a place sees another, in FlexAttention's form: row, head, query's place, key's place → bool."""
        segments_RL, parents_RL = self.segments_RL, self.parents_RL
        positions_RL = None if window is None else self.positions()

        def see(row: Any, head: Any, query: Any, key: Any) -> Tensor:
            of_key, parent = segments_RL[row, key], parents_RL[row, query]
            seen = ((segments_RL[row, query] == of_key) | ((parent == of_key) & (parent >= 0))) & (query >= key)
            if positions_RL is None or window is None:
                return seen
            return seen & (positions_RL[row, query] - positions_RL[row, key] < window)

        return see

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])


def packed_mask(segments_RL: Tensor, parents_RL: Tensor, config: PretrainedConfig | None = None) -> Tensor:
    """Who sees whom, in the form that a language model takes.

    Args:
        segments_RL: the piece that each place belongs to; pieces are contiguous. Below 0 for padding.
        parents_RL: the piece that it also sees, -1 for none.
        config: of the language model; without it the mask can be computed with as a bool tensor.

    Returns:
        [R, 1, L, L]: a ``PackedMask`` where the model's attention knows it; else bool, true where the row's place sees
        the column's place; for eager attention what is added to the scores.

    Raises:
        TuwenError: when the model's attention cannot do what is asked.
    """
    mask = PackedMask(segments_RL, parents_RL)
    if config is None:
        return mask
    implementation, kind = config._attn_implementation, config.model_type
    if mask.binding(getattr(config, "attention_chunk_size", None)) is not None:
        raise TuwenError(f"{kind} sees text in chunks; packed rows need a max_length of {config.attention_chunk_size}")
    if implementation in (PACKED, FLEX):
        return mask
    if implementation not in ("sdpa", "eager"):
        raise TuwenError(f"attention {implementation} cannot keep packed conversations apart; use auto, sdpa or eager")
    window = mask.binding(_window(config))
    if window is not None:
        raise TuwenError(
            f"attention {implementation}: cannot keep {kind}'s window of {window} tokens in packed rows; use a "
            f"max_length of {window}, or attention auto where the model allows it"
        )
    if implementation == "sdpa":
        return mask.dense()
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask.dense(), torch.finfo(torch.float).min)


def _window(config: PretrainedConfig) -> int | None:
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ["sliding_attention"]):
        return None
    window: int | None = getattr(config, "sliding_window", None)
    return window


def _pieces(segments: list[int], parents: list[int]) -> list[Piece]:
    pieces: list[Piece] = []
    known: dict[int, Piece] = {}
    stop = 0
    for (segment, parent), members in groupby(zip(segments, parents, strict=True)):
        start, stop = stop, stop + sum(1 for _ in members)
        assert segment < 0 or segment not in known, f"piece {segment} is in two stretches"
        assert parent < 0 or known[parent].parent is None, f"piece {parent} is a parent and has one"
        pieces.append(Piece(slice(start, stop), known[parent].places if parent >= 0 else None, segment < 0))
        known[segment] = pieces[-1]
    return pieces


def _neighbours(pieces: list[Piece]) -> list[list[Piece]]:
    """The pieces of one item, or of several where they are short."""
    groups: list[list[Piece]] = []
    items: list[list[Piece]] = []
    for piece in pieces:
        if piece.parent is None:
            items.append([])
        items[-1].append(piece)
    for item in items:
        if groups and item[-1].places.stop - groups[-1][0].places.start <= ONE_CALL:
            groups[-1] += item
        else:
            groups.append(item)
    return groups


def _stripes(pieces: list[Piece]) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Queries and their keys: parts of a long piece, or short neighbours together."""
    together: list[Piece] = []
    for piece in pieces:
        if piece.padding:
            continue
        length = _length(piece.places)
        long = length > STRIPE // 2
        if together and (long or piece.places.stop - together[0].places.start > STRIPE):
            yield _stripe(together[0], slice(together[0].places.start, together[-1].places.stop))
            together = []
        if long:
            for start in range(piece.places.start, piece.places.stop, STRIPE):
                yield _stripe(piece, slice(start, min(start + STRIPE, piece.places.stop)))
        else:
            together.append(piece)
    if together:
        yield _stripe(together[0], slice(together[0].places.start, together[-1].places.stop))


def _stripe(first: Piece, queries: slice) -> tuple[slice, tuple[slice, ...]]:
    keys = slice(first.places.start, queries.stop)
    if first.parent is None:
        return queries, (keys,)
    if first.parent.stop == keys.start:
        return queries, (slice(first.parent.start, keys.stop),)
    return queries, (first.parent, keys)


def _length(places: slice | None) -> int:
    return 0 if places is None else places.stop - places.start
