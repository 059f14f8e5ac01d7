"""Published folders that somebody broke or put code into: one line, exit code 2, nothing run and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.test_weights import Canary
from tests.conftest import refused, run_cli
from tuwen.checkpoints.convert import convert, export
from tuwen.checkpoints.opening import read_folder, read_parts
from tuwen.config import TuwenError

FIXTURES = Path(__file__).parents[2].parent / "shared" / "fixtures"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the fixtures are not there: {FIXTURES}")
BELLE, CODEFUSE = FIXTURES / "qwen_vl" / "belle_vl_tiny", FIXTURES / "qwen_vl" / "codefuse_vlm_tiny"
VISUALCLA = FIXTURES / "visualcla_llava" / "visualcla_tiny"
LLAVA = FIXTURES / "visualcla_llava" / "llava_chinese_clip_tiny"
MERGED = VISUALCLA / "merged"
FOLDERS = (BELLE, CODEFUSE, MERGED, LLAVA / "base")
BELLE_SHARD = "pytorch_model-00002-of-00004.bin"
LLAVA_SHARD = "model-00002-of-00003.safetensors"

Damage = Callable[[Path], None]


def copied(original: Path, tmp_path: Path, name: str = "model") -> Path:
    return Path(shutil.copytree(original, tmp_path / name))


def said(folder: Path, *, adapter: Path | None = None) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(TuwenError) as error:
        read_folder(folder, adapter)
    assert "\n" not in str(error.value)
    return str(error.value)


def change_json(path: Path, *keys: str, to: Any = None, delete: bool = False) -> None:
    """Set or delete a key of a JSON file, nested ones by their path."""
    values = json.loads(path.read_text(encoding="utf-8"))
    place = values
    for key in keys[:-1]:
        place = place[key]
    if delete:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to
    path.write_text(json.dumps(values), encoding="utf-8")


def change_weights(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Load a weight file, change its mapping of names to tensors in place, and write it back."""
    safe = path.suffix == ".safetensors"
    state = load_file(path) if safe else torch.load(path, weights_only=True)
    change(state)
    save_file(state, path, {"format": "pt"}) if safe else torch.save(state, path)


