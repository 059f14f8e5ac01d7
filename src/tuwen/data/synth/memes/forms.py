"""The five forms of memes: what they consist of, how they are laid out, and the explanation that follows."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import ImageDraw

from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, NO, YES, Wordings
from tuwen.data.synth.memes import wordings
from tuwen.data.synth.memes.characters import MOODS, Mood
from tuwen.data.synth.memes.lines import CLAIMS, PAIRS, SITUATIONS, STICKERS, Saying, Situation
from tuwen.data.synth.memes.sheet import Actor, Sheet
from tuwen.data.synth.memes.wordplays import WORDPLAYS, WordPlay
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.painting import paint
from tuwen.data.synth.scenes.scene_words import INKS, Looks
from tuwen.data.synth.shape_wordings import SIDES, Words

BRIGHT, DULL = frozenset({Mood.HAPPY, Mood.SMUG, Mood.CALM}), frozenset({Mood.SAD, Mood.ANGRY, Mood.SPEECHLESS})


class Meme(ABC):
    """What a picture says and shows, of which its explanation is composed."""

    @classmethod
    @abstractmethod
    def make(cls, rng: random.Random, written: Language) -> Meme:
        """Any meme of this form, whose text is in a language where it has the choice."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """All that is written, in reading order."""

    @abstractmethod
    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """Put it on a sheet."""

    @abstractmethod
    def explain(self, language: Language, rng: random.Random) -> str:
        """What it says, what it shows, and what comes of both."""

    @abstractmethod
    def ask(self, asker: Asker) -> None:
        """Add questions about what is shown."""


def _say(rng: random.Random, language: Language, ways: Wordings, **words: str) -> str:
    return rng.choice(ways[language]).format(**words)


def _suited(rng: random.Random, sayings: Sequence[Saying], mood: Mood) -> tuple[Saying, bool]:
    """A saying, and whether it fits the mood: it does half of the time, and is belied by it otherwise."""
    fits = rng.random() < 0.5
    return rng.choice([saying for saying in sayings if mood in (saying.fits if fits else saying.belied)]), fits


@dataclass(frozen=True, slots=True)
class Reaction(Meme):
    """Something happens, and an animal makes a face at it."""

    actor: Actor
    situation: Situation
    written: Language

    @classmethod
    def make(cls, rng: random.Random, written: Language) -> Reaction:
        """Any mood with any situation: some are to be expected, others are not."""
        return cls(Actor.make(rng), rng.choice(SITUATIONS), written)

    @property
    def texts(self) -> tuple[str, ...]:
        """The situation."""
        return (self.situation.line[self.written],)

    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """The text above or below the animal."""
        if rng.random() < 0.7:
            sheet.write(self.texts[0], (0.04, 0.03, 0.96, 0.28))
            self.actor.draw(sheet, (0.05, 0.3, 0.95, 0.97), rng)
        else:
            self.actor.draw(sheet, (0.05, 0.03, 0.95, 0.7), rng)
            sheet.write(self.texts[0], (0.04, 0.72, 0.96, 0.97))

    def explain(self, language: Language, rng: random.Random) -> str:
        """What happens, how the animal looks, and whether that was to be expected."""
        words = {**self.actor.words(language), "gist": self.situation.gist[language], "line": self.texts[0]}
        verdict = wordings.VERDICTS[self.situation.welcome, self.situation.expects(self.actor.mood)]
        return "".join(_say(rng, language, ways, **words) for ways in (wordings.SITUATION, wordings.FACE, verdict))

    def ask(self, asker: Asker) -> None:
        """About the animal."""
        self.actor.ask(asker)


@dataclass(frozen=True, slots=True)
class Claim(Meme):
    """Something happens, and an animal says something that its face confirms or belies."""

    actor: Actor
    situation: Situation
    claim: Saying
    fits: bool
    written: Language

    @classmethod
    def make(cls, rng: random.Random, written: Language) -> Claim:
        """Any mood with any situation, and a claim that fits the mood or not."""
        actor = Actor.make(rng)
        return cls(actor, rng.choice(SITUATIONS), *_suited(rng, CLAIMS, actor.mood), written)

    @property
    def texts(self) -> tuple[str, ...]:
        """The situation above, the claim below."""
        return self.situation.line[self.written], self.claim.line[self.written]

    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """The animal between both texts."""
        sheet.write(self.texts[0], (0.04, 0.02, 0.96, 0.23))
        self.actor.draw(sheet, (0.05, 0.24, 0.95, 0.8), rng)
        sheet.write(self.texts[1], (0.04, 0.81, 0.96, 0.98))

    def explain(self, language: Language, rng: random.Random) -> str:
        """What happens, what is claimed, and what the face says."""
        words = {**self.actor.words(language), "gist": self.situation.gist[language]}
        words |= {"line": self.texts[0], "claim": self.texts[1], "meant": self.claim.gist[language]}
        verdict = wordings.VERDICTS[self.situation.welcome, self.situation.expects(self.actor.mood)]
        rest = (wordings.CLAIM_FITS, verdict) if self.fits else (wordings.CLAIM_BELIED,)
        return "".join(_say(rng, language, ways, **words) for ways in (wordings.CLAIM, *rest))

    def ask(self, asker: Asker) -> None:
        """About the animal, and whether words and face agree."""
        self.actor.ask(asker)
        asker.ask("meme_fit", (YES if self.fits else NO)[asker.language])


@dataclass(frozen=True, slots=True)
class Sticker(Meme):
    """A word or two to send, and a face that goes with it or not."""

    actor: Actor
    saying: Saying
    fits: bool
    written: Language

    @classmethod
    def make(cls, rng: random.Random, written: Language) -> Sticker:
        """Any mood, and a saying that fits it or not."""
        actor = Actor.make(rng)
        return cls(actor, *_suited(rng, STICKERS, actor.mood), written)

    @property
    def texts(self) -> tuple[str, ...]:
        """The saying."""
        return (self.saying.line[self.written],)

    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """A large head with the words below it."""
        self.actor.draw(sheet, (0.06, 0.03, 0.94, 0.76), rng)
        sheet.write(self.texts[0], (0.06, 0.77, 0.94, 0.97))

    def explain(self, language: Language, rng: random.Random) -> str:
        """What the words are for, and what the face makes of them."""
        words = {**self.actor.words(language), "line": self.texts[0], "gist": self.saying.gist[language]}
        face = wordings.STICKER_FITS if self.fits else wordings.STICKER_BELIED
        return "".join(_say(rng, language, ways, **words) for ways in (wordings.STICKER, face))

    def ask(self, asker: Asker) -> None:
        """About the animal, and whether words and face agree."""
        self.actor.ask(asker)
        asker.ask("meme_fit", (YES if self.fits else NO)[asker.language])


@dataclass(frozen=True, slots=True)
class Panels(Meme):
    """The same animal twice."""

    left: Actor
    right: Actor
    labels: tuple[Words, Words]
    written: Language

    @classmethod
    def make(cls, rng: random.Random, written: Language) -> Panels:
        """Any two moods."""
        left = Actor.make(rng)
        return cls(left, replace(left, mood=rng.choice(list(Mood))), rng.choice(PAIRS), written)

    @property
    def texts(self) -> tuple[str, ...]:
        """The label of each panel."""
        return self.labels[0][self.written], self.labels[1][self.written]

    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """Side by side, with a line between."""
        width, height = sheet.image.size
        line = max(2, width // 120)
        ImageDraw.Draw(sheet.image).line((width / 2, 0, width / 2, height), fill=(70, 66, 66), width=line)
        for text, actor, left in zip(self.texts, (self.left, self.right), (0.0, 0.5), strict=True):
            sheet.write(text, (left + 0.03, 0.04, left + 0.47, 0.26))
            actor.draw(sheet, (left + 0.02, 0.28, left + 0.48, 0.96), rng)

    def explain(self, language: Language, rng: random.Random) -> str:
        """What is on either side, and how the mood changes."""
        left, right = self.left.words(language), self.right.words(language)
        words = {"animal": left["animal"], "left": self._label(0, language), "right": self._label(1, language)}
        words |= {f"left_{key}": value for key, value in left.items()}
        words |= {f"right_{key}": value for key, value in right.items()}
        moods = self.left.mood, self.right.mood
        change = wordings.PANELS_DIFFER
        if moods[0] == moods[1]:
            change = wordings.PANELS_SAME
        elif moods[0] in BRIGHT and moods[1] in DULL:
            change = wordings.PANELS_FALL
        elif moods[0] in DULL and moods[1] in BRIGHT:
            change = wordings.PANELS_RISE
        return "".join(_say(rng, language, ways, **words) for ways in (wordings.PANELS, change))

    def _label(self, number: int, language: Language) -> str:
        """A label in quotation marks, with a translation where it is in the other language."""
        text, meaning = self.texts[number], self.labels[number][language]
        quoted = f"“{text}”" if language == "zh" else f'"{text}"'
        return quoted if text == meaning else f"{quoted}({meaning})" if language == "zh" else f"{quoted} ({meaning})"

    def ask(self, asker: Asker) -> None:
        """About the animal, and its mood on both sides."""
        asker.ask("meme_character", self.left.species.names[asker.language])
        for actor, side in ((self.left, 0), (self.right, 2)):
            side_name = SIDES[side][asker.language]
            asker.ask("meme_panel_mood", MOODS[actor.mood][asker.language], side=side_name)


@dataclass(frozen=True, slots=True)
class Play(Meme):
    """A phrase, and the thing that its words name but nobody means."""

    play: WordPlay
    kind: int
    colour: int

    @classmethod
    def make(cls, rng: random.Random, written: Language) -> Play:
        """A phrase of this language; its thing in any colour."""
        play = rng.choice([play for play in WORDPLAYS if play.language == written])
        (kind,) = (number for number, kind in enumerate(KINDS) if kind.names["en"] == play.kind)
        return cls(play, kind, rng.randrange(len(INKS)))

    @property
    def texts(self) -> tuple[str, ...]:
        """The phrase."""
        return (self.play.line,)

    def draw(self, sheet: Sheet, rng: random.Random) -> None:
        """The thing above or below the phrase."""
        above = rng.random() < 0.5
        sheet.write(self.play.line, (0.05, 0.04, 0.95, 0.26) if above else (0.05, 0.74, 0.95, 0.96))
        left, top, right, bottom = sheet.pixels((0.1, 0.3, 0.9, 0.95) if above else (0.1, 0.05, 0.9, 0.7))
        aspect = KINDS[self.kind].aspect
        height = min(bottom - top, (right - left) / aspect) * rng.uniform(0.6, 0.95)
        x = rng.uniform(left + height * aspect / 2, right - height * aspect / 2)
        y = rng.uniform(top + height / 2, bottom - height / 2)
        box = (x - height * aspect / 2, y - height / 2, x + height * aspect / 2, y + height / 2)
        rim = max(2, round(height / 40))
        paint(sheet.image, KINDS[self.kind], box, INKS[self.colour], mirrored=rng.random() < 0.5, rim=rim)
        sheet.mark(box, " ".join(Looks(self.kind, self.colour).phrase(language) for language in LANGUAGES))

    def explain(self, language: Language, rng: random.Random) -> str:
        """What the words say, what they mean, and what is drawn."""
        words = {"line": self.play.line, "literal": self.play.literal[language], "meant": self.play.meant[language]}
        thing = Looks(self.kind).counted(language, 1)
        return _say(rng, language, wordings.WORDPLAY, thing=thing, **words)

    def ask(self, asker: Asker) -> None:
        """About the thing."""
        asker.ask("meme_object", KINDS[self.kind].names[asker.language])
