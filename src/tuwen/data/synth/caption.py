"""Captions of scenes: a sentence, a paragraph, a list, JSON."""

from __future__ import annotations

import random
from typing import ClassVar

from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.caption_wordings import WORDINGS
from tuwen.data.synth.scenes.descriptions import Describer
from tuwen.data.synth.scenes.scene_maker import SceneSettings, looks, make_scene, picture_size, put_on, room_for
from tuwen.data.synth.scenes.scene_words import vocabulary


@SUITES.register("caption")
class Captions(Suite[SceneSettings]):
    """One to ten things, described in four forms."""

    name: ClassVar[str] = "caption"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SceneSettings]] = SceneSettings

    def compose(self, page: Page, rng: random.Random) -> None:
        """A scene and its captions."""
        size = picture_size(rng, self.settings)
        scene = make_scene(rng, size, looks(rng, rng.randint(1, room_for(size, self.settings.most))))
        put_on(page, rng, scene)
        for language in LANGUAGES:
            asker, describer = Asker(page, language, rng, WORDINGS), Describer(scene, language, rng)
            asker.ask("caption_short", describer.short())
            asker.ask("caption_long", describer.long())
            asker.ask("caption_list", describer.as_list())
            asker.ask("caption_json", describer.as_json())

    def words(self) -> list[str]:
        """Names of all that scenes hold, and of backgrounds."""
        backgrounds = [background.places[language] for background in BACKGROUNDS for language in LANGUAGES]
        return [*vocabulary(), *backgrounds]
