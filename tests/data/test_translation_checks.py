"""What must come through a translation: protected parts as they are, numbers, letters, boxes, the right language."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.chat.grounding import format_box
from tuwen.data.asking.numbers_in_text import changed_numbers
from tuwen.data.asking.protected_text import MARK, ProtectedText
from tuwen.data.asking.translation_checks import known_translation, written_in, wrong_with
from tuwen.data.sample import Language

# --- protected parts ---

PROTECTED = [
    "<box>(120,80),(540,999)</box>",
    "<box>[[120, 80, 540, 999]]</box>",
    "<quad>(1,2),(3,4),(5,6),(7,8)</quad>",
    "<|im_end|>",
    "<image>",
    "`x = 1`",
    "```python\nprint('a cat')\n```",
    "$\\frac{1}{2}$",
    "$$a^2$$",
    "\\(x_1\\)",
    "\\[\\sum_i i\\]",
    "\\times",
    "https://example.com/a?b=c#d",
    "www.example.com/a",
    "me@example.com",
    "[0.12, 0.5, 0.7, 0.99]",
    "(12,34),(56,78)",
    "⟦",
]
sentences = st.lists(st.sampled_from([*PROTECTED, " a dog ", "一只狗", " costs $5 ", "\n", "A. ", "12", "<", "`", "$"]))


@given(sentences.map("".join) | st.text())
def test_protection_and_restoring_give_the_text_again(text: str) -> None:
    protected = ProtectedText.of(text)
    assert protected.restore(protected.text) == text
    assert protected.misused_marks(protected.text) == ""


@pytest.mark.parametrize("part", PROTECTED)
def test_what_must_stay_is_behind_a_mark(part: str) -> None:
    protected = ProtectedText.of(f"Look at {part} now.")
    assert protected == ProtectedText("Look at ⟦1⟧ now.", (part,))


@pytest.mark.parametrize("text", ["It costs $5 and $10.", "$5-$10", "a < b and c > d", "Is it 3/4?", "[sic]", "(a, b)"])
def test_what_only_looks_so_is_translated(text: str) -> None:
    assert ProtectedText.of(text).parts == ()


def test_names_of_boxes_are_translated_and_parts_in_a_row_share_a_mark() -> None:
    text = "Find <ref>the red cat</ref><box>(1,2),(3,4)</box> and <ref>a dog</ref><box>(5,6),(7,8)</box>."
    protected = ProtectedText.of(text)
    assert protected.text == "Find ⟦1⟧the red cat⟦2⟧ and ⟦3⟧a dog⟦4⟧."
    assert protected.parts[1] == "</ref><box>(1,2),(3,4)</box>"


@given(st.integers(1, 6))
def test_lost_repeated_and_invented_marks_are_named(count: int) -> None:
    protected = ProtectedText.of(" and ".join(["`x`"] * count))
    marks = [f"⟦{number}⟧" for number in range(1, count + 1)]
    assert protected.misused_marks(" ".join(reversed(marks))) == ""
    assert protected.misused_marks(" ".join(marks[1:])) == "⟦1⟧ is missing"
    assert protected.misused_marks(" ".join([*marks, marks[0]])) == "⟦1⟧ comes 2 times"
    assert protected.misused_marks(" ".join([*marks, "⟦99⟧"])) == "⟦99⟧ is none of them"


# --- numbers ---


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("3 dogs", "三只狗"),
        ("3 dogs", "3只狗"),
        ("three dogs", "3只狗"),
        ("one of the dogs", "其中的狗"),
        ("1,000 people", "1000人"),
        ("1,000 people", "一千人"),
        ("12,345,678", "12345678"),
        ("10 million", "1000万"),
        ("10 million", "一千万"),
        ("1.2 billion", "12亿"),
        ("30,000 m", "3万米"),
        ("50%", "50％"),
        ("50%", "百分之五十"),
        ("the 1990s", "20世纪90年代"),
        ("the 1880s", "十九世纪八十年代"),
        ("May 5, 2020", "2020年5月5日"),
        ("3.5 kg", "3.5千克"),
        ("5 km", "5千米"),
        ("3.14", "三点一四"),
        ("at 3:30", "三点半"),
        ("two hundred and five", "205"),
        ("twenty-one", "21"),
        ("a hundred", "100"),
        ("a dozen eggs", "12个鸡蛋"),
        ("the 3rd man", "第三个人"),
        ("in 2005", "二〇〇五年"),
        ("120,000,000", "一亿二千万"),
        ("5", "５"),
    ],
)
def test_the_same_number_in_other_words_is_the_same(english: str, chinese: str) -> None:
    assert changed_numbers(english, chinese) == ""
    assert changed_numbers(chinese, english) == ""


@pytest.mark.parametrize(
    ("source", "translation", "problem"),
    [
        ("3 dogs", "四只狗", "3 missing"),
        ("3 dogs", "4只狗", "3 missing, 4 invented"),
        ("3 dogs and 3 cats", "3只狗和猫", "3 missing"),
        ("dogs", "5只狗", "5 invented"),
        ("10 million", "10万", "10000000 missing, 100000 invented"),
        ("1.5 m", "15米", "1.5 missing, 15 invented"),
        ("三千人", "300 people", "300 invented"),
    ],
)
def test_a_changed_number_is_named(source: str, translation: str, problem: str) -> None:
    assert changed_numbers(source, translation) == problem


@given(st.integers(0, 10**12))
def test_separators_do_not_matter(number: int) -> None:
    assert changed_numbers(f"{number:,}", str(number)) == ""
    assert changed_numbers(str(number), f"共{number:,}个") == ""
    assert changed_numbers(str(number), str(number + 1)) != ""


DIGITS = "零一二三四五六七八九"


def in_chinese(number: int) -> str:
    """A number below ten thousand as people write it."""
    text, zero = "", False
    for unit, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += ("零" if zero and text else "") + DIGITS[digit] + sign
        zero = not digit
    return text or "零"


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_chinese_numerals_are_read(thousands: int, rest: int) -> None:
    assert changed_numbers(str(rest), in_chinese(rest)) == ""
    if thousands and rest >= 1000:
        assert changed_numbers(str(thousands * 10_000 + rest), f"{in_chinese(thousands)}万{in_chinese(rest)}") == ""


# --- a translation as a whole ---


def kind_of(source: str, translation: str, target: Language = "zh") -> str:
    return wrong_with(ProtectedText.of(source), translation, target).partition(":")[0]


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("A red car.", "一辆红色的汽车。"),
        ("Tokyo Tower", "Tokyo Tower"),
        ("The sign reads STOP.", "标志上写着STOP。"),
        ("Which?\nA. a cat\nB. a dog", "哪一个？\nA. 猫\nB. 狗"),
        ("Which? A. a cat B. a dog", "哪一个？A、猫 B、狗"),
        ("Choose (A) or (B).", "选择（A）或（B）。"),
        ("The answer is B.", "答案是B。"),
        ("B is the answer.", "答案是B。"),
        ("It is rich in vitamin C.", "富含维生素丙。"),
        ("Use `print` twice: `print`", "使用⟦1⟧两次：⟦2⟧"),
        ("<ref>the cat</ref><box>(1,2),(3,4)</box> sleeps", "⟦1⟧猫⟦2⟧在睡觉"),
        ("Answer with the option's letter from the given choices directly.", "直接用给定选项中的字母作答。"),
    ],
)
def test_a_good_translation_passes(source: str, translation: str) -> None:
    assert wrong_with(ProtectedText.of(source), translation, "zh") == ""


@pytest.mark.parametrize(
    ("source", "translation", "kind"),
    [
        ("Use `print` here", "在这里使用", "marks"),
        ("Use `print` here", "在这里使用⟦1⟧⟦1⟧", "marks"),
        ("A red car.", "A red car.", "language"),
        ("a cat", "a cat", "language"),
        ("A red car.", "这 is a very red car indeed", "language"),
        ("A red car.", "一辆红色的汽车。" * 20, "length"),
        ("Half of it", "一半\x0crac", "characters"),
        ("Half of it", "一半\\n", "characters"),
        ("3 red cars", "4辆红色的汽车", "numbers"),
        ("Which?\nA. a cat\nB. a dog", "哪一个？\nB. 狗\nA. 猫", "option letters"),
        ("Which?\nA. a cat\nB. a dog", "哪一个？\n甲、猫\n乙、狗", "option letters"),
        ("The answer is B.", "答案是C。", "option letters"),
        ("The dog is the answer.", "答案是C。", "option letters"),
        ("<ref>the cat</ref><box>(1,2),(3,4)</box> sleeps", "⟦2⟧猫⟦1⟧在睡觉", "boxes"),
    ],
)
def test_a_bad_translation_is_found(source: str, translation: str, kind: str) -> None:
    assert kind_of(source, translation) == kind


@pytest.mark.parametrize(
    ("source", "translation", "kind"),
    [
        ("一辆红色的汽车", "A red car.", ""),
        ("牌子上写着“出口”", "The sign reads “出口” for the people who leave.", ""),
        ("一辆红色的汽车", "一辆红色的汽车", "language"),
        ("一辆红色的汽车", "A 红色的汽车.", "language"),
        ("两辆红色的汽车", "2 red cars", ""),
        ("两辆红色的汽车", "3 red cars", "numbers"),
        ("选项：\nA、猫\nB、狗", "Options:\nA. a cat\nB. a dog", ""),
        ("选项：\nA、猫\nB、狗", "Options:\na cat\na dog", "option letters"),
    ],
)
def test_both_directions_are_checked(source: str, translation: str, kind: str) -> None:
    assert kind_of(source, translation, "en") == kind


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a cat", "the dog"]), st.integers(0, 400), st.integers(500, 999)), max_size=4
    )
)
def test_boxes_come_through(boxes: list[tuple[str, int, int]]) -> None:
    text = "See " + " and ".join(
        format_box(label, (low / 1000, low / 1000, high / 1000, high / 1000)) for label, low, high in boxes
    )
    protected = ProtectedText.of(text)
    translation = re.sub("[a-zA-Z]+", "词", protected.text)
    assert wrong_with(protected, translation, "zh") == ""
    for mark in MARK.findall(translation):
        assert wrong_with(protected, translation.replace(f"⟦{mark}⟧", "", 1), "zh").startswith("marks")


# --- what needs no model ---


@pytest.mark.parametrize(
    ("text", "target", "known"),
    [
        ("yes", "zh", "是"),
        ("Yes.", "zh", "是。"),
        ("No", "zh", "否"),
        ("是的。", "en", "Yes."),
        ("没有", "en", "No"),
        ("B", "zh", "B"),
        ("(C)", "zh", "(C)"),
        ("A.", "zh", "A."),
        ("42", "zh", "42"),
        ("[0.1, 0.2, 0.3, 0.4]", "zh", "[0.1, 0.2, 0.3, 0.4]"),
        ("`code`", "zh", "`code`"),
        ("", "zh", ""),
        ("一只猫", "zh", "一只猫"),
        ("A cat", "en", "A cat"),
        ("A cat", "zh", None),
        ("Yes, it is", "zh", None),
        ("一只猫", "en", None),
        ("кот", "zh", None),
    ],
)
def test_what_needs_no_model(text: str, target: Language, known: str | None) -> None:
    assert known_translation(text, target) == known


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a cat", "en"),
        ("一只猫", "zh"),
        ("一只叫 Tom 的猫", "zh"),
        ("The sign says 出口 in white letters", "en"),
        ("ねこがいます", "other"),
        ("12 + 3", None),
        ("⟦1⟧", None),
    ],
)
def test_the_language_is_that_of_most_words(text: str, language: str | None) -> None:
    assert written_in(text) == language
