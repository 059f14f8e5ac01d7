"""Questions about scenes: what is there, how many, which colour, which pattern, where, and how things compare."""

from __future__ import annotations

import random
from typing import ClassVar

from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.scene_maker import SceneSettings, looks, make_scene, picture_size, put_on, room_for
from tuwen.data.synth.scenes.scene_words import COLOURS, Looks, vocabulary
from tuwen.data.synth.scenes.vqa_interview import Interview
from tuwen.data.synth.scenes.vqa_wordings import WORDINGS
from tuwen.data.synth.shape_wordings import DIRECTIONS, PLACES, SIDES

# The number of things that look alike, when these are counted, is one of 0 to 5, all equally likely.
MOST_ALIKE = 5


@SUITES.register("vqa")
class SceneQuestions(Suite[SceneSettings]):
    """One to ten things and everything that can be asked about them in a word or a sentence."""

    name: ClassVar[str] = "vqa"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SceneSettings]] = SceneSettings

    def compose(self, page: Page, rng: random.Random) -> None:
        """A scene, made for the counting that is asked about it, and questions."""
        size = picture_size(rng, self.settings)
        room = room_for(size, self.settings.most)
        # What is counted decides how the scene is made, so that every number is equally frequent.
        focus = rng.choice(("all", "alike", "none"))
        most_alike = min(MOST_ALIKE, room - 1)
        counted, alike = Looks(), rng.randint(0, most_alike)
        if focus == "alike":
            counted, chosen = _with_alike(rng, alike, rng.randint(max(2, alike), room))
        else:
            chosen = looks(rng, rng.randint(1 if focus == "all" else 2, room))
        scene = make_scene(rng, size, chosen)
        put_on(page, rng, scene)
        for language in LANGUAGES:
            interview = Interview(Asker(page, language, rng, WORDINGS), scene)
            if focus == "all":
                interview.ask_count(room)
            elif focus == "alike":
                interview.ask_count_of(counted, alike, most_alike)
            if focus != "alike":
                # Where things were made alike in kind and colour, a name would tell of a colour.
                interview.ask_same_colour()
            interview.ask()

    def words(self) -> list[str]:
        """Names of all that scenes hold, of places and directions."""
        names = [*SIDES, *DIRECTIONS, *PLACES, *(background.names for background in BACKGROUNDS)]
        return [*vocabulary(), *(name[language] for name in names for language in LANGUAGES)]


def _with_alike(rng: random.Random, alike: int, count: int) -> tuple[Looks, list[tuple[int, int]]]:
    """What is counted, by kind, colour or both, and the looks of ``count`` things, ``alike`` of which are it."""
    kinds = rng.sample(range(len(KINDS)), rng.randint(3, 8))
    colours = rng.sample(range(len(COLOURS)), rng.randint(3, 6))
    counted = Looks(*rng.choice(((kinds[0], None), (None, colours[0]), (kinds[0], colours[0]))))
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count:
        kind, colour = rng.choice(kinds), rng.choice(colours)
        is_counted = counted.kind in (None, kind) and counted.colour in (None, colour)
        if len(chosen) < alike:
            chosen.append(
                (kind if counted.kind is None else counted.kind, colour if counted.colour is None else counted.colour)
            )
        elif not is_counted:
            chosen.append((kind, colour))
    return counted, chosen
