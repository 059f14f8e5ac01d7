"""Questions about what may not be there: half of them have an answer, the others are refused plainly."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, Wordings, region
from tuwen.data.synth.canvas import smooth
from tuwen.data.synth.faces import MOODS
from tuwen.data.synth.fonts import require_glyphs
from tuwen.data.synth.grounding import boxes_of
from tuwen.data.synth.scenes.extras import NAMES, Extra, State, draw_extra, make_extra
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.references import looks_of, matching
from tuwen.data.synth.scenes.refuse_wordings import (
    ABSENT,
    ABSENT_SEVERAL,
    ANSWERS,
    BLANK_SIGN,
    NO_NAME,
    NO_SIGN,
    NOBODY,
    OTHER_COLOUR,
    WORDINGS,
)
from tuwen.data.synth.scenes.scene_maker import (
    Scene,
    SceneSettings,
    draw_scene,
    label_things,
    looks,
    make_scene,
    picture_size,
    room_for,
)
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS, Looks, article, listed, verb, vocabulary
from tuwen.data.synth.words import ENGLISH, HANZI


@SUITES.register("refuse")
class Refusals(Suite[SceneSettings]):
    """Things, perhaps a sign or a person, and questions that only sometimes fit them."""

    name: ClassVar[str] = "refuse"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SceneSettings]] = SceneSettings

    def __init__(self, settings: SceneSettings) -> None:
        super().__init__(settings)
        require_glyphs(HANZI + "".join(ENGLISH) + "".join(NAMES), settings.font)

    def compose(self, page: Page, rng: random.Random) -> None:
        """A scene, and for each question about something in it the same about something that is not."""
        size = picture_size(rng, self.settings)
        # A sign or a person takes the room of about four things.
        most = max(2, room_for(size, self.settings.most) - 4)
        extra = make_extra(rng)
        free = extra.sides(math.sqrt(size[0] * size[1]))
        scene = make_scene(rng, size, looks(rng, rng.randint(2, most)), free=free)
        image = draw_scene(rng, scene)
        label_things(page, scene)
        if scene.free:
            board = draw_extra(rng, image, extra, scene.free[0], self.settings.font)
            if extra.text:
                page.regions.append(region(board, size, extra.text))
        page.image = smooth(image)
        for language in LANGUAGES:
            interview = _Interview(Asker(page, language, rng, WORDINGS), scene, extra)
            interview.ask_about_things()
            interview.ask_about_text()

    def words(self) -> list[str]:
        """Names of all that scenes hold, moods, names of people, and what signs say."""
        return [*vocabulary(), *NAMES, *HANZI, *ENGLISH, *(mood[language] for mood in MOODS for language in LANGUAGES)]


@dataclass(frozen=True, slots=True)
class _Interview:
    """Questions in one language."""

    asker: Asker
    scene: Scene
    extra: Extra

    @property
    def language(self) -> Language:
        return self.asker.language

    def _say(self, wordings: Wordings, **words: str) -> str:
        text = self.asker.rng.choice(wordings[self.language]).format(**words)
        return text if self.language == "zh" else text[0].upper() + text[1:]

    def _others(self) -> dict[str, str]:
        """All that is there, for answers that say what is there instead."""
        things = [looks_of(thing, "kind", "colour") for thing in self.scene.things]
        named = self.extra.named
        words = listed(self.language, things, *(() if named is None else (named[self.language],)))
        return {"others": words, "is_are": verb(things)}

    def ask_about_text(self) -> None:
        """What a sign says, or what a person is called."""
        state, mood = self.extra.state, MOODS[self.extra.mood][self.language]
        task = "refuse_text" if self.extra.kind == "sign" else "refuse_name"
        if state is State.WRITTEN:
            answer = self._say(ANSWERS[task], text=self.extra.text, name=self.extra.text)
        elif state is State.ABSENT:
            answer = self._say(NO_SIGN if self.extra.kind == "sign" else NOBODY, **self._others())
        elif self.extra.kind == "sign":
            answer = self._say(BLANK_SIGN)
        else:
            answer = self._say(NO_NAME, mood=mood, article=article(mood))
        self.asker.ask(task, answer)

    def ask_about_things(self) -> None:
        """Colour, number, place and box of a thing that is there, and of one that is not."""
        self._ask_colour()
        self._ask_count()
        self._ask_place()
        self._ask_box()

    def _absent_kind(self) -> int:
        there = {thing.kind for thing in self.scene.things}
        return self.asker.rng.choice([kind for kind in range(len(KINDS)) if kind not in there])

    def _ask(self, task: str, what: Looks, answer: str, *, several: bool = False) -> None:
        self.asker.ask(task, answer, what=what.phrase(self.language, several=several), measure=what.measure)

    def _no(self, what: Looks, *, several: bool = False) -> str:
        """There is none, but others."""
        wordings = ABSENT_SEVERAL if several else ABSENT
        return self._say(wordings, what=what.phrase(self.language, several=several), **self._others())

    def _ask_colour(self) -> None:
        present = [thing for thing in self.scene.things if len(matching(self.scene, looks_of(thing, "kind"))) == 1]
        if not present:
            return
        thing = self.asker.rng.choice(present)
        what, absent = looks_of(thing, "kind"), Looks(self._absent_kind())
        colour = COLOURS[thing.colour][self.language]
        self._ask(
            "refuse_color", what, self._say(ANSWERS["refuse_color"], what=what.phrase(self.language), colour=colour)
        )
        self._ask("refuse_color", absent, self._no(absent))

    def _ask_count(self) -> None:
        what = looks_of(self.asker.rng.choice(self.scene.things), "kind")
        count = len(matching(self.scene, what))
        words = {"counted": what.numbered(self.language, count), "is_are": "is" if count == 1 else "are"}
        self._ask("refuse_count", what, self._say(ANSWERS["refuse_count"], **words), several=True)
        absent = Looks(self._absent_kind())
        self._ask("refuse_count", absent, self._no(absent, several=True), several=True)

    def _ask_place(self) -> None:
        scene, places = self.scene, {}
        for thing in scene.things:
            row, column, what = scene.row(thing), scene.column(thing), looks_of(thing, "kind", "colour")
            if row is not None and column is not None and len(matching(scene, what)) == 1:
                places[what] = NINTHS[3 * row + column][self.language]
        if not places:
            return
        what, place = self.asker.rng.choice(list(places.items()))
        words = {"what": what.phrase(self.language), "place": place}
        self._ask("refuse_place", what, self._say(ANSWERS["refuse_place"], **words))
        self._ask("refuse_place", *self._absent_twin(what))

    def _ask_box(self) -> None:
        scene = self.scene
        present = [thing for thing in scene.things if len(matching(scene, looks_of(thing, "kind", "colour"))) == 1]
        if not present:
            return
        thing = self.asker.rng.choice(present)
        what = looks_of(thing, "kind", "colour")
        self._ask("refuse_box", what, boxes_of(what.phrase(self.language), scene, [thing]))
        self._ask("refuse_box", *self._absent_twin(what))

    def _absent_twin(self, what: Looks) -> tuple[Looks, str]:
        """A kind and colour that nothing has, half the time with the kind of ``what``; and the answer."""
        rng, language = self.asker.rng, self.language
        alike = matching(self.scene, Looks(what.kind))
        if rng.random() < 0.5:
            absent = Looks(self._absent_kind(), rng.randrange(len(COLOURS)))
            return absent, self._no(absent)
        taken = {thing.colour for thing in alike}
        absent = Looks(what.kind, rng.choice([colour for colour in range(len(COLOURS)) if colour not in taken]))
        if len(alike) > 1:
            return absent, self._no(absent)
        words = {
            "what": absent.phrase(language),
            "kind": Looks(what.kind).phrase(language),
            "colour": COLOURS[alike[0].colour][language],
        }
        asked = COLOURS[absent.colour or 0][language]
        return absent, self._say(OTHER_COLOUR, asked=asked, **words)
