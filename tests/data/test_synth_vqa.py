"""Answers about scenes follow from the scenes: every question is read back and answered anew."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_synth import fingerprint
from tests.data.test_synth_captions import parsed
from tests.data.test_synth_scenes import area, draw, middle, names_of, scenes
from tuwen.data.sample import Language
from tuwen.data.synth import SUITES, SynthConfig, Synthesiser
from tuwen.data.synth.asking import SHORTLY, YES_OR_NO, Asker
from tuwen.data.synth.base import LANGUAGES, Page, Question
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.scene_maker import Scene, Thing
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS, PATTERNS
from tuwen.data.synth.scenes.vqa_interview import CORNERS, Interview
from tuwen.data.synth.scenes.vqa_wordings import WORDINGS
from tuwen.data.synth.shape_wordings import DIRECTIONS, PLACES, RELATIONS, SIDES

ALL = {"caption": 1.0, "grounding": 1.0, "meme": 1.0, "refuse": 1.0, "text": 1.0, "vqa": 1.0}


def fingerprints(seed: int, indices: range) -> str:
    """Of many pictures of all suites."""
    synthesiser = Synthesiser(SynthConfig(suites=ALL, size=112))
    return "".join(fingerprint(synthesiser.draw(seed, index)) for index in indices)


def test_another_process_draws_the_same() -> None:
    script = "from tests.data.test_synth_vqa import fingerprints; print(fingerprints(3, range(30)))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert result.stdout.strip() == fingerprints(3, range(30)), result.stderr


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**40), size=st.integers(96, 200))
def test_every_picture_is_whole(seed: int, index: int, size: int) -> None:
    drawn = Synthesiser(SynthConfig(suites=ALL, size=size)).draw(seed, index)
    if drawn.image is not None:
        assert (drawn.image.mode, max(drawn.image.size)) == ("RGB", size)
        assert drawn.regions
    assert 1 <= len(drawn.samples) <= 14
    assert len({sample.id for sample in drawn.samples}) == len(drawn.samples)
    for sample in drawn.samples:
        assert sample.answer
        assert "{" not in sample.messages[0].text
        chinese = any("\u4e00" <= character <= "\u9fff" for character in sample.messages[0].text)
        assert chinese or sample.language == "en" or sample.task == "add"
    for region in drawn.regions:
        left, top, right, bottom = region.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


@pytest.mark.parametrize("suite", ALL)
def test_every_task_is_asked_in_both_languages(suite: str) -> None:
    asked = Counter((sample.task, sample.language) for drawn in draw(suite, 80, size=160) for sample in drawn.samples)
    assert set(asked) == {(task, language) for task in SUITES.get(suite).tasks for language in LANGUAGES}


@pytest.mark.parametrize("suite", ALL)
def test_words_are_all_that_can_be_said(suite: str) -> None:
    """A tokenizer that is trained on them meets no new Chinese character in any picture."""
    synthesiser = Synthesiser(SynthConfig(suites={suite: 1.0}, size=128))
    known = set("".join(synthesiser.texts(0, 3000)))
    said = "".join(m.text for index in range(100, 160) for s in synthesiser.draw(1, index).samples for m in s.messages)
    assert {character for character in said if not character.isascii()} <= known


# --- read back ---


def stripped(question: str, language: Language) -> str:
    """Without what is said about the form of the answer."""
    for form in (*SHORTLY[language], *YES_OR_NO[language]):
        question = question.removesuffix(form).rstrip()
    return question


def readings(task: str, language: Language, question: str) -> Iterator[dict[str, str]]:
    """What stands for the names of each wording that a question could have."""
    known = {"side": SIDES, "relation": RELATIONS, "colour": COLOURS}
    for wording in WORDINGS[task][language]:
        pattern = re.escape(wording)
        for name in re.findall(r"{(\w+)}", wording):
            words = "|".join(re.escape(word[language]) for word in known[name]) if name in known else ".+"
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{words})", 1)
        if match := re.fullmatch(pattern, stripped(question, language)):
            yield match.groupdict()


def things_of(scene: Scene, task: str, language: Language, question: str) -> tuple[dict[str, Thing], dict[str, str]]:
    """The things that a question names as ``one`` and ``two``, and its other words."""
    names = names_of(scene, language)
    for reading in readings(task, language, question):
        if all(reading[name] in names for name in ("one", "two") if name in reading):
            return {name: names[text] for name, text in reading.items() if name in ("one", "two")}, reading
    raise AssertionError(f"{question}: no reading of it names things of the scene")


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_follow_from_the_scene(language: Language) -> None:
    tasks: Counter[str] = Counter()
    for seed, scene in enumerate(scenes()):
        page = Page("scene", None)
        interview = Interview(Asker(page, language, random.Random(seed), WORDINGS), scene)
        interview.ask_count(10)
        interview.ask_same_colour()
        interview.ask()
        for question in page.questions:
            if "existence" in question.task or "object" in question.task or "compare_count" in question.task:
                continue
            tasks[question.task] += 1
            assert_right(scene, question)
    assert len(tasks) == 17


def assert_right(scene: Scene, question: Question) -> None:
    """Work an answer out anew from what the question names."""
    language, text, answer = question.language, question.text, question.answer
    if question.task == "vqa_background":
        assert answer == BACKGROUNDS[scene.background].names[language]
        return
    if question.task.startswith("vqa_count"):
        holds = str(len(scene.things)) in re.findall(r"\d+", text)
        assert answer == str(len(scene.things)) if question.task == "vqa_count" else yes(answer) == holds
        return
    things, words = things_of(scene, question.task, language, text)
    one = things["one"]
    x, y = middle(one)
    quarter = (x > scene.width / 2) + 2 * (y > scene.height / 2)
    match question.task:
        case "vqa_color":
            assert answer == COLOURS[one.colour][language]
        case "vqa_sentence_color":
            assert COLOURS[one.colour][language] in answer
        case "vqa_color_yesno":
            assert yes(answer) == (words["colour"] == COLOURS[one.colour][language])
        case "vqa_kind":
            assert answer == KINDS[one.kind].names[language]
        case "vqa_pattern":
            assert one.shows_pattern
            assert answer == PATTERNS[one.pattern][language]
        case "vqa_position":
            assert answer == PLACES[quarter][language]
        case "vqa_sentence_position":
            assert NINTHS[CORNERS[quarter]][language] in answer
        case "vqa_position_yesno":
            side = [name[language] for name in SIDES].index(words["side"])
            halves = (x < scene.width / 2, y < scene.height / 2, x > scene.width / 2, y > scene.height / 2)
            assert yes(answer) == halves[side]
        case _:
            assert_right_of_two(question, one, things["two"], words)


def assert_right_of_two(question: Question, one: Thing, two: Thing, words: dict[str, str]) -> None:
    """The same for questions that compare two things."""
    language, answer = question.language, question.answer
    across, down = middle(one)[0] - middle(two)[0], middle(one)[1] - middle(two)[1]
    farther = (2 if across > 0 else 0) if abs(across) > abs(down) else (3 if down > 0 else 1)
    match question.task:
        case "vqa_compare_color":
            assert yes(answer) == (one.colour == two.colour)
        case "vqa_relation":
            assert answer == DIRECTIONS[farther][language]
        case "vqa_relation_yesno":
            assert yes(answer) == (words["relation"] == RELATIONS[farther][language])
        case "vqa_sentence_relation":
            assert RELATIONS[farther][language] in answer
        case "vqa_size":
            assert answer == words["one" if area(one) > area(two) else "two"]
        case "vqa_size_yesno":
            assert yes(answer) == (area(one) > area(two))
        case task:
            raise AssertionError(f"{task}: no answer is known")


def yes(answer: str) -> bool:
    """Whether an answer is yes."""
    assert answer in ("是", "否", "yes", "no")
    return answer in ("是", "yes")


@pytest.mark.parametrize("language", LANGUAGES)
def test_counting_follows_from_the_regions(language: Language) -> None:
    tasks: Counter[str] = Counter()
    for drawn in draw("vqa", 150, size=160, languages=[language]):
        there = Counter(parsed(region) for region in drawn.regions)
        for sample in drawn.samples:
            question = stripped(sample.messages[0].text, language)
            tasks[sample.task] += 1
            match sample.task:
                case "vqa_count":
                    assert sample.answer == str(there.total())
                case "vqa_count_of":
                    assert sample.answer == str(number_of(there, question, language, several=True))
                case "vqa_count_of_yesno":
                    (claimed,) = re.findall(r"\d+", question)
                    assert yes(sample.answer) == (int(claimed) == number_of(there, question, language, several=True))
                case "vqa_existence" | "vqa_object_yesno":
                    assert yes(sample.answer) == (number_of(there, question, language) > 0)
                case "vqa_compare_count" | "vqa_compare_count_yesno":
                    named = sorted(
                        (question.index(name[language]), colour)
                        for colour, name in enumerate(COLOURS)
                        if name[language] in question
                    )
                    first, second = (number_of_colour(there, colour) for _, colour in named)
                    if sample.task == "vqa_compare_count":
                        assert sample.answer == COLOURS[named[first < second][1]][language]
                    else:
                        assert yes(sample.answer) == (first > second)
    assert min(tasks[task] for task in ("vqa_count_of", "vqa_existence", "vqa_compare_count")) > 40


def number_of(there: Counter[tuple[int, int]], question: str, language: Language, *, several: bool = False) -> int:
    """How many things have the kind and the colour that a question names."""
    words = question if language == "zh" else f" {re.sub(r'[^a-z ]', ' ', question)} "
    kinds = []
    for number, kind in enumerate(KINDS):
        name = kind.names["zh"] if language == "zh" else f" {kind.plural if several else kind.names['en']} "
        if name in words:
            kinds.append((len(name), number))
    wanted = max(kinds)[1] if kinds else None
    colours = [number for number, name in enumerate(COLOURS) if name[language] in question]
    return sum(
        count
        for (kind, colour), count in there.items()
        if wanted in (None, kind) and (not colours or colour in colours)
    )


def number_of_colour(there: Counter[tuple[int, int]], wanted: int) -> int:
    """How many things have a colour."""
    return sum(count for (_, colour), count in there.items() if colour == wanted)
