"""Scores count what they say, and blind means another picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuwen
from tuwen.chat.messages import Image, Message
from tuwen.data.sample import Language, Sample
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.evaluate.held_out import Outcome, measure, normalise, score, shuffled_pictures
from tuwen.evaluate.report import read_plots, scores_json, write_report


def sample(name: str, answer: str, task: str = "color", language: Language = "zh") -> Sample:
    messages = (Message.of("user", Image(), "?"), Message.of("assistant", answer))
    return Sample(id=name, messages=messages, images=(PIL.Image.new("RGB", (8, 8)),), task=task, language=language)


def test_scores_are_percentages_of_right_answers() -> None:
    outcomes = [
        Outcome(sample("1", "红色"), "红色。", "蓝色"),
        Outcome(sample("2", "红色"), "蓝色", "红色"),
        Outcome(sample("3", "蓝色"), " 蓝色 ", "绿色"),
        Outcome(sample("4", "red", language="en"), "RED.", "red"),
    ]
    result = score(outcomes)["color"]
    assert (result.accuracy, result.blind, result.n) == (75.0, 50.0, 4)
    # Always the most frequent answer of each language: 红色 twice of three, red once of one.
    assert result.chance == 75.0


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_blind_never_shows_the_samples_own_picture(count: int) -> None:
    samples = [sample(str(place), "红色", task=("color", "shape")[place % 2]) for place in range(2 * count)]
    for mine, others in zip(samples, shuffled_pictures(samples, seed=3), strict=True):
        assert others is not None
        assert others[0] is not mine.images[0]


def test_measuring_and_reporting_end_to_end(toy_run: Path, tmp_path: Path) -> None:
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1, "faces": 1}, size=64))
    samples = [one for index in range(4) for one in synthesiser.draw(5, index).samples]
    seen: list[int] = []
    outcomes = measure(tuwen.load(toy_run / "model"), samples, max_new_tokens=3, after_batch=seen.append)
    assert [outcome.sample for outcome in outcomes] == samples
    assert seen[-1] == 2 * len(samples)
    scores = scores_json(score(outcomes), {"data": 0.1, "train": 1.0, "evaluate": 1.0})
    assert scores["mean"].keys() == {"accuracy", "blind", "chance"}
    assert sum(task["n"] for task in scores["tasks"].values()) == len(samples)
    out = tmp_path / "report.html"
    metrics = toy_run / "metrics.jsonl"
    write_report(out, title="<试>", scores=scores, outcomes=outcomes, metrics=metrics, facts={"a": "b"}, recipe="x: 1")
    html = out.read_text(encoding="utf-8")
    assert "&lt;试&gt;" in html
    # One file that opens offline: nothing is fetched from anywhere.
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
    assert [plot.title for plot in read_plots(metrics)] == ["align", "instruct"]
    assert json.dumps(scores)
