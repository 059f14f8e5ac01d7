"""What holds for every verb: options before it, help without torch, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tuwen
from tests.conftest import run_cli


def test_version_needs_no_verb() -> None:
    result = run_cli("--version")
    assert (result.returncode, result.stdout) == (0, f"{tuwen.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["chat", "--help"]])
def test_help_loads_neither_torch_nor_transformers(arguments: list[str]) -> None:
    report = "print('torch' in sys.modules, 'transformers' in sys.modules, file=sys.stderr)"
    code = f"import atexit, sys; atexit.register(lambda: {report}); from tuwen.cli.app import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "False False\n")


@pytest.mark.parametrize("arguments", [["nosuch"], ["chat"], ["train", "quickstart", "--nosuch"]])
def test_wrong_usage_leaves_with_2(arguments: list[str]) -> None:
    assert run_cli(*arguments).returncode == 2


def test_debug_shows_where_a_mistake_was_found() -> None:
    quiet, loud = run_cli("describe", "nowhere"), run_cli("--debug", "describe", "nowhere")
    assert quiet.returncode == 2
    assert quiet.stderr.count("\n") == 1
    assert "Traceback" in loud.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = subprocess.run(
            [sys.executable, "-m", "tuwen", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.startswith("tuwen: error: output: cannot be written")
    assert result.stderr.count("\n") == 1
