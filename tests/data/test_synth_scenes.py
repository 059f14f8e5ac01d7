"""Scenes are what their labels say: painted right, apart, named without doubt, described and boxed as they are."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.config import TuwenError, parse_config
from tuwen.data.sample import Language
from tuwen.data.synth import Drawn, SynthConfig, Synthesiser
from tuwen.data.synth.base import LANGUAGES
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.figures import Kind
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.painting import SOLID, paint, shade
from tuwen.data.synth.scenes.references import Reference, named_by_kind, placed_references, plain_references
from tuwen.data.synth.scenes.scene_maker import Scene, SceneSettings, Thing, looks, make_scene, picture_size, room_for
from tuwen.data.synth.scenes.scene_words import COLOURS, INKS, NINTHS

PAPER = (222, 232, 240)
SCENES = ("caption", "grounding", "refuse", "vqa")


def draw(suite: str, count: int, **config: object) -> list[Drawn]:
    """Pictures of one suite with all questions."""
    synthesiser = Synthesiser(SynthConfig.model_validate({"suites": {suite: 1.0}, "questions": None, **config}))
    return [synthesiser.draw(17, index) for index in range(count)]


@cache
def scenes(count: int = 150, size: int = 240) -> tuple[Scene, ...]:
    """Scenes of all numbers of things and sides."""
    made = []
    for seed in range(count):
        rng = random.Random(seed)
        sides = picture_size(rng, SceneSettings(size=size))
        made.append(make_scene(rng, sides, looks(rng, rng.randint(1, room_for(sides, 10)))))
    return tuple(made)


def nearest(colour: tuple[int, ...]) -> int:
    """The ink that a colour is most like."""
    return min(range(len(INKS)), key=lambda ink: sum((a - b) ** 2 for a, b in zip(INKS[ink], colour, strict=True)))


# --- painting ---


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names["en"])
@pytest.mark.parametrize("pattern", range(4))
def test_a_thing_fills_its_box_and_nothing_else(kind: Kind, pattern: int) -> None:
    image = PIL.Image.new("RGB", (320, 220), PAPER)
    box = (40, 50, 40 + round(120 * kind.aspect), 170)
    paint(image, kind, box, INKS[0], pattern=pattern, mirrored=pattern % 2 == 1)
    ys, xs = np.nonzero((np.asarray(image) != np.array(PAPER)).any(axis=-1))
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(box, abs=1.5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names["en"])
def test_a_thing_has_no_second_colour(kind: Kind) -> None:
    """Details are white or a shade that is still most like the thing's own colour."""
    for number, ink in enumerate(INKS):
        assert nearest(shade(ink)) == number
        image = PIL.Image.new("RGB", (200, 200), PAPER)
        paint(image, kind, (20, 20, 180, 180), ink, pattern=number % 4)
        found = {colour for _, colour in image.getcolors() or []}
        assert found <= {PAPER, (255, 255, 255), ink, shade(ink)}
        assert ink in found


def test_kinds_and_colours_are_told_apart() -> None:
    drawn = {}
    for kind in KINDS:
        image = PIL.Image.new("L", (32, 32))
        colour = PIL.Image.new("RGB", (32, 32), PAPER)
        paint(colour, kind, (1, 1, 31, 31), (0, 0, 0), pattern=SOLID)
        image = colour.convert("L")
        drawn[kind.names["en"]] = np.asarray(image).astype(int)
    for one, two in combinations(drawn, 2):
        assert np.abs(drawn[one] - drawn[two]).mean() > 10, (one, two)
    for one, two in combinations(INKS, 2):
        assert sum(abs(a - b) for a, b in zip(one, two, strict=True)) > 70
    for names in (COLOURS, NINTHS, [kind.names for kind in KINDS], [background.names for background in BACKGROUNDS]):
        for language in LANGUAGES:
            assert len({name[language] for name in names}) == len(names)


@pytest.mark.parametrize("size", [96, 336])
def test_the_colour_at_a_box_is_the_one_that_is_named(size: int) -> None:
    for drawn in draw("vqa", 60, size=size):
        assert drawn.image is not None
        pixels = np.asarray(drawn.image).astype(int)
        height, width = pixels.shape[:2]
        for region in drawn.regions:
            left, top, right, bottom = (
                round(side * length) for side, length in zip(region.box, (width, height) * 2, strict=True)
            )
            inside = pixels[top:bottom, left:right].reshape(-1, 3)
            shares = [(np.abs(inside - np.array(ink)).sum(axis=-1) < 40).mean() for ink in INKS]
            assert COLOURS[int(np.argmax(shares))]["zh"] in region.text, region


