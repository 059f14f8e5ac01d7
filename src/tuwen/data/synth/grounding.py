"""Boxes in scenes: from words to boxes, from boxes to words, and captions with a box for everything they name."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

from tuwen.chat.grounding import format_box
from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, Wordings
from tuwen.data.synth.scenes.descriptions import full_looks
from tuwen.data.synth.scenes.references import looks_of, matching, placed_references, plain_references
from tuwen.data.synth.scenes.scene_maker import (
    Scene,
    SceneSettings,
    Thing,
    looks,
    make_scene,
    picture_size,
    put_on,
    room_for,
)
from tuwen.data.synth.scenes.scene_words import COLOURS, Looks, joined, sentence, vocabulary

WORDINGS: dict[str, Wordings] = {
    "ground_all": {
        "zh": ("框出图中所有{what}。", "把{what}全部用方框标出来。", "找出每一{measure}{what}并给出坐标框。"),
        "en": (
            "Box all the {what}.",
            "Mark every one of the {what} with a box.",
            "Where are the {what}? Give a box for each.",
        ),
    },
    "ground_box": {
        "zh": ("框出{one}。", "用方框标出{one}的位置。", "{one}在哪里?请给出坐标框。", "请定位{one}。"),
        "en": ("Box {one}.", "Mark {one} with a box.", "Where is {one}? Give its box.", "Locate {one}."),
    },
    "ground_caption": {
        "zh": ("描述这张图,并框出提到的每样东西。", "说说图里有什么,同时给出坐标框。", "请写一句带方框的图片说明。"),
        "en": (
            "Describe the picture and box everything you name.",
            "Say what is in the picture, with a box for each thing.",
            "Write a caption with boxes for this picture.",
        ),
    },
    "ground_color": {
        "zh": ("{box}里的东西是什么颜色的?", "方框{box}中的物体是什么颜色?"),
        "en": ("What color is the thing in {box}?", "Which color does the thing at {box} have?"),
    },
    "ground_describe": {
        "zh": ("{box}里是什么?", "描述方框{box}中的东西。", "请说明{box}这个区域里有什么。"),
        "en": ("What is in {box}?", "Describe the thing at {box}.", "What does the region {box} show?"),
    },
    "ground_yesno": {
        "zh": ("{box}里是{what}吗?", "方框{box}中的东西是不是{what}?"),
        "en": ("Is {what} in {box}?", "Does the box {box} hold {what}?"),
    },
}
CAPTIONS: Wordings = {
    "zh": ("图中有{things}", "画面里有{things}"),
    "en": ("the picture shows {things}", "this is a drawing of {things}"),
}


@SUITES.register("grounding")
class Grounding(Suite[SceneSettings]):
    """Two to ten things and where they are."""

    name: ClassVar[str] = "grounding"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SceneSettings]] = SceneSettings

    def compose(self, page: Page, rng: random.Random) -> None:
        """A scene, and what is asked about places in it."""
        size = picture_size(rng, self.settings)
        scene = make_scene(rng, size, looks(rng, rng.randint(2, room_for(size, self.settings.most))))
        put_on(page, rng, scene)
        for language in LANGUAGES:
            interview = Interview(Asker(page, language, rng, WORDINGS), scene)
            interview.ask_for_boxes()
            interview.ask_about_boxes()

    def words(self) -> list[str]:
        """Names of all that scenes hold."""
        return vocabulary()


def boxes_of(label: str, scene: Scene, things: Iterable[Thing]) -> str:
    """The markup of things under one label."""
    first, *others = (scene.fractions(thing.box) for thing in things)
    return format_box(label, first) + "".join(format_box("", box) for box in others)


@dataclass(frozen=True, slots=True)
class Interview:
    """Questions about a scene in one language."""

    asker: Asker
    scene: Scene

    @property
    def language(self) -> Language:
        return self.asker.language

    def ask_for_boxes(self) -> None:
        """Boxes of one thing, of all of a kind or colour, of everything."""
        rng, scene, language = self.asker.rng, self.scene, self.language
        for thing in rng.sample(scene.things, len(scene.things)):
            ways = [way for way in (plain_references(scene, thing), placed_references(scene, thing)) if way]
            if ways:
                one = rng.choice(rng.choice(ways)).text(language)
                self.asker.ask("ground_box", boxes_of(one, scene, [thing]), one=one)
                break
        thing = rng.choice(scene.things)
        what = looks_of(thing, *rng.choice((("kind",), ("colour",), ("kind", "colour"))))
        if len(found := matching(scene, what)) > 1:
            label = what.phrase(language, several=True)
            self.asker.ask("ground_all", boxes_of(label, scene, found), what=label, measure=what.measure)
        self.asker.ask("ground_caption", self._caption())

    def _caption(self) -> str:
        """A sentence in which those that look alike share a label."""
        alike: dict[Looks, list[Thing]] = defaultdict(list)
        for thing in self.scene.things:
            alike[_kind_and_colour(thing)].append(thing)
        named = [boxes_of(what.counted(self.language, len(found)), self.scene, found) for what, found in alike.items()]
        wording = self.asker.rng.choice(CAPTIONS[self.language])
        return sentence(self.language, wording.format(things=joined(self.language, named)))

    def ask_about_boxes(self) -> None:
        """What is in a box."""
        rng, scene, language = self.asker.rng, self.scene, self.language
        thing = rng.choice(scene.things)
        box = boxes_of("", scene, [thing])
        answer = sentence(language, full_looks(scene, thing).counted(language, 1))
        self.asker.ask("ground_describe", answer, box=box)
        self.asker.ask_shortly("ground_color", COLOURS[thing.colour][language], box=box)
        pairs = [
            pair for pair in permutations(scene.things, 2) if _kind_and_colour(pair[0]) != _kind_and_colour(pair[1])
        ]
        if pairs:
            thing, other = rng.choice(pairs)
            box = boxes_of("", scene, [thing])
            right, wrong = (_kind_and_colour(one).counted(language, 1) for one in (thing, other))
            self.asker.ask_pair("ground_yesno", {"box": box, "what": right}, {"box": box, "what": wrong})


def _kind_and_colour(thing: Thing) -> Looks:
    return looks_of(thing, "kind", "colour")
