"""Average precision as scikit-learn defines it (``average_precision_score``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def average_precision(labels: ArrayLike, scores: ArrayLike, times: np.ndarray | None = None) -> np.ndarray:
    """Precision at each threshold, weighted by how much recall grows there; not interpolated.

    Args:
        labels: [items] true for positives.
        scores: [items] the higher, the more likely positive; equal scores pass a threshold together.
        times: [items, draws] how often each item is there; once unless given.

    Returns:
        [draws] from 0 to 1; 0 where nothing is positive.
    """
    positive = np.asarray(labels, dtype=bool)
    score = np.asarray(scores, dtype=np.float64)
    times = np.ones((len(score), 1)) if times is None else times
    order = np.argsort(-score, kind="stable")
    # The last place of each run of equal scores.
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    there = times[order]
    found = np.cumsum(there * positive[order, None], axis=0)[ends]
    taken = np.cumsum(there, axis=0)[ends]
    precision, recall = found / np.maximum(taken, 1), found / np.maximum(found[-1], 1)
    return np.asarray(np.sum(np.diff(recall, axis=0, prepend=0.0) * precision, axis=0))
