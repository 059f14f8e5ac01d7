"""Memes and stickers: a drawn animal or thing with a text, and what both together express."""

from __future__ import annotations

import random
from typing import ClassVar

from pydantic import Field

from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings
from tuwen.data.synth.canvas import SCALE, smooth
from tuwen.data.synth.fonts import typefaces
from tuwen.data.synth.memes.characters import MOODS, SIGNS, SPECIES
from tuwen.data.synth.memes.forms import Claim, Meme, Panels, Play, Reaction, Sticker
from tuwen.data.synth.memes.grounds import ground
from tuwen.data.synth.memes.lettering import Style
from tuwen.data.synth.memes.lines import CLAIMS, PAIRS, SITUATIONS, STICKERS
from tuwen.data.synth.memes.sheet import Sheet
from tuwen.data.synth.memes.wordings import WORDINGS
from tuwen.data.synth.memes.wordplays import WORDPLAYS
from tuwen.data.synth.scenes.scene_words import vocabulary

FORMS: dict[type[Meme], float] = {Reaction: 0.25, Claim: 0.25, Sticker: 0.2, Panels: 0.18, Play: 0.12}
# Height divided by width; panels stand side by side and are never high.
SHAPES = (1.0, 1.0, 0.75, 1.25)
WHITE_ON_DARK, DARK_ON_WHITE = Style((255, 255, 255), (24, 22, 22)), Style((32, 30, 34), (255, 255, 255))


class MemeSettings(SuiteSettings):
    """Settings of the suite ``meme``.

    Attributes:
        size: longer side of the picture, in pixels.
    """

    size: int = Field(default=336, ge=96, le=2048)


@SUITES.register("meme")
class Memes(Suite[MemeSettings]):
    """Five forms of memes; every explanation is composed of what the picture says and shows."""

    name: ClassVar[str] = "meme"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SuiteSettings]] = MemeSettings

    def __init__(self, settings: MemeSettings) -> None:
        super().__init__(settings)
        written = "".join(sorted(set("".join(self._lines()))))
        self._faces = typefaces("simplified", written, settings.font)

    def compose(self, page: Page, rng: random.Random) -> None:
        """A meme and questions about it."""
        form = rng.choices(list(FORMS), list(FORMS.values()))[0]
        meme = form.make(rng, rng.choice(LANGUAGES))
        height = rng.choice(SHAPES[:3] if form is Panels else SHAPES)
        side = self.settings.size * SCALE / max(1.0, height)
        strong = form is not Sticker and rng.random() < 0.6
        image = ground(rng, (round(side / SCALE) * SCALE, round(side * height / SCALE) * SCALE), strong)
        # Apart from the other choices, so that these do not depend on which fonts there are.
        face = random.Random(f"{page.name}.face").choice(self._faces)
        meme.draw(Sheet(page, image, face, WHITE_ON_DARK if strong else DARK_ON_WHITE), rng)
        page.image = smooth(image)
        for language in LANGUAGES:
            asker = Asker(page, language, rng, WORDINGS)
            asker.ask("meme_text", "\n".join(meme.texts))
            asker.ask("meme_explain", meme.explain(language, rng))
            meme.ask(asker)

    def words(self) -> list[str]:
        """All that can be written, and what explanations say of it."""
        names = [*MOODS, *SIGNS, *(species.names for species in SPECIES), *(one.gist for one in SITUATIONS)]
        names += [one.gist for one in (*CLAIMS, *STICKERS)]
        names += [words for play in WORDPLAYS for words in (play.literal, play.meant)]
        return [*self._lines(), *(name[language] for name in names for language in LANGUAGES), *vocabulary()]

    @staticmethod
    def _lines() -> list[str]:
        lines = [one.line for one in SITUATIONS]
        lines += [one.line for one in (*CLAIMS, *STICKERS)]
        lines += [label for pair in PAIRS for label in pair]
        return [*(line[language] for line in lines for language in LANGUAGES), *(play.line for play in WORDPLAYS)]
