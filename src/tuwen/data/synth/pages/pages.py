"""Small web pages in six kinds; one random source settles the form of a page, another one its words."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tuwen.data.sample import Language
from tuwen.data.synth.documents.records import GENERATORS, money, person
from tuwen.data.synth.pages import words as html_words
from tuwen.data.synth.pages.tree import Node, node
from tuwen.data.synth.pages.words import Choices
from tuwen.data.synth.vocabulary import chinese, english
from tuwen.data.synth.vocabulary.corpus import CHINESE, ENGLISH, Corpus, fill

ACCENTS = ("royalblue", "seagreen", "crimson", "darkorange", "slateblue", "teal", "firebrick", "dimgray")
GROUNDS = ("white", "whitesmoke", "ivory", "aliceblue", "honeydew", "lavenderblush")
FONTS = ("sans-serif", "serif", "monospace")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes a page: two writers with equal ``form`` and other ``words`` write the same elements with other texts.

    Attributes:
        form: chooses elements, their number and their looks.
        words: chooses texts, and what is ticked.
        language: of the texts.
    """

    form: random.Random
    words: random.Random
    language: Language

    def pick(self, choices: Choices) -> str:
        """One of some texts."""
        return self.words.choice(choices[self.language])

    def some(self, choices: Choices, count: int) -> list[str]:
        """Different ones of some texts."""
        return self.words.sample(choices[self.language], count)

    def things(self, count: int) -> list[str]:
        """Different things that are sold."""
        choices = chinese.THINGS if self.language == "zh" else english.THINGS
        return [thing.capitalize() for thing in self.words.sample(choices, count)]

    def value(self, generator: str) -> str:
        """A date, a name, a phone number: see ``GENERATORS``."""
        return GENERATORS[generator](self.words, self.language)

    def price(self) -> str:
        """With its sign."""
        return money(
            self.words.randint(1, 500) * 100 + self.words.choice((0, 50, 90)), "¥" if self.language == "zh" else "$"
        )

    def sentence(self) -> str:
        """With its full stop."""
        return Corpus("simplified" if self.language == "zh" else "latin").sentence(self.words).text

    def title(self) -> str:
        """Of an article."""
        slots = CHINESE if self.language == "zh" else ENGLISH
        return fill("{topic}", slots, self.words).text

    def firm(self) -> str:
        """A shop's name."""
        return GENERATORS["shop"](self.words, self.language)


def _buttons(writer: Writer) -> list[Node | str]:
    """One button, or a main and a second one."""
    nodes: list[Node | str] = [node("button", writer.pick(html_words.BUTTONS))]
    if writer.form.random() < 0.5:
        nodes.append(node("button", writer.pick(html_words.SECOND_BUTTONS), class_="second"))
    return nodes


def _menu(writer: Writer) -> Node:
    count = writer.form.randint(2, 5)
    return node("nav", *(node("a", name, href="#") for name in writer.some(html_words.MENU, count)))


def _sign_in(writer: Writer) -> Node:
    form = node("form")
    filled = writer.form.random() < 0.4
    for name in writer.some(html_words.FIELDS, writer.form.randint(1, 4)):
        if filled:
            value = writer.value(writer.words.choice(("person", "phone", "email")))
            form.children += [node("label", name), node("input", value=value)]
        else:
            form.children.append(node("input", placeholder=name))
    if writer.form.random() < 0.4:
        ticked = {"checked": ""} if writer.words.random() < 0.5 else {}
        text = "记住我" if writer.language == "zh" else "Remember me"
        form.children.append(node("label", Node("input", [], {"type": "checkbox", **ticked}), text))
    form.children.append(node("p", *_buttons(writer)))
    links = [node("a", name, href="#") for name in writer.some(html_words.LINKS, writer.form.randint(0, 2))]
    return node(
        "body", node("h1", writer.pick(html_words.SIGN_IN_TITLES)), form, *([node("p", *links)] if links else [])
    )


def _list(writer: Writer) -> Node:
    ordered, priced = writer.form.random() < 0.4, writer.form.random() < 0.5
    items: list[Node | str] = []
    for thing in writer.things(writer.form.randint(2, 7)):
        texts: list[Node | str] = [thing]
        if priced:
            texts.append(node("b", writer.price()))
        items.append(node("li", *texts))
    body = node("body", node("h1", writer.pick(html_words.LIST_TITLES)), Node("ol" if ordered else "ul", items))
    if writer.form.random() < 0.6:
        body.children.append(node("p", *_buttons(writer)))
    return body


