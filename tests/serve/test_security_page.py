"""Each promise of docs/security.md names tests that are there, and what docs/serve.md shows works."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.serve.conftest import MODEL, Running, Serving, png
from tests.test_docs import blocks
from tuwen.serve.limits import MEBIBYTE, Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]
SERVE = ROOT / "docs" / "serve.md"


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=[row.split(" | ")[0][2:42] for row in ROWS])
def test_each_promise_has_its_tests(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
    assert named
    assert not [name for file, name in named if name not in names_in(file)]


def here(text: str, running: Running) -> str:
    """A snippet as it is for this server."""
    return (
        text.replace("http://127.0.0.1:8000", running.url)
        .replace('"model"', f'"{MODEL}"')
        .replace(f'"{MODEL}":', '"model":')
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_work(running: Running, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png())
    lines = [line for block in blocks(SERVE, "bash") for line in block.splitlines() if "curl " in line]
    assert len(lines) == 3
    for line in lines:
        command = here(line, running).replace("curl ", "curl --silent --fail --noproxy '*' ")
        result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        assert '"tiny"' in result.stdout


def test_the_python_works(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    openai_client, langchain = blocks(SERVE, "python")
    exec(compile(here(openai_client, running), "docs/serve.md", "exec"), {})
    assert capsys.readouterr().out.count("一只猫") == 2
    pytest.importorskip("langchain_openai")
    exec(compile(here(langchain, running), "docs/serve.md", "exec"), {})
    assert "猫" in capsys.readouterr().out


def test_the_limits_are_those_of_the_code(serving: Serving) -> None:
    from tuwen.infer.engine.settings import EngineSettings

    engine, limits = EngineSettings(), Limits()
    expected = {
        "--max-queue": engine.max_waiting,
        "--max-running": engine.max_running,
        "--memory-share": engine.memory_share,
        "--max-requests": limits.requests,
        "--max-body": limits.body_bytes // MEBIBYTE,
        "--max-pictures": limits.pictures,
        "--max-pixels": f"{limits.picture_pixels:,}",
        "--shutdown-timeout": f"{limits.shutdown_seconds:g}",
    }
    text = SERVE.read_text(encoding="utf-8")
    for option, value in expected.items():
        assert f"| `{option}` | {value} |" in text, option


def test_every_parameter_is_described() -> None:
    from tuwen.serve.protocol import ChatRequest

    text = SERVE.read_text(encoding="utf-8")
    described = {"model", "messages", *re.findall(r"`(\w+)", text)}
    assert set(ChatRequest.model_fields) <= described | {"stream_options"}
