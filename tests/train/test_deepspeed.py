"""Processes that share gradients and optimiser by DeepSpeed, or weights as well, train as one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.conftest import refused
from tests.train.test_distribution import LONG
from tests.train.test_plan_memory import planned, stage_of
from tests.train.zero_bytes import MODES

ROOT = Path(__file__).parents[2]
KINDS = ["zero2", "zero3"]
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
# All that engines have a part in: adapters of both kinds, layers that are computed again, a moving average, a step that
# goes wrong, batches without pictures; then weights that change places with those before, and a layer behind the one
# whose features are taken.
PAIRS = {"type": "synth", "size": 64, "suites": {"shapes": 1}, "preference": True}
EVERYTHING: dict[str, Any] = {
    **LONG,
    "model": {
        **LONG["model"],
        # A number of weights that two processes cannot share alike.
        "vision": {"config": {**LONG["model"]["vision"]["config"], "num_hidden_layers": 2, "intermediate_size": 49}},
        "vision_feature": {"layers": [-2]},
    },
    "checkpoints": {"steps": 2, "keep": 9},
    "guards": {"not_finite": "roll_back"},
    "validation": {"sources": [PAIRS], "every": 3, "groups": 4, "batch": 2, "generate": {"count": 1, "new_tokens": 3}},
    "stages": [
        {
            **LONG["stages"][0],
            "steps": 6,
            "accumulate": 2,
            "ema": 0.5,
            "modules": {
                "vision": {
                    "mode": "lora",
                    "learning_rate": 0.002,
                    "gradient_checkpointing": True,
                    "lora": {"rank": 3},
                },
                "connector": {"mode": "full", "learning_rate": 0.0005},
                "language": {
                    "mode": "lora",
                    "learning_rate": 0.002,
                    "gradient_checkpointing": True,
                    "lora": {"type": "dora", "rank": 3},
                },
            },
        },
        {
            **LONG["stages"][0],
            "name": "prefer",
            "steps": 4,
            "sources": [PAIRS],
            "objectives": {"preference": 0.5, "answers": 1.0},
            "preference": {"beta": 1.0},
            "modules": {
                "vision": {"mode": "full", "learning_rate": 0.002, "weight_decay": 0.5},
                "connector": {"mode": "full", "learning_rate": 0.0005},
                "language": {"mode": "full", "learning_rate": 0.002},
            },
        },
    ],
}
HALF = ["stages.0.groups=1", "stages.1.groups=1"]


def started(*arguments: str | Path, processes: int, module: str = "tests.train.spoilt_run") -> str:
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    result = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "everything.yaml"
    path.write_text(yaml.safe_dump(EVERYTHING), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def one(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "run"
    started(recipe, out, processes=1)
    return out


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def two(recipe: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(kind) / "run"
    said = started(recipe, out, f"distribution.type={kind}", *HALF, processes=2)
    assert "step 4 went wrong: back to " in said
    return out


def same_course(run: Path, expected: Path) -> None:
    for file, keys in (("metrics.jsonl", ("answers", "grad norm", "margin")), ("validation.jsonl", ("loss", "tasks"))):
        mine, theirs = (
            [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()]
            for folder in (run, expected)
        )
        assert [line["step"] for line in mine] == [line["step"] for line in theirs]
        for one, other in zip(mine, theirs, strict=True):
            for key in keys:
                assert one.get(key) == pytest.approx(other.get(key), abs=1e-4), (file, one["step"], key)


def same_tensors(file: Path, expected: Path) -> None:
    found, wanted = load_file(file), load_file(expected)
    assert found.keys() >= wanted.keys()
    # What no loss reaches has a place among the moments of its group, in which nothing comes to be.
    assert all(key.rpartition("/")[2] == "step" or not found[key].any() for key in found.keys() - wanted.keys())
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        assert float((found[name] - value).abs().max()) < 1e-4, name


def stopped_at(checkpoint: str, run: Path, place: Path) -> Path:
    """A run as it would be, had it been stopped after a checkpoint of its last stage."""
    shutil.copytree(run, place)
    for path in [place / "model", *(place / "checkpoints").iterdir()]:
        if path.name != checkpoint:
            shutil.rmtree(path)
    return place


@pytest.mark.slow
@needs_deepspeed
def test_two_processes_do_what_one_does(one: Path, two: Path) -> None:
    same_course(two, one)
    for file in ("model/model.safetensors", "stages/instruct/adapter/adapter_model.safetensors"):
        same_tensors(two / file, one / file)
    for checkpoint, files in {
        "instruct-000004": ("trained", "optimizer", "ema"),
        "prefer-000002": ("trained", "optimizer"),
    }.items():
        for file in files:
            place = f"checkpoints/{checkpoint}/{file}.safetensors"
            same_tensors(two / place, one / place)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("processes", [1, 2])
def test_what_others_have_begun_they_go_on_with(
    recipe: Path, one: Path, two: Path, kind: str, processes: int, tmp_path: Path
) -> None:
    begun = stopped_at("prefer-000002", two if processes == 1 else one, tmp_path / "run")
    split = [f"distribution.type={kind}", *HALF] if processes == 2 else []
    assert "prefer: goes on after step 2" in started(recipe, begun, *split, processes=processes)
    same_course(begun, one)
    same_tensors(begun / "model" / "model.safetensors", one / "model" / "model.safetensors")


@pytest.mark.slow
@needs_deepspeed
def test_they_hold_what_is_planned(tmp_path: Path) -> None:
    started(tmp_path / "bytes.json", *KINDS, processes=2, module="tests.train.zero_bytes")
    measured = json.loads((tmp_path / "bytes.json").read_text(encoding="utf-8"))
    for kind in KINDS:
        plan = planned(stage_of(MODES), type=kind, devices=2).parts
        held = plan["weights"] + plan["master weights"]
        # One of them keeps places for gradients and for what is added up, the other makes them in each step.
        kept = plan["gradients"] + plan["communication"] if kind == "zero3" else 0.0
        assert measured[kind]["before"] == pytest.approx(held + (kept or plan["gradients"]), rel=0.05)
        assert measured[kind]["after"] == pytest.approx(held + kept + plan["optimiser"], rel=0.01)


@needs_deepspeed
@pytest.mark.parametrize("kind", KINDS)
def test_one_process_has_nothing_to_share(recipe: Path, tmp_path: Path, kind: str) -> None:
    said = refused("train", recipe, "--out", tmp_path / "run", f"distribution.type={kind}", "validation=null")
    assert said == f"distribution.type: {kind} needs several processes; start them with --nproc, or say ddp"


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("stages.1.optimizer.type=muon", "stages.1.optimizer.type: muon does not work with distribution.type zero3"),
        ("stages.0.optimizer.type=adamw_8bit", "stages.0.optimizer.type: adamw_8bit does not work with"),
        ("stages.0.modules.language.base=nf4", "stages.0.modules.language.base: nf4 does not work with"),
        ("distribution.replicas=2", "distribution: replicas has no effect with type zero3"),
    ],
)
def test_what_does_not_work_is_refused(recipe: Path, tmp_path: Path, setting: str, problem: str) -> None:
    said = refused("train", recipe, "--plan", "--out", tmp_path / "run", "distribution.type=zero3", setting)
    assert problem in said


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_a_missing_package_is_named(recipe: Path, tmp_path: Path) -> None:
    said = refused("train", recipe, "--out", tmp_path / "run", "distribution.type=zero2", "validation=null")
    assert "deepspeed is not installed: run `pip install 'tuwen[deepspeed]'`" in said
