"""Weight files: nothing in them runs, and what is wrong is said with file and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


class Canary:
    """A pickle of it writes a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch '{self.path}'",)


def sharded(folder: Path, suffix: str) -> None:
    for number, (name, tensor) in enumerate(TENSORS.items()):
        file = folder / f"{'model' if suffix == 'safetensors' else 'pytorch_model'}-{number}.{suffix}"
        save_file({name: tensor}, file) if suffix == "safetensors" else torch.save({name: tensor}, file)
    stem = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
    weight_map = {name: f"{stem.split('.')[0]}-{number}.{suffix}" for number, name in enumerate(TENSORS)}
    (folder / f"{stem}.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("whole", [True, False])
def test_all_forms_give_the_same(tmp_path: Path, suffix: str, whole: bool) -> None:
    if not whole:
        sharded(tmp_path, suffix)
    elif suffix == "bin":
        torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    else:
        save_file(TENSORS, tmp_path / "model.safetensors")
    files = WeightFiles.find(tmp_path)
    assert set(files) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(files[name], tensor)
        assert (files.shape(name), files.dtype(name)) == (tuple(tensor.shape), tensor.dtype)


def test_files_of_old_torch_are_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    files = WeightFiles.find(tmp_path)
    assert all(torch.equal(files[name], tensor) for name, tensor in TENSORS.items())


def test_code_in_a_pickle_is_refused_by_name_and_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({**TENSORS, "c": Canary(canary)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        TuwenError, match=r"pytorch_model\.bin: holds more than tensors \(\w+\.system\); refused"
    ) as error:
        WeightFiles.find(tmp_path)
    assert "\n" not in str(error.value)
    assert not canary.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("part", [0, 10, 60, 95])
def test_truncated_shards_are_named(tmp_path: Path, suffix: str, part: int) -> None:
    sharded(tmp_path, suffix)
    broken = sorted(tmp_path.glob(f"*-1.{suffix}"))[0]
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) * part // 100])
    with pytest.raises(TuwenError) as error:
        WeightFiles.find(tmp_path)["b"]
    assert str(broken) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_shards_and_wrong_indexes_are_named(tmp_path: Path) -> None:
    sharded(tmp_path, "bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]

    def fails(message: str, **changed: str) -> None:
        index.write_text(json.dumps({"weight_map": {**weight_map, **changed}}))
        with pytest.raises(TuwenError, match=message):
            WeightFiles.find(tmp_path)

    fails("is missing; pytorch_model.bin.index.json names it", b="pytorch_model-7.bin")
    fails("b is missing; pytorch_model.bin.index.json says that it is there", b="pytorch_model-0.bin")
    fails("is not the name of a file beside it", b="../pytorch_model-1.bin")
    index.write_text("[1]")
    with pytest.raises(TuwenError, match="expected a JSON object, found list"):
        WeightFiles.find(tmp_path)


def test_a_name_in_two_files_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path, "bin")
    with pytest.raises(TuwenError, match="a is in .* too"):
        WeightFiles(tmp_path, ["pytorch_model-0.bin"]) + WeightFiles(tmp_path, ["pytorch_model-0.bin"])


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(TuwenError, match="expected a mapping of names to tensors"):
        WeightFiles.find(tmp_path)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (torch.zeros(1).expand(2**24, 2**24), r"pytorch_model\.bin: a has shape \[16777216, 16777216\], more numbers"),
        (torch.empty(2**40, device="meta"), "expected a mapping of names to tensors"),
        (torch.zeros(2**20, 2**20, layout=torch.sparse_coo), "expected a mapping of names to tensors"),
    ],
    ids=["strides", "meta", "sparse"],
)
def test_a_pickle_that_claims_more_than_it_holds_is_refused(claim: torch.Tensor, message: str, tmp_path: Path) -> None:
    torch.save({"a": claim}, tmp_path / "pytorch_model.bin")
    assert (tmp_path / "pytorch_model.bin").stat().st_size < 10_000
    with pytest.raises(TuwenError, match=message):
        WeightFiles.find(tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": ' + "1" * 10_000 + "}", "\udcff", "7"])
def test_what_is_no_json_object_is_said_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(TuwenError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ")
