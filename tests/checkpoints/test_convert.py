"""`tuwen convert`, `merge`, `delta` and `parity` on our own folders, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tuwen
from tests.conftest import refused, run_cli
from tuwen.checkpoints import convert as convert_module
from tuwen.checkpoints.convert import convert
from tuwen.checkpoints.delta import write_delta
from tuwen.checkpoints.folder import load_model
from tuwen.checkpoints.opening import read_folder
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError


@pytest.fixture(scope="module")
def trained(toy_run: Path) -> Path:
    return toy_run / "model"


@pytest.fixture(scope="module")
def base(toy_run: Path) -> Path:
    return toy_run / "stages" / "align"


def equal(one: Path, other: Path) -> bool:
    first, second = WeightFiles.find(one), WeightFiles.find(other)
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_a_converted_folder_is_the_same_model(trained: Path, tmp_path: Path) -> None:
    convert(read_folder(trained), tmp_path / "out")
    assert equal(trained, tmp_path / "out")
    folder = load_model(tmp_path / "out")
    assert folder.model.config.to_dict()["text_config"] == load_model(trained).model.config.to_dict()["text_config"]
    assert folder.model.generation_config.eos_token_id == load_model(trained).model.generation_config.eos_token_id


def test_large_models_are_written_in_shards(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_module, "SHARD_BYTES", 20_000)
    convert(read_folder(trained), tmp_path / "out")
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(shards) > 2
    for shard in shards:
        with safe_open(shard, framework="pt") as opened:
            assert list(opened.keys())
    assert equal(trained, tmp_path / "out")
    load_model(tmp_path / "out")


def test_a_delta_and_its_base_are_the_model(trained: Path, base: Path, tmp_path: Path) -> None:
    result = run_cli("delta", trained, tmp_path / "delta", "--base", base)
    assert result.returncode == 0, result.stderr
    whole = sum(file.stat().st_size for file in trained.glob("*.safetensors"))
    assert (tmp_path / "delta" / "adapter_model.safetensors").stat().st_size < whole / 4
    result = run_cli("merge", tmp_path / "merged", "--adapter", tmp_path / "delta", "--base", base)
    assert result.returncode == 0, result.stderr
    merged, model = WeightFiles.find(tmp_path / "merged"), WeightFiles.find(trained)
    assert set(merged) == set(model)
    for name in model:
        torch.testing.assert_close(merged[name], model[name], rtol=1e-6, atol=1e-6)
    together = tuwen.load(base, adapter=tmp_path / "delta")
    alone = tuwen.load(trained)
    assert together.chat("什么?", greedy=True, max_new_tokens=8).token_ids == (
        alone.chat("什么?", greedy=True, max_new_tokens=8).token_ids
    )


def test_a_delta_without_an_adapter_is_whole_tensors(trained: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "plain")
    shutil.rmtree(tmp_path / "plain" / "adapter")
    result = run_cli("delta", tmp_path / "plain", tmp_path / "delta", "--base", base)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("0 adapted, ")
    convert(read_folder(base, tmp_path / "delta"), tmp_path / "merged")
    assert equal(trained, tmp_path / "merged")


def test_a_delta_of_another_base_is_refused(trained: Path, base: Path, tmp_path: Path) -> None:
    assert run_cli("delta", trained, tmp_path / "delta", "--base", base).returncode == 0
    shutil.copytree(base, tmp_path / "other")
    weights = {name: tensor + 1 for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(weights, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    message = refused("merge", tmp_path / "out", "--adapter", tmp_path / "delta", "--base", tmp_path / "other")
    assert "this delta belongs to another base" in message
    assert str(tmp_path / "delta" / "delta.json") in message
    assert not (tmp_path / "out").exists()


def test_nothing_to_publish_is_said(trained: Path, tmp_path: Path) -> None:
    assert "no weight differs" in refused("delta", trained, tmp_path / "delta", "--base", trained)
    assert not (tmp_path / "delta").exists()


def test_parity_names_the_first_stage_that_differs(trained: Path, tmp_path: Path) -> None:
    result = run_cli("parity", trained, trained)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("same") == 5
    shutil.copytree(trained, tmp_path / "changed")
    weights = load_file(trained / "model.safetensors")
    name = next(name for name in weights if name.startswith("model.connector.") and name.endswith("weight"))
    weights[name] = weights[name] * 1.5
    save_file(weights, tmp_path / "changed" / "model.safetensors", metadata={"format": "pt"})
    result = run_cli("parity", trained, tmp_path / "changed")
    assert result.returncode == 1, result.stderr
    assert "the first stage that differs: connector" in result.stdout
    result = run_cli("parity", trained, trained, "--other-dtype", "bfloat16")
    assert result.returncode == 1
    assert "differs" in result.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model.connector.layers.0.weight"), "1 weight is (model.connector.layers.0.weight) missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 weight is (extra) not expected"),
        (
            lambda w: w.update({"model.connector.layers.0.weight": torch.zeros(2, 3)}),
            "model.connector.layers.0.weight has shape [2, 3], but the configuration asks for",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_written(
    change: object, message: str, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "broken")
    weights = load_file(trained / "model.safetensors")
    change(weights)  # type: ignore[operator]
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    assert message in refused("convert", tmp_path / "broken", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_never_written_over(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "already exists" in refused("convert", trained, tmp_path / "out")
    assert "already exists" in refused("export", trained, tmp_path / "out", "--to", "llava")
    assert not list((tmp_path / "out").iterdir())


def test_folders_of_no_known_kind_are_refused(tmp_path: Path) -> None:
    assert "not found" in refused("convert", tmp_path / "none", tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "neither a Tuwen model folder nor a published layout" in refused(
        "convert", tmp_path / "other", tmp_path / "out"
    )
    assert "unknown published layout 'qwen'" in refused("export", tmp_path / "other", tmp_path / "out", "--to", "qwen")


def with_setting(folder: Path, section: str, key: str, value: object) -> Path:
    """``config.json`` of a folder, after a change to it."""
    config = folder / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values[section][key] = value
    config.write_text(json.dumps(values), encoding="utf-8")
    return config


@pytest.mark.parametrize("verb", ["chat", "describe", "train", "plan"])
def test_a_size_that_no_weights_can_have_is_refused_before_it_is_made(
    verb: str, trained: Path, toy_recipe: Path, tmp_path: Path
) -> None:
    huge = shutil.copytree(trained, tmp_path / "huge")
    config = with_setting(huge, "text_config", "num_hidden_layers", 10**9)
    training = ["train", toy_recipe, f"model={huge}"]
    arguments = {
        "chat": ["chat", huge, "?"],
        "describe": ["describe", huge],
        "train": [*training, "--out", tmp_path / "run"],
        "plan": [*training, "--plan"],
    }
    message = refused(*arguments[verb])
    assert message.startswith(f"{config}: text_config: num_hidden_layers: expected a whole number from 1 to ")
    assert message.endswith("found 1000000000")


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("text_config", "num_hidden_layers", 10**9, "text_config: num_hidden_layers: expected"),
        ("text_config", "num_hidden_layers", 3, "weights are (model.language_model.layers.1."),
        ("text_config", "vocab_size", 10**12, "text_config: vocab_size: expected"),
        ("text_config", "vocab_size", 2**24, "has shape [603, 32], but the configuration asks for [16777216, 32]"),
        ("text_config", "intermediate_size", 2**24, "but the configuration asks for [16777216, 32]"),
        ("vision_config", "hidden_size", 2**24, "but the configuration asks for [1, 16, 16777216]"),
        ("vision_config", "image_size", 2**20, "vision_config: image_size: expected"),
        ("connector_config", "depth", 10**9, "connector_config: depth: expected"),
        ("connector_config", "hidden_size", 2**24, "but the configuration asks for [16777216, 32]"),
        ("connector_config", "type", "cross_attention", "model.connector."),
    ],
)
@pytest.mark.parametrize("pickled", [False, True])
def test_a_folder_to_train_from_is_measured_against_its_weights(
    section: str, key: str, value: object, named: str, pickled: bool, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "model")
    if pickled:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    with_setting(folder, section, key, value)
    for read in (load_model, read_folder):
        with pytest.raises(TuwenError) as error:
            read(folder)
        assert str(error.value).startswith(str(folder))
        assert named in str(error.value)


def test_positions_that_no_weights_can_have_are_never_computed(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "model")
    config = folder / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["connector_config"] = {"type": "cross_attention", "num_queries": 10**10, "width": 2**16}
    config.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(TuwenError, match=r"model\.connector\."):
        load_model(folder)


def test_a_delta_of_absurd_size_is_refused_before_it_is_made(trained: Path, base: Path, tmp_path: Path) -> None:
    write_delta(read_folder(trained), read_folder(base), tmp_path / "delta")
    config = with_setting(tmp_path / "delta", "text_config", "num_hidden_layers", 10**9)
    found = refused("merge", tmp_path / "out", "--adapter", tmp_path / "delta", "--base", base)
    assert found.startswith(f"{config}: text_config: num_hidden_layers: expected a whole number from 1 to ")
    with_setting(tmp_path / "delta", "text_config", "num_hidden_layers", 1)
    with_setting(tmp_path / "delta", "text_config", "vocab_size", 2**24)
    with pytest.raises(TuwenError, match=r"but the configuration asks for \[16777216, 32\]"):
        read_folder(base, tmp_path / "delta")
    assert not (tmp_path / "out").exists()
