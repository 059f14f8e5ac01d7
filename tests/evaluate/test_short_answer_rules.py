"""Rules of short answers by themselves: what is compared, and what it is worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.evaluate.scoring.anls import levenshtein, pix2struct, rrc
from tuwen.evaluate.scoring.average_precision import average_precision
from tuwen.evaluate.scoring.gqa import llava_answer, qwen_vl_answer
from tuwen.evaluate.scoring.relaxed import relaxed
from tuwen.evaluate.scoring.vqa_accuracy import half_up, leave_one_out
from tuwen.evaluate.scoring.vqa_normalise import NORMALISERS, PYTHON_3
from tuwen.evaluate.scoring.vqa_tables import MARKS


@pytest.mark.parametrize(
    ("reply", "llava", "qwen"),
    [
        ("Yes.", "yes", "yes"),
        ("no..", "no", "no"),
        ("The star is blue, I think.", "the star is blue, i think", "blue"),
        ("It is a piece of cake!", "it is a piece of cake!", "piece"),
        ("this is a glass", "this is a glass", ""),
        ("banana split", "banana split", "split"),
        (" Red ", " red ", "red"),
    ],
)
def test_replies_to_gqa_are_cleaned_up(reply: str, llava: str, qwen: str) -> None:
    assert (llava_answer(reply), qwen_vl_answer(reply)) == (llava, qwen)


@given(st.lists(st.booleans(), min_size=10, max_size=10))
def test_accuracy_depends_on_how_many_agree(matches: list[bool]) -> None:
    assert leave_one_out(tuple(matches)) == pytest.approx((0, 0.3, 0.6, 0.9, 1)[min(4, sum(matches))])


def one_mark_after_the_other(text: str) -> str:
    """The programs' rule as they go about it."""
    result = text
    threes = zip(text, text[1:], text[2:], strict=False)
    grouped = any(first.isdecimal() and comma == "," and last.isdecimal() for first, comma, last in threes)
    for mark in sorted(MARKS):
        touches = mark + " " in text or " " + mark in text
        result = result.replace(mark, "" if touches or grouped else " ")
    kept, deleted = "", 0
    for place, character in enumerate(result):
        if character == "." and deleted < 32 and not result[place + 1 : place + 2].isdecimal():
            deleted += 1
        else:
            kept += character
    return kept


@given(st.text(alphabet="aB1２ ,.;-?!'\"。\n", max_size=40) | st.text(max_size=60))
def test_marks_go_as_in_the_programs(text: str) -> None:
    assert PYTHON_3.strip(text) == one_mark_after_the_other(text)


@given(st.text(max_size=60), st.sampled_from(sorted(NORMALISERS)))
def test_a_normalised_answer_has_no_marks_and_single_blanks(text: str, name: str) -> None:
    found = NORMALISERS[name](text)
    assert not MARKS.intersection(found)
    assert found == " ".join(found.split())


def by_table(first: str, second: str) -> int:
    row = list(range(len(first) + 1))
    for place, character in enumerate(second, start=1):
        above, row[0] = row[0], place
        for column, other in enumerate(first, start=1):
            above, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, above + (character != other)),
            )
    return row[-1]


@given(st.text(alphabet="ab北京 ", max_size=90), st.text(alphabet="abc北 ", max_size=90))
def test_edit_distance_is_that_of_the_table(first: str, second: str) -> None:
    assert levenshtein(first, second) == levenshtein(second, first) == by_table(first, second)


def test_a_long_reply_costs_little() -> None:
    assert levenshtein("x" * 300, "y" * 200_000) == 200_000


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_anls_is_a_similarity(reply: str, references: list[str]) -> None:
    assert rrc(reply, references) == 0 or 0.5 <= rrc(reply, references) <= 1
    assert rrc(references[0], references) == 1


def test_one_half_is_enough_for_the_competition_and_not_for_pix2struct() -> None:
    assert (rrc("ab", ["abcd"]), pix2struct("ab", ["abcd"])) == (0.5, 0.0)
    # Some letters are two in upper case, in which the script takes lengths.
    assert rrc("ßa", ["ßb"]) == pytest.approx(2 / 3)


@given(st.floats(min_value=1e-6, max_value=1e6), st.floats(min_value=-0.2, max_value=0.2))
def test_numbers_may_be_five_percent_off(target: float, off: float) -> None:
    if abs(abs(off) - 0.05) > 1e-6:
        assert relaxed(repr(target), repr(target * (1 + off))) == (abs(off) < 0.05)


@pytest.mark.parametrize(
    ("target", "prediction", "right"),
    [
        ("5%", "0.05", True),
        ("5", "5%", False),
        ("0", "0.0", False),
        ("1,000", "1000", False),
        ("Red", "red", True),
        ("nan", "nan", False),
        ("红色", "红色", True),
        ("inf", "inf", False),
    ],
)
def test_charts_are_read_as_pix2struct_reads_them(target: str, prediction: str, right: bool) -> None:
    assert relaxed(target, prediction) is right


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])), min_size=1, max_size=40))
def test_average_precision_is_precision_where_recall_grows(found: list[tuple[bool, float]]) -> None:
    labels, scores = [label for label, _ in found], [score for _, score in found]
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [label for label, score in found if score >= threshold]
        recall = sum(taken) / max(1, sum(labels))
        total += (recall - before) * sum(taken) / len(taken)
        before = recall
    assert average_precision(labels, scores)[0] == pytest.approx(total)


def test_halves_are_rounded_as_python_2_does() -> None:
    assert (half_up(12.125), round(12.125, 2), half_up(59.4499)) == (12.13, 12.12, 59.45)
