"""Expressions that name one thing of a scene and no other, found by trying them on the scene."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

from tuwen.data.sample import Language
from tuwen.data.synth.scenes.scene_maker import CLEAR, Scene, Thing
from tuwen.data.synth.scenes.scene_words import Looks
from tuwen.data.synth.shape_wordings import RELATIONS, Words

FIELDS = ("kind", "colour", "pattern", "size")
# In the order of directions: left, above, right, below.
EXTREMES: tuple[Words, ...] = (
    {"zh": "最左边", "en": "leftmost"},
    {"zh": "最上面", "en": "topmost"},
    {"zh": "最右边", "en": "rightmost"},
    {"zh": "最下面", "en": "lowest"},
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What is said of a thing: how it looks, and perhaps where it is among those that look so.

    Attributes:
        looks: as far as they are said.
        extreme: 0–3 for the leftmost, topmost, rightmost, lowest of those that look so.
        beside: (direction, other): it is left of, above, right of or below another.
    """

    looks: Looks
    extreme: int | None = None
    beside: tuple[int, Reference] | None = None

    def text(self, language: Language) -> str:
        """The expression, with its article."""
        chinese = language == "zh"
        if self.extreme is not None:
            word, looks = EXTREMES[self.extreme][language], self.looks.phrase(language, led=True)
            return f"{word}的{looks}" if chinese else f"the {word} {looks}"
        if self.beside is None:
            return self.looks.definite(language)
        direction, other = self.beside
        relation, anchor = RELATIONS[direction][language], other.text(language)
        if chinese:
            return f"{anchor}{relation}的{self.looks.phrase(language, led=True)}"
        return f"{self.looks.definite(language)} {relation} {anchor}"

    def denoted(self, scene: Scene) -> Thing | None:
        """The one thing that it names beyond doubt; None if there is none, or doubt."""
        alike = matching(scene, self.looks)
        if self.extreme is not None:
            return _outermost(scene, alike, self.extreme)
        if self.beside is not None:
            direction, other = self.beside
            anchor = other.denoted(scene)
            if anchor is None:
                return None
            alike = [
                thing for thing in alike if thing is not anchor and not _elsewhere(scene, thing, anchor, direction)
            ]
            if len(alike) == 1 and scene.direction(alike[0], anchor) != direction:
                return None
        return alike[0] if len(alike) == 1 else None


def matching(scene: Scene, looks: Looks) -> list[Thing]:
    """The things that look so."""
    kind, colour, pattern, size = looks.kind, looks.colour, looks.pattern, looks.size
    return [
        thing
        for thing in scene.things
        if (kind is None or kind == thing.kind)
        and (colour is None or colour == thing.colour)
        and (pattern is None or pattern == thing.pattern)
        and (size is None or size == thing.size)
    ]


def _along(scene: Scene, one: Thing, two: Thing, direction: int) -> float:
    """How far ``one`` is from ``two`` in a direction, as a share of the picture's side."""
    offset = scene.offset(one, two)[direction % 2]
    return offset if direction >= 2 else -offset


def _elsewhere(scene: Scene, thing: Thing, anchor: Thing, direction: int) -> bool:
    """Whether nobody would say that a thing is in this direction from another."""
    return _along(scene, thing, anchor, direction) <= 0


def _outermost(scene: Scene, alike: list[Thing], direction: int) -> Thing | None:
    """The one that is furthest to a side, both by its middle and by its edge."""
    if len(alike) < 2:
        return None
    first, second = sorted(alike, key=lambda thing: -_along(scene, thing, scene.things[0], direction))[:2]
    edges = [thing.box[direction] if direction >= 2 else -thing.box[direction] for thing in alike]
    leads = max(edges) == edges[alike.index(first)]
    return first if leads and _along(scene, first, second, direction) > CLEAR / 2 else None


def plain_references(scene: Scene, thing: Thing, hide: Collection[str] = ()) -> list[Reference]:
    """Every way to name a thing by its looks alone that says nothing needless.

    Args:
        scene: that it is in.
        thing: to be named.
        hide: what must not be said, of ``FIELDS``.
    """
    said = [name for name in FIELDS if name not in hide and (name != "pattern" or scene.patterned)]
    enough: list[frozenset[str]] = []
    found = []
    for count in range(1, len(said) + 1):
        for names in combinations(said, count):
            if any(less <= set(names) for less in enough):
                continue
            looks = Looks(**{name: getattr(thing, name) for name in names})
            if len(matching(scene, looks)) == 1:
                enough.append(frozenset(names))
                found.append(Reference(looks))
    return found


def named_by_kind(scene: Scene, thing: Thing) -> Reference | None:
    """The way to name a thing that says what it is and little else; None where its looks do not tell it apart."""
    others = FIELDS[1:] if scene.patterned else ("colour", "size")
    for count in range(len(others) + 1):
        for names in combinations(others, count):
            looks = looks_of(thing, "kind", *names)
            if len(matching(scene, looks)) == 1:
                return Reference(looks)
    return None


def placed_references(scene: Scene, thing: Thing, hide: Collection[str] = ()) -> list[Reference]:
    """Ways to name a thing by where it is among those of its kind or colour; see ``plain_references``."""
    all_bases = (("kind",), ("colour",), ("kind", "colour"), ())
    bases = [looks_of(thing, *names) for names in all_bases if not set(names) & set(hide)]
    # What another thing is does not say what this one is; its colour would, as a scene has few.
    hide = [name for name in hide if name != "kind"]
    found = [
        Reference(looks, extreme=direction)
        for looks in bases
        if len(matching(scene, looks)) > 1
        for direction in range(4)
    ]
    for anchor in scene.things:
        direction = None if anchor is thing else scene.direction(thing, anchor)
        if direction is not None:
            others = [other for other in plain_references(scene, anchor, hide) if _short(other)]
            found += [Reference(looks, beside=(direction, other)) for looks in bases for other in others]
    return [reference for reference in found if reference.denoted(scene) is thing]


def _short(reference: Reference) -> bool:
    said = sum(getattr(reference.looks, name) is not None for name in FIELDS)
    return said <= 2


def looks_of(thing: Thing, *names: str) -> Looks:
    """What is said of a thing when these of ``FIELDS`` are said."""
    return Looks(**{name: getattr(thing, name) for name in names})


def unlike(looks: Looks, **changes: int | None) -> Looks:
    """The same looks but for these."""
    return replace(looks, **changes)
