"""Captions and boxes say what is there: read back word by word and compared with what was drawn."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest

from tests.data.test_synth_scenes import area, draw, middle, names_of, scenes
from tuwen.chat.grounding import parse_boxes
from tuwen.data.sample import Language, Region
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, Page, Wordings
from tuwen.data.synth.grounding import WORDINGS, Interview
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
from tuwen.data.synth.scenes.descriptions import Describer
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.scene_maker import Scene
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS, numeral
from tuwen.data.synth.shape_wordings import RELATIONS

# --- captions ---


def parsed(region: Region) -> tuple[int, int]:
    """Kind and colour that a region names, longest kind first."""
    english = region.text.split(" ", 1)[1]
    (colour,) = (number for number, name in enumerate(COLOURS) if english.startswith(name["en"] + " "))
    (kind,) = (number for number, kind in enumerate(KINDS) if english == f"{COLOURS[colour]['en']} {kind.names['en']}")
    return kind, colour


def readings(wordings: Wordings, language: Language, text: str) -> list[dict[str, str]]:
    """What stands for the names of a wording in a sentence, for every wording that it could be."""
    known = {
        "place": [*(background.places for background in BACKGROUNDS), *NINTHS],
        "is_are": [{"zh": "", "en": "is"}, {"zh": "", "en": "are"}],
        "relation": RELATIONS,
        "colour": COLOURS,
        "count": [{"zh": numeral("zh", number), "en": numeral("en", number)} for number in range(11)],
    }
    found = []
    for wording in wordings[language]:
        pattern = re.escape(wording)
        for name in re.findall(r"{(\w+)}", wording):
            words = "|".join(re.escape(word[language]) for word in known[name]) if name in known else ".+"
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{words})")
        if match := re.fullmatch(pattern, text.removesuffix("。" if language == "zh" else "."), flags=re.IGNORECASE):
            found.append({name: words.replace("The ", "the ") for name, words in match.groupdict().items()})
    return found


def items(language: Language, things: str) -> list[tuple[int, int, str]]:
    """Number, kind and all words of each item of a list of things."""
    found = []
    for item in re.split("[、和]" if language == "zh" else ", | and ", things):
        if language == "zh":
            word, rest = item[0], item[1:]
            number = "零一两三四五六七八九十".index(word)
            # A measure word is one character.
            (kind,) = (
                n for n, kind in enumerate(KINDS) if rest[0] == kind.measure and ends(rest[1:], kind.names["zh"])
            )
        else:
            word, rest = item.split(" ", 1)
            number = 1 if word.lower() in ("a", "an") else [numeral("en", n) for n in range(11)].index(word.lower())
            name = "names" if number == 1 else "plural"
            (kind,) = (
                n for n, kind in enumerate(KINDS) if ends(rest, kind.names["en"] if name == "names" else kind.plural)
            )
        found.append((number, kind, item))
    return found


def ends(text: str, name: str) -> bool:
    """Whether a phrase ends in this name and no longer one that ends in it."""
    longer = [kind.names["zh"] for kind in KINDS if kind.names["zh"] != name and kind.names["zh"].endswith(name)]
    return text.endswith(name) and not any(text.endswith(other) for other in longer)


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_count_and_colour_what_is_there(language: Language) -> None:
    for drawn in draw("caption", 120, size=200, languages=[language]):
        there = Counter(parsed(region) for region in drawn.regions)
        answers = {sample.task: sample.answer for sample in drawn.samples}
        assert set(answers) == {"caption_json", "caption_list", "caption_long", "caption_short"}
        lines = [line.removeprefix("- ") for line in answers["caption_list"].splitlines()]
        assert counts_of(language, lines) == there
        data = json.loads(answers["caption_json"])
        assert Counter({(item["name"], item["color"]): item["count"] for item in data}) == Counter(
            {(KINDS[kind].names[language], COLOURS[colour][language]): n for (kind, colour), n in there.items()}
        )
        # Of several readings the one that leaves least for the things is the right one.
        short = min(readings(SHORT, language, answers["caption_short"]), key=lambda reading: len(reading["things"]))
        kinds: Counter[int] = Counter()
        for number, kind, item in items(language, short["things"]):
            kinds[kind] += number
            for colour, name in enumerate(COLOURS):
                if name[language] in item:
                    assert there[kind, colour] == number, item
        assert kinds == kinds_of(there)


def counts_of(language: Language, lines: list[str]) -> Counter[tuple[int, int]]:
    """How many of each kind and colour lines of a list name."""
    found: Counter[tuple[int, int]] = Counter()
    for line in lines:
        ((number, kind, item),) = items(language, line)
        (colour,) = (n for n, name in enumerate(COLOURS) if name[language] in item)
        found[kind, colour] += number
    return found


def kinds_of(there: Counter[tuple[int, int]]) -> Counter[int]:
    """How many of each kind."""
    found: Counter[int] = Counter()
    for (kind, _), number in there.items():
        found[kind] += number
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_long_captions_say_what_holds(language: Language) -> None:
    said: Counter[str] = Counter()
    for seed, scene in enumerate(scenes()):
        text = Describer(scene, language, random.Random(seed)).long()
        first, *rest = re.findall(r"[^。]+。" if language == "zh" else r"[^.]+\.", text)
        (overview, *_) = [*readings(LONG, language, first), *readings(ONE_THING, language, first)]
        assert sum(number for number, _, _ in items(language, overview["things"])) == len(scene.things)
        for line in rest:
            said[check_remark(scene, language, line.strip())] += 1
    assert set(said) == {"placed", "related", "largest", "one colour", "frequent"}


def check_remark(scene: Scene, language: Language, line: str) -> str:
    """Check one sentence of a long caption, and say which kind it is."""
    names, colours = names_of(scene, language), Counter(thing.colour for thing in scene.things)
    stop = "。" if language == "zh" else "."
    for reading in readings(LARGEST, language, line):
        assert all(area(names[reading["thing"]]) >= area(other) for other in scene.things)
        return "largest"
    for reading in readings(ONE_COLOUR, language, line):
        assert [COLOURS[colour][language] for colour in colours] == [reading["colour"]]
        return "one colour"
    for reading in readings(FREQUENT, language, line):
        ((colour, count), *others) = colours.most_common(2)
        assert (COLOURS[colour][language], numeral(language, count)) == (reading["colour"], reading["count"])
        assert all(count > other for _, other in others)
        return "frequent"
    for reading in readings(RELATED, language, line):
        one, two = names[reading["one"]], names[reading["two"]]
        direction = [relation[language] for relation in RELATIONS].index(reading["relation"])
        assert (middle(one)[direction % 2] > middle(two)[direction % 2]) == (direction >= 2)
        return "related"
    for clause in re.split("," if language == "zh" else ", | and ", line.removesuffix(stop)):
        (reading,) = readings(PLACED, language, clause + stop)
        x, y = middle(names[reading["thing"]])
        place = [ninth[language] for ninth in NINTHS].index(reading["place"])
        assert (int(3 * x / scene.width), int(3 * y / scene.height)) == pytest.approx((place % 3, place // 3), abs=1)
        assert (x < scene.width / 2, x > scene.width / 2)[place % 3 // 2] or place % 3 == 1
        assert (y < scene.height / 2, y > scene.height / 2)[place // 3 // 2] or place // 3 == 1
    return "placed"


# --- grounding ---


@pytest.mark.parametrize("language", LANGUAGES)
def test_boxes_are_those_of_what_is_named(language: Language) -> None:
    tasks: Counter[str] = Counter()
    for drawn in draw("grounding", 100, size=200, languages=[language]):
        boxes = {region.box: parsed(region) for region in drawn.regions}
        for sample in drawn.samples:
            tasks[sample.task] += 1
            question, answer = sample.messages[0].text, sample.answer
            match sample.task:
                case "ground_caption":
                    found = {box_near(boxes, grounding.box): grounding.label for grounding in parse_boxes(answer)}
                    assert set(found) == set(boxes)
                    for box, label in found.items():
                        ((number, kind, item),) = items(language, label)
                        assert kind == boxes[box][0]
                        assert COLOURS[boxes[box][1]][language] in item
                        assert number == sum(looks == boxes[box] for looks in boxes.values())
                case "ground_all":
                    found = {box_near(boxes, grounding.box): grounding.label for grounding in parse_boxes(answer)}
                    (label,) = set(found.values())
                    assert label in question
                    wanted = {box for box, looks in boxes.items() if fits(language, label, *looks)}
                    assert set(found) == wanted
                    assert len(found) > 1
                case "ground_box":
                    (grounding,) = parse_boxes(answer)
                    assert grounding.label.lower() in question.lower()
                    assert box_near(boxes, grounding.box)
                case "ground_describe" | "ground_color":
                    (grounding,) = parse_boxes(question)
                    kind, colour = boxes[box_near(boxes, grounding.box)]
                    assert COLOURS[colour][language] in answer
                    assert sample.task == "ground_color" or KINDS[kind].names[language] in answer
                case "ground_yesno":
                    (grounding,) = parse_boxes(question)
                    kind, colour = boxes[box_near(boxes, grounding.box)]
                    right = KINDS[kind].names[language] in question and COLOURS[colour][language] in question
                    assert (answer in ("是", "yes")) == right, question
    assert len(tasks) == 6


def box_near(boxes: dict, box: tuple[float, ...]) -> tuple[float, ...]:
    """The region whose box this is, on the grid of a thousand cells."""
    (found,) = (known for known in boxes if known == pytest.approx(box, abs=0.0011))
    return found


def fits(language: Language, label: str, kind: int, colour: int) -> bool:
    """Whether a label in the plural names something of this kind and colour."""
    colours = [number for number, name in enumerate(COLOURS) if name[language] in label]
    plurals = {
        name: number for number, k in enumerate(KINDS) for name in [k.names["zh"] if language == "zh" else k.plural]
    }
    kinds = [
        number
        for name, number in plurals.items()
        if ends(label, name) and (language == "zh" or f" {label}".endswith(f" {name}"))
    ]
    return colours in ([], [colour]) and kinds in ([], [kind])


def test_the_boxed_thing_is_the_named_one() -> None:
    """Scenes made here, as an expression can only be checked against all that is known of a scene."""
    for seed, scene in enumerate(scenes()):
        for language in LANGUAGES:
            page = Page("scene", None)
            Interview(Asker(page, language, random.Random(seed), WORDINGS), scene).ask_for_boxes()
            for question in page.questions:
                if question.task == "ground_box":
                    (grounding,) = parse_boxes(question.answer)
                    thing = names_of(scene, language)[grounding.label]
                    assert grounding.box == pytest.approx(scene.fractions(thing.box), abs=0.0011)
