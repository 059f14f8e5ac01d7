"""A run over data on disk goes through it, names what it cannot use, and stops when that is too much."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml

from tests.conftest import TOY, refused, run_cli
from tuwen.chat.messages import Image, Message
from tuwen.data.dataset import write_data
from tuwen.data.sample import Sample


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty questions about ten pictures, of which one is cut off and one is missing, gone through once."""
    folder = tmp_path_factory.mktemp("data")
    samples = []
    for number in range(40):
        picture = folder / f"{number % 10}.png"
        if number < 9:
            PIL.Image.effect_noise((64, 64), 40).convert("RGB").save(picture)
        messages = (
            Message.of("user", Image(), f"有{number}个吗?"),
            Message.of("assistant", "是" if number % 2 else "否"),
        )
        samples.append(Sample(id=f"q{number}", messages=messages, images=(picture,)))
    write_data(samples, folder / "data.json", format="llava")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:400])
    settings: dict[str, Any] = copy.deepcopy(TOY)
    settings["model"]["tokenizer"]["train"]["vocab_size"] = 300
    settings["sources"] = [{"type": "data", "path": str(folder / "data.json")}]
    stage = settings["stages"][1]
    settings["stages"] = [stage]
    for key in ("steps", "groups", "accumulate"):
        del stage[key]
    stage |= {"epochs": 1, "sequences": 1, "max_length": 120}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_bad_samples_are_named_with_their_place_and_the_run_goes_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run_cli("train", recipe, "--out", out, "bad_samples.share=0.3")
    assert result.returncode == 0, result.stdout + result.stderr
    named = [json.loads(line) for line in (out / "bad_samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {bad["sample"] for bad in named} == {f"q{number}" for number in range(40) if number % 10 in (3, 9)}
    data = (recipe.parent / "data.json").read_bytes()
    for bad in named:
        assert bad["shard"] == str(recipe.parent / "data.json")
        assert json.loads(data[bad["position"] :].split(b"\n")[0].rstrip(b","))["id"] == bad["sample"]
        assert ("broken or cut off" if bad["sample"].endswith("3") else "cannot be read") in bad["reason"]
    assert (out / "model" / "model.safetensors").exists()


def test_too_many_bad_samples_stop_the_run_with_the_list(recipe: Path, tmp_path: Path) -> None:
    message = refused("train", recipe, "--out", tmp_path / "run")
    assert message.startswith("4 samples cannot be used, 0 of 36 may be left out (bad_samples.share 0.001)")
    assert "9.png: cannot be read" in message
    assert message.endswith(f"all are named in {tmp_path / 'run' / 'bad_samples.jsonl'}")
    assert len((tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.groups=2", "stages.0: say how large a batch is, by either groups or sequences"),
        ("stages.0.steps=2", "stages.0: say how long the stage is, by either steps or epochs"),
        ("stages.0.max_length=null", "stages.0: sequences: say their length in tokens by max_length"),
        ("sources.0.weight=0", "sources.0: weight: Input should be greater than 0"),
        ("sources.0={type: data, path: p, weight: 1, count: 2}", "weight and count each say how much"),
        ("sources.0={type: synth, suites: {text: 1}}", "sources.0 is drawn as it is needed and has no epochs"),
        ("mixture.text_only_share=2", "mixture.text_only_share: Input should be less than or equal to 1"),
        ("mixture.samples=5", "mixture.samples: 5 has no effect without weights"),
        ("sources.0.format=lava", "unknown data format 'lava'.*did you mean 'llava'"),
    ],
)
def test_mistakes_about_the_data_are_one_line(override: str, message: str, recipe: Path, tmp_path: Path) -> None:
    import re

    found = refused("train", recipe, "--out", tmp_path / "run", "bad_samples.share=1", override)
    assert re.search(message, found), found


def test_what_has_no_effect_is_refused(toy_recipe: Path, tmp_path: Path) -> None:
    assert "sources.0.repeat: has an effect in stages with sequences only" in refused(
        "train", toy_recipe, "--out", tmp_path / "run", "sources.0.repeat=2"
    )
    assert "mixture.samples: has an effect in stages with sequences only" in refused(
        "train", toy_recipe, "--out", tmp_path / "run", "mixture.samples=2"
    )
