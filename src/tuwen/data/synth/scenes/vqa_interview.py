"""Everything that the suite ``vqa`` asks about a scene in one language."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import permutations

from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.scenes.backgrounds import BACKGROUNDS
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.references import Reference, placed_references, plain_references, unlike
from tuwen.data.synth.scenes.scene_maker import Scene, Thing
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS, PATTERNS, Looks, sentence
from tuwen.data.synth.scenes.vqa_wordings import SENTENCES
from tuwen.data.synth.shape_wordings import DIRECTIONS, PLACES, RELATIONS, SIDES

# The columns and rows of NINTHS' corners, by quarter.
CORNERS = (0, 2, 6, 8)


@dataclass(slots=True)
class Interview:
    """Questions about a scene; a wrong alternative is always as likely as the right one."""

    asker: Asker
    scene: Scene

    @property
    def language(self) -> Language:
        """Of questions and answers."""
        return self.asker.language

    @property
    def rng(self) -> random.Random:
        """Of everything that is chosen."""
        return self.asker.rng

    def ask(self) -> None:
        """All that can be asked about any scene."""
        self.asker.ask_shortly("vqa_background", BACKGROUNDS[self.scene.background].names[self.language])
        self._ask_existence()
        self._ask_colour()
        self._ask_kind_and_pattern()
        self._ask_place()
        self._ask_relation()
        self._ask_size()
        self._ask_more()

    # --- numbers ---

    def ask_count(self, room: int) -> None:
        """How many things there are, of 1 to ``room``."""
        count = len(self.scene.things)
        self.asker.ask_shortly("vqa_count", str(count))
        wrong = 1 + self._another_number(count - 1, room)
        self.asker.ask_pair("vqa_count_yesno", {"number": str(count)}, {"number": str(wrong)})

    def ask_count_of(self, counted: Looks, alike: int, most: int) -> None:
        """How many things look so, of 0 to ``most``."""
        measure, several = counted.measure, counted.phrase(self.language, several=True)
        self.asker.ask_shortly("vqa_count_of", str(alike), what=several, measure=measure)
        if alike == 0 or most < 2:
            return
        wrong = 1 + self._another_number(alike - 1, most)
        true, false = ({"number": str(number), "what": several, "measure": measure} for number in (alike, wrong))
        self.asker.ask_pair("vqa_count_of_yesno", true, false)

    def _another_number(self, number: int, count: int) -> int:
        """Another of ``range(count)``, half the time a neighbour on a circle, so that none is more likely."""
        if self.rng.random() < 0.5:
            return (number + self.rng.choice((1, count - 1))) % count
        return (number + self.rng.randrange(1, count)) % count

    def _ask_more(self) -> None:
        """Of which of two colours there are more things."""
        counts = Counter(thing.colour for thing in self.scene.things)
        uneven = [(one, two) for one, two in permutations(sorted(counts), 2) if counts[one] > counts[two]]
        if not uneven:
            return
        more, less = (COLOURS[colour][self.language] for colour in self.rng.choice(uneven))
        one, two = self.rng.sample((more, less), 2)
        self.asker.ask_shortly("vqa_compare_count", more, one=one, two=two)
        self.asker.ask_pair("vqa_compare_count_yesno", {"one": more, "two": less}, {"one": less, "two": more})

    # --- what is there ---

    def _ask_existence(self) -> None:
        """Is there a thing of a kind, of a colour, of both."""
        things, rng, language = self.scene.things, self.rng, self.language
        if rng.random() < 0.5:
            there = sorted({thing.kind for thing in things})
            true, false = rng.choice(there), rng.choice([kind for kind in range(len(KINDS)) if kind not in there])
            self._ask_whether("vqa_existence", Looks(kind=true), Looks(kind=false))
        else:
            there = sorted({thing.colour for thing in things})
            true, false = (
                rng.choice(there),
                rng.choice([colour for colour in range(len(COLOURS)) if colour not in there]),
            )
            right, wrong = Looks(colour=true).phrase(language), Looks(colour=false).phrase(language)
            if language == "en":
                right, wrong = (f"anything {COLOURS[colour]['en']}" for colour in (true, false))
            self.asker.ask_pair("vqa_existence", {"what": right}, {"what": wrong})
        seen = {(thing.kind, thing.colour) for thing in things}
        one = Looks(*rng.choice(sorted(seen)))
        self._ask_whether("vqa_object_yesno", one, self._near_miss(one, seen))

    def _ask_whether(self, task: str, true: Looks, false: Looks) -> None:
        right, wrong = (
            looks.phrase("zh") if self.language == "zh" else looks.counted("en", 1) for looks in (true, false)
        )
        self.asker.ask_pair(task, {"what": right}, {"what": wrong})

    def _near_miss(self, looks: Looks, seen: set[tuple[int, int]]) -> Looks:
        """A kind and a colour that are not seen together; each may be that of another thing."""
        kinds, colours = sorted({kind for kind, _ in seen}), sorted({colour for _, colour in seen})
        mixed = [(kind, colour) for kind in kinds for colour in colours if (kind, colour) not in seen]
        if mixed and self.rng.random() < 0.5:
            return Looks(*self.rng.choice(mixed))
        while True:
            changed = self.rng.choice(
                (
                    unlike(looks, kind=self.rng.randrange(len(KINDS))),
                    unlike(looks, colour=self.rng.randrange(len(COLOURS))),
                )
            )
            if (changed.kind, changed.colour) not in seen:
                return changed

    # --- one thing ---

    def _ask_colour(self) -> None:
        if (found := self._named(("colour",))) is None:
            return
        thing, name = found
        colour = COLOURS[thing.colour][self.language]
        self.asker.ask_shortly("vqa_color", colour, one=name)
        others = sorted({other.colour for other in self.scene.things} - {thing.colour})
        if not others or self.rng.random() < 0.5:
            others = [other for other in range(len(COLOURS)) if other != thing.colour]
        wrong = COLOURS[self.rng.choice(others)][self.language]
        self.asker.ask_pair("vqa_color_yesno", {"one": name, "colour": colour}, {"one": name, "colour": wrong})
        self._ask_for_sentence("vqa_sentence_color", one=name, colour=colour)

    def _ask_kind_and_pattern(self) -> None:
        if (found := self._named(("kind",))) is not None:
            thing, name = found
            self.asker.ask_shortly("vqa_kind", KINDS[thing.kind].names[self.language], one=name)
        showing = [thing for thing in self.scene.things if thing.shows_pattern]
        if self.scene.patterned and (found := self._named(("pattern",), among=showing)) is not None:
            thing, name = found
            self.asker.ask("vqa_pattern", PATTERNS[thing.pattern][self.language], one=name)

    def _ask_place(self) -> None:
        scene, language = self.scene, self.language
        cornered = [thing for thing in scene.things if scene.quarter(thing) is not None]
        if (found := self._named((), among=cornered, placed=False)) is None:
            return
        thing, name = found
        quarter = scene.quarter(thing)
        assert quarter is not None
        self.asker.ask_shortly("vqa_position", PLACES[quarter][language], one=name)
        # SIDES: left, top, right, bottom.
        side = self.rng.choice((2 * (quarter % 2), 2 * (quarter // 2) + 1))
        true, false = ({"one": name, "side": SIDES[place][language]} for place in (side, (side + 2) % 4))
        self.asker.ask_pair("vqa_position_yesno", true, false)
        self._ask_for_sentence("vqa_sentence_position", one=name, place=NINTHS[CORNERS[quarter]][language])

    # --- two things ---

    def _ask_relation(self) -> None:
        """Where one is, seen from another."""
        found = self._named_pair(lambda one, two: self.scene.direction(one, two) is not None)
        if found is None:
            return
        one, two, names = found
        direction = self.scene.direction(one, two)
        assert direction is not None
        self.asker.ask_shortly("vqa_relation", DIRECTIONS[direction][self.language], **names)
        right, wrong = (RELATIONS[place][self.language] for place in (direction, (direction + 2) % 4))
        true, false = ({**names, "relation": relation} for relation in (right, wrong))
        self.asker.ask_pair("vqa_relation_yesno", true, false)
        self._ask_for_sentence("vqa_sentence_relation", relation=right, **names)

    def _ask_size(self) -> None:
        """Which of two is larger; a pattern would tell, as small things have none, and so would a place at the edge."""
        found = self._named_pair(lambda one, two: one.size > two.size, hide=("size", "pattern"))
        if found is None:
            return
        names = found[2]
        larger, smaller = names["one"], names["two"]
        one, two = self.rng.sample((larger, smaller), 2)
        self.asker.ask_shortly("vqa_size", larger, one=one, two=two)
        self.asker.ask_pair("vqa_size_yesno", names, {"one": smaller, "two": larger})

    def ask_same_colour(self) -> None:
        """Whether two have the same colour."""
        same = self._named_pair(lambda one, two: one.colour == two.colour, hide=("colour",))
        other = self._named_pair(lambda one, two: one.colour != two.colour, hide=("colour",))
        if same is not None and other is not None:
            self.asker.ask_pair("vqa_compare_color", same[2], other[2])

    # --- names ---

    def _named(
        self, hide: Collection[str], *, among: Collection[Thing] | None = None, placed: bool = True
    ) -> tuple[Thing, str] | None:
        """A thing that can be named, and its name; None if there is none.

        Args:
            hide: what the name must not say.
            among: things to choose from; all unless said.
            placed: whether half of the names may say where the thing is.
        """
        things = list(self.scene.things if among is None else among)
        for thing in self.rng.sample(things, len(things)):
            plain = plain_references(self.scene, thing, hide)
            beside = placed_references(self.scene, thing, hide) if placed else []
            ways = [way for way in (plain, beside) if way]
            if ways:
                reference: Reference = self.rng.choice(self.rng.choice(ways))
                return thing, reference.text(self.language)
        return None

    def _named_pair(
        self, holds: Callable[[Thing, Thing], bool], hide: Collection[str] = ()
    ) -> tuple[Thing, Thing, dict[str, str]] | None:
        """Two things of which something holds, and their names as ``one`` and ``two``; None if there are none."""
        pairs = [(one, two) for one, two in permutations(self.scene.things, 2) if holds(one, two)]
        for one, two in self.rng.sample(pairs, len(pairs)):
            ways = [plain_references(self.scene, thing, hide) for thing in (one, two)]
            if all(ways):
                first, second = (self.rng.choice(way).text(self.language) for way in ways)
                return one, two, {"one": first, "two": second}
        return None

    def _ask_for_sentence(self, task: str, **words: str) -> None:
        answer = sentence(self.language, SENTENCES[task][self.language].format(**words))
        self.asker.ask(task, answer, **words)
