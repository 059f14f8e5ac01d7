"""Several processes train as one does, however they hold the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.conftest import TOY, run_cli

STEPS = 50
LONG: dict[str, Any] = {
    **TOY,
    "checkpoints": {"steps": 20},
    # Half of the batches of a process are text alone.
    "sources": [{"type": "synth", "size": 64, "suites": {"shapes": 1, "text": 1}}],
    "stages": [
        {
            **TOY["stages"][1],
            "steps": STEPS,
            "groups": 2,
            "accumulate": 1,
            "modules": {
                "vision": {"mode": "full", "learning_rate": 0.0005},
                "connector": {"mode": "full", "learning_rate": 0.0005},
                "language": {"mode": "lora", "learning_rate": 0.002, "lora": {"rank": 4}},
            },
            # Without a rise, AdamW's first steps make much of the last digits of gradients that are nearly 0.
            "warmup": 10,
        }
    ],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "long.yaml"
    path.write_text(yaml.safe_dump(LONG), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def one_process(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "run"
    result = run_cli("train", recipe, "--out", out)
    assert result.returncode == 0, result.stderr
    return out


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_and_the_model_of_one(
    recipe: Path, one_process: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "two"
    result = run_cli(
        *("train", recipe, "--out", out, "--nproc", "2", "stages.0.groups=1", f"distribution.type={kind}"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    one, two = lines(one_process), lines(out)
    assert len(one) == len(two) == STEPS
    for mine, theirs in zip(two, one, strict=True):
        assert mine["answers"] == pytest.approx(theirs["answers"], abs=1e-4)
        assert mine["tasks"].keys() == theirs["tasks"].keys()
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        found, expected = load_file(out / "model" / file), load_file(one_process / "model" / file)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert float((found[name] - value).abs().max()) < 2e-3, name


@pytest.mark.slow
def test_a_split_run_that_was_stopped_goes_on_as_one_process(recipe: Path, one_process: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    split = ("stages.0.groups=1", "distribution.type=fsdp")
    result = run_cli("train", recipe, "--out", out, "--nproc", "2", *split)
    assert result.returncode == 0, result.stdout + result.stderr
    for path in (out / "model", out / "checkpoints" / "instruct-000040"):
        path.rename(out / f"gone-{path.name}")
    result = run_cli("train", recipe, "--out", out, "--resume", "auto")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "goes on after step 20" in result.stdout
    for mine, theirs in zip(lines(out), lines(one_process), strict=True):
        assert mine["answers"] == pytest.approx(theirs["answers"], abs=1e-4)


def test_one_process_cannot_be_split(recipe: Path, tmp_path: Path) -> None:
    result = run_cli("train", recipe, "--out", tmp_path / "run", "distribution.type=fsdp")
    assert result.returncode == 2
    assert "fsdp needs several processes" in result.stderr
