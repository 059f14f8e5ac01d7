"""Memes say what is written, show the mood that is named, and are explained by what they hold."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import combinations

import numpy as np
import PIL.Image
import pytest
from PIL import ImageDraw

from tests.data.test_synth_scenes import draw
from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, Page
from tuwen.data.synth.canvas import SCALE
from tuwen.data.synth.fonts import typefaces
from tuwen.data.synth.meme import DARK_ON_WHITE, FORMS
from tuwen.data.synth.memes.characters import MOODS, SIGNS, SPECIES, Mood, Species, draw_character
from tuwen.data.synth.memes.forms import Claim, Panels, Play, Reaction, Sticker
from tuwen.data.synth.memes.lettering import LINE_HEIGHT, write
from tuwen.data.synth.memes.lines import CLAIMS, PAIRS, SITUATIONS, STICKERS, Saying
from tuwen.data.synth.memes.sheet import Sheet
from tuwen.data.synth.memes.wordplays import WORDPLAYS
from tuwen.data.synth.scenes.kinds import KINDS

CHINESE = re.compile("[\u4e00-\u9fff]")


def head(species: Species, mood: int, size: int = 120) -> np.ndarray:
    """An animal's head, drawn always in the same place and fur."""
    image = PIL.Image.new("RGB", (2 * size, 2 * size), (240, 240, 240))
    draw_character(ImageDraw.Draw(image), species, mood, (size, 1.2 * size, 0.6 * size), species.furs[0])
    return np.asarray(image.reduce(4)).astype(int)


@pytest.mark.parametrize("species", SPECIES, ids=lambda species: species.names["en"])
def test_every_mood_looks_different(species: Species) -> None:
    drawn = [head(species, mood) for mood in Mood]
    for one, two in combinations(range(len(MOODS)), 2):
        changed = np.abs(drawn[one] - drawn[two]).max(axis=-1) > 60
        assert changed.mean() > 0.006, (MOODS[one], MOODS[two])


def test_every_animal_looks_different() -> None:
    for one, two in combinations(SPECIES, 2):
        assert (np.abs(head(one, 0) - head(two, 0)).max(axis=-1) > 40).mean() > 0.03, (one.names, two.names)


def test_there_is_plenty_to_say() -> None:
    assert len(SITUATIONS) >= 30
    assert len(CLAIMS) + len(STICKERS) >= 36
    assert len(WORDPLAYS) >= 30
    lines = [*(one.line for one in (*SITUATIONS,)), *(one.line for one in (*CLAIMS, *STICKERS))]
    for language in LANGUAGES:
        assert len({line[language] for line in lines}) == len(lines)
    assert {play.kind for play in WORDPLAYS} <= {kind.names["en"] for kind in KINDS}
    for words in (*lines, *(label for pair in PAIRS for label in pair)):
        assert CHINESE.search(words["zh"])
        assert not CHINESE.search(words["en"])


@pytest.mark.parametrize("sayings", [CLAIMS, STICKERS], ids=["claims", "stickers"])
def test_every_mood_has_words_that_fit_and_words_that_do_not(sayings: tuple[Saying, ...]) -> None:
    for mood in Mood:
        assert any(mood in saying.fits for saying in sayings)
        assert any(mood in saying.belied for saying in sayings)
    assert not any(saying.fits & saying.belied for saying in sayings)


@pytest.mark.parametrize("size", [96, 336])
def test_what_is_said_is_what_is_written_and_shown(size: int) -> None:
    for drawn in draw("meme", 150, size=size):
        actors = [region.text.split() for region in drawn.regions if is_actor(region.text)]
        written = [region.text for region in drawn.regions if not is_actor(region.text) and not is_thing(region.text)]
        for sample in drawn.samples:
            match sample.task:
                case "meme_text":
                    assert re.sub(r"\s", "", sample.answer) == re.sub(r"\s", "", "".join(written))
                case "meme_mood" | "meme_character":
                    assert sample.answer in actors[0]
                case "meme_panel_mood":
                    right = any(side in sample.messages[0].text for side in ("右", "right"))
                    assert sample.answer in actors[right]
                case "meme_mood_yesno":
                    shown = actors[0][0 if sample.language == "zh" else 2]
                    assert (sample.answer in ("是", "yes")) == (shown in sample.messages[0].text)
                case "meme_object":
                    assert sample.answer in drawn.regions[-1].text


def is_actor(text: str) -> bool:
    """Whether a region is an animal: mood and species in Chinese, then in English."""
    return text.split()[0] in [mood["zh"] for mood in MOODS] and len(text.split()) == 4


def is_thing(text: str) -> bool:
    """Whether a region is a drawn thing: its looks in Chinese, then in English."""
    return any(text.endswith(kind.names["en"]) for kind in KINDS) and bool(CHINESE.match(text)) and " " in text


