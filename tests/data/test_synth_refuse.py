"""What is asked is there or plainly said not to be; answers are compared with the regions of the picture."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tests.data.test_synth_captions import box_near, items, parsed
from tests.data.test_synth_scenes import draw
from tuwen.chat.grounding import parse_boxes
from tuwen.data.sample import Language, Region, Sample
from tuwen.data.synth import Drawn
from tuwen.data.synth.base import LANGUAGES, Wordings
from tuwen.data.synth.scenes.extras import NAMES
from tuwen.data.synth.scenes.kinds import KINDS
from tuwen.data.synth.scenes.refuse_wordings import (
    ABSENT,
    ABSENT_SEVERAL,
    ANSWERS,
    BLANK_SIGN,
    NO_NAME,
    NO_SIGN,
    NOBODY,
    OTHER_COLOUR,
)
from tuwen.data.synth.scenes.scene_words import COLOURS, NINTHS

INSTEAD = (ABSENT, ABSENT_SEVERAL, NO_SIGN, NOBODY)
KNOWN = {
    "is_are": [{"zh": "", "en": "is"}, {"zh": "", "en": "are"}],
    "colour": COLOURS,
    "asked": COLOURS,
    "place": NINTHS,
}


def read(wordings: Wordings, language: Language, answer: str) -> dict[str, str] | None:
    """What stands for the names of the wording of an answer; None where it has none of these wordings."""
    for wording in wordings[language]:
        pattern = re.escape(wording)
        for name in re.findall(r"{(\w+)}", wording):
            words = "|".join(re.escape(word[language]) for word in KNOWN[name]) if name in KNOWN else ".+"
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{words})", 1)
        if match := re.fullmatch(pattern, answer, flags=re.IGNORECASE):
            return match.groupdict()
    return None


def is_answer(sample: Sample) -> bool:
    """Whether a sample of the suite ``refuse`` has an answer; all others say that there is none."""
    refusals = (*INSTEAD, BLANK_SIGN, NO_NAME, OTHER_COLOUR)
    refused = any(read(wordings, sample.language, sample.answer) is not None for wordings in refusals)
    if sample.task == "refuse_box":
        assert refused != bool(parse_boxes(sample.answer))
    else:
        assert refused or read(ANSWERS[sample.task], sample.language, sample.answer) is not None, sample.answer
    return not refused


def things(drawn: Drawn) -> tuple[Counter[tuple[int, int]], list[Region]]:
    """How many there are of each kind and colour, and the regions that are text."""
    texts = [region for region in drawn.regions if len(region.text.split()) == 1]
    return Counter(parsed(region) for region in drawn.regions if region not in texts), texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_things_are_there_exactly_when_they_are_not_refused(language: Language) -> None:
    for drawn in draw("refuse", 120, size=160, languages=[language]):
        there, _ = things(drawn)
        for sample in drawn.samples:
            if sample.task in ("refuse_text", "refuse_name"):
                continue
            question = sample.messages[0].text
            asked = sum(number for looks, number in there.items() if names(question, language, *looks))
            assert is_answer(sample) == (asked > 0), question
            words = read(ANSWERS["refuse_count"], language, sample.answer)
            if sample.task == "refuse_count" and asked:
                assert words is not None
                assert items(language, words["counted"])[0][0] == asked


def names(question: str, language: Language, kind: int, colour: int) -> bool:
    """Whether a question names this kind, and this colour if any."""
    named = [number for number, one in enumerate(COLOURS) if one[language] in question]
    # The longest name that occurs is meant.
    words = [
        (len(word), number)
        for number, one in enumerate(KINDS)
        for word in ([one.names["zh"]] if language == "zh" else [one.names["en"], one.plural])
        if (word in question if language == "zh" else re.search(rf"\b{word}\b", question))
    ]
    return max(words)[1] == kind and named in ([], [colour])


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusals_say_what_is_there_instead(language: Language) -> None:
    said: Counter[str] = Counter()
    extra = "(、|和)一(个人|块牌子)$" if language == "zh" else "(, | and )a (person|sign)$"
    for drawn in draw("refuse", 100, size=160, languages=[language]):
        there, _ = things(drawn)
        for sample in drawn.samples:
            words = next(filter(None, (read(wordings, language, sample.answer) for wordings in INSTEAD)), None)
            if words is None:
                continue
            found: Counter[tuple[int, int]] = Counter()
            for number, kind, item in items(language, re.sub(extra, "", words["others"])):
                (colour,) = (n for n, name in enumerate(COLOURS) if name[language] in item)
                found[kind, colour] += number
            assert found == there, sample.answer
            said[sample.task] += 1
    assert len(said) == 6
    assert min(said.values()) > 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_about_things_are_right(language: Language) -> None:
    checked: Counter[str] = Counter()
    for drawn in draw("refuse", 120, size=160, languages=[language]):
        regions = {region.box: parsed(region) for region in drawn.regions if len(region.text.split()) > 1}
        for sample in drawn.samples:
            if sample.task in ("refuse_text", "refuse_name"):
                continue
            question, answer = sample.messages[0].text, sample.answer
            about = [box for box, looks in regions.items() if names(question, language, *looks)]
            if (words := read(OTHER_COLOUR, language, answer)) is not None and "others" not in words:
                asked = next(name[language] for name in COLOURS if name[language] in question)
                assert asked != words["colour"]
                real = [looks for looks in regions.values() if names(question.replace(asked, ""), language, *looks)]
                assert [COLOURS[colour][language] for _, colour in real] == [words["colour"]]
                checked["other colour"] += 1
            elif is_answer(sample):
                checked[sample.task] += 1
                match sample.task:
                    case "refuse_color":
                        assert COLOURS[regions[about[0]][1]][language] in answer
                    case "refuse_box":
                        (grounding,) = parse_boxes(answer)
                        assert [box_near(regions, grounding.box)] == about
                    case "refuse_place":
                        words = read(ANSWERS["refuse_place"], language, answer)
                        assert words is not None
                        place = [name[language] for name in NINTHS].index(words["place"])
                        ((left, top, right, bottom),) = about
                        assert abs((left + right) / 2 - (place % 3) / 2) < 0.5
                        assert abs((top + bottom) / 2 - (place // 3) / 2) < 0.5
    assert set(checked) == {"other colour", "refuse_box", "refuse_color", "refuse_count", "refuse_place"}
    assert min(checked.values()) > 15


def test_text_is_read_where_there_is_some_and_refused_where_not() -> None:
    states: Counter[tuple[str, str]] = Counter()
    for drawn in draw("refuse", 160, size=200):
        _, texts = things(drawn)
        for sample in drawn.samples:
            if sample.task not in ("refuse_text", "refuse_name"):
                continue
            answer = sample.answer
            assert is_answer(sample) == bool(texts)
            if texts:
                assert texts[0].text in answer
                assert sample.task == "refuse_text" or texts[0].text in NAMES
                states[sample.task, "written"] += 1
            else:
                blank = BLANK_SIGN if sample.task == "refuse_text" else NO_NAME
                states[sample.task, "absent" if read(blank, sample.language, answer) is None else "blank"] += 1
    assert len(states) == 6
    assert min(states.values()) > 8


def test_what_is_written_is_dark_on_a_light_board() -> None:
    for drawn in draw("refuse", 80, size=240):
        _, texts = things(drawn)
        for region in texts:
            assert drawn.image is not None
            left, top, right, bottom = (round(s * n) for s, n in zip(region.box, drawn.image.size * 2, strict=True))
            pixels = np.asarray(drawn.image)[top + 4 : bottom - 4, left + 4 : right - 4].astype(int)
            assert (pixels.max(axis=-1) < 110).mean() > 0.01
            assert (pixels.min(axis=-1) > 200).mean() > 0.4
