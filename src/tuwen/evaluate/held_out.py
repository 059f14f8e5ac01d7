"""Exact-match accuracy on labelled samples, beside what is reached without seeing and by guessing.

``blind`` asks every question of another sample's picture. A score that does not fall then was read off the
question, not off the picture.
"""

from __future__ import annotations

import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuwen.data.sample import Picture, Sample
from tuwen.infer import Chatter, Prompt


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sample and what was answered.

    Attributes:
        sample: with the expected answer as its last message.
        given: the answer about the sample's own picture.
        blind: the answer about another sample's picture; None for text alone.
    """

    sample: Sample
    given: str
    blind: str | None

    @property
    def right(self) -> bool:
        """Whether the answer is the expected one, up to case, width and closing punctuation."""
        return normalise(self.given) == normalise(self.sample.answer)

    @property
    def blind_right(self) -> bool:
        """Whether the answer about another picture is the expected one."""
        return self.blind is not None and normalise(self.blind) == normalise(self.sample.answer)


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Percentages over the samples of a task.

    Attributes:
        accuracy: right answers.
        blind: right answers with the pictures shuffled; for text alone, equal to ``chance``.
        chance: what always giving each language's most frequent answer would reach.
        n: samples.
    """

    accuracy: float
    blind: float
    chance: float
    n: int


def normalise(answer: str) -> str:
    """An answer as it is compared: NFKC, lower case, no space around, no closing punctuation."""
    return unicodedata.normalize("NFKC", answer).strip().lower().rstrip(".。!?,;").strip()


def measure(
    vlm: Chatter,
    samples: Sequence[Sample],
    *,
    seed: int = 0,
    batch_size: int = 64,
    max_new_tokens: int = 24,
    after_batch: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Ask every sample's question about its own picture and about another's.

    Args:
        vlm: who answers, greedily.
        samples: labelled; the last message of each is the expected answer.
        seed: of the shuffling.
        batch_size: questions at a time.
        max_new_tokens: of an answer.
        after_batch: called with the number of questions answered so far, of both kinds together.

    Returns:
        Outcomes in the order of ``samples``.
    """
    others = shuffled_pictures(samples, seed)
    seen = [Prompt(sample.messages[:-1], sample.images) for sample in samples]
    blind = [
        Prompt(sample.messages[:-1], images)
        for sample, images in zip(samples, others, strict=True)
        if images is not None
    ]
    answers: list[str] = []
    prompts = seen + blind
    # Large slices keep batches of one length; small ones keep the progress moving.
    for start in range(0, len(prompts), batch_size * 4):
        part = prompts[start : start + batch_size * 4]
        given = vlm.generate(part, batch_size=batch_size, greedy=True, max_new_tokens=max_new_tokens)
        answers += [answer.text for answer in given]
        if after_batch is not None:
            after_batch(len(answers))
    without = iter(answers[len(seen) :])
    return [
        Outcome(sample, answers[place], None if others[place] is None else next(without))
        for place, sample in enumerate(samples)
    ]


def shuffled_pictures(samples: Sequence[Sample], seed: int) -> list[tuple[Picture, ...] | None]:
    """For every sample the pictures of another sample of its task; None for text alone."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        if sample.images:
            places[sample.task].append(place)
    result: list[tuple[Picture, ...] | None] = [None] * len(samples)
    for task, mine in sorted(places.items()):
        order = list(mine)
        random.Random(f"{seed}-{task}").shuffle(order)
        # A rotation of a random order gives nobody its own place.
        for place, other in zip(order, order[1:] + order[:1], strict=True):
            result[place] = samples[other].images
    return result


def score(outcomes: Sequence[Outcome]) -> dict[str, TaskScore]:
    """Scores of each task, in alphabetical order."""
    tasks: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        tasks[outcome.sample.task].append(outcome)
    return {task: _score_task(mine) for task, mine in sorted(tasks.items())}


def _score_task(outcomes: Sequence[Outcome]) -> TaskScore:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        answers[outcome.sample.language][normalise(outcome.sample.answer)] += 1
    guessed = sum(counts.most_common(1)[0][1] for counts in answers.values())
    total = len(outcomes)
    chance = 100.0 * guessed / total
    seen = [outcome for outcome in outcomes if outcome.blind is not None]
    blind = 100.0 * sum(outcome.blind_right for outcome in seen) / len(seen) if seen else chance
    return TaskScore(
        accuracy=100.0 * sum(outcome.right for outcome in outcomes) / total,
        blind=blind,
        chance=chance,
        n=total,
    )
