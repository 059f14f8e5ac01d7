"""Nobody reads without looking: questions about pages, documents, charts and screenshots do not give answers away."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter, defaultdict
from functools import cache

import pytest

from tests.data.test_synth_balance import blind_guesses
from tuwen.data.sample import Sample
from tuwen.data.synth import SUITES, SynthConfig, Synthesiser, chance
from tuwen.data.synth.pages.browser import NAMES

CHROMIUM = os.environ.get("TUWEN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
PICTURES = {"chart": 1200, "document": 700, "ocr": 700, "screenshot": 300}
# Tasks with few answers, and the share that the best guess may get.
FEW = {
    ("chart", "chart_kind"): 0.2,
    ("chart", "chart_count"): 0.25,
    ("chart", "chart_trend"): 0.25,
    ("chart", "chart_color"): 1 / 7,
    ("document", "document_kind"): 1 / 6,
    ("document", "document_count"): 0.2,
    ("screenshot", "screenshot_page"): 1 / 6,
}
pytestmark = pytest.mark.slow


@cache
def samples_of(suite: str) -> dict[str, list[Sample]]:
    """All samples of many pictures, by task."""
    if suite == "screenshot" and CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    synthesiser = Synthesiser(SynthConfig(suites={suite: 1.0}, questions=None))
    found: dict[str, list[Sample]] = defaultdict(list)
    for index in range(PICTURES[suite]):
        for sample in synthesiser.draw(41, index).samples:
            found[sample.task].append(sample)
    return found


@pytest.mark.parametrize("suite", PICTURES)
def test_yes_and_no_cannot_be_told_from_the_question(suite: str) -> None:
    tasks = [task for task in SUITES.get(suite).tasks if task.endswith("_yesno")]
    assert tasks
    for task in tasks:
        for language, words in (("zh", ("是", "否")), ("en", ("yes", "no"))):
            mine = [sample for sample in samples_of(suite)[task] if sample.language == language]
            answers = Counter(sample.answer for sample in mine)
            assert answers[words[0]] == answers[words[1]] > 20
            # Four standard deviations of guessing; the halves of a pair are not independent.
            assert abs(blind_guesses(mine) - 0.5) < 4 * math.sqrt(0.25 / (len(mine) / 4)), (task, language)


@pytest.mark.parametrize(("suite", "task"), FEW)
def test_few_answers_are_equally_frequent(suite: str, task: str) -> None:
    for language in ("zh", "en"):
        mine = [sample for sample in samples_of(suite)[task] if sample.language == language]
        share = FEW[suite, task]
        allowed = 4.5 * math.sqrt(share * (1 - share) / len(mine))
        assert chance(mine) < share + allowed, Counter(sample.answer for sample in mine)
        assert blind_guesses(mine) < share + 1.5 * allowed


@pytest.mark.parametrize(
    ("suite", "task"),
    [
        ("chart", "chart_difference"),
        ("chart", "chart_highest"),
        ("chart", "chart_table"),
        ("chart", "chart_value"),
        ("document", "document_cell"),
        ("document", "document_field"),
        ("document", "document_json"),
        ("document", "document_sum"),
        ("ocr", "ocr_line"),
        ("ocr", "ocr_page"),
        ("screenshot", "screenshot_html"),
    ],
)
def test_free_answers_are_not_guessed(suite: str, task: str) -> None:
    assert chance(samples_of(suite)[task]) < 0.1
