"""A run that is stopped anywhere ends with the very weights of one that was not."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TOY, refused, run_cli

SMALL: dict[str, Any] = {
    **TOY,
    "checkpoints": {"steps": 1},
    "stages": [
        {**TOY["stages"][0], "steps": 3},
        {
            **TOY["stages"][1],
            "steps": 6,
            "modules": {
                **TOY["stages"][1]["modules"],
                # Dropout draws from the random state, which must come back, too.
                "language": {
                    "mode": "lora",
                    "learning_rate": 0.01,
                    "lora": {"rank": 4, "dropout": 0.2, "targets": ["q_proj", "v_proj"]},
                },
            },
        },
    ],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    result = run_cli("train", recipe, "--out", out)
    assert result.returncode == 0, result.stderr
    return out


def weights(run: Path) -> dict[str, str]:
    """Digests of all weights that a run has made."""
    files = sorted([*run.glob("stages/*/*.safetensors"), *run.glob("model/**/*.safetensors")])
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def steps(run: Path) -> list[tuple[str, int, float, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["stage"], line["step"], line.get("answers", 0), line.get("regions", 0)) for line in lines]


def start(recipe: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tuwen", "train", str(recipe), "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_killed_at_any_point_it_ends_with_the_same_weights(recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out, chance = tmp_path / "run", random.Random(0)
    kills = 0
    while True:
        process = start(recipe, out, "--resume", "auto")
        # Starting takes most of the time; the kill falls between the first step and the end.
        begun = time.monotonic()
        seen = len(steps(out)) if (out / "metrics.jsonl").exists() else 0
        while process.poll() is None and time.monotonic() - begun < 120:
            if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_bytes().count(b"\n") > seen:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is None and kills < 4:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if process.returncode == 0:
            break
    assert kills >= 2
    assert weights(out) == weights(uninterrupted)
    assert steps(out) == steps(uninterrupted)


def test_asked_to_end_it_saves_and_leaves_with_code_0(recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(recipe, out, "checkpoints={minutes: 60}")
    while process.poll() is None and not (out / "metrics.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "stopped after step" in stdout
    assert len(list((out / "checkpoints").iterdir())) == 1
    result = run_cli("train", recipe, "--out", out, "--resume", "auto", "checkpoints={minutes: 60}")
    assert result.returncode == 0, result.stderr
    assert "goes on after step" in result.stdout
    assert weights(out) == weights(uninterrupted)


@pytest.mark.slow
def test_it_goes_on_with_another_number_of_processes_and_workers(
    recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    shutil.rmtree(out / "model")
    result = run_cli("train", recipe, "--out", out, "--resume", "auto", "--nproc", "2", "workers=2")
    assert result.returncode == 0, result.stdout + result.stderr
    for mine, theirs in zip(steps(out), steps(uninterrupted), strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[2:] == pytest.approx(theirs[2:], rel=1e-4)


def test_a_broken_checkpoint_is_said_and_the_one_before_taken(
    recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    shutil.rmtree(out / "model")
    newest = out / "checkpoints" / "instruct-000005"
    (newest / "trained.safetensors").write_bytes(b"torn")
    result = run_cli("train", recipe, "--out", out, "--resume", "auto")
    assert result.returncode == 0, result.stderr
    assert "instruct-000005/trained.safetensors: has 4 bytes" in result.stdout
    assert "goes on after step 4" in result.stdout
    assert weights(out) == weights(uninterrupted)


def test_a_complete_run_says_so(recipe: Path, uninterrupted: Path) -> None:
    result = run_cli("train", recipe, "--out", uninterrupted, "--resume", "auto")
    assert result.returncode == 0, result.stderr
    assert "this run is complete" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "{out}: holds an earlier run; go on with it by --resume auto, or choose another by --out"),
        (("--resume", "auto", "seed=5"), "seed is not what {out}/recipe.yaml says"),
        (("--resume", "auto", "stages.1.clip=0.5"), "stages.1.clip is not what {out}/recipe.yaml says"),
        (("--resume", "{out}/checkpoints/none-000001"), "{out}/checkpoints/none-000001: no such checkpoint"),
    ],
)
def test_another_recipe_or_place_is_refused(
    recipe: Path, uninterrupted: Path, arguments: tuple[str, ...], message: str
) -> None:
    said = [argument.format(out=uninterrupted) for argument in arguments]
    assert refused("train", recipe, "--out", uninterrupted, *said).startswith(message.format(out=uninterrupted))


def test_there_is_nothing_to_go_on_with(recipe: Path, tmp_path: Path) -> None:
    assert refused("train", recipe, "--out", tmp_path / "run", "--resume", "x") == (
        f"{tmp_path}/run: holds no run to go on with"
    )
