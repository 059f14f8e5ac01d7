"""A scene in words, which name what is there and nothing else."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

from tuwen.data.sample import Language
from tuwen.data.synth.base import Wordings
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.caption_wordings import (
    FREQUENT,
    LARGEST,
    LONG,
    ONE_COLOUR,
    ONE_THING,
    PLACED,
    RELATED,
    SHORT,
)
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.painting import SOLID
from tuwen.data.synth.scenes.references import looks_of, named_by_kind
from tuwen.data.synth.scenes.scene_maker import LARGE, MEDIUM, Scene, Thing
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS, Looks, joined, listed, numeral, sentence, verb
from tuwen.data.synth.shape_wordings import RELATIONS

# A short caption of more different things than this leaves out their colours.
MOST_NAMED = 5
MOST_PLACED = 4
MOST_RELATED = 2


def full_looks(scene: Scene, thing: Thing) -> Looks:
    """Everything worth saying of how a thing looks."""
    names = ["kind", "colour"]
    if thing.pattern != SOLID:
        names.append("pattern")
    if thing.size != MEDIUM and len({other.size for other in scene.things}) > 1:
        names.append("size")
    return looks_of(thing, *names)


@dataclass(frozen=True, slots=True)
class Describer:
    """Writes about a scene.

    Attributes:
        scene: that is described.
        language: of the texts.
        rng: that chooses among wordings.
    """

    scene: Scene
    language: Language
    rng: random.Random

    def short(self) -> str:
        """A sentence."""
        things = [looks_of(thing, "kind", "colour") for thing in self.scene.things]
        if len(set(things)) > MOST_NAMED:
            things = [looks_of(thing, "kind") for thing in self.scene.things]
        return self._sentence(SHORT, things=listed(self.language, things), place=self._place(), is_are=verb(things))

    def long(self) -> str:
        """A paragraph: what there is, where it is, and what stands out."""
        said = [self._counted_things(), *self._places(), *self._relations(), *self._largest(), *self._colours()]
        return ("" if self.language == "zh" else " ").join(said)

    def as_list(self) -> str:
        """A line for each kind and colour."""
        counts = Counter(looks_of(thing, "kind", "colour") for thing in self.scene.things)
        return "\n".join(f"- {what.counted(self.language, count)}" for what, count in counts.items())

    def as_json(self) -> str:
        """An array with an object for each kind and colour."""
        counts = Counter((thing.kind, thing.colour) for thing in self.scene.things)
        items = [
            {"name": KINDS[kind].names[self.language], "color": COLOURS[colour][self.language], "count": count}
            for (kind, colour), count in counts.items()
        ]
        return json.dumps(items, ensure_ascii=False)

    def _place(self) -> str:
        return BACKGROUNDS[self.scene.background].places[self.language]

    def _clause(self, wordings: Wordings, **words: str) -> str:
        return self.rng.choice(wordings[self.language]).format(**words)

    def _sentence(self, wordings: Wordings, **words: str) -> str:
        return sentence(self.language, self._clause(wordings, **words))

    def _counted_things(self) -> str:
        things = [full_looks(self.scene, thing) for thing in self.scene.things]
        words = {"things": listed(self.language, things), "place": self._place()}
        if len(things) == 1:
            return self._sentence(ONE_THING, **words)
        return self._sentence(LONG, count=numeral(self.language, len(things)), **words)

    def _name(self, thing: Thing) -> str | None:
        reference = named_by_kind(self.scene, thing)
        return None if reference is None else reference.text(self.language)

    def _places(self) -> list[str]:
        """One sentence about where things are that have a name and a clear place."""
        clauses = []
        for thing in self.scene.things:
            row, column, name = self.scene.row(thing), self.scene.column(thing), self._name(thing)
            if row is not None and column is not None and name is not None:
                place = NINTHS[3 * row + column][self.language]
                clauses.append(self._clause(PLACED, thing=name, place=place))
        if not clauses:
            return []
        if self.language == "zh":
            return [sentence("zh", ",".join(clauses[:MOST_PLACED]))]
        return [sentence("en", joined("en", clauses[:MOST_PLACED]))]

    def _relations(self) -> list[str]:
        """Sentences about pairs of things that have names."""
        pairs = [pair for pair in combinations(self.scene.things, 2) if self.scene.direction(*pair) is not None]
        said: list[str] = []
        for pair in self.rng.sample(pairs, len(pairs)):
            one, two = self.rng.sample(pair, 2)
            direction, first, second = self.scene.direction(one, two), self._name(one), self._name(two)
            if direction is not None and first is not None and second is not None:
                relation = RELATIONS[direction][self.language]
                said.append(self._sentence(RELATED, one=first, two=second, relation=relation))
        return said[:MOST_RELATED]

    def _largest(self) -> list[str]:
        """Which thing is larger than all others, where one clearly is."""
        largest = [thing for thing in self.scene.things if thing.size == LARGE]
        if len(largest) != 1 or len(self.scene.things) < 2 or (name := self._name(largest[0])) is None:
            return []
        return [self._sentence(LARGEST, thing=name)]

    def _colours(self) -> list[str]:
        """The colour of all, or the one of most."""
        counts = Counter(thing.colour for thing in self.scene.things).most_common(2)
        (colour, count), rest = counts[0], counts[1:]
        name = COLOURS[colour][self.language]
        if len(self.scene.things) > 1 and not rest:
            return [self._sentence(ONE_COLOUR, colour=name)]
        if rest and count > rest[0][1] and count > 2:
            return [self._sentence(FREQUENT, colour=name, count=numeral(self.language, count))]
        return []
