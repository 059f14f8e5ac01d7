"""The notebook runs from top to bottom, and shows what it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tuwen.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """As a notebook does: the value of a last line that is an expression is shown."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.slow
def test_it_runs_as_it_is(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "quickstart").mkdir()
    # In place of five minutes of training.
    (tmp_path / "quickstart" / "model").symlink_to(toy_run / "model")
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names: dict[str, Any] = {}
    shown = [run_cell("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"]
    pages = [value._repr_html_() for value in shown if value is not None and hasattr(value, "_repr_html_")]
    assert len(pages) == 2
    assert pages[1].count("<img") == 1
    assert '"prompt_tokens"' in json.dumps(names["said"])
    assert "图中有三角形吗?" in capfd.readouterr().out
    assert names["server"].returncode == 0