@pytest.mark.parametrize(
    ("original", "file"),
    [
        (BELLE, BELLE_SHARD),
        (CODEFUSE, "Qwen-VL-visual/visual.bin"),
        (CODEFUSE, "mm_projector/mm_projector.bin"),
        (MERGED, "text_encoder/pytorch_model.bin"),
    ],
)
def test_a_pickle_with_code_in_it_is_refused_and_not_run(original: Path, file: str, tmp_path: Path) -> None:
    folder, canary = copied(original, tmp_path), tmp_path / "canary"
    change_weights(folder / file, lambda state: state.update(extra=Canary(canary)))
    for message in (refused("convert", folder, tmp_path / "out"), said(folder)):
        assert f"{folder / file}: holds more than tensors" in message
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_an_adapter_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    delta, canary = copied(VISUALCLA / "delta", tmp_path), tmp_path / "canary"
    change_weights(delta / "adapter_model.bin", lambda state: state.update(extra=Canary(canary)))
    parts = ("--adapter", delta, "--language", VISUALCLA / "text_model", "--vision", VISUALCLA / "vision_model")
    assert f"{delta / 'adapter_model.bin'}: holds more than tensors" in refused("merge", tmp_path / "out", *parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


MODULES = (
    "configuration_qwen", "modeling_qwen", "tokenization_qwen", "qwen_generation_utils", "visual",
    "modeling_llava", "configuration_llava", "modeling_visualcla", "processing_evil",
)  # fmt: skip


@pytest.mark.parametrize("original", FOLDERS, ids=lambda folder: folder.name)
def test_code_beside_the_weights_is_never_imported(original: Path, tmp_path: Path) -> None:
    folder, canary = copied(original, tmp_path), tmp_path / "canary"
    for module in MODULES:
        (folder / f"{module}.py").write_text(f"open({str(canary)!r}, 'w').close()\n", encoding="utf-8")
    auto = {"AutoConfig": "configuration_qwen.C", "AutoModel": "modeling_qwen.M", "AutoModelForCausalLM": "visual.V"}
    change_json(folder / "config.json", "auto_map", to=auto)
    settings = folder / "tokenizer_config.json"
    change_json(settings, "auto_map", to={"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]})
    pictures = folder / "preprocessor_config.json"
    values = json.loads(pictures.read_text(encoding="utf-8")) if pictures.is_file() else {}
    evil = {"AutoImageProcessor": "processing_evil.E", "AutoProcessor": "processing_evil.E"}
    pictures.write_text(json.dumps({**values, "auto_map": evil, "processor_class": "processing_evil.E"}))
    picture = next((FIXTURES / "visualcla_llava" / "images").glob("*.png"))
    # Its working directory is on Python's path when `python -m` starts.
    chat = run_cli("chat", folder, "图里有什么?", "--image", picture, "--greedy", "--max-new-tokens", "2", cwd=tmp_path)
    assert chat.returncode == 0, chat.stderr
    assert not canary.exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights_of(path: Path) -> list[str]:
    return sorted(load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True))


@pytest.mark.parametrize(("original", "file"), [(BELLE, BELLE_SHARD), (LLAVA / "base", LLAVA_SHARD)])
def test_a_broken_weight_file_is_named_with_the_key(original: Path, file: str, tmp_path: Path) -> None:
    key = weights_of(original / file)[0]

    def message(damage: Damage) -> str:
        folder = copied(original, tmp_path)
        damage(folder / file)
        found = said(folder)
        shutil.rmtree(folder)
        assert str(folder) in found
        return found

    assert file in message(truncate)
    assert f"{file}: this shard is missing" in message(lambda path: path.unlink())
    wrong = {key: torch.zeros(3, 5)}
    found = message(partial(change_weights, change=lambda state: state.update(wrong)))
    assert f"{file}: {key} has shape [3, 5], but the configuration asks for" in found
    found = message(partial(change_weights, change=lambda state: state.pop(key)))
    assert f"{file}: {key} is missing" in found
    extra = {"strange.weight": torch.zeros(2)}
    found = message(partial(change_weights, change=lambda state: state.update(extra)))
    assert f"{file}: 1 weight is (strange.weight) not expected" in found


def test_nothing_is_written_when_a_shard_is_broken(tmp_path: Path) -> None:
    folder = copied(BELLE, tmp_path)
    truncate(folder / BELLE_SHARD)
    assert str(folder / BELLE_SHARD) in refused("convert", folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_an_adapter_for_another_base_is_refused(tmp_path: Path) -> None:
    file = "adapter_model.safetensors"
    adapter = copied(LLAVA / "adapter", tmp_path, "adapter")
    key = next(name for name in weights_of(adapter / file) if ".lora_B." in name)
    change_weights(adapter / file, lambda state: state.update({key: torch.zeros(7, state[key].shape[1])}))
    found = refused("merge", tmp_path / "out", "--adapter", adapter, "--base", LLAVA / "base")
    assert f"{adapter / file}: {key.replace('lora_B', 'lora_A')} and its lora_B give a change of shape [7," in found
    shutil.copy(LLAVA / "adapter" / file, adapter / file)
    other = key.replace(".layers.", ".blocks.")
    partner, strange = (name.replace("lora_B", "lora_A") for name in (key, other))
    change_weights(adapter / file, lambda state: state.update({other: state.pop(key), strange: state.pop(partner)}))
    found = said(LLAVA / "base", adapter=adapter)
    assert f"{adapter / file}: {strange}: the base in {LLAVA / 'base'} has no" in found
    assert "adapters on a folder in the layout qwen-vl are not known" in said(BELLE, adapter=LLAVA / "adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_delta_with_wrong_parts_is_refused(tmp_path: Path) -> None:
    vision = VISUALCLA / "vision_model"
    parts = ("--adapter", VISUALCLA / "delta", "--vision", vision)
    found = refused("merge", tmp_path / "out", *parts, "--language", BELLE)
    assert str(VISUALCLA / "delta" / "adapter_model.bin") in found
    language = copied(VISUALCLA / "text_model", tmp_path, "language")
    for file in language.glob("*.bin"):
        change_weights(
            file, lambda state: state.update({name: t[:-1] for name, t in state.items() if "up_proj" in name})
        )
    with pytest.raises(TuwenError, match=r"adapter_model\.bin: .*up_proj\.lora_A.* but .* in .*language") as error:
        read_parts(VISUALCLA / "delta", language, vision)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def not_base64(path: Path) -> None:
    path.write_bytes(b"!!!! 0\n" + path.read_bytes())


def without_image_token(path: Path) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    values["added_tokens"] = [token for token in values["added_tokens"] if token["content"] != "<image>"]
    path.write_text(json.dumps(values), encoding="utf-8")
    # Else it would be added again, from where it is named too.
    (path.parent / "special_tokens_map.json").unlink()
    change_json(path.parent / "tokenizer_config.json", "additional_special_tokens", to=[])


@pytest.mark.parametrize(
    ("original", "file", "damage"),
    [
        (BELLE, "qwen.tiktoken", truncate),
        (BELLE, "qwen.tiktoken", not_base64),
        (BELLE, "qwen.tiktoken", Path.unlink),
        (MERGED, "tokenizer.model", truncate),
        (MERGED, "tokenizer.model", emptied),
        (MERGED, "tokenizer.model", Path.unlink),
        (MERGED, "tokenizer_config.json", Path.unlink),
        (MERGED, "added_tokens.json", Path.unlink),
        (LLAVA / "merged", "tokenizer.json", truncate),
        (LLAVA / "merged", "tokenizer.json", without_image_token),
        (LLAVA / "merged", "tokenizer.json", Path.unlink),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(original: Path, file: str, damage: Damage, tmp_path: Path) -> None:
    folder = copied(original, tmp_path)
    damage(folder / file)
    assert str(folder) in said(folder)


@pytest.mark.parametrize(
    ("original", "keys", "value"),
    [
        (BELLE, ("hidden_size",), None),
        (BELLE, ("num_attention_heads",), "many"),
        (BELLE, ("num_hidden_layers",), 10**9),
        (BELLE, ("visual", "layers"), 10**9),
        (BELLE, ("visual", "image_size"), 10**9),
        (BELLE, ("visual", "patch_size"), 10**9),
        (BELLE, ("vocab_size",), 10**12),
        (CODEFUSE, ("hidden_size",), -1),
        (MERGED, ("visual_resampler_config", "num_hidden_layers"), 10**9),
        (MERGED, ("visual_resampler_config", "num_query_tokens"), 10**12),
        (MERGED, ("vocab_size",), 10**12),
        (LLAVA / "merged", ("text_config", "num_hidden_layers"), 10**9),
        (LLAVA / "merged", ("text_config", "hidden_size"), 0),
        (LLAVA / "merged", ("text_config", "num_attention_heads"), "many"),
        (LLAVA / "merged", ("text_config", "vocab_size"), 10**12),
        (LLAVA / "merged", ("vision_config", "num_hidden_layers"), 10**9),
        (LLAVA / "merged", ("vision_config", "patch_size"), 0),
        (LLAVA / "merged", ("image_token_index",), 0),
    ],
)
def test_absurd_settings_are_refused_before_anything_is_made(
    original: Path, keys: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    folder = copied(original, tmp_path)
    change_json(folder / "config.json", *keys, to=value, delete=value is None)
    found = said(folder)
    assert found.startswith(str(folder / "config.json"))
    assert keys[-1] in found


@pytest.mark.parametrize(
    ("original", "file", "key", "value"),
    [
        (BELLE, "config.json", "architectures", 7),
        (BELLE, "generation_config.json", "max_new_tokens", "many"),
        (BELLE, "generation_config.json", "max_new_tokens", -1),
        (MERGED, "preprocessor_config.json", "size", "large"),
        (MERGED, "preprocessor_config.json", "image_mean", [0.5]),
        (LLAVA / "merged", "preprocessor_config.json", "size", "large"),
        (LLAVA / "merged", "preprocessor_config.json", "rescale_factor", "many"),
        (LLAVA / "merged", "generation_config.json", "max_new_tokens", "many"),
        (LLAVA / "merged", "tokenizer_config.json", "chat_template", "{% for"),
    ],
)
def test_broken_small_files_are_refused(original: Path, file: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = copied(original, tmp_path)
    change_json(folder / file, key, to=value)
    assert str(folder) in said(folder)
    (folder / file).write_text("{", encoding="utf-8")
    assert f"{folder / file}: cannot be read as JSON" in said(folder)


def test_a_broken_adapter_config_is_refused(tmp_path: Path) -> None:
    adapter = copied(LLAVA / "adapter", tmp_path)
    where = adapter / "adapter_config.json"
    change_json(where, "r", to="many")
    assert f"{where}: r: expected a number above 0" in said(LLAVA / "base", adapter=adapter)
    where.write_text("{", encoding="utf-8")
    assert f"{where}: cannot be read as JSON" in said(LLAVA / "base", adapter=adapter)


def test_the_command_line_says_one_line_quickly(tmp_path: Path) -> None:
    folder = copied(BELLE, tmp_path)
    change_json(folder / "config.json", "num_hidden_layers", to=10**9)
    assert "num_hidden_layers: expected" in refused("chat", folder, "你好")
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert f"{folder / 'config.json'}: cannot be read as JSON" in refused("describe", folder)


SECRET = "the canary's own words"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Tuwen folder that came from a published one and can be written back."""
    out = tmp_path_factory.mktemp("own") / "own"
    convert(read_folder(BELLE), out)
    export(read_folder(out), out.parent / "back", "qwen-vl")
    return out


def beside(folder: Path) -> dict[Path, int]:
    """All that lies beside a folder, with the times of its last changes."""
    return {path: path.lstat().st_mtime_ns for path in folder.parent.rglob("*") if not path.is_relative_to(folder)}


def not_exported(folder: Path) -> str:
    """The one line with which a folder is not written back; everything beside it is as it was."""
    before = beside(folder)
    with pytest.raises(TuwenError) as error:
        export(read_folder(folder), folder.parent / "out", "qwen-vl")
    assert beside(folder) == before
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    return str(error.value)


# Were the canary looked at, what is said would depend on whether it is there.
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "place", ["../../canary", "CANARY", "../published/../../canary", "..", ".", "", 7, None, ["x"]]
)
def test_what_is_kept_is_read_from_its_own_folder_alone(place: Any, there: bool, own: Path, tmp_path: Path) -> None:
    folder, canary = copied(own, tmp_path), tmp_path / "canary"
    if there:
        canary.write_text(SECRET, encoding="utf-8")
    place = str(canary) if place == "CANARY" else place
    index = folder / "published" / "layout.json"
    change_json(index, "files", "config.json", to=place)
    expected = f"{index}: {place!r} is not the name of a file that lies in {index.parent} itself"
    assert not_exported(folder) == expected


@pytest.mark.parametrize("linked", ["file", "nothing", "folder", "index"])
def test_what_is_kept_is_not_read_through_a_link(linked: str, own: Path, tmp_path: Path) -> None:
    folder, canary = copied(own, tmp_path), tmp_path / "canary"
    published = folder / "published"
    index = published / "layout.json"
    file = published / json.loads(index.read_text(encoding="utf-8"))["files"]["config.json"]
    place = {"folder": published, "index": index}.get(linked, file)
    place.rename(canary)
    place.symlink_to(canary if linked != "nothing" else tmp_path / "nothing")
    name = index.name if place != file else file.name
    expected = f"{index}: {name!r} is not the name of a file that lies in {published} itself"
    assert not_exported(folder) == expected


@pytest.mark.parametrize("name", ["../canary", "CANARY", "a/../../canary", "", ".", "a\0b"])
def test_what_is_kept_is_written_inside_the_new_folder_alone(name: str, own: Path, tmp_path: Path) -> None:
    folder, canary = copied(own, tmp_path), tmp_path / "canary"
    canary.write_text(SECRET, encoding="utf-8")
    name = str(canary) if name == "CANARY" else name
    index = json.loads((folder / "published" / "layout.json").read_text(encoding="utf-8"))
    change_json(folder / "published" / "layout.json", "files", name, to=index["files"]["generation_config.json"])
    expected = f"{folder / 'published'}: {name!r} is not a path inside a folder"
    assert not_exported(folder) == expected
    shutil.copytree(own, folder, dirs_exist_ok=True)
    weight_map = folder / "published" / index["files"]["weight_map"]
    change_json(weight_map, "files", "lm_head.weight", to=name)
    assert not_exported(folder) == expected
    assert canary.read_text(encoding="utf-8") == SECRET


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("layout.json", '{"layout": "qwen-vl", "files": ["config.json"]}'),
        ("layout.json", '{"layout": "qwen-vl", "files": {"config.json": "00-gone.json"}}'),
        ("config.json", "{"),
        ("config.json", '{"visual": 7}'),
        ("weight_map", '{"files": {}, "dtypes": {}}'),
        ("weight_map", '{"files": {"lm_head.weight": 7}, "dtypes": {}}'),
        ("weight_map", '{"files": {}, "dtypes": {"model.bin": "load"}}'),
    ],
)
def test_broken_kept_files_are_refused(file: str, content: str, own: Path, tmp_path: Path) -> None:
    folder = copied(own, tmp_path)
    index = json.loads((folder / "published" / "layout.json").read_text(encoding="utf-8"))
    (folder / "published" / index["files"].get(file, file)).write_text(content, encoding="utf-8")
    assert not_exported(folder).startswith(str(folder))


def test_the_command_line_does_not_export_what_lies_elsewhere(own: Path, tmp_path: Path) -> None:
    folder = copied(own, tmp_path)
    change_json(folder / "published" / "layout.json", "files", "config.json", to="/etc/passwd")
    found = refused("export", folder, tmp_path / "out", "--to", "qwen-vl")
    assert "'/etc/passwd' is not the name of a file that lies in" in found
