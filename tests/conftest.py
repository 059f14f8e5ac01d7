"""A toy recipe and a run of it by the real command line, shared by all tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from tests.command_line import CommandLine

# A shared machine may stop for longer than any deadline.
settings.register_profile("tuwen", deadline=None)
settings.load_profile("tuwen")
COMMAND_LINE = CommandLine()
TOY: dict[str, Any] = {
    "model": {
        "vision": {
            "config": {
                "model_type": "tuwen_conv_vit",
                "image_size": 64,
                "patch_size": 16,
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 48,
                "stem_channels": [4, 8, 16],
            }
        },
        "vision_feature": {"layers": [-1], "post_layernorm": True},
        "connector": {"type": "mlp"},
        "language": {
            "config": {
                "model_type": "llama",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "tie_word_embeddings": True,
            }
        },
        "image_policy": {"type": "square", "size": 64},
        "tokenizer": {"train": {"vocab_size": 600}},
    },
    "sources": [{"type": "synth", "size": 64, "suites": {"shapes": 1, "faces": 1, "text": 0.5}}],
    "precision": "fp32",
    "workers": 0,
    "checkpoints": {"steps": 2},
    "stages": [
        {
            "name": "align",
            "steps": 2,
            "groups": 4,
            "objectives": {"regions": 1.0},
            "modules": {
                "vision": {"mode": "full", "learning_rate": 0.001},
                "connector": {"mode": "full", "learning_rate": 0.002},
                "language": {"mode": "embeddings", "learning_rate": 0.003},
            },
        },
        {
            "name": "instruct",
            "steps": 3,
            "groups": 2,
            "accumulate": 2,
            "modules": {
                "vision": {"mode": "frozen"},
                "connector": {"mode": "full", "learning_rate": 0.001, "weight_decay": 0.1, "warmup": 2},
                "language": {
                    "mode": "lora",
                    "learning_rate": 0.01,
                    "lora": {"rank": 4, "targets": ["q_proj", "v_proj"]},
                },
            },
        },
    ],
}


def run_cli(
    *arguments: str | Path, stdin: str = "", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``tuwen ARGUMENTS`` in a process of its own."""
    return COMMAND_LINE.run(
        [*map(str, arguments)],
        stdin=stdin,
        cwd=cwd,
        environment={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1", **environment},
        timeout=300,
    )


def refused(*arguments: str | Path, **environment: str) -> str:
    """The one line with which ``tuwen ARGUMENTS`` refuses, without its prefix."""
    result = run_cli(*arguments, **environment)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("tuwen: error: ")
    return result.stderr.removeprefix("tuwen: error: ").strip()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Indices of tests are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUWEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy recipe as a file."""
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(yaml.safe_dump(TOY), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def toy_run(toy_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the toy recipe."""
    out = tmp_path_factory.mktemp("run") / "toy"
    result = run_cli("train", toy_recipe, "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    return out
