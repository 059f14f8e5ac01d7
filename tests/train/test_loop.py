"""What a stage promises: its time, its modules, its learning rates."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TOY, refused, run_cli
from tests.models.compositions import compose
from tuwen.config import parse_config
from tuwen.train.modules.optimizer import make_groups, schedule_factor
from tuwen.train.policies import Schedule
from tuwen.train.stage import Stage


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_stage_ends_with_its_time_and_its_learning_rate_follows(toy_recipe: Path, tmp_path: Path) -> None:
    overrides = ["stages.0.steps=1000000", "stages.0.minutes=0.05", "stages.0.schedule={type: linear}"]
    result = run_cli("train", toy_recipe, "--out", tmp_path / "run", *overrides)
    assert result.returncode == 0, result.stderr
    first = [line for line in metrics(tmp_path / "run") if line["stage"] == "align"]
    assert f"align: its time is over after {len(first)} of 1000000 steps" in result.stdout
    rates = [line["lr"]["connector"] for line in first]  # type: ignore[index]
    assert rates[0] == pytest.approx(0.002, rel=0.05)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.0004


def test_two_processes_train_as_one_does(toy_recipe: Path, toy_run: Path, tmp_path: Path) -> None:
    halves = ["stages.0.groups=2", "stages.1.groups=2", "stages.1.accumulate=1"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "tuwen", "train"]
    result = subprocess.run(
        [*command, str(toy_recipe), "--out", str(tmp_path / "two"), *halves],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    one, two = metrics(toy_run), metrics(tmp_path / "two")
    for mine, theirs in zip(one, two, strict=True):
        for name in {"answers", "regions", "grad norm"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-4)


def test_rates_count_the_whole_of_a_step(toy_recipe: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 1024}
    changes = [f"model.language.config.{name}={size}" for name, size in sizes.items()]
    changes += ["sources.0.suites={shapes: 1}", "checkpoints={steps: 1000}", "stages.1.steps=20", "stages.1.groups=2"]
    # An update that takes about as long as the passes.
    changes += ["stages.1.modules.language={mode: full, learning_rate: 0.001}", "stages.1.optimizer={type: muon}"]
    result = run_cli("train", toy_recipe, "--out", tmp_path / "run", *changes, "stages.1.accumulate=1")
    assert result.returncode == 0, result.stderr
    steps = [line for line in metrics(tmp_path / "run") if line["stage"] == "instruct"]
    said = sum(2 / line["images/s"] for line in steps[1:])
    assert said == pytest.approx(steps[-1]["time"] - steps[0]["time"], rel=0.15)


def test_a_module_that_no_loss_reaches_is_refused(toy_recipe: Path, tmp_path: Path) -> None:
    message = refused("train", toy_recipe, "--out", tmp_path / "run", "stages.1.objectives={regions: 1}")
    assert message == (
        "stages.instruct.modules.language: it gets no gradient from the objectives regions; "
        "freeze it or add an objective that reaches it"
    )


def test_layers_behind_the_chosen_one_are_said_and_left_alone(tmp_path: Path) -> None:
    values = {**TOY, "stages": TOY["stages"][:1]}
    values["model"] = {**TOY["model"], "vision_feature": {"layers": [0]}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    result = run_cli("train", path, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "align: not reached by the loss, so left as they are: model.vision_tower.blocks.0." in result.stdout


def test_text_alone_before_the_first_picture_is_no_mistake(tmp_path: Path) -> None:
    values = {**TOY, "stages": [{**TOY["stages"][0], "objectives": {"answers": 1.0}}]}
    values["stages"][0]["modules"]["language"] = {"mode": "full", "learning_rate": 0.001}
    values["sources"] = [{"type": "synth", "size": 64, "suites": {"text": 1}}]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    result = run_cli("train", path, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.integers(0, 50),
    st.integers(1, 200),
)
def test_schedules_rise_to_one_then_fall_to_their_floor(
    kind: str, decay_from: float, floor: float, warmup: int, steps: int
) -> None:
    settings = {} if kind == "constant" else {"decay_from": decay_from, "floor": floor}
    schedule = Schedule.model_validate({"type": kind, **settings})
    factors = [schedule_factor(schedule, warmup, step, steps) for step in range(steps + 1)]
    assert all(0 <= factor <= 1 + 1e-9 for factor in factors)
    if warmup < steps:
        after = factors[warmup:]
        assert all(one >= other - 1e-9 for one, other in itertools.pairwise(after))
        assert factors[-1] == pytest.approx(1.0 if kind == "constant" else floor)


@pytest.mark.parametrize("mode", ["full", "embeddings", "frozen"])
def test_every_trained_tensor_is_in_exactly_one_group(mode: str) -> None:
    model = compose()
    language = {"mode": mode} if mode == "frozen" else {"mode": mode, "learning_rate": 1e-3}
    stage = parse_config(
        Stage,
        {
            "name": "one",
            "steps": 1,
            "groups": 1,
            "optimizer": {"type": "muon"},
            "modules": {"connector": {"mode": "full", "learning_rate": 1e-2}, "language": language},
        },
        "test",
    )
    groups = make_groups(model, stage)
    grouped = [id(tensor) for group in groups for tensor in group.tensors]
    trained = [id(tensor) for tensor in model.parameters() if tensor.requires_grad]
    assert sorted(grouped) == sorted(trained)
    assert not any(tensor.requires_grad for tensor in model.model.vision_tower.parameters())
    matrices = {name for group in groups if group.rule == "muon" for name in group.names}
    assert matrices
    assert not any("embed" in name or "norm" in name or "bias" in name or "lm_head" in name for name in matrices)
    assert math.isclose(max(group.learning_rate for group in groups if group.rule == "adamw"), 1e-2)
