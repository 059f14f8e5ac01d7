"""Web pages: write their HTML, count and find what is on them, read what is ticked.

CodeFuse-VLM was trained to turn pictures of pages into code, as a copilot for web design; here the page is made from
a tree of elements, and drawn by Chromium from the very code that is the answer.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from tuwen.chat.grounding import format_box
from tuwen.data.sample import Region
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, region
from tuwen.data.synth.pages.browser import find_chromium, shared_browser
from tuwen.data.synth.pages.pages import PAGES, Writer, style_of
from tuwen.data.synth.pages.screenshot_wordings import COUNTED, ELEMENTS, PAGE_NAMES, WORDINGS
from tuwen.data.synth.pages.tree import Node, write_page
from tuwen.data.synth.pages.words import BUTTONS, FIELDS, LINKS, MENU, SECOND_BUTTONS, SWITCHES

# Of pages in CSS pixels; what is taller would be too small to read in a picture of 448 pixels.
WIDTHS = (320, 360, 400, 448)
TALLEST = 560
# Elements whose own box is seen; of others the box of their text is.
FRAMED = frozenset(("a", "button", "input", "select"))


class ScreenshotSettings(SuiteSettings):
    """Settings of the suite ``screenshot``.

    Attributes:
        size: longer side of the picture, in pixels.
    """

    size: int = Field(default=448, ge=384, le=2048)


@SUITES.register("screenshot")
class Screenshots(Suite[ScreenshotSettings]):
    """One small web page, drawn by a headless Chromium with the system's fonts."""

    name: ClassVar[str] = "screenshot"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SuiteSettings]] = ScreenshotSettings

    def __init__(self, settings: ScreenshotSettings) -> None:
        super().__init__(settings)
        find_chromium()

    def compose(self, page: Page, rng: random.Random) -> None:
        """A page and questions about it."""
        written, kind = rng.choice(LANGUAGES), rng.choice(sorted(PAGES))
        browser, shot = shared_browser(), None
        while shot is None:
            form = rng.getrandbits(64)
            writers = [Writer(random.Random(form), rng, written) for _ in range(2)]
            # The same elements with other words, as likely: what is asked in vain is taken from the second.
            body, other = (PAGES[kind](writer) for writer in writers)
            code = write_page(body, style_of(body, rng), written)
            browser.require_glyphs(code)
            shot = browser.draw(code, (rng.choice(WIDTHS), TALLEST), self.settings.size)
        page.image = shot.image
        seen = []
        for element, unlike, (box, inner) in zip(body.walk(), other.walk(), shot.places, strict=True):
            if element.text and box[2] > box[0]:
                spot = region(box if element.tag in FRAMED else inner, shot.image.size, element.text)
                seen.append(_Seen(element, unlike, spot))
                page.regions.append(spot)
        for language in LANGUAGES:
            asker = Asker(page, language, rng, WORDINGS)
            asker.ask("screenshot_html", code)
            kinds = [PAGE_NAMES[name][language] for name in PAGES]
            asker.ask("screenshot_page", PAGE_NAMES[kind][language], kinds=_listed(asker, kinds))
            _ask(asker, body, seen)

    def words(self) -> list[str]:
        """Words of buttons, fields, links and menus."""
        lists = (BUTTONS, SECOND_BUTTONS, FIELDS, LINKS, MENU, SWITCHES)
        return [word for choices in lists for language in LANGUAGES for word in choices[language]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """An element that can be seen, the one in its place on the other page, and where it is."""

    element: Node
    other: Node
    spot: Region


def _listed(asker: Asker, names: list[str]) -> str:
    asker.rng.shuffle(names)
    return ("、" if asker.language == "zh" else ", ").join(names)


def _ask(asker: Asker, body: Node, seen: list[_Seen]) -> None:
    """Questions about the elements, in one language."""
    rng, language = asker.rng, asker.language
    heading = next(item for item in seen if item.element.tag == "h1")
    asker.ask("screenshot_heading", heading.element.text)
    counts = {thing: count for thing, count in _counts(body).items() if count}
    if counts:
        thing = rng.choice(sorted(counts))
        asker.ask("screenshot_count", str(counts[thing]), things=COUNTED[thing][language])
    frequent = Counter(item.element.text for item in seen)
    single = [item for item in seen if frequent[item.element.text] == 1 and item.element.tag in ELEMENTS]
    item = rng.choice(single)
    kind = ELEMENTS[item.element.tag][language]
    box = format_box(item.element.text, item.spot.box)
    asker.ask("screenshot_grounding", box, kind=kind, text=item.element.text)
    item = rng.choice(single)
    asker.ask("screenshot_box", item.element.text, box=format_box("", item.spot.box))
    tag = rng.choice(sorted({item.element.tag for item in single}))
    item = rng.choice([item for item in single if item.element.tag == tag])
    kinds = _listed(asker, [words[language] for words in ELEMENTS.values()])
    asker.ask("screenshot_element", ELEMENTS[tag][language], text=item.element.text, kinds=kinds)
    exchanged = [item for item in single if item.other.text and frequent[item.other.text] == 0]
    if exchanged:
        item = rng.choice(exchanged)
        kind = ELEMENTS[item.element.tag][language]
        true, false = ({"kind": kind, "text": element.text} for element in (item.element, item.other))
        asker.ask_pair("screenshot_text_yesno", true, false)
    _ask_ticked(asker, body)


def _ask_ticked(asker: Asker, body: Node) -> None:
    """Whether a box is ticked, where there are both kinds."""
    named: dict[bool, list[str]] = {True: [], False: []}
    for element in body.walk():
        for child in element.children:
            if isinstance(child, Node) and child.attributes.get("type") == "checkbox":
                named["checked" in child.attributes].append(element.text)
    if named[True] and named[False]:
        true, false = ({"text": asker.rng.choice(named[ticked])} for ticked in (True, False))
        asker.ask_pair("screenshot_ticked_yesno", true, false)


def _counts(body: Node) -> Counter[str]:
    """How often each thing that people count is on the page."""
    kinds = ("checkbox" if element.attributes.get("type") == "checkbox" else element.tag for element in body.walk())
    return Counter(kind for kind in kinds if kind in COUNTED)
