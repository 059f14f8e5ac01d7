"""Processes that share gradients and optimiser by DeepSpeed train as one does."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.conftest import refused, run_cli
from tests.train.test_distribution import LONG, lines

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
SPLIT = ("--nproc", "2", "stages.0.groups=1", "distribution.type=zero2")
SHORT = ("stages.0.steps=20", "checkpoints.steps=8")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "long.yaml"
    path.write_text(yaml.safe_dump(LONG), encoding="utf-8")
    return path


@pytest.mark.slow
@needs_deepspeed
def test_losses_are_those_of_one_process_which_may_go_on_with_the_run(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for out, split in ((one, ()), (two, SPLIT)):
        result = run_cli("train", recipe, "--out", out, *SHORT, *split, DS_ACCELERATOR="cpu")
        assert result.returncode == 0, result.stdout + result.stderr
    expected = [pytest.approx(line["answers"], abs=1e-4) for line in lines(one)]
    assert [line["answers"] for line in lines(two)] == expected
    for path in (two / "model", two / "checkpoints" / "instruct-000016"):
        path.rename(two / f"gone-{path.name}")
    result = run_cli("train", recipe, "--out", two, "--resume", "auto", *SHORT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "goes on after step 8" in result.stdout
    assert [line["answers"] for line in lines(two)] == expected


@needs_deepspeed
def test_one_process_has_nothing_to_share(recipe: Path, tmp_path: Path) -> None:
    said = refused("train", recipe, "--out", tmp_path / "run", "distribution.type=zero2")
    assert "zero2 needs several processes" in said


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_a_missing_package_is_named(recipe: Path, tmp_path: Path) -> None:
    said = refused("train", recipe, "--out", tmp_path / "run", "distribution.type=zero2")
    assert "deepspeed is not installed: run `pip install 'tuwen[deepspeed]'`" in said
