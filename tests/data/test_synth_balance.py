"""Nobody gets far without looking: what a question says does not give its answer away."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import cache

import pytest

from tuwen.data.sample import Sample
from tuwen.data.synth import SynthConfig, Synthesiser, chance

PICTURES = {"shapes": 2400, "words": 2400, "faces": 2400, "glyphs": 1200}
YES_NO = {
    "shapes": (
        "color_yesno",
        "count_yesno",
        "existence",
        "object_yesno",
        "position_yesno",
        "relation_yesno",
    ),
    "words": ("ocr_yesno",),
    "faces": ("emotion_yesno",),
    "glyphs": ("character_yesno",),
}
# Task → how many answers there are, all equally frequent.
UNIFORM = {
    ("shapes", "color"): 8,
    ("shapes", "shape"): 8,
    ("shapes", "count"): 4,
    ("shapes", "count_color"): 3,
    ("shapes", "position"): 4,
    ("shapes", "relation"): 4,
    ("words", "characters"): 5,
    ("faces", "emotion"): 5,
}


@cache
def samples_of(suite: str) -> dict[str, list[Sample]]:
    """All samples of many pictures, by task."""
    synthesiser = Synthesiser(SynthConfig(suites={suite: 1.0}, questions=None))
    found: dict[str, list[Sample]] = defaultdict(list)
    for index in range(PICTURES[suite]):
        for sample in synthesiser.draw(23, index).samples:
            found[sample.task].append(sample)
    return found


def pieces(question: str) -> set[str]:
    """Words, and characters and pairs of characters, of a question."""
    return {
        *question.split(),
        *question,
        *(question[place : place + 2] for place in range(len(question) - 1)),
        question,
    }


def blind_guesses(samples: list[Sample]) -> float:
    """Share of right answers of naive Bayes over all pieces of a question, learnt on one half, tried on the other."""
    half = len(samples) // 2
    answers: Counter[str] = Counter(sample.answer for sample in samples[:half])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples[:half]:
        counts[sample.answer].update(pieces(sample.messages[0].text))
    right = 0
    for sample in samples[half:]:
        seen = pieces(sample.messages[0].text)
        scores = {
            answer: math.log(number / half)
            + sum(math.log((counts[answer][piece] + 1) / (number + 2)) for piece in seen)
            for answer, number in answers.items()
        }
        right += max(scores, key=lambda answer: scores[answer]) == sample.answer
    return right / (len(samples) - half)


@pytest.mark.parametrize(("suite", "task"), [(suite, task) for suite, tasks in YES_NO.items() for task in tasks])
def test_yes_and_no_cannot_be_told_from_the_question(suite: str, task: str) -> None:
    samples = samples_of(suite)[task]
    answers = Counter(sample.answer for sample in samples)
    assert answers["是"] == answers["否"]
    assert answers["yes"] == answers["no"]
    pairs: dict[str | None, set[str]] = defaultdict(set)
    for sample in samples:
        pairs[sample.pair].add(sample.answer)
    assert None not in pairs
    assert all(both in ({"是", "否"}, {"yes", "no"}) for both in pairs.values())
    for language in ("zh", "en"):
        mine = [sample for sample in samples if sample.language == language]
        # Four standard deviations of guessing; the halves of a pair are not independent.
        allowed = 4 * math.sqrt(0.25 / (len(mine) / 4))
        assert abs(blind_guesses(mine) - 0.5) < min(0.08, allowed), (task, language)


@pytest.mark.parametrize(("suite", "task"), UNIFORM)
def test_answers_are_equally_frequent(suite: str, task: str) -> None:
    samples, kinds = samples_of(suite)[task], UNIFORM[suite, task]
    for language in ("zh", "en"):
        answers = Counter(sample.answer for sample in samples if sample.language == language)
        total = sum(answers.values())
        assert len(answers) == kinds
        spread = math.sqrt(total * (1 / kinds) * (1 - 1 / kinds))
        assert all(abs(count - total / kinds) < 4.5 * spread for count in answers.values()), answers
        mine = [sample for sample in samples if sample.language == language]
        assert blind_guesses(mine) < 1 / kinds + 4.5 * math.sqrt(1 / kinds / (len(mine) / 2))


def test_free_answers_are_not_guessed() -> None:
    for suite, task in (("shapes", "caption"), ("shapes", "grounding"), ("words", "ocr"), ("glyphs", "row")):
        assert chance(samples_of(suite)[task]) < 0.05


def test_chance_is_the_most_frequent_answer_of_each_language() -> None:
    samples = samples_of("faces")["emotion_yesno"]
    assert chance(samples) == 0.5
    assert chance([samples[0]]) == 1.0
    assert chance([sample for sample in samples if sample.answer in ("是", "no")]) == 1.0
    with pytest.raises(ValueError, match="no samples"):
        chance([])


def test_every_wording_is_used() -> None:
    from tuwen.data.synth.shape_wordings import WORDINGS

    for task, wordings in WORDINGS.items():
        for language, choices in wordings.items():
            asked = [sample.messages[0].text for sample in samples_of("shapes")[task] if sample.language == language]
            for wording in choices:
                fixed = max(wording.replace("{", "}").split("}")[::2], key=len)
                assert any(fixed in text for text in asked), wording
