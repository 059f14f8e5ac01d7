"""Average precision and F1 as scikit-learn defines them (``average_precision_score``, ``f1_score``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision at each threshold, weighted by how much recall grows there; not interpolated.

    Args:
        labels: (n,) true for positives.
        scores: (n,) the higher, the more likely positive; equal scores pass a threshold together.

    Returns:
        From 0 to 1; 0 where nothing is positive.
    """
    positive = np.asarray(labels, dtype=bool)
    score = np.asarray(scores, dtype=np.float64)
    if not positive.any():
        return 0.0
    order = np.argsort(-score, kind="stable")
    # The last place of each run of equal scores.
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    found = np.cumsum(positive[order])[ends]
    precision, recall = found / (ends + 1), found / positive.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def f1(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Harmonic mean of precision and recall, from 0 to 1; 0 where nothing is positive and nothing predicted so.

    Args:
        labels: (n,) true for positives.
        predicted: (n,) true for what was taken for positive.
    """
    positive, taken = np.asarray(labels, dtype=bool), np.asarray(predicted, dtype=bool)
    both = positive.sum() + taken.sum()
    return float(2 * (positive & taken).sum() / both) if both else 0.0
