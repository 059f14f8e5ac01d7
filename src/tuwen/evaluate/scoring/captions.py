"""BLEU, ROUGE-L and CIDEr of captions, as the COCO caption program (pycocoevalcap) reckons them.

Papineni et al. 2002, "BLEU"; Lin 2004, "ROUGE"; Vedantam et al. 2015, "CIDEr: Consensus-based Image Description
Evaluation". All take captions that are tokenised, with blanks between the tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST_GRAM = 4
# Of ROUGE-L: how much more recall counts than precision.
BETA = 1.2
# Of CIDEr: tokens by which lengths may differ.
SIGMA = 6.0
# The program's guards against a division by zero; they show in the last digits.
_SMALL, _TINY = 1e-9, 1e-15

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        total: Bleu_1 to Bleu_4, ROUGE_L and CIDEr of all; CIDEr from 0 to 10, of which papers give a hundredfold.
        each: the same of each picture, in order.
    """

    total: dict[str, float]
    each: list[dict[str, float]]


def caption_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score captions.

    Args:
        predictions: one caption a picture, tokenised.
        references: its references, tokenised; at least one.
    """
    total, each = bleu(predictions, references)
    rouge = [rouge_l(prediction, known) for prediction, known in zip(predictions, references, strict=True)]
    consensus = cider(predictions, references)
    total |= {"ROUGE_L": sum(rouge) / len(rouge), "CIDEr": sum(consensus) / len(consensus)}
    return CaptionScores(
        total,
        [
            {**one, "ROUGE_L": overlap, "CIDEr": agreement}
            for one, overlap, agreement in zip(each, rouge, consensus, strict=True)
        ],
    )


def _grams(caption: str) -> list[Counter[Gram]]:
    """How often each sequence of one to four tokens occurs, by their length; cheaper made anew than kept for all."""
    words = caption.split()
    return [
        Counter(zip(*(words[first:] for first in range(length)), strict=False)) for length in range(1, LONGEST_GRAM + 1)
    ]


def bleu(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """BLEU-1 to BLEU-4 of all captions together, and of each; lengths are compared with the closest reference's."""
    correct, guessed = [0] * LONGEST_GRAM, [0] * LONGEST_GRAM
    all_length = all_closest = 0
    each = []
    for prediction, known in zip(predictions, references, strict=True):
        made, rights = _grams(prediction), [_grams(reference) for reference in known]
        right, tried = [], []
        for place in range(LONGEST_GRAM):
            right.append(
                sum(min(count, max(grams[place][gram] for grams in rights)) for gram, count in made[place].items())
            )
            tried.append(sum(made[place].values()))
        length = tried[0]
        closest = min((abs(size - length), size) for size in (sum(grams[0].values()) for grams in rights))[1]
        each.append(_bleu(right, tried, length, closest))
        correct = [one + more for one, more in zip(correct, right, strict=True)]
        guessed = [one + more for one, more in zip(guessed, tried, strict=True)]
        all_length, all_closest = all_length + length, all_closest + closest
    return _bleu(correct, guessed, all_length, all_closest), each


def _bleu(correct: Sequence[int], guessed: Sequence[int], length: int, closest: int) -> dict[str, float]:
    scores, product = {}, 1.0
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    for place, (right, tried) in enumerate(zip(correct, guessed, strict=True), start=1):
        product *= (right + _TINY) / (tried + _SMALL)
        scores[f"Bleu_{place}"] = product ** (1 / place) * penalty
    return scores


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Longest common subsequence: the best precision and the best recall of all references in one F-measure.

    An empty caption is one empty token here, which only another empty caption shares.
    """
    made = prediction.split(" ")
    precision = recall = 0.0
    for reference in references:
        known = reference.split(" ")
        common = longest_common(made, known)
        precision, recall = max(precision, common / len(made)), max(recall, common / len(known))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time as bits of an integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    unused = full
    for word in second:
        equal = unused & places.get(word, 0)
        unused = (unused + equal | unused - equal) & full
    return len(first) - unused.bit_count()


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption: sequences that few pictures' references hold weigh more.

    How rare a sequence is, is taken from these references: the same caption scores differently among other pictures,
    and 0 for a single one.
    """
    pictures: Counter[Gram] = Counter()
    for known in references:
        pictures.update({gram for reference in known for grams in _grams(reference) for gram in grams})
    most = math.log(len(references))
    rarity = {gram: most - math.log(count) for gram, count in pictures.items()}
    scores = []
    for prediction, known in zip(predictions, references, strict=True):
        made = _weighed(prediction, rarity, most)
        similar = sum(_similarity(made, _weighed(reference, rarity, most)) for reference in known)
        scores.append(10.0 * similar / len(known))
    return scores


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A caption's sequences with their weights, by length; the lengths of these vectors; pairs of words in it."""

    weights: list[dict[Gram, float]]
    norms: list[float]
    pairs: int


def _weighed(caption: str, rarity: Mapping[Gram, float], most: float) -> _Weighed:
    grams = _grams(caption)
    weights = [{gram: count * rarity.get(gram, most) for gram, count in counts.items()} for counts in grams]
    norms = [math.sqrt(sum(weight * weight for weight in one.values())) for one in weights]
    return _Weighed(weights, norms, sum(grams[1].values()))


def _similarity(made: _Weighed, known: _Weighed) -> float:
    """Mean cosine over the lengths of sequences; what is said too often does not count, nor do lengths that differ."""
    total = 0.0
    for mine, theirs, norm, other in zip(made.weights, known.weights, made.norms, known.norms, strict=True):
        if norm and other:
            common = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
            total += common / (norm * other)
    return total / LONGEST_GRAM * math.exp(-((made.pairs - known.pairs) ** 2) / (2 * SIGMA**2))
