"""Instructions without a picture whose answers are computed: numbers, order, letters, rewriting, reading, logic."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from tuwen.data.sample import Language
from tuwen.data.synth.base import Wordings
from tuwen.data.synth.faces import MOODS
from tuwen.data.synth.instructions.instruction_words import (
    ACTIVITIES,
    CATEGORIES,
    GOODS,
    NAMES,
    OPPOSITES,
    SUBJECTS,
    WEEKDAYS,
    number_words,
)
from tuwen.data.synth.shape_wordings import COLOURS
from tuwen.data.synth.words import ENGLISH, HANZI

# The words for a wording's names, and the answer.
Given = tuple[dict[str, str], str]
Make = Callable[[random.Random, Language], Given]


@dataclass(frozen=True, slots=True)
class Instruction:
    """A kind of instruction.

    Attributes:
        wordings: ways to give it, with names in braces.
        make: draws the words and computes the answer.
    """

    wordings: Wordings
    make: Make


INSTRUCTIONS: dict[str, Instruction] = {}


def _instruction(name: str, chinese: tuple[str, ...], english: tuple[str, ...]) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        INSTRUCTIONS[name] = Instruction({"zh": chinese, "en": english}, make)
        return make

    return register


def _listed(language: Language, words: list[str]) -> str:
    return ("、" if language == "zh" else ", ").join(words)


# --- numbers ---


@_instruction(
    "text_arithmetic",
    ("{sum}等于多少?", "计算:{sum}", "算一算,{sum}=?"),
    ("What is {sum}?", "Compute {sum}.", "{sum} = ?"),
)
def _arithmetic(rng: random.Random, language: Language) -> Given:
    one, two, few = rng.randint(10, 99), rng.randint(10, 99), rng.randint(2, 9)
    low, high = sorted((one, two))
    choices = (
        (f"{one} + {two}", one + two),
        (f"{high} - {low}", high - low),
        (f"{one} × {few}", one * few),
        (f"{one * few} ÷ {few}", one),
    )
    text, result = rng.choice(choices)
    return {"sum": text}, str(result)


@_instruction(
    "text_word_problem",
    (
        "{name}有{first}{measure}{goods},又得到{more}{measure},送给别人{less}{measure}。现在有几{measure}?",
        "{name}原来有{first}{measure}{goods},买了{more}{measure},丢了{less}{measure},还剩多少{measure}?",
    ),
    (
        "{name} has {first} {goods}, gets {more} more and gives {less} away. How many {goods} are left?",
        "{name} had {first} {goods}, bought {more} and lost {less}. How many {goods} does {name} have now?",
    ),
)
def _word_problem(rng: random.Random, language: Language) -> Given:
    goods, measure = rng.choice(GOODS)
    first, more = rng.randint(3, 40), rng.randint(2, 40)
    less = rng.randint(2, first + more - 1)
    numbers = {"first": str(first), "more": str(more), "less": str(less)}
    words = {"name": rng.choice(NAMES[language]), "goods": goods[language], "measure": measure, **numbers}
    return words, str(first + more - less)


@_instruction(
    "text_number_words",
    ("用汉字写出数字{number}。", "{number}用中文怎么读?"),
    ("Write the number {number} in words.", "How do you say {number} in words?"),
)
def _number_words(rng: random.Random, language: Language) -> Given:
    number = rng.randint(10, 99)
    return {"number": str(number)}, number_words(language, number)


@_instruction(
    "text_sequence",
    ("找规律,下一个数是多少?{row}", "{row},接下来是几?"),
    ("Which number comes next? {row}", "Continue the sequence with one number: {row}"),
)
def _sequence(rng: random.Random, language: Language) -> Given:
    first, step = rng.randint(1, 30), rng.choice([step for step in range(-5, 12) if step])
    first += 20 if step < 0 else 0
    row = [first + step * number for number in range(5)]
    return {"row": _listed(language, [str(number) for number in row[:4]])}, str(row[4])


# --- order ---


@_instruction(
    "text_order",
    ("把下面的数{way}排列:{row}", "请将{row}{way}排序。"),
    ("Sort these numbers {way}: {row}", "Put {row} in order {way}."),
)
def _order(rng: random.Random, language: Language) -> Given:
    numbers, down = rng.sample(range(100), rng.randint(3, 6)), rng.random() < 0.5
    way = ("从小到大", "从大到小") if language == "zh" else ("from small to large", "from large to small")
    row, answer = (_listed(language, [str(n) for n in order]) for order in (numbers, sorted(numbers, reverse=down)))
    return {"row": row, "way": way[down]}, answer


@_instruction(
    "text_weekday",
    ("今天是{today},{days}天后是星期几?", "如果今天是{today},再过{days}天是哪一天?"),
    ("Today is {today}. Which day is it in {days} days?", "If today is {today}, what day comes {days} days later?"),
)
def _weekday(rng: random.Random, language: Language) -> Given:
    today, days = rng.randrange(7), rng.randint(2, 13)
    return {"today": WEEKDAYS[today][language], "days": str(days)}, WEEKDAYS[(today + days) % 7][language]


@_instruction(
    "text_pick",
    ("在{row}中,第{place}个是什么?", "说出这一串里的第{place}个词:{row}"),
    ("Which is number {place} in this list: {row}?", "Name word number {place} of: {row}"),
)
def _pick(rng: random.Random, language: Language) -> Given:
    things = [thing[language] for thing in rng.sample(rng.choice(CATEGORIES)[1], 5)]
    place = rng.randrange(5)
    return {"row": _listed(language, things), "place": str(place + 1)}, things[place]


# --- characters ---


def _word(rng: random.Random, language: Language) -> str:
    if language == "zh":
        return "".join(rng.sample(HANZI, rng.randint(2, 8)))
    return rng.choice([word for word in ENGLISH if len(word) > 2])


@_instruction(
    "text_length",
    ("“{word}”一共有几个字?", "数一数“{word}”有多少个汉字。"),
    ('How many letters are in "{word}"?', 'Count the letters of "{word}".'),
)
def _length(rng: random.Random, language: Language) -> Given:
    word = _word(rng, language)
    return {"word": word}, str(len(word))


@_instruction(
    "text_reverse",
    ("把“{word}”倒过来写。", "从后往前写出“{word}”。"),
    ('Write "{word}" backwards.', 'Reverse the letters of "{word}".'),
)
def _reverse(rng: random.Random, language: Language) -> Given:
    word = _word(rng, language)
    return {"word": word}, word[::-1]


@_instruction(
    "text_repeat_times",
    ("把“{word}”写{times}遍,用空格隔开。", "请将“{word}”重复{times}次,中间加空格。"),
    ('Write "{word}" {times} times, with spaces between.', 'Say "{word}" {times} times in a row.'),
)
def _repeat_times(rng: random.Random, language: Language) -> Given:
    word, times = _word(rng, language), rng.randint(2, 5)
    return {"word": word, "times": str(times)}, " ".join([word] * times)


@_instruction(
    "text_replace",
    ("把“{word}”里的“{old}”换成“{new}”。", "将“{word}”中的“{old}”改成“{new}”后写出来。"),
    ('Replace "{old}" with "{new}" in "{word}".', 'Write "{word}" with every "{old}" changed to "{new}".'),
)
def _replace(rng: random.Random, language: Language) -> Given:
    word = _word(rng, language)
    letters = HANZI if language == "zh" else "abcdefghijklmnopqrstuvwxyz"
    old, new = rng.choice(word), rng.choice([letter for letter in letters if letter not in word])
    return {"word": word, "old": old, "new": new}, word.replace(old, new)


# --- words ---


@_instruction(
    "text_opposite",
    ("“{word}”的反义词是什么?", "说出“{word}”的反义词。"),
    ('What is the opposite of "{word}"?', 'Give the opposite of "{word}".'),
)
def _opposite(rng: random.Random, language: Language) -> Given:
    one, two = rng.sample(rng.choice(OPPOSITES), 2)
    return {"word": one[language]}, two[language]


@_instruction(
    "text_classify",
    ("“{word}”属于哪一类:{row}?", "在{row}中,“{word}”是哪一种?"),
    ('To which class does "{word}" belong: {row}?', 'Is "{word}" one of these: {row}? Name the one that fits.'),
)
def _classify(rng: random.Random, language: Language) -> Given:
    classes = rng.sample(CATEGORIES, 4)
    name, members = rng.choice(classes)
    row = _listed(language, [one[language] for one, _ in classes])
    return {"word": rng.choice(members)[language], "row": row}, name[language]


@_instruction(
    "text_odd_one_out",
    ("哪一个和其他的不是一类?{row}", "找出不同类的一个:{row}"),
    ("Which one does not belong: {row}?", "Find the odd one out: {row}"),
)
def _odd_one_out(rng: random.Random, language: Language) -> Given:
    (_, many), (_, few) = rng.sample(CATEGORIES, 2)
    odd = rng.choice(few)[language]
    row = [word[language] for word in rng.sample(many, 3)] + [odd]
    rng.shuffle(row)
    return {"row": _listed(language, row)}, odd


# --- sentences ---


def _scene(rng: random.Random, language: Language) -> tuple[str, str]:
    return rng.choice(SUBJECTS)[language], rng.choice(ACTIVITIES)[language]


def _plain(language: Language, subject: str, activity: str) -> str:
    return f"{subject}在{activity}。" if language == "zh" else f"{subject.capitalize()} is {activity}."


@_instruction(
    "text_negate",
    ("把句子改成否定句:{sentence}", "改写成否定的意思:{sentence}"),
    ("Make this sentence negative: {sentence}", "Negate: {sentence}"),
)
def _negate(rng: random.Random, language: Language) -> Given:
    subject, activity = _scene(rng, language)
    answer = f"{subject}没有在{activity}。" if language == "zh" else f"{subject.capitalize()} is not {activity}."
    return {"sentence": _plain(language, subject, activity)}, answer


@_instruction(
    "text_question",
    ("把句子改成问句:{sentence}", "改写成疑问句:{sentence}"),
    ("Turn this sentence into a question: {sentence}", "Ask whether it is so: {sentence}"),
)
def _question(rng: random.Random, language: Language) -> Given:
    subject, activity = _scene(rng, language)
    answer = f"{subject}在{activity}吗?" if language == "zh" else f"Is {subject} {activity}?"
    return {"sentence": _plain(language, subject, activity)}, answer


@_instruction(
    "text_reading",
    ("{story}{asked}在做什么?", "读一读:{story}请问{asked}在做什么?"),
    ("{story} What is {asked} doing?", "Read this: {story} Now, what is {asked} doing?"),
)
def _reading(rng: random.Random, language: Language) -> Given:
    subjects, activities = rng.sample(SUBJECTS, 3), rng.sample(ACTIVITIES, 3)
    facts = [(one[language], two[language]) for one, two in zip(subjects, activities, strict=True)]
    story = ("" if language == "zh" else " ").join(_plain(language, *fact) for fact in facts)
    asked, answer = rng.choice(facts)
    return {"story": story, "asked": asked}, answer


@_instruction(
    "text_logic",
    (
        "{one}比{two}{more},{two}比{three}{more}。谁最{asked}?",
        "已知{two}比{three}{more},{one}比{two}{more},谁最{asked}?",
    ),
    (
        "{one} is {more}er than {two}, and {two} is {more}er than {three}. Who is the {asked}est?",
        "{two} is {more}er than {three}, but {one} is {more}er than {two}. Who is the {asked}est?",
    ),
)
def _logic(rng: random.Random, language: Language) -> Given:
    pairs = (("高", "矮"), ("快", "慢")) if language == "zh" else (("tall", "short"), ("fast", "slow"))
    more, less = rng.sample(rng.choice(pairs), 2)
    one, two, three = rng.sample(NAMES[language], 3)
    asked, answer = rng.choice(((more, one), (less, three)))
    return {"one": one, "two": two, "three": three, "more": more, "asked": asked}, answer


@_instruction(
    "text_json",
    (
        "写成 JSON,键为 name、age、likes:{name}今年{age}岁,喜欢{colour}。",
        "用 JSON(name、age、likes)表示:{name},{age}岁,喜欢{colour}。",
    ),
    (
        "Write as JSON with the keys name, age and likes: {name} is {age} years old and likes {colour}.",
        "Turn this into JSON (name, age, likes): {name}, {age}, likes {colour}.",
    ),
)
def _json(rng: random.Random, language: Language) -> Given:
    name, age, colour = rng.choice(NAMES[language]), rng.randint(5, 90), rng.choice(COLOURS)[language]
    answer = json.dumps({"name": name, "age": age, "likes": colour}, ensure_ascii=False)
    return {"name": name, "age": str(age), "colour": colour}, answer


@_instruction(
    "text_mood",
    ("“{name}{sign}。”{name}可能是什么心情?", "{name}{sign}。从{row}中选出他的心情。"),
    ('"{name} {sign}." How does {name} probably feel?', "{name} {sign}. Choose the mood from: {row}."),
)
def _mood(rng: random.Random, language: Language) -> Given:
    mood = rng.randrange(4)
    signs = {
        "zh": ("笑得合不拢嘴", "哭了起来", "气得直跺脚", "惊得张大了嘴"),
        "en": ("laughs and laughs", "begins to cry", "stamps the ground with rage", "stares with an open mouth"),
    }
    row = _listed(language, [one[language] for one in MOODS[:4]])
    return {"name": rng.choice(NAMES[language]), "sign": signs[language][mood], "row": row}, MOODS[mood][language]
