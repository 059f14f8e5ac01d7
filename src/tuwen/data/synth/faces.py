"""A drawn face in one of five moods."""

from __future__ import annotations

import random
from typing import ClassVar

from PIL import ImageDraw

from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, Wordings, region
from tuwen.data.synth.canvas import Colour, paper, scaled, smooth

MOODS: tuple[dict[Language, str], ...] = (
    {"zh": "开心", "en": "happy"},
    {"zh": "难过", "en": "sad"},
    {"zh": "生气", "en": "angry"},
    {"zh": "惊讶", "en": "surprised"},
    {"zh": "平静", "en": "calm"},
)
EMOTION: Wordings = {
    "zh": ("这张脸是什么心情?", "他现在是什么心情?", "图里的人心情怎么样?"),
    "en": ("What mood is this face in?", "How does this face feel?", "What is the mood?"),
}
EMOTION_YES_NO: Wordings = {
    "zh": ("这张脸{mood}吗?", "他看起来{mood}吗?"),
    "en": ("Is this face {mood}?", "Does this face look {mood}?"),
}
DARK = (55, 36, 30)
LIPS = (150, 28, 28)
TEAR = (80, 150, 245)


@SUITES.register("faces")
class Faces(Suite[SuiteSettings]):
    """One face, anywhere, in several skins and sizes; all moods equally often."""

    name: ClassVar[str] = "faces"
    tasks: ClassVar[tuple[str, ...]] = ("emotion", "emotion_yesno")

    def compose(self, page: Page, rng: random.Random) -> None:
        """A face and questions about its mood."""
        size = self.settings.size
        mood = rng.randrange(len(MOODS))
        radius = size * rng.uniform(0.26, 0.4)
        room = size / 2 - radius - 1
        x, y = size / 2 + rng.uniform(-room, room), size / 2 + rng.uniform(-room, room)
        skin = (rng.randint(222, 252), rng.randint(185, 222), rng.randint(115, 175))
        image = paper(rng, size, least=195)
        draw_face(ImageDraw.Draw(image), MOODS[mood]["en"], scaled(x, y, radius), skin)
        page.image = smooth(image)
        words = " ".join(MOODS[mood][language] for language in LANGUAGES)
        page.regions.append(region((x - radius, y - radius, x + radius, y + radius), size, words))
        for language in LANGUAGES:
            page.ask("emotion", language, rng.choice(EMOTION[language]), MOODS[mood][language])
            # Any other mood is equally likely, so that no mood gives the answer away.
            wrong = (mood + rng.randrange(1, len(MOODS))) % len(MOODS)
            wording = rng.choice(EMOTION_YES_NO[language])
            true, false = (wording.format(mood=MOODS[index][language]) for index in (mood, wrong))
            page.ask_pair("emotion_yesno", language, true, false)

    def words(self) -> list[str]:
        """The moods."""
        return [mood[language] for mood in MOODS for language in LANGUAGES]


def draw_face(draw: ImageDraw.ImageDraw, mood: str, where: tuple[float, ...], skin: Colour) -> None:
    """Draw a face.

    Args:
        draw: where.
        mood: in English.
        where: x and y of its middle, and its radius, in pixels.
        skin: its colour.
    """
    x, y, radius = where
    line = max(2, round(radius / 13))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=skin, outline=DARK, width=max(1, line // 2))
    eye = radius * (0.17 if mood == "surprised" else 0.1)
    tilt = radius * {"angry": 0.15, "sad": -0.13}.get(mood, 0.0)
    lift = radius * (0.14 if mood == "surprised" else 0.0)
    for side in (-1, 1):
        middle = x + side * radius * 0.38
        draw.ellipse((middle - eye, y - radius * 0.2 - eye, middle + eye, y - radius * 0.2 + eye), fill=DARK)
        height = y - radius * 0.47 - lift
        outer, inner = middle + side * radius * 0.18, middle - side * radius * 0.18
        draw.line((outer, height - tilt, inner, height + tilt), fill=DARK, width=line)
    _draw_mouth(draw, mood, where, line)


def _draw_mouth(draw: ImageDraw.ImageDraw, mood: str, where: tuple[float, ...], line: int) -> None:
    x, y, radius = where
    half, top = radius * 0.42, y + radius * 0.4
    match mood:
        case "happy":
            draw.chord((x - half, top - half, x + half, top + half * 0.6), 10, 170, fill=LIPS)
        case "sad":
            draw.arc((x - half, top, x + half, top + half * 1.5), 200, 340, fill=LIPS, width=line + 1)
            tear = x + radius * 0.4
            drop = (tear - radius * 0.08, y + radius * 0.06, tear + radius * 0.08, y + radius * 0.26)
            draw.polygon(
                [(tear, y - radius * 0.06), (drop[0], y + radius * 0.15), (drop[2], y + radius * 0.15)], fill=TEAR
            )
            draw.ellipse(drop, fill=TEAR)
        case "angry":
            teeth = (x - half * 0.8, top, x + half * 0.8, top + radius * 0.2)
            draw.rectangle(teeth, fill="white", outline=LIPS, width=line)
            draw.line((x, top, x, top + radius * 0.2), fill=LIPS, width=max(1, line // 2))
        case "surprised":
            draw.ellipse((x - radius * 0.17, top - radius * 0.12, x + radius * 0.17, top + radius * 0.28), fill=LIPS)
        case _:
            draw.line((x - half, top + radius * 0.06, x + half, top + radius * 0.06), fill=LIPS, width=line + 1)
