"""Attention on a CPU, stripe by stripe: some queries against only those keys that one of them sees.

A stripe is two batched products. They are computed again in the backward pass, so that the scores of one stripe are
held at a time, as in FlashAttention (arXiv 2205.14135). A row that holds many conversations costs the sum of the
squares of their lengths, not the square of its own.

Shape legend: R rows, A heads, G key/value heads, L places, E width of a query, F width of a value; of a stripe:
N rows, Q queries, K keys, H keys that not all its queries see, X = N · G, Y = Q · A / G. Q and K count padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Places of a stripe. Longer ones compute more that is masked, shorter ones start more products.
STRIPE = 128


class Stripe(NamedTuple):
    """Some queries and the keys that they see.

    Attributes:
        rows: rows that the stripe is cut from.
        queries: places of its queries.
        keys: stretches of places that together are its keys.
        sizes: Q and K, where there may be more than there are places.
        bias: added to the scores of the last H keys, -∞ where a query does not see one, [Q, H]; None where all see all.
    """

    rows: slice
    queries: slice
    keys: tuple[slice, ...]
    sizes: tuple[int, int]
    bias: Tensor | None = None


def padded_size(places: int, dtype: torch.dtype) -> int:
    """A number of places with padding: up to a multiple of 32, and at most an eighth above that.

    In bf16 a product of a new shape is compiled first and kept, which takes about 0.7 ms and 0.6 MiB; most stripes
    would have a new one.
    """
    if dtype != torch.bfloat16:
        return places
    step = max(32, 2 ** (places - 1).bit_length() // 16)
    return -(-places // step) * step


def whole_rows(query_RALE: Tensor, most_scores: int = 2**21) -> list[Stripe]:
    """Stripes where all places of a row see each other: as many rows in each as have about so many scores."""
    rows, heads, length, _ = query_RALE.shape
    step = max(1, most_scores // (heads * length * length))
    every, sizes = slice(0, length), (length, length)
    return [Stripe(slice(start, min(rows, start + step)), every, (every,), sizes) for start in range(0, rows, step)]


def striped_attention(
    query_RALE: Tensor, key_RGLE: Tensor, value_RGLF: Tensor, stripes: Sequence[Stripe], scaling: float
) -> Tensor:
    """Attention of each stripe's queries to its keys.

    Args:
        query_RALE: [R, A, L, E].
        key_RGLE: [R, G, L, E]; each is seen by A / G heads.
        value_RGLF: [R, G, L, F].
        stripes: no place may be a query of two.
        scaling: of the scores.

    Returns:
        [R, L, A, F]; 0 at places that are no query.
    """
    attended_RLAF: Tensor = _StripedAttention.apply(query_RALE, key_RGLE, value_RGLF, stripes, scaling)
    return attended_RLAF


class _StripedAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        context: Any, query: Tensor, key: Tensor, value: Tensor, stripes: Sequence[Stripe], scaling: float
    ) -> Tensor:
        rows, heads, length, _ = query.shape
        attended_RLAF = query.new_zeros(rows, length, heads, value.shape[3])
        # Autocast would turn the scores into fp32 for the softmax and back.
        with torch.autocast(query.device.type, enabled=False):
            for stripe in stripes:
                query_XYE = _of_queries(query, stripe, key.shape[1])
                weights_XYK = _weights(query_XYE, _of_keys(key, stripe), stripe, scaling)
                _put(attended_RLAF.transpose(1, 2), stripe, torch.bmm(weights_XYK, _of_keys(value, stripe)))
        context.save_for_backward(query, key, value)
        context.stripes, context.scaling = stripes, scaling
        return attended_RLAF

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = context.saved_tensors
        gradient_RALF = gradients[0].transpose(1, 2)
        of_query = torch.zeros_like(query)
        # A key gets a part of its gradient from each stripe; in bf16 their sum would lose digits.
        of_key, of_value = (torch.zeros_like(tensor, dtype=torch.float) for tensor in (key, value))
        with torch.autocast(query.device.type, enabled=False):
            for stripe in context.stripes:
                query_XYE, gradient_XYF = (_of_queries(one, stripe, key.shape[1]) for one in (query, gradient_RALF))
                key_XKE, value_XKF = _of_keys(key, stripe), _of_keys(value, stripe)
                weights_XYK = _weights(query_XYE, key_XKE, stripe, context.scaling)
                _add(of_value, stripe, torch.bmm(weights_XYK.transpose(1, 2), gradient_XYF))
                scores_XYK = torch._softmax_backward_data(
                    torch.bmm(gradient_XYF, value_XKF.transpose(1, 2)), weights_XYK, -1, weights_XYK.dtype
                )
                _put(of_query, stripe, torch.bmm(scores_XYK, key_XKE).mul_(context.scaling))
                _add(of_key, stripe, torch.bmm(scores_XYK.transpose(1, 2), query_XYE).mul_(context.scaling))
        return of_query, of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _weights(query_XYE: Tensor, key_XKE: Tensor, stripe: Stripe, scaling: float) -> Tensor:
    scores_XYK = torch.baddbmm(query_XYE.new_zeros(()), query_XYE, key_XKE.transpose(1, 2), beta=0, alpha=scaling)
    if stripe.bias is not None:
        # Several times as fast as `masked_fill_`.
        scores_XYK.view(-1, *stripe.sizes)[..., -stripe.bias.shape[1] :].add_(stripe.bias)
    return scores_XYK.softmax(dim=-1)


def _of_queries(tensor_RALE: Tensor, stripe: Stripe, key_heads: int) -> Tensor:
    """A stripe's part, the heads that share a key one behind the other, [X, Y, E]."""
    part_NAQE = _padded(tensor_RALE[stripe.rows, :, stripe.queries], stripe.sizes[0])
    return part_NAQE.reshape(part_NAQE.shape[0] * key_heads, -1, tensor_RALE.shape[3])


def _of_keys(tensor_RGLE: Tensor, stripe: Stripe) -> Tensor:
    """A stripe's part, [X, K, E]."""
    parts = [tensor_RGLE[stripe.rows, :, keys] for keys in stripe.keys]
    return _padded(parts[0] if len(parts) == 1 else torch.cat(parts, dim=2), stripe.sizes[1]).flatten(0, 1)


def _padded(tensor_NALE: Tensor, size: int) -> Tensor:
    missing = size - tensor_NALE.shape[2]
    return functional.pad(tensor_NALE, (0, 0, 0, missing)) if missing else tensor_NALE


def _put(whole_RALE: Tensor, stripe: Stripe, part_XYE: Tensor) -> None:
    """Write what was computed for a stripe's queries."""
    _, heads, _, width = whole_RALE.shape
    part_NAQE = part_XYE.view(-1, heads, stripe.sizes[0], width)
    whole_RALE[stripe.rows, :, stripe.queries] = part_NAQE[:, :, : _length(stripe.queries)]


def _add(whole_RGLE: Tensor, stripe: Stripe, part_XKE: Tensor) -> None:
    """Add what was computed for a stripe's keys."""
    part_NGKE, done = part_XKE.unflatten(0, (-1, whole_RGLE.shape[1])), 0
    for keys in stripe.keys:
        whole_RGLE[stripe.rows, :, keys] += part_NGKE[:, :, done : done + _length(keys)]
        done += _length(keys)


def _length(places: slice) -> int:
    length: int = places.stop - places.start
    return length
