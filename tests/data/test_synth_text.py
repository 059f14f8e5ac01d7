"""Instructions without a picture: every answer is computed anew from what was asked."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from tuwen.data.sample import Language, Sample
from tuwen.data.synth import SUITES, SynthConfig, Synthesiser
from tuwen.data.synth.base import LANGUAGES
from tuwen.data.synth.faces import MOODS
from tuwen.data.synth.instructions.instruction_words import CATEGORIES, OPPOSITES, WEEKDAYS, number_words
from tuwen.data.synth.instructions.instructions import INSTRUCTIONS

# Of the first ten questions of twenty pages.
FIRST = "40287823beebcd0169c7d60b23e110385f962676e7eacdef5bbfad117d3c100f"


def samples(count: int, language: Language) -> list[Sample]:
    """Of many pages."""
    synthesiser = Synthesiser(SynthConfig(suites={"text": 1.0}, questions=None, languages=[language]))
    return [sample for index in range(count) for sample in synthesiser.draw(7, index).samples]


def test_the_first_questions_of_a_page_stay_as_they_were() -> None:
    """Runs that were made with an older version can be repeated."""
    synthesiser = Synthesiser(SynthConfig(suites={"text": 1.0}, questions=None))
    said = [
        (sample.id, sample.task, sample.messages[0].text, sample.answer)
        for index in range(20)
        for sample in synthesiser.draw(3, index).samples[:10]
    ]
    assert {task for _, task, _, _ in said} == {"add", "common_color", "compare", "repeat", "translate"}
    assert hashlib.sha256(repr(said).encode()).hexdigest() == FIRST


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_right(language: Language) -> None:
    checked: Counter[str] = Counter()
    for sample in samples(120, language):
        if sample.task in INSTRUCTIONS:
            assert sample.answer == expected(sample), sample.messages[0].text
            checked[sample.task] += 1
    assert set(checked) == set(INSTRUCTIONS)
    assert set(SUITES.get("text").tasks) > set(INSTRUCTIONS)


def words_of(row: str) -> list[str]:
    """The members of a list."""
    return re.split("、|, ", row)


def quoted(text: str) -> list[str]:
    """What stands in quotation marks."""
    return re.findall(r'[“"]([^”"]+)[”"]', text)


def expected(sample: Sample) -> str:
    """The answer to a question, worked out from its text."""
    text, language, zh = sample.messages[0].text, sample.language, sample.language == "zh"
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    match sample.task:
        case "text_arithmetic":
            one, sign, two = re.findall(r"(\d+) (.) (\d+)", text)[0]
            a, b = int(one), int(two)
            return str({"+": a + b, "-": a - b, "×": a * b, "÷": a / b}[sign]).removesuffix(".0")
        case "text_word_problem":
            return str(numbers[0] + numbers[1] - numbers[2])
        case "text_number_words":
            (number,) = (n for n in range(100) if str(n) == re.findall(r"\d+", text)[0])
            return number_words(language, number)
        case "text_sequence":
            return str(2 * numbers[3] - numbers[2])
        case "text_order":
            down = "从大到小" in text or "from large" in text
            return ("、" if zh else ", ").join(map(str, sorted(numbers, reverse=down)))
        case "text_weekday":
            days = [day[language] for day in WEEKDAYS]
            (today,) = (number for number, day in enumerate(days) if day in text)
            return days[(today + numbers[0]) % 7]
        case "text_pick":
            (row,) = (members for members in pick_lists(text, language) if len(members) == 5)
            return row[numbers[0] - 1]
        case "text_length":
            return str(len(quoted(text)[0]))
        case "text_reverse":
            return quoted(text)[0][::-1]
        case "text_repeat_times":
            return " ".join([quoted(text)[0]] * numbers[0])
        case "text_replace":
            word = max(quoted(text), key=len)
            old, new = (part for part in quoted(text) if part != word)
            return word.replace(old, new)
        case "text_opposite":
            (word,) = quoted(text)
            (answer,) = (b[language] for pair in OPPOSITES for a, b in (pair, pair[::-1]) if a[language] == word)
            return answer
        case _:
            return expected_of_words(sample, text, language)


def expected_of_words(sample: Sample, text: str, language: Language) -> str:
    """The same for questions about classes and sentences."""
    zh = language == "zh"
    match sample.task:
        case "text_classify":
            classes = {word[language]: name[language] for name, members in CATEGORIES for word in members}
            return classes[quoted(text)[0]]
        case "text_odd_one_out":
            found = [
                (name["en"], m[language])
                for name, ms in CATEGORIES
                for m in ms
                if m[language] in re.split(r"[?:,、\s]+", text)
            ]
            kinds = Counter(kind for kind, _ in found)
            return next(word for kind, word in found if kinds[kind] == 1)
        case "text_negate" | "text_question":
            plain = re.split("[::] ?", text)[-1]
            found_parts = re.fullmatch("(.+?)在(.+)。" if zh else r"(.+?) is (.+)\.", plain)
            assert found_parts is not None
            subject, activity = found_parts.groups()
            if sample.task == "text_negate":
                return f"{subject}没有在{activity}。" if zh else f"{subject} is not {activity}."
            return f"{subject}在{activity}吗?" if zh else f"Is {subject[0].lower()}{subject[1:]} {activity}?"
        case "text_reading":
            asked = re.findall(
                "(?:。|请问)([^。]+?)在做什么" if zh else r"what is (.+) doing", text, flags=re.IGNORECASE
            )[-1].removeprefix("请问")
            return re.findall(f"{asked}在(.+?)。" if zh else rf"{asked} is (.+?)\.", text, flags=re.IGNORECASE)[0]
        case "text_logic":
            pairs = re.findall("([小]\\w)比(小\\w)(.)" if zh else r"(\w+) is (\w+)er than (\w+)", text)
            more = (
                {(one, two): word for one, two, word in pairs} if zh else {(one, two): word for one, word, two in pairs}
            )
            (word,) = set(more.values())
            order = sorted(
                {name for pair in more for name in pair},
                key=lambda name: -sum(name == one for one, _ in more) + sum(name == two for _, two in more),
            )
            asked = re.findall("最(.)" if zh else r"the (\w+)est", text)[0]
            return order[0] if asked == word else order[-1]
        case "text_json":
            data = json.loads(sample.answer)
            assert list(data) == ["name", "age", "likes"]
            assert all(str(value) in text for value in data.values())
            assert isinstance(data["age"], int)
            return json.dumps(data, ensure_ascii=False)
        case "text_mood":
            signs = ("笑", "哭", "气", "惊") if zh else ("laughs", "cry", "rage", "stares")
            said = re.split("从|Choose", text)[0]
            (mood,) = (number for number, sign in enumerate(signs) if sign in said)
            return MOODS[mood][language]
        case task:
            raise AssertionError(f"{task}: no answer is known")


def pick_lists(text: str, language: Language) -> list[list[str]]:
    """Lists of five that a question holds."""
    known = sorted((word[language] for _, members in CATEGORIES for word in members), key=len, reverse=True)
    return [re.findall("|".join(known), text)]


def test_numbers_in_words() -> None:
    assert [number_words("zh", n) for n in (0, 10, 12, 20, 37)] == ["零", "十", "十二", "二十", "三十七"]
    assert [number_words("en", n) for n in (0, 10, 12, 20, 37)] == ["zero", "ten", "twelve", "twenty", "thirty-seven"]
    for language in LANGUAGES:
        assert len({number_words(language, number) for number in range(100)}) == 100
