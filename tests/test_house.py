"""The house is as CONTRIBUTING says: layers, sizes, nothing untrusted, documents that tell the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_layers_lean_one_way() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("code", ["import tuwen", "from tuwen.cli.app import app", "import tuwen.train.recipe"])
def test_light_imports_stay_light(code: str) -> None:
    script = f"import sys; {code}; print([m for m in ('torch', 'transformers', 'numpy', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_files_stay_readable() -> None:
    assert not [path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert not [path for path in SOURCES if path.name in ("utils.py", "helpers.py", "misc.py")]


@pytest.mark.parametrize(
    "pattern", [r"trust_remote_code=True", r"\bimport pickle", r"torchvision", r"shell=True", r"\byaml\.load\("]
)
def test_nothing_untrusted(pattern: str) -> None:
    assert not [path for path in SOURCES if re.search(pattern, path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"


def test_both_readmes_say_the_same() -> None:
    def shape(name: str) -> tuple[int, list[str], int]:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = re.findall(r"```\w+\n(.*?)```", text, flags=re.DOTALL)
        return len(re.findall(r"^#+ ", text, flags=re.MULTILINE)), blocks, text.count("\n|")

    assert shape("README.md") == shape("README_EN.md")


def test_every_verb_in_the_readme_exists() -> None:
    from tuwen.cli.app import app

    verbs = {command.name for command in [*app.registered_commands, *app.registered_groups]}
    named = set(re.findall(r"^tuwen (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named
    assert named <= verbs
