"""ANLS, the average normalised Levenshtein similarity of DocVQA and its like.

Biten et al. 2019, "Scene Text Visual Question Answering"; the script of the Robust Reading Competition (RRC), which
Qwen-VL and VLMEvalKit have taken over, and Pix2Struct's own version.
"""

from __future__ import annotations

from collections.abc import Sequence

# Below this similarity an answer is another one and not a misspelt one.
THRESHOLD = 0.5


def levenshtein(first: str, second: str) -> int:
    """Least number of characters to insert, delete or replace that make two texts the same.

    One row of the table at a time, as bits of an integer (Myers 1999, Hyyrö 2001): an answer of thousands of characters
    against a reference of some tens takes no longer than reading it.
    """
    if len(first) > len(second):
        first, second = second, first
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    full, last = (1 << len(first)) - 1, 1 << len(first) - 1
    # Where the table grows or falls by one from row to row; `distance` is its last row's value.
    up, down, distance = full, 0, len(first)
    for character in second:
        equal = places.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        grows, falls = down | ~(diagonal | up) & full, up & diagonal
        distance += bool(grows & last) - bool(falls & last)
        grows, falls = (grows << 1 | 1) & full, falls << 1 & full
        up, down = falls | ~(diagonal | grows) & full, grows & diagonal
    return distance


def rrc(reply: str, references: Sequence[str]) -> float:
    """The RRC's script: best similarity to a reference, or 0 below the threshold.

    Blanks are collapsed before the distance is taken and not before the length, so that superfluous ones help.
    """
    answer = collapsed(reply)
    distances = []
    for reference in references:
        # In upper case some letters are two characters.
        length = max(len(reference.upper()), len(reply.upper()))
        distances.append(levenshtein(collapsed(reference), answer) / length if length else 0.0)
    similarity = 1 - min(distances)
    return 0.0 if similarity < THRESHOLD else similarity


def pix2struct(reply: str, references: Sequence[str]) -> float:
    """Pix2Struct's version: blanks count, and a similarity of exactly one half is 0 already.

    Raises:
        ZeroDivisionError: when reply and reference are both empty.
    """
    best = 0.0
    for reference in references:
        first, second = reference.lower(), reply.lower()
        distance = levenshtein(first, second) / max(len(first), len(second))
        best = max(best, 1 - distance if distance < 1 - THRESHOLD else 0.0)
    return best


def collapsed(text: str) -> str:
    """In lower case, with one blank between words and none at the ends."""
    return " ".join(text.lower().split())