def _table(writer: Writer) -> Node:
    cells: dict[str, Callable[[], str]] = dict(
        zip(
            html_words.HEADINGS[writer.language],
            (
                lambda: person(writer.words, writer.language),
                lambda: str(writer.words.randint(1, 99)),
                writer.price,
                lambda: writer.value("date"),
                lambda: writer.value("city"),
                lambda: writer.pick(html_words.STATES),
            ),
            strict=True,
        )
    )
    # The columns are part of the form, so that the cells of two pages can be exchanged.
    names = writer.form.sample(list(cells), writer.form.randint(2, 3))
    rows = [node("tr", *(node("th", name) for name in names))]
    rows += [node("tr", *(node("td", cells[name]()) for name in names)) for _ in range(writer.form.randint(2, 6))]
    body = node("body", node("h1", writer.pick(html_words.TABLE_TITLES)), node("table", *rows))
    if writer.form.random() < 0.5:
        body.children.append(node("p", *(node("a", name, href="#") for name in writer.some(html_words.LINKS, 2))))
    return body


def _cards(writer: Writer) -> Node:
    count, buttons = writer.form.choice((2, 3, 4)), writer.form.random() < 0.6
    cards: list[Node | str] = []
    for thing in writer.things(count):
        card = node("section", node("h3", thing), node("p", writer.price()))
        if buttons:
            card.children.append(node("button", writer.pick(html_words.BUTTONS)))
        cards.append(card)
    return node("body", _menu(writer), node("h1", writer.firm()), Node("main", cards))


def _article(writer: Writer) -> Node:
    body = node("body", _menu(writer), node("h1", writer.title()))
    if writer.form.random() < 0.5:
        body.children.append(node("small", f"{writer.value('person')} · {writer.value('date')}"))
    for _ in range(writer.form.randint(1, 3)):
        body.children.append(node("p", writer.sentence()))
    if writer.form.random() < 0.4:
        body.children.append(node("blockquote", writer.sentence()))
    if writer.form.random() < 0.5:
        links = writer.some(html_words.LINKS, writer.form.randint(1, 3))
        body.children += [node("hr"), node("p", *(node("a", name, href="#") for name in links))]
    return body


def _settings(writer: Writer) -> Node:
    body = node("body", node("h1", writer.pick(html_words.SETTINGS_TITLES)))
    for name in writer.some(html_words.SWITCHES, writer.form.randint(2, 6)):
        ticked = {"checked": ""} if writer.words.random() < 0.5 else {}
        body.children.append(node("label", Node("input", [], {"type": "checkbox", **ticked}), name))
    if writer.form.random() < 0.6:
        body.children.append(node("p", node("select", node("option", writer.pick(html_words.SELECTIONS)))))
    body.children.append(node("p", *_buttons(writer)))
    return body


PAGES: dict[str, Callable[[Writer], Node]] = {
    "article": _article,
    "cards": _cards,
    "list": _list,
    "settings": _settings,
    "sign_in": _sign_in,
    "table": _table,
}


def style_of(body: Node, form: random.Random) -> dict[str, str]:
    """Looks of a page: rules for those elements that it has.

    Args:
        body: the page.
        form: of everything that is chosen.
    """
    accent, ground, font = form.choice(ACCENTS), form.choice(GROUNDS), form.choice(FONTS)
    align, columns = form.choice(("", "", "; text-align: center")), form.choice((1, 2, 2))
    radius = form.choice((0, 4, 14))
    coloured = form.random() < 0.5
    corner = f"border-radius: {radius}px; " if radius else ""
    rules = {
        "body": f"margin: 16px; font: 15px {font}; background: {ground}{align}",
        "h1": f"font-size: 22px; color: {accent}" if coloured else "font-size: 22px",
        "h3": "margin: 0",
        "nav": f"padding: 8px; {corner}background: {accent}",
        "nav a": "margin: 0 8px; color: white",
        "p a": f"margin: 0 6px; color: {accent}",
        "label": "display: block; margin: 6px 0",
        "input": f"padding: 6px; margin: 4px 0; border: 1px solid gray; {corner}font: inherit; accent-color: {accent}",
        "select": "padding: 6px; font: inherit",
        "button": f"padding: 6px 14px; border: none; {corner}font: inherit; color: white; background: {accent}",
        ".second": "margin-left: 8px; color: black; background: lightgray",
        "li": "margin: 6px 0; text-align: left",
        "b": f"margin-left: 12px; color: {accent}",
        "table": "width: 100%; border-collapse: collapse",
        "th": f"padding: 6px; color: white; background: {accent}",
        "td": "padding: 6px; border: 1px solid silver",
        "main": f"display: grid; grid-template-columns: repeat({columns}, 1fr); gap: 10px",
        "section": f"padding: 10px; border: 1px solid silver; {corner}background: white",
        "blockquote": f"margin: 8px; padding-left: 10px; border-left: 4px solid {accent}",
    }
    used = {"body"}
    for element in (body, *body.walk()):
        within = [child for child in element.children if isinstance(child, Node)]
        used |= {selector for child in within for selector in (child.tag, f"{element.tag} {child.tag}")}
        used |= {f".{child.attributes['class']}" for child in within if "class" in child.attributes}
    return {selector: rule for selector, rule in rules.items() if selector in used}
