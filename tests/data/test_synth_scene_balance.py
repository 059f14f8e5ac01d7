"""Nobody gets far without looking at a scene or a meme: what a question says does not give its answer away."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache

import pytest

from tests.data.test_synth_balance import blind_guesses
from tests.data.test_synth_refuse import is_answer
from tests.data.test_synth_vqa import readings
from tuwen.chat.messages import Message
from tuwen.data.sample import Language, Sample
from tuwen.data.synth import SynthConfig, Synthesiser, chance
from tuwen.data.synth.base import LANGUAGES, Wordings
from tuwen.data.synth.grounding import WORDINGS as GROUNDING
from tuwen.data.synth.instructions.instructions import INSTRUCTIONS
from tuwen.data.synth.memes.wordings import WORDINGS as MEME
from tuwen.data.synth.scenes.caption_wordings import WORDINGS as CAPTION
from tuwen.data.synth.scenes.refuse_wordings import WORDINGS as REFUSE
from tuwen.data.synth.scenes.vqa_wordings import WORDINGS as VQA

PICTURES = {"vqa": 900, "meme": 600, "refuse": 500, "grounding": 400, "caption": 150, "text": 100}
PAIRED = [
    *(
        ("vqa", task)
        for task in sorted(VQA)
        if task.endswith("yesno") or task in ("vqa_existence", "vqa_compare_color")
    ),
    ("grounding", "ground_yesno"),
    ("meme", "meme_mood_yesno"),
]
# Task → how many answers there are, all equally frequent.
UNIFORM = {
    ("vqa", "vqa_background"): 12,
    ("vqa", "vqa_color"): 10,
    ("vqa", "vqa_compare_count"): 10,
    ("vqa", "vqa_count"): 10,
    ("vqa", "vqa_count_of"): 6,
    ("vqa", "vqa_kind"): 36,
    ("vqa", "vqa_pattern"): 4,
    ("vqa", "vqa_position"): 4,
    ("vqa", "vqa_relation"): 4,
    ("grounding", "ground_color"): 10,
    ("meme", "meme_character"): 7,
    ("meme", "meme_fit"): 2,
    ("meme", "meme_mood"): 8,
    ("meme", "meme_panel_mood"): 8,
}
WORDED: dict[str, dict[str, Wordings]] = {
    "caption": CAPTION,
    "grounding": GROUNDING,
    "meme": MEME,
    "refuse": REFUSE,
    "text": {task: instruction.wordings for task, instruction in INSTRUCTIONS.items()},
    "vqa": VQA,
}


@cache
def samples_of(suite: str) -> dict[str, list[Sample]]:
    """All samples of many pictures, by task."""
    synthesiser = Synthesiser(SynthConfig(suites={suite: 1.0}, questions=None, size=176))
    found: dict[str, list[Sample]] = defaultdict(list)
    for index in range(PICTURES[suite]):
        for sample in synthesiser.draw(29, index).samples:
            found[sample.task].append(sample)
    return found


@pytest.mark.parametrize(("suite", "task"), PAIRED)
def test_yes_and_no_cannot_be_told_from_the_question(suite: str, task: str) -> None:
    samples = samples_of(suite)[task]
    pairs: dict[str | None, set[str]] = defaultdict(set)
    for sample in samples:
        pairs[sample.pair].add(sample.answer)
    assert None not in pairs
    assert all(both in ({"是", "否"}, {"yes", "no"}) for both in pairs.values())
    for language in LANGUAGES:
        mine = [sample for sample in samples if sample.language == language]
        assert len(mine) > 150
        # Four standard deviations of guessing; the halves of a pair are not independent.
        assert abs(blind_guesses(mine) - 0.5) < 4 * math.sqrt(0.25 / (len(mine) / 4)), (task, language)


@pytest.mark.parametrize(("suite", "task"), UNIFORM)
def test_answers_are_equally_frequent(suite: str, task: str) -> None:
    samples, kinds = samples_of(suite)[task], UNIFORM[suite, task]
    for language in LANGUAGES:
        mine = [sample for sample in samples if sample.language == language]
        answers = Counter(sample.answer for sample in mine)
        assert len(answers) == kinds
        spread = math.sqrt(len(mine) * (1 / kinds) * (1 - 1 / kinds))
        assert all(abs(count - len(mine) / kinds) < 4.5 * spread for count in answers.values()), answers
        if task not in ("vqa_compare_count", "vqa_kind"):
            assert blind_guesses(mine) < 1 / kinds + 4.5 * math.sqrt(1 / kinds / (len(mine) / 2)), (task, language)


@pytest.mark.parametrize("task", ["vqa_size", "vqa_compare_count"])
def test_the_first_of_two_is_no_likelier_answer(task: str) -> None:
    for language in LANGUAGES:
        first = Counter(
            first_of_two(task, language, sample.messages[0].text) == sample.answer
            for sample in samples_of("vqa")[task]
            if sample.language == language
        )
        assert abs(first[True] - first.total() / 2) < 4.5 * math.sqrt(first.total() / 4)


def first_of_two(task: str, language: Language, question: str) -> str:
    """What a question names first."""
    (words, *_) = readings(task, language, question)
    return words["one"]


def test_refusals_cannot_be_told_from_the_question() -> None:
    for task, samples in samples_of("refuse").items():
        for language in LANGUAGES:
            mine = [relabelled(sample) for sample in samples if sample.language == language]
            refused = sum(sample.answer == "refused" for sample in mine)
            assert abs(refused - len(mine) / 2) < 4.5 * math.sqrt(len(mine) / 4), (task, language)
            assert abs(blind_guesses(mine) - 0.5) < 4 * math.sqrt(0.25 / (len(mine) / 4)), (task, language)


def relabelled(sample: Sample) -> Sample:
    """The sample with ``refused`` or ``answered`` for its answer."""
    label = "answered" if is_answer(sample) else "refused"
    return replace(sample, messages=(sample.messages[0], Message.of("assistant", label)))


def test_free_answers_are_not_guessed() -> None:
    for suite, tasks in {
        "caption": tuple(CAPTION),
        "grounding": ("ground_all", "ground_box", "ground_caption", "ground_describe"),
        "meme": ("meme_explain", "meme_text"),
        "refuse": tuple(REFUSE),
    }.items():
        for task in tasks:
            assert chance(samples_of(suite)[task]) < 0.2, task


@pytest.mark.parametrize("suite", WORDED)
def test_every_wording_is_used(suite: str) -> None:
    for task, wordings in WORDED[suite].items():
        for language, choices in wordings.items():
            asked = [sample.messages[0].text for sample in samples_of(suite)[task] if sample.language == language]
            for wording in choices:
                fixed = max(wording.replace("{", "}").split("}")[::2], key=len)
                assert any(fixed in text for text in asked), wording