# --- layout ---


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(96, 640), most=st.integers(2, 10))
def test_things_are_apart_and_inside(seed: int, size: int, most: int) -> None:
    rng = random.Random(seed)
    sides = picture_size(rng, SceneSettings(size=size))
    assert max(sides) == size
    count = rng.randint(1, room_for(sides, most))
    scene = make_scene(rng, sides, looks(rng, count), free=[(sides[0] * 0.2, sides[1] * 0.2)])
    assert len(scene.things) == count <= most
    boxes = [*(thing.box for thing in scene.things), *scene.free]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= sides[0]
        assert 0 <= top < bottom <= sides[1]
    for one, two in combinations(boxes, 2):
        assert one[2] + 2 < two[0] or two[2] + 2 < one[0] or one[3] + 2 < two[1] or two[3] + 2 < one[1]


def test_larger_classes_are_larger() -> None:
    """By at least a third of the area, in every picture."""
    areas: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for scene in (*scenes(), *scenes(size=96)):
        for one, two in combinations(scene.things, 2):
            if one.size > two.size:
                assert area(one) > 1.33 * area(two)
        for thing in scene.things:
            areas[thing.size].append(area(thing))
    assert all(areas.values())


def area(thing: Thing) -> float:
    """Of its box, in pixels."""
    left, top, right, bottom = thing.box
    return (right - left) * (bottom - top)


def test_a_size_below_the_least_is_refused() -> None:
    for suite in (*SCENES, "meme"):
        with pytest.raises(TuwenError, match=f"settings.{suite}: size.*greater than or equal to 96") as caught:
            Synthesiser(parse_config(SynthConfig, {"suites": {suite: 1}, "size": 80}, "sources.0"))
        assert "\n" not in str(caught.value)


def test_settings_of_scenes_take_effect() -> None:
    config = {"most": 3, "oblong": 0.0}
    for suite in SCENES:
        for drawn in draw(suite, 20, size=128, settings={suite: config}):
            assert drawn.image is not None
            assert drawn.image.size == (128, 128)
            assert len(drawn.regions) <= 3 + (suite == "refuse")
    sizes = {drawn.image.size for drawn in draw("vqa", 60, size=128, settings={"vqa": {"oblong": 1.0}}) if drawn.image}
    assert len(sizes) > 3
    assert all(max(size) == 128 > min(size) for size in sizes)


# --- references ---


@cache
def names_of(scene: Scene, language: Language) -> dict[str, Thing]:
    """Every expression that names a thing of the scene → the thing."""
    found: dict[str, Thing] = {}
    for thing in scene.things:
        references = [named_by_kind(scene, thing)]
        for hide in ((), ("colour",), ("kind",), ("pattern",), ("size",)):
            references += [*plain_references(scene, thing, hide), *placed_references(scene, thing, hide)]
        for reference in references:
            # The same words never name two things.
            if reference is not None:
                assert found.setdefault(reference.text(language), thing) is thing
    return found


def middle(thing: Thing) -> tuple[float, float]:
    left, top, right, bottom = thing.box
    return (left + right) / 2, (top + bottom) / 2


def named(scene: Scene, reference: Reference) -> list[Thing]:
    """Who is named, worked out anew and as loosely as a reader might: any that is on the right side at all."""
    said = {name: getattr(reference.looks, name) for name in ("kind", "colour", "pattern", "size")}
    alike = [t for t in scene.things if all(v is None or getattr(t, name) == v for name, v in said.items())]
    if reference.extreme is not None:
        axis, sign = reference.extreme % 2, 1 if reference.extreme >= 2 else -1
        return [max(alike, key=lambda thing: sign * middle(thing)[axis])]
    if reference.beside is not None:
        direction, other = reference.beside
        (anchor,) = named(scene, other)
        axis, sign = direction % 2, 1 if direction >= 2 else -1
        alike = [t for t in alike if t is not anchor and sign * (middle(t)[axis] - middle(anchor)[axis]) > 0]
    return alike


def test_a_reference_names_one_thing_and_the_right_one() -> None:
    forms: Counter[str] = Counter()
    for scene in scenes():
        for thing in scene.things:
            for reference in (*plain_references(scene, thing), *placed_references(scene, thing)):
                assert named(scene, reference) == [thing], reference
                form = "extreme" if reference.extreme is not None else "beside" if reference.beside else "plain"
                forms[form] += 1
    assert min(forms[form] for form in ("extreme", "beside", "plain")) > 300


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_a_reference_name_one_thing(language: Language) -> None:
    assert sum(len(names_of(scene, language)) for scene in scenes()) > 3000


def test_what_is_hidden_is_not_said() -> None:
    for scene in scenes(60):
        for thing in scene.things:
            for reference in (
                *plain_references(scene, thing, ["colour"]),
                *placed_references(scene, thing, ["colour"]),
            ):
                words = reference.text("en") + reference.text("zh")
                assert not any(colour[language] in words for colour in COLOURS for language in LANGUAGES)
            for reference in (*plain_references(scene, thing, ["kind"]), *placed_references(scene, thing, ["kind"])):
                assert reference.looks.kind is None
