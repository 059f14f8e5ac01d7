"""Steps that go wrong have an answer: stop, pass over, or go back; workers that die are replaced."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import TOY, refused
from tuwen.config import TuwenError, parse_config
from tuwen.data.collator import Batch
from tuwen.data.loader import step_batches
from tuwen.train.guards import FEWEST, RollBack, StepGuard, out_of_memory
from tuwen.train.losses import OBJECTIVES, answers
from tuwen.train.recipe import Recipe
from tuwen.train.run import run_recipe
from tuwen.train.settings import Guards

ROWS = ("input_ids", "labels", "owners", "position_ids", "segments", "parents")
ONE_STAGE: dict[str, Any] = {**TOY, "checkpoints": {"steps": 1}, "stages": [{**TOY["stages"][1], "steps": 6}]}


def poisoned(at: int, factor: float) -> Callable[..., Tensor]:
    """The answers' loss, spoilt in one forward pass."""
    calls = 0

    def spoilt(*arguments: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return answers(*arguments) * (factor if calls == at else 1.0)

    return spoilt


def run(values: dict[str, Any], out: Path, **guards: Any) -> list[dict[str, Any]]:
    run_recipe(parse_config(Recipe, {**values, "guards": guards}, "test"), out)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step has two batches.
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(5, float("nan")))
    with pytest.raises(TuwenError, match=r"stages.instruct: step 3: the loss is nan .* its samples: text-") as error:
        run(ONE_STAGE, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_such_a_step_is_passed_over_where_the_recipe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(5, float("inf")))
    lines = run(ONE_STAGE, tmp_path / "run", not_finite="skip")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[2]["answers"] is None
    assert lines[2]["lr"] == {}
    assert all(line["answers"] > 0 for line in lines if line["step"] != 3)


def test_or_the_run_goes_back_and_passes_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(5, float("nan")))
    lines = run(ONE_STAGE, tmp_path / "back", not_finite="roll_back")
    assert [line["step"] for line in lines] == [1, 2, 4, 5, 6]
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(5, float("nan")))
    skipped = run(ONE_STAGE, tmp_path / "skip", not_finite="skip")
    # What comes after is the same, whether the step was left before or after it was computed.
    assert [line["answers"] for line in lines if line["step"] > 3] == [
        line["answers"] for line in skipped if line["step"] > 3
    ]


def test_going_back_to_the_beginning_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(7, float("nan")))
    rare = {**ONE_STAGE, "checkpoints": {"steps": 100}}
    lines = run(rare, tmp_path / "back", not_finite="roll_back")
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(7, float("nan")))
    skipped = run(rare, tmp_path / "skip", not_finite="skip")
    assert [line["answers"] for line in lines] == [line["answers"] for line in skipped if line["step"] != 4]


def test_a_spike_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "answers", poisoned(2 * FEWEST + 3, 50.0))
    values = {**ONE_STAGE, "stages": [{**ONE_STAGE["stages"][0], "steps": FEWEST + 3}]}
    lines = run(values, tmp_path / "run", spike=3)
    assert [line["step"] for line in lines if not line["lr"]] == [FEWEST + 2]


@given(st.lists(st.floats(0.5, 5), min_size=FEWEST, max_size=80), st.floats(1.1, 5))
def test_what_is_no_spike_is_never_taken_for_one(losses: list[float], spike: float) -> None:
    guard = StepGuard(Guards(spike=spike), "stages.x")
    for step, loss in enumerate(losses):
        wrong = guard.judge(step, min(loss, 0.5 * spike), 1.0, ["a"])
        assert wrong is None


def test_too_many_such_steps_stop_the_run() -> None:
    guard = StepGuard(Guards(not_finite="skip", budget=2), "stages.x")
    names = [f"s{number}" for number in range(7)]
    for step in (1, 2):
        line = guard.judge(step, float("nan"), 1.0, names)
        assert line == f"stages.x: step {step}: the loss is nan and its gradient's norm 1; its samples: " + (
            "s0, s1, s2, s3, s4 and 2 more"
        )
    with pytest.raises(TuwenError, match=r"more than guards.budget 2 steps went wrong"):
        guard.judge(3, 1.0, float("inf"), names)


def test_going_back_is_asked_for_by_its_own_signal() -> None:
    with pytest.raises(RollBack):
        StepGuard(Guards(not_finite="roll_back"), "stages.x").judge(4, float("nan"), 1.0, ["a"])


def test_a_full_memory_is_told_with_what_was_in_the_batch() -> None:
    batch = Batch(
        **{
            name: torch.zeros(2, 30)
            for name in ("input_ids", "labels", "owners", "position_ids", "segments", "parents")
        },
        trained=torch.zeros(1),
        names=["photo-1 (a.jsonl, record 7)"],
        tasks=["caption"],
        pixel_values=torch.zeros(3, 3, 32, 48),
        region_places=torch.zeros(0),
        region_tokens=torch.zeros(0),
        region_weights=torch.zeros(0),
        pictures=3,
    )
    assert str(out_of_memory("stages.x", 9, batch)) == (
        "stages.x: step 9: out of memory with 2 rows of 30 tokens and 3 tiles of 48x32 (samples photo-1 (a.jsonl, "
        "record 7)); take fewer sequences or groups and accumulate more, or turn gradient_checkpointing on"
    )


class Deadly:
    """A collator whose process is killed at a step, so many times."""

    def __init__(self, step: int, marks: Path, times: int) -> None:
        self.step, self.marks, self.times = step, marks, times

    def __call__(self, groups: Any) -> Any:
        number = groups[0]
        if number == self.step and len(list(self.marks.iterdir())) < self.times:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number


def numbered(step: int) -> list[list[int]]:
    return [[step]]


def batches(tmp_path: Path, times: int, said: list[str]) -> Iterator[Any]:
    marks = tmp_path / "marks"
    marks.mkdir()
    collator: Any = Deadly(4, marks, times)
    groups: Any = numbered
    return step_batches(groups, collator, steps=range(2, 9), workers=2, say=said.append)


def test_a_dead_worker_is_replaced_and_no_step_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    assert list(batches(tmp_path, 2, said)) == [[number] for number in range(2, 9)]
    assert len(said) == 2
    assert all(
        re.fullmatch(
            r"a process that prepares batches was killed before step [345] was there; others take its place", line
        )
        for line in said
    )


def test_a_step_that_kills_every_worker_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TuwenError, match="was killed before step [345] was there, 4 times; memory may be short"):
        list(batches(tmp_path, 100, []))


def test_guards_are_read_strictly(toy_recipe: Path, tmp_path: Path) -> None:
    message = refused("train", toy_recipe, "--out", tmp_path / "run", "guards={spike: 0.5}")
    assert "guards.spike" in message
