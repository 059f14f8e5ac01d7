"""Drawn pictures: the same for everyone, and labelled by what can be seen in them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.chat.grounding import parse_boxes
from tuwen.config import TuwenError, parse_config
from tuwen.data.sample import Language, Sample
from tuwen.data.synth import SUITES, Drawn, Suite, SuiteSettings, SynthConfig, Synthesiser
from tuwen.data.synth.base import Page
from tuwen.data.synth.forms import FORMS
from tuwen.data.synth.shape_wordings import COLOURS, DIRECTIONS, PLACES, RELATIONS, SIDES
from tuwen.data.synth.shapes import INKS

ALL = {"shapes": 0.4, "words": 0.2, "faces": 0.2, "glyphs": 0.1, "text": 0.1}


def draw(suite: str, count: int, **config: object) -> list[Drawn]:
    """Pictures of one suite with all questions."""
    synthesiser = Synthesiser(SynthConfig.model_validate({"suites": {suite: 1.0}, "questions": None, **config}))
    return [synthesiser.draw(11, index) for index in range(count)]


def fingerprint(drawn: Drawn) -> str:
    """Of pixels, questions, answers and regions."""
    pixels = b"" if drawn.image is None else drawn.image.tobytes()
    labels = [(sample.id, sample.messages, sample.task, sample.pair) for sample in drawn.samples]
    return hashlib.sha256(pixels + repr((labels, drawn.regions)).encode()).hexdigest()


def fingerprints(seed: int, indices: range) -> str:
    """Of many pictures of all suites."""
    synthesiser = Synthesiser(SynthConfig(suites=ALL))
    return "".join(fingerprint(synthesiser.draw(seed, index)) for index in indices)


# --- the same for everyone ---


def test_another_process_draws_the_same() -> None:
    script = "from tests.data.test_synth import fingerprints; print(fingerprints(3, range(40)))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert result.stdout.strip() == fingerprints(3, range(40)), result.stderr


def test_a_picture_does_not_depend_on_those_before_it() -> None:
    one, other = Synthesiser(SynthConfig(suites=ALL)), Synthesiser(SynthConfig(suites=ALL))
    forth = [fingerprint(one.draw(0, index)) for index in range(30)]
    back = [fingerprint(other.draw(0, index)) for index in reversed(range(30))]
    assert forth == back[::-1]
    assert len(set(forth)) == 30


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**40), size=st.integers(64, 200))
def test_every_picture_is_whole(seed: int, index: int, size: int) -> None:
    drawn = Synthesiser(SynthConfig(suites=ALL, size=size)).draw(seed, index)
    if drawn.image is not None:
        assert (drawn.image.mode, drawn.image.size) == ("RGB", (size, size))
        assert drawn.regions
    assert 1 <= len(drawn.samples) <= 14
    assert len({sample.id for sample in drawn.samples}) == len(drawn.samples)
    assert all(sample.answer for sample in drawn.samples)
    assert all(sample.images == (() if drawn.image is None else (drawn.image,)) for sample in drawn.samples)
    assert all(sample.regions == drawn.regions for sample in drawn.samples)
    for region in drawn.regions:
        left, top, right, bottom = region.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


# --- labels are what is seen ---


def ink_box(image: PIL.Image.Image, ink: tuple[int, int, int], box: tuple[float, ...]) -> tuple[float, ...]:
    """Where in ``box`` and a little around it there are pixels of the colour ``ink``."""
    pixels = np.asarray(image).astype(int)
    size = image.width
    left, top, right, bottom = (round(side * size) for side in box)
    left, top = max(0, left - 2), max(0, top - 2)
    near = np.abs(pixels[top : bottom + 2, left : right + 2] - np.array(ink)).max(axis=-1) < 70
    ys, xs = np.nonzero(near)
    return tuple(float(side) for side in (left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1))


def test_regions_of_shapes_fit_their_ink() -> None:
    colours = [colour["zh"] for colour in COLOURS]
    for drawn in draw("shapes", 150):
        assert drawn.image is not None
        for region in drawn.regions:
            ink = INKS[colours.index(region.text.split()[0])]
            wanted = [side * drawn.image.width for side in region.box]
            # Points of a star or heart thin out below what can be told from paper.
            assert ink_box(drawn.image, ink, region.box) == pytest.approx(wanted, abs=3.5)


def found(question: str, names: list[str]) -> list[str]:
    """The names that occur in a question."""
    return [name for name in names if name in question]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_answers_about_shapes_follow_from_the_regions(language: Language) -> None:
    """Recomputed from regions alone, which the test above compares with the pixels."""
    number = 0 if language == "zh" else 2
    colours, forms = [c[language] for c in COLOURS], [f[language] for f in FORMS]
    checked: Counter[str] = Counter()
    for drawn in draw("shapes", 200, languages=[language]):
        things = [(*region.text.split()[number : number + 2], region.box) for region in drawn.regions]
        for sample in drawn.samples:
            asked = sample.messages[0].text
            wanted = expected(sample, asked, things, found(asked, colours), found(asked, forms))
            assert sample.answer == wanted, (asked, things)
            checked[sample.task] += 1
    assert set(checked) == set(SUITES.get("shapes").tasks)


def expected(sample: Sample, asked: str, things: list[tuple], colours: list[str], forms: list[str]) -> str:
    """The right answer to a question that names ``colours`` and ``forms``."""
    language = sample.language
    centres = {form: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for _, form, box in things}
    boxes = {form: box for _, form, box in things}
    quarters = {form: (x > 0.5) + 2 * (y > 0.5) for form, (x, y) in centres.items()}
    truth: bool | str
    match sample.task:
        case "count":
            return str(len(things))
        case "count_yesno":
            truth = str(len(things)) in asked
        case "count_color":
            return str(sum(colour == colours[0] for colour, _, _ in things))
        case "color" | "shape":
            known = {form: colour for colour, form, _ in things} if forms else {c: form for c, form, _ in things}
            return known[(forms or colours)[0]]
        case "color_yesno":
            truth = any(colour == colours[0] and form == forms[0] for colour, form, _ in things)
        case "object_yesno":
            truth = (colours[0], forms[0]) in [(colour, form) for colour, form, _ in things]
        case "existence":
            truth = any(colour == colours[0] for colour, _, _ in things)
        case "position":
            return PLACES[quarters[forms[0]]][language]
        case "position_yesno":
            x, y = centres[forms[0]]
            (side,) = [place for place, name in enumerate(SIDES) if f"{name[language]}" in asked.replace(forms[0], "")]
            truth = (x < 0.5, y < 0.5, x > 0.5, y > 0.5)[side]
        case "relation" | "relation_yesno":
            return expected_relation(sample, asked, centres, forms)
        case "grounding":
            (grounding,) = parse_boxes(sample.answer)
            assert grounding.label == forms[0]
            assert grounding.box == pytest.approx(boxes[forms[0]], abs=0.0011)
            return sample.answer
        case _:
            listed = sorted(
                things, key=lambda thing: ((thing[2][1] + thing[2][3]) > 1, (thing[2][0] + thing[2][2]) > 1)
            )
            between, joint = ("", "、") if language == "zh" else (" ", ", ")
            return joint.join(f"{colour}{between}{form}" for colour, form, _ in listed)
    return {"zh": "否是", "en": ("no", "yes")}[language][truth]


def expected_relation(sample: Sample, asked: str, centres: dict, forms: list[str]) -> str:
    """The right answer about where one of two things is, seen from the other."""
    language = sample.language
    one, two = sorted(forms, key=asked.index)
    if asked.startswith(("从", "Which way")):
        one, two = two, one
    (x1, y1), (x2, y2) = centres[one], centres[two]
    holds = [x1 < x2, y1 < y2, x1 > x2, y1 > y2]
    if sample.task == "relation":
        answered = [name[language] for name in DIRECTIONS].index(sample.answer)
        assert holds[answered]
        assert (x1 < 0.5) == (x2 < 0.5) or (y1 < 0.5) == (y2 < 0.5), "a diagonal has two answers"
        return sample.answer
    (claimed,) = [place for place, name in enumerate(RELATIONS) if name[language] in asked]
    return {"zh": "否是", "en": ("no", "yes")}[language][holds[claimed]]


def test_no_two_shapes_touch() -> None:
    for drawn in draw("shapes", 200):
        for one, two in ((a, b) for place, a in enumerate(drawn.regions) for b in drawn.regions[:place]):
            apart = [one.box[side] > two.box[side + 2] or two.box[side] > one.box[side + 2] for side in (0, 1)]
            assert any(apart)


def test_what_is_written_is_what_the_regions_spell() -> None:
    for drawn in draw("words", 200):
        text = "".join(region.text for region in drawn.regions)
        answers = {sample.task: sample.answer for sample in drawn.samples}
        assert answers["ocr"] == text
        assert answers["characters"] == str(len(text))
        assert [sample.messages[0].text.count(f"“{text}”") for sample in drawn.samples if sample.answer == "是"] == [1]
        assert drawn.image is not None
        ink = np.asarray(drawn.image).max(axis=-1) < 150
        ys, xs = np.nonzero(ink)
        # No ink lies outside the regions, so nothing is cut off or labelled in the wrong place.
        size = drawn.image.width
        sides = list(zip(*(region.box for region in drawn.regions), strict=True))
        assert min(sides[0]) * size - 1.5 <= xs.min() <= xs.max() <= max(sides[2]) * size + 1.5
        assert min(sides[1]) * size - 1.5 <= ys.min() <= ys.max() <= max(sides[3]) * size + 1.5


def test_rows_of_glyph_pages_read_from_left_to_right() -> None:
    for drawn in draw("glyphs", 60):
        assert 20 <= len(drawn.regions) <= 36
        rows: dict[int, str] = {}
        for region in sorted(drawn.regions, key=lambda region: (round(region.box[1], 3), region.box[0])):
            row = round(region.box[1] / (region.box[3] - region.box[1]))
            rows[row] = rows.get(row, "") + region.text
        for sample in drawn.samples:
            asked = sample.messages[0].text
            if sample.task == "row":
                (digit,) = [character for character in asked if character.isdigit()]
                assert sample.answer == rows[int(digit) - 1]
            else:
                named = asked.replace("“", '"').replace("”", '"').split('"')[1]
                assert (sample.answer in ("是", "yes")) == any(named == region.text for region in drawn.regions)


def test_faces_show_their_mood() -> None:
    """The same face in every mood: each mood's pixels differ, and the answer is the region's word."""
    for drawn in draw("faces", 60):
        (region,) = drawn.regions
        moods = dict(zip(("zh", "en"), region.text.split(), strict=True))
        for sample in drawn.samples:
            if sample.task == "emotion":
                assert sample.answer == moods[sample.language]
            else:
                assert (sample.answer in ("是", "yes")) == (moods[sample.language] in sample.messages[0].text)


# --- what is kept ---


@pytest.mark.parametrize("most", [2, 5, 14])
def test_a_cut_keeps_pairs_whole(most: int) -> None:
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1.0}, questions=most))
    tasks: Counter[str] = Counter()
    for index in range(150):
        samples = synthesiser.draw(0, index).samples
        assert most - 1 <= len(samples) <= most
        pairs = Counter(sample.pair for sample in samples if sample.pair)
        assert set(pairs.values()) <= {2}
        assert [int(sample.id.split("-")[-1]) for sample in samples] == sorted(
            int(sample.id.split("-")[-1]) for sample in samples
        )
        tasks.update(sample.task for sample in samples)
    assert set(tasks) == set(SUITES.get("shapes").tasks)


def test_a_picture_always_has_a_question() -> None:
    """Also when few scenes have one of the kept task."""
    config = SynthConfig(suites={"shapes": 1.0}, tasks=["count_color"], languages=["en"])
    synthesiser = Synthesiser(config)
    for index in range(60):
        (sample,) = synthesiser.draw(0, index).samples
        assert (sample.task, sample.language) == ("count_color", "en")


def test_texts_hold_every_word_and_are_the_same_each_time() -> None:
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1.0, "words": 1.0, "glyphs": 1.0}))
    texts = synthesiser.texts(0, 500)
    assert texts == Synthesiser(synthesiser.config).texts(0, 500)
    assert len(texts) > 500
    drawn = "".join(texts)
    for region in (region for index in range(50) for region in synthesiser.draw(5, index).regions):
        assert all(word in drawn for word in region.text.split())


def test_settings_of_a_suite_take_effect() -> None:
    lengths = Counter(
        sample.answer
        for drawn in draw("words", 300, settings={"words": {"longest": 6}})
        for sample in drawn.samples
        if sample.task == "characters"
    )
    assert set(lengths) == set("123456")
    letters = {
        region.text for drawn in draw("glyphs", 20, settings={"glyphs": {"hanzi": 0}}) for region in drawn.regions
    }
    assert max(letters) < "一"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"suites": {}}, "suites"),
        ({"suites": {"shaps": 1}}, "unknown synthesis suite 'shaps'.*did you mean 'shapes'"),
        ({"suites": {"shapes": 0}}, "shapes: a weight must be above 0, found 0"),
        ({"suites": {"shapes": float("nan")}}, "weight must be above 0, found nan"),
        ({"suites": {"shapes": 1}, "size": 10}, "size"),
        ({"suites": {"shapes": 1}, "langauges": ["zh"]}, "did you mean 'languages'"),
        ({"suites": {"words": 1}, "settings": {"words": {"longst": 3}}}, "settings.words.*did you mean 'longest'"),
        ({"suites": {"words": 1}, "settings": {"words": {"longest": 9}}}, "settings.words: longest.*found 9"),
        ({"suites": {"words": 1}, "settings": {"words": {"size": 9}}}, "settings.words.size: set it for all suites"),
        ({"suites": {"words": 1}, "settings": {"shapes": {}}}, "unknown suite 'shapes'"),
        ({"suites": {"shapes": 1}, "tasks": ["colour"]}, "unknown task 'colour'.*did you mean 'color'"),
        ({"suites": {"shapes": 1, "words": 1}, "tasks": ["color"]}, "suites.words: tasks keeps none of its tasks"),
    ],
)
def test_mistakes_are_named(values: dict, message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        Synthesiser(parse_config(SynthConfig, values, "sources.0"))
    assert "\n" not in str(caught.value)


def test_a_suite_from_outside_is_mixed_like_any_other() -> None:
    class Blank(Suite[SuiteSettings]):
        name = "blank"
        tasks = ("emptiness",)

        def compose(self, page: Page, rng: random.Random) -> None:
            page.image = PIL.Image.new("RGB", (self.settings.size, self.settings.size), "white")
            page.ask("emptiness", "en", "Is it empty?", "yes")

        def words(self) -> list[str]:
            return ["empty"]

    SUITES.register("blank")(Blank)
    drawn = Synthesiser(SynthConfig(suites={"blank": 1.0, "shapes": 1.0})).draw
    kinds = [drawn(0, index).samples[0].id.split("-")[0] for index in range(40)]
    assert set(kinds) == {"blank", "shapes"}
    assert any(one != two for one, two in pairwise(kinds))
