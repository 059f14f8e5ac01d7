"""Promises about the source as a whole: which way it leans, what it loads, how large it gets, what it never does."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tuwen"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CODE = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
HEAVY = {"torch", "transformers", "numpy", "PIL", "accelerate", "peft"}
FORBIDDEN = {
    "cloudpickle": "a pickle runs code when it is read",
    "dill": "a pickle runs code when it is read",
    "joblib": "a pickle runs code when it is read",
    "marshal": "it runs code when it is read",
    "pickle": "a pickle runs code when it is read",
    "shelve": "a pickle runs code when it is read",
    "torchvision": "it has no build for machines without a GPU",
}
# Signatures that another library or the command line dictates.
DICTATED = {"forward", "command"}


def layers() -> list[list[str]]:
    """The layers of the import contract, highest first; those in one list are siblings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def module_name(path: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_part_of_the_package_has_its_layer() -> None:
    found = {f"tuwen.{path.stem}" for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    found -= {"tuwen.__init__", "tuwen.__main__", "tuwen.__pycache__"}
    assert found == {name for layer in layers() for name in layer}


def test_imports_lean_one_way() -> None:
    level = {name: place for place, layer in enumerate(layers()) for name in layer}
    broken = []
    for path in SOURCES:
        importer = ".".join(module_name(path).split(".")[:2])
        if importer not in level:
            continue
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            imported = ".".join(name.split(".")[:2])
            if imported in level and imported != importer and level[imported] <= level[importer]:
                broken.append(f"{path.relative_to(ROOT)}:{line}: {importer} must not import {imported}")
    assert not broken, "\n".join(broken)


def loaded_after(code: str, *arguments: str) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """Top-level modules that a fresh process has loaded when ``code`` is done or has left."""
    report = "print('\\nLOADED', json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    program = f"import atexit, json, sys\natexit.register(lambda: {report})\n{code}"
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return set(json.loads(result.stdout.rpartition("LOADED")[2])), result


def test_importing_tuwen_loads_nothing_heavy() -> None:
    loaded, result = loaded_after("import tuwen; tuwen.__version__, tuwen.TuwenError")
    assert result.returncode == 0, result.stderr
    assert not loaded & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["chat", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded, result = loaded_after("from tuwen.cli.app import main; main()", *arguments)
    assert result.returncode == 0, result.stderr
    assert not loaded & HEAVY


def test_a_mistake_in_a_recipe_is_said_before_torch_is_loaded() -> None:
    loaded, result = loaded_after("from tuwen.cli.app import main; main()", "train", "quickstart", "stages.0.stepz=1")
    assert result.returncode == 2
    assert "stages.0.stepz: unknown key" in result.stderr
    assert "did you mean 'steps'?" in result.stderr
    assert not loaded & HEAVY


@pytest.mark.parametrize("layer", ["config", "chat", "vision"])
def test_what_training_and_serving_share_needs_no_torch(layer: str) -> None:
    names = [module_name(path) for path in SOURCES if path.is_relative_to(PACKAGE / layer)]
    assert names
    loaded, result = loaded_after("\n".join(f"import {name}" for name in names))
    assert result.returncode == 0, result.stderr
    assert not loaded & {"torch", "transformers"}


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in CODE:
        where = path.relative_to(ROOT)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 400:
            large.append(f"{where}: {lines} lines; at most 400")
        for function in functions(path):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > 60:
                large.append(f"{where}:{function.lineno}: {function.name} has {length} lines; at most 60")
            names = [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > 5 and path in SOURCES and function.name not in DICTATED:
                large.append(f"{where}:{function.lineno}: {function.name} has {count} positional arguments; at most 5")
    assert not large, "\n".join(large)


def test_files_are_called_by_what_they_hold() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [path for path in CODE if path.name in vague]


def test_what_others_may_use_is_documented() -> None:
    bare = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for owner in owners:
            if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
                continue
            for node in owner.body:
                named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                if named and not node.name.startswith("_") and not ast.get_docstring(node):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has no docstring")
    assert not bare, "\n".join(bare)


def test_nothing_untrusted_runs() -> None:
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(ROOT)
        for line, name in imports(tree):
            top = name.partition(".")[0]
            if top in FORBIDDEN:
                found.append(f"{where}:{line}: {top}: {FORBIDDEN[top]}")
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if settings.get("trust_remote_code", "False") != "False":
                found.append(f"{where}:{call.lineno}: trust_remote_code runs what others wrote")
            if called == "torch.load" and settings.get("weights_only") != "True":
                found.append(f"{where}:{call.lineno}: torch.load without weights_only=True runs code")
            if called in ("eval", "exec", "__import__", "os.system"):
                found.append(f"{where}:{call.lineno}: {called} runs text as code")
            if called.startswith("Auto") and called.endswith("from_pretrained") and "local_files_only" not in settings:
                found.append(f"{where}:{call.lineno}: {called} without local_files_only may go to the network")
    assert not found, "\n".join(found)


def test_nothing_is_left_for_later() -> None:
    words = ("TODO", "FIXME", "XXX")
    others = [path for path in CODE if path != Path(__file__)]
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in others}
    assert not [f"{path}: {word}" for path, text in texts.items() for word in words if word in text]


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert all(f"make {target}" in text for target in ("lint", "quickstart", "test"))