def test_text_stands_out_and_is_inside() -> None:
    """In each line's box there are letters and ground, far apart in lightness."""
    for drawn in draw("meme", 60, size=240):
        assert drawn.image is not None
        for region in drawn.regions:
            if is_actor(region.text) or is_thing(region.text):
                continue
            left, top, right, bottom = (round(s * n) for s, n in zip(region.box, drawn.image.size * 2, strict=True))
            assert left > 0
            assert right < drawn.image.width
            grey = np.asarray(drawn.image.convert("L"))[top:bottom, left:right].astype(int)
            assert np.percentile(grey, 98) - np.percentile(grey, 2) > 90, region


def test_every_line_fits_even_a_small_picture() -> None:
    """Into the narrowest place that it is written to, in pictures whose longer side is 96 pixels."""
    labels = [label for pair in PAIRS for label in pair]
    lines = [*(one.line for one in SITUATIONS), *(one.line for one in (*CLAIMS, *STICKERS))]
    lines += [{"zh": play.line, "en": play.line} for play in WORDPLAYS]
    places = [(line, (77, 96), (0.06, 0.8, 0.94, 0.97)) for line in lines]
    places += [(line, (96, 72), (0.06, 0.8, 0.94, 0.97)) for line in lines]
    places += [(label, (96, 72), (0.03, 0.04, 0.47, 0.26)) for label in labels]
    for words, (width, height), box in places:
        for language in LANGUAGES:
            for face in typefaces("simplified", "字a")[:2]:
                image = PIL.Image.new("RGB", (width * SCALE, height * SCALE))
                placed = (box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height)
                written = write(ImageDraw.Draw(image), words[language], placed, face, DARK_ON_WHITE)
                assert "".join(text for _, text in written).replace(" ", "") == words[language].replace(" ", "")
                for (left, top, right, bottom), text in written:
                    assert left >= placed[0] - 1, text
                    assert right <= placed[2] + 1, text
                    assert top >= placed[1] - LINE_HEIGHT * 12, text
                    assert bottom <= placed[3] + LINE_HEIGHT * 12, text


@pytest.mark.parametrize("written", LANGUAGES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_explanations_hold_for_their_picture(language: Language, written: Language) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(400):
        rng = random.Random(f"{seed}-{language}-{written}")
        meme = rng.choice(list(FORMS)).make(rng, written)
        text = meme.explain(language, rng)
        assert all(line in text for line in meme.texts)
        outside = text
        for line in meme.texts:
            outside = outside.replace(line, "")
        assert bool(CHINESE.search(outside)) == (language == "zh"), text
        if isinstance(meme, Play):
            assert meme.play.literal[language] in text
            assert meme.play.meant[language] in text
            continue
        actors = (meme.left, meme.right) if isinstance(meme, Panels) else (meme.actor,)
        for actor in actors:
            assert actor.species.names[language] in text
            assert SIGNS[actor.mood][language] in text
            assert MOODS[actor.mood][language] in text
        other = {MOODS[mood][language] for mood in Mood} - {MOODS[actor.mood][language] for actor in actors}
        said = {mood for mood in other if mood in outside}
        # A claim may speak of another mood than the face shows: "I am so happy".
        assert not said or isinstance(meme, Claim | Reaction | Sticker), text
        contrast = any(
            words in text
            for words in ("反差", "相反", "出人意料", "contrast", "contradict", "Nobody expects", "One would expect")
        )
        if isinstance(meme, Reaction):
            assert contrast == (not meme.situation.expects(meme.actor.mood)), text
        elif isinstance(meme, Claim):
            assert meme.fits == (meme.actor.mood in meme.claim.fits)
            assert contrast == (not meme.fits or not meme.situation.expects(meme.actor.mood)), text
        elif isinstance(meme, Sticker):
            assert meme.fits == (meme.actor.mood in meme.saying.fits)
            assert ("自嘲" in text or "humour" in text) == (not meme.fits)
        verdicts[type(meme).__name__] += 1
    assert min(verdicts.values()) > 30


def test_a_meme_is_explained_by_its_face_and_not_by_its_words() -> None:
    """The same words with another face mean something else."""
    rng = random.Random(5)
    reaction = Reaction.make(rng, "zh")
    explained = set()
    for mood in Mood:
        actor = type(reaction.actor)(reaction.actor.species, reaction.actor.fur, mood)
        explained.add(Reaction(actor, reaction.situation, "zh").explain("zh", random.Random(0)))
    assert len(explained) == len(Mood)


def test_a_sheet_marks_what_is_put_on_it() -> None:
    page = Page("sheet", None)
    image = PIL.Image.new("RGB", (400, 400), "white")
    sheet = Sheet(page, image, typefaces("simplified", "字")[0], DARK_ON_WHITE)
    sheet.write("一行字", (0.1, 0.1, 0.9, 0.3))
    (region,) = page.regions
    assert region.text == "一行字"
    ys, xs = np.nonzero(np.asarray(image.convert("L")) < 128)
    left, top, right, bottom = (side * 400 for side in region.box)
    assert left - 8 <= xs.min() <= xs.max() <= right + 8
    assert top - 8 <= ys.min() <= ys.max() <= bottom + 8
