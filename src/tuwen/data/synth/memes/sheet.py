"""The sheet that a meme is drawn on, and who plays in it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import PIL.Image
from PIL import ImageDraw

from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, Page, region
from tuwen.data.synth.canvas import Colour
from tuwen.data.synth.fonts import Typeface
from tuwen.data.synth.memes.characters import MOODS, SIGNS, SPECIES, Mood, Species, draw_character
from tuwen.data.synth.memes.lettering import Style, write
from tuwen.data.synth.scenes.painting import Box
from tuwen.data.synth.scenes.scene_words import article


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of a page while it is drawn; boxes are fractions (0–1) of its sides.

    Attributes:
        page: gets a region for all that is put on the sheet.
        image: larger than the picture will be.
        face: of all letters.
        style: of all letters.
    """

    page: Page
    image: PIL.Image.Image
    face: Typeface
    style: Style

    def pixels(self, box: Box) -> Box:
        """A box in pixels of ``image``."""
        width, height = self.image.size
        return box[0] * width, box[1] * height, box[2] * width, box[3] * height

    def write(self, text: str, box: Box) -> None:
        """Write a text into a box."""
        for place, line in write(ImageDraw.Draw(self.image), text, self.pixels(box), self.face, self.style):
            self.mark(place, line)

    def mark(self, box: Box, text: str) -> None:
        """Say what is in a box in pixels of ``image``."""
        self.page.regions.append(region(box, self.image.size, text))


@dataclass(frozen=True, slots=True)
class Actor:
    """An animal in a mood."""

    species: Species
    fur: Colour
    mood: Mood

    @classmethod
    def make(cls, rng: random.Random) -> Actor:
        """Any animal in any mood."""
        species = rng.choice(SPECIES)
        return cls(species, rng.choice(species.furs), rng.choice(list(Mood)))

    def words(self, language: Language) -> dict[str, str]:
        """What is said of it: ``animal``, ``sign``, ``mood``, and ``a_mood`` with its article."""
        mood = MOODS[self.mood][language]
        return {
            "animal": self.species.names[language],
            "sign": SIGNS[self.mood][language],
            "mood": mood,
            "a_mood": f"{article(mood)} {mood}",
        }

    def draw(self, sheet: Sheet, box: Box, rng: random.Random) -> None:
        """Draw it into a box, as large as fits or a little smaller."""
        left, top, right, bottom = sheet.pixels(box)
        # From the ears to the chin, and from side to side, in halves of the head's width.
        high, wide = self.species.rise + 0.9, 2.2
        half = min((right - left) / wide, (bottom - top) / high) * rng.uniform(0.86, 1.0)
        x = rng.uniform(left + half * wide / 2, right - half * wide / 2)
        y = rng.uniform(top + half * self.species.rise, bottom - half * 0.9)
        draw_character(ImageDraw.Draw(sheet.image), self.species, self.mood, (x, y, half), self.fur)
        words = " ".join(f"{MOODS[self.mood][language]} {self.species.names[language]}" for language in LANGUAGES)
        sheet.mark((x - half * 1.1, y - half * self.species.rise, x + half * 1.1, y + half * 0.9), words)

    def ask(self, asker: Asker) -> None:
        """What it is and how it feels."""
        language = asker.language
        asker.ask("meme_character", self.species.names[language])
        asker.ask("meme_mood", MOODS[self.mood][language])
        # Any other mood is equally likely, so that no mood gives the answer away.
        wrong = (self.mood + asker.rng.randrange(1, len(MOODS))) % len(MOODS)
        true, false = ({"mood": MOODS[mood][language]} for mood in (self.mood, wrong))
        asker.ask_pair("meme_mood_yesno", true, false)
