"""BLEU, ROUGE-L and CIDEr of captions, as the COCO caption program (pycocoevalcap) reckons them.

Papineni et al. 2002, "BLEU"; Lin 2004, "ROUGE"; Vedantam et al. 2015, "CIDEr: Consensus-based Image Description
Evaluation". All take captions that are tokenised, with blanks between the tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tuwen.evaluate.figures import combined, mean, total

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


def caption_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], ids: Sequence[str] | None = None
) -> CaptionScores:
    """Score captions.

    In other draws of the pictures, what CIDEr takes for rare stays what it is among all of them. It belongs to the
    yardstick and not to the captions; and a picture that is drawn twice would make its own words common.

    Args:
        predictions: one caption a picture, tokenised.
        references: its references, tokenised; at least one.
        ids: of the pictures; numbers unless given.
    """
    names = [str(number) for number in range(len(predictions))] if ids is None else ids
    matches = np.array([_matches(made, known) for made, known in zip(predictions, references, strict=True)]).T
    sums = [total(zip(names, column.tolist(), strict=True)) for column in matches]
    rouge = [rouge_l(made, known) for made, known in zip(predictions, references, strict=True)]
    consensus = cider(predictions, references)
    lengths = range(1, LONGEST_GRAM + 1)
    scores = {f"Bleu_{longest}": combined(partial(bleu, longest), *sums) for longest in lengths}
    scores |= {
        "ROUGE_L": mean(zip(names, rouge, strict=True)),
        "CIDEr": mean(zip(names, consensus, strict=True)),
    }
    columns = {f"Bleu_{longest}": bleu(longest, *matches).tolist() for longest in lengths}
    columns |= {"ROUGE_L": rouge, "CIDEr": consensus}
    return CaptionScores(scores, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _grams(caption: str) -> list[Counter[Gram]]:
    """How often each sequence of one to four tokens occurs, by their length; cheaper made anew than kept for all."""
    words = caption.split()
    return [
        Counter(zip(*(words[first:] for first in range(length)), strict=False)) for length in range(1, LONGEST_GRAM + 1)
    ]


def _matches(prediction: str, references: Sequence[str]) -> tuple[int, ...]:
    """What BLEU counts of a caption.

    Returns:
        Of each length of sequences how many a reference has too; of each length how many there are; and the length of
        the closest reference.
    """
    made, known = _grams(prediction), [_grams(reference) for reference in references]
    correct = [
        sum(min(times, max(grams[place][gram] for grams in known)) for gram, times in made[place].items())
        for place in range(LONGEST_GRAM)
    ]
    tried = [grams.total() for grams in made]
    closest = min((abs(size - tried[0]), size) for size in (grams[0].total() for grams in known))[1]
    return *correct, *tried, closest


def bleu(longest: int, *matches: Any) -> Any:
    """BLEU of sequences up to a length; lengths of captions are compared with the closest reference's.

    Args:
        longest: the length.
        matches: what ``_matches`` gives, added up; numbers or arrays.
    """
    correct, tried, closest = matches[:LONGEST_GRAM], matches[LONGEST_GRAM:-1], matches[-1]
    product: Any = 1.0
    for right, all_ in zip(correct[:longest], tried[:longest], strict=True):
        product = product * ((right + _TINY) / (all_ + _SMALL))
    ratio = (tried[0] + _TINY) / (closest + _SMALL)
    # A caption that is too short; exp of more than 0 is not looked at.
    penalty = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return product ** (1 / longest) * penalty


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
