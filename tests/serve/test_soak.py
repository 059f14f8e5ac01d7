"""A short run of the soak of benchmarks/: what holds for ten minutes holds for a few seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_nothing_wrong_under_too_many_clients() -> None:
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "0.15", "--clients", "12"],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "the server ended with 0; 0 wrong" in result.stdout, result.stdout + result.stderr
    assert "good: answered" in result.stdout
