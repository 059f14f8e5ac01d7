"""What the documentation shows works: commands, recipes, code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from tuwen.chat.templates import load_template
from tuwen.cli.app import app
from tuwen.config import parse_config
from tuwen.data.source import SOURCES
from tuwen.models.connectors.base import CONNECTORS, build_connector, parse_connector
from tuwen.models.recipe import ModelRecipe
from tuwen.train.recipe import Recipe
from tuwen.vision import parse_policy
from tuwen.vision.grid import PatchGrid

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUILT_IN = CONNECTORS.names()


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of ``languages``."""
    yield from (text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages)


def commands(page: Path) -> list[str]:
    """Every command that a page shows."""
    lines = [line.strip() for block in blocks(page, "bash", "console", "sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def recipes() -> list[Any]:
    """Every whole recipe that is shown; one with an ellipsis in it is an outline."""
    shown = [
        (page, block) for page in PAGES for block in blocks(page, "yaml") if "stages:" in block and "…" not in block
    ]
    return [pytest.param(yaml.safe_load(block), id=str(page.relative_to(ROOT))) for page, block in shown]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_is_one_that_there_is(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command in commands(page):
        program, *arguments = shlex.split(command, comments=True)
        if program == "make":
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments), command
        elif program == "tuwen":
            # Parses as the command line does: an option that is not there is an error.
            verbs[arguments[0]].make_context(arguments[0], arguments[1:])


@pytest.mark.parametrize("values", recipes())
def test_every_recipe_is_one_that_tuwen_takes(values: dict[str, Any]) -> None:
    recipe = parse_config(Recipe, values, "recipe")
    if isinstance(recipe.model, ModelRecipe):
        parse_connector(recipe.model.connector)
        parse_policy(recipe.model.image_policy)
        load_template(recipe.model.template)
    for entry in recipe.sources:
        settings = {key: value for key, value in entry.items() if key not in ("type", "weight")}
        parse_config(SOURCES.get(entry["type"]).config_class, settings, "sources")


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page, "python"))], ids=lambda page: page.name)
def test_every_piece_of_python_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


def test_the_connector_in_the_documentation_works() -> None:
    (source,) = [block for block in blocks(ROOT / "docs" / "models.md", "python") if "CONNECTORS.register" in block]
    exec(compile(source, "docs/models.md", "exec"), {"__name__": "docs"})
    (name,) = re.findall(r'CONNECTORS\.register\("(\w+)"\)', source)
    connector = build_connector({"type": name}, 6, 4)
    grid = PatchGrid(rows=2, columns=3, prefix=1)
    tokens = connector(torch.zeros(5, grid.length, 6), grid)
    assert tokens.shape == (5, connector.config.num_tokens(grid), 4)


@pytest.mark.parametrize("name", ["docs/models.md", "README.md", "README_EN.md"])
def test_every_connector_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not [connector for connector in BUILT_IN if f"`{connector}`" not in text]


@pytest.mark.slow
def test_what_the_readme_does_with_the_quickstart_works() -> None:
    if not (ROOT / "quickstart" / "model" / "config.json").is_file():
        pytest.skip("there is no quickstart/model: run `make quickstart` first")
    page = ROOT / "README_EN.md"
    programs = [[sys.executable, "-m", *shlex.split(line)] for line in commands(page) if " quickstart/" in line]
    programs += [[sys.executable, "-c", block] for block in blocks(page, "python") if "quickstart/" in block]
    assert len(programs) > 1
    for program in programs:
        result = subprocess.run(
            program, cwd=ROOT, input="/help\n/exit\n", capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, f"{program}: {result.stderr}"
        assert result.stdout.strip(), program


def test_the_schema_of_samples_is_that_of_the_code() -> None:
    from tuwen.data.formats.tuwen import SampleRecord

    assert (
        json.loads((ROOT / "docs" / "sample.schema.json").read_text(encoding="utf-8"))
        == SampleRecord.model_json_schema()
    )
