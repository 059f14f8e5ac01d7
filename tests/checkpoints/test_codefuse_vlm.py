"""CodeFuse-VLM in parts and merged: the original's ids, features, logits and answers, and its folders written back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.checkpoints.qwen_fixtures import (
    HERE,
    PIXELS,
    arrays,
    close,
    greedy,
    message,
    needs_fixtures,
    opened,
    pixels,
    values,
)
from tests.checkpoints.test_qwen_vl import same_folders
from tuwen.chat.messages import Message
from tuwen.checkpoints.convert import convert, export
from tuwen.checkpoints.folder import ModelFolder, stored_state
from tuwen.checkpoints.layouts import codefuse_vlm
from tuwen.checkpoints.layouts._qwen import composition
from tuwen.checkpoints.layouts._qwen_files import VisionOptions
from tuwen.checkpoints.layouts.base import LAYOUTS, recognise
from tuwen.checkpoints.layouts.codefuse_vlm import CodeFuseVLM
from tuwen.checkpoints.layouts.qwen_vl import published_rules
from tuwen.checkpoints.opening import check, load_published, read_folder
from tuwen.checkpoints.renames import published_shapes
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError
from tuwen.models.encoders.qwen_vit import QwenViTConfig
from tuwen.models.language.qwen1 import Qwen1Config

pytestmark = needs_fixtures
PARTS, MERGED = "codefuse_vlm_tiny", "codefuse_vlm_tiny_merged"
PROMPTS = ("llava_bench_en", "llava_bench_zh", "textvqa", "sketch2code", "mmbench", "two_turns", "text_only")
IMAGES = ("square", "wide", "rgba", "gray")
OVERRIDE = '{"vision": {"heads": 4, "image_size": 112}}'


def copied(name: str, tmp_path: Path, override: str | None = None) -> Path:
    folder = tmp_path / name
    shutil.copytree(HERE / name, folder)
    # The fixtures may be read-only, and copies with them.
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    if override:
        (folder / "tuwen_layout.json").write_text(override)
    return folder


@pytest.fixture(scope="module", params=[PARTS, MERGED])
def codefuse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    if request.param == PARTS:
        return opened(PARTS)
    folder = copied(MERGED, tmp_path_factory.mktemp("merged"), OVERRIDE)
    return load_published(read_folder(folder), dtype=torch.float32)


def rendered_ids(folder: ModelFolder, text: str) -> list[int]:
    """Ids of a prompt that the original's scripts wrote by hand, through our messages and template."""
    turns = text.removesuffix("<|im_end|>\n<|im_start|>assistant\n").split("<|im_end|>\n")
    split = [message(*turn.removeprefix("<|im_start|>").split("\n", 1), "Picture N:") for turn in turns]
    pictures = sum(len(names) for _, names in split)
    messages: list[Message] = [one for one, _ in split]
    return folder.processor.renderer.render(messages, [256] * pictures, add_generation_prompt=True).input_ids


@pytest.mark.parametrize("name", [PARTS, MERGED])
def test_the_folder_is_known(name: str) -> None:
    assert isinstance(recognise(HERE / name), CodeFuseVLM)


def test_types_of_the_parts(tmp_path: Path) -> None:
    published = read_folder(HERE / PARTS)
    assert {published.files.dtype(name) for name in published.files} == {torch.float16, torch.bfloat16}
    assert published.dtype == torch.float32
    assert published.generation["top_p"] == 0.8


@pytest.mark.parametrize("name", IMAGES)
def test_pictures(codefuse: ModelFolder, name: str) -> None:
    expected, rows = arrays("codefuse"), values("codefuse_expected")["visual_rows"]
    values_13HW = pixels(codefuse.processor, values("belle_expected")["images"][name]["path"])
    close(values_13HW[0], expected[f"image.{name}.pixel_values"], **PIXELS)
    model = codefuse.model.model
    for kind, inputs in (("fp32in", values_13HW), ("bf16in", values_13HW.bfloat16().float())):
        caught: dict[str, torch.Tensor] = {}
        hook = model.connector.attn.register_forward_hook(lambda m, i, output, to=caught: to.update(pool=output[0][0]))
        with torch.inference_mode():
            found = model.get_image_features(inputs)
        hook.remove()
        prefix = f"image.{name}.{kind}"
        close(found.last_hidden_state[0], expected[f"{prefix}.trunk"])
        close(caught["pool"][rows], expected[f"{prefix}.resampler_rows"])
        if f"{prefix}.projector" in expected:
            close(found.pooler_output[0], expected[f"{prefix}.projector"])
        else:
            close(found.pooler_output[0][rows], expected[f"{prefix}.projector_rows"])


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("kind", ["fp32in", "bf16in"])
def test_prompts(codefuse: ModelFolder, name: str, kind: str) -> None:
    expected, case = arrays("codefuse"), values("codefuse_expected")["prompts"][name]
    ids = rendered_ids(codefuse, case["text"])
    assert ids == expected[f"prompt.{name}.input_ids"].tolist()
    inputs = {"input_ids": torch.tensor([ids])}
    if case["image_path"]:
        image = pixels(codefuse.processor, case["image_path"])
        inputs["pixel_values"] = image.bfloat16().float() if kind == "bf16in" else image
    with torch.inference_mode():
        logits = codefuse.model(**inputs).logits[0]
    rows = 2 if kind == "fp32in" else 8
    close(logits[-rows:], expected[f"prompt.{name}.{kind}.logits_last{rows}"])
    assert logits.argmax(-1).tolist() == expected[f"prompt.{name}.{kind}.logits_argmax"].tolist()
    assert greedy(codefuse.model, **inputs)[0] == case[f"greedy_ids_{kind}"]


def test_right_padded_batch(codefuse: ModelFolder) -> None:
    expected, info = arrays("codefuse"), values("codefuse_expected")["batch"]
    ids, mask = torch.from_numpy(expected["batch.input_ids"]).long(), torch.from_numpy(expected["batch.attention_mask"])
    for text, row, seen in zip(info["texts"], ids.tolist(), mask.sum(1).tolist(), strict=True):
        assert rendered_ids(codefuse, text) == row[:seen]
    paths = [values("belle_expected")["images"][name]["path"] for name in info["images"]]
    with torch.inference_mode():
        logits = codefuse.model(
            input_ids=ids, attention_mask=mask.long(), pixel_values=pixels(codefuse.processor, *paths)
        ).logits
    close(logits[torch.arange(len(ids)), mask.sum(1) - 1], expected["batch.fp32in.logits_last"])


@pytest.mark.parametrize("name", [PARTS, MERGED])
@pytest.mark.parametrize("through", ["at once", "a Tuwen folder"])
def test_written_back_as_it_was(name: str, through: str, tmp_path: Path) -> None:
    original = copied(name, tmp_path, OVERRIDE if name == MERGED else None)
    source = original
    if through != "at once":
        convert(read_folder(source), tmp_path / "own")
        source = tmp_path / "own"
    export(read_folder(source), tmp_path / "out", "codefuse-vlm")
    same_folders(original, tmp_path / "out")


def test_a_model_made_elsewhere_is_published_in_parts() -> None:
    """Also Belle-VL's model as CodeFuse-VLM's, and the other way round: the family is one."""
    published = read_folder(HERE / PARTS)
    outgoing = LAYOUTS.get("codefuse-vlm")().write(published.config, published.processor, {})
    assert set(outgoing.weight_map) == set(published.files)
    files = {"pytorch_model.bin", "Qwen-VL-visual/visual.bin", "mm_projector/mm_projector.bin"}
    assert set(outgoing.weight_map.values()) == files
    for name, file in outgoing.weight_map.items():
        was = published.files.path(name)
        assert was.parent == HERE / PARTS / Path(file).parent
    kept = json.loads((HERE / PARTS / "mm_projector" / "config.json").read_text())
    fresh = json.loads(outgoing.files["mm_projector/config.json"])
    assert {key: fresh[key] for key in ("hidden_size", "mm_hidden_size", "mm_projector_type", "model_type")} == {
        key: kept[key] for key in ("hidden_size", "mm_hidden_size", "mm_projector_type", "model_type")
    }


def test_from_one_layout_to_the_other(tmp_path: Path) -> None:
    export(read_folder(HERE / "belle_vl_tiny"), tmp_path / "codefuse", "codefuse-vlm")
    export(read_folder(tmp_path / "codefuse"), tmp_path / "belle", "qwen-vl")
    before, after = (load_published(read_folder(path)) for path in (HERE / "belle_vl_tiny", tmp_path / "belle"))
    other = after.model.state_dict()
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.base_model.model."])
def test_projectors_of_a_lora_stage(prefix: str, tmp_path: Path) -> None:
    folder = copied(PARTS, tmp_path)
    path = folder / "mm_projector" / "mm_projector.bin"
    state = torch.load(path, weights_only=True)
    torch.save({prefix + name: tensor for name, tensor in state.items()}, path)
    published = read_folder(folder)
    check(published)
    projection = load_published(published, dtype=torch.float32).model.model.connector.proj
    assert torch.equal(projection, state["transformer.mm_projector.proj"].float())
    export(published, tmp_path / "out", "codefuse-vlm")
    same_folders(folder, tmp_path / "out")


def test_a_merged_folder_that_is_not_of_the_usual_size_says_what_to_write() -> None:
    with pytest.raises(
        TuwenError, match=r'width 64, not .* width 1664 .*heads and image_size: write \{"vision": .*'
    ) as e:
        read_folder(HERE / MERGED)
    assert "tuwen_layout.json" in str(e.value)


def test_heads_that_cannot_be_are_named(tmp_path: Path) -> None:
    folder = copied(MERGED, tmp_path, '{"vision": {"heads": 7, "image_size": 112}}')
    with pytest.raises(TuwenError, match="7 heads do not divide the width 64"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("Qwen-VL-visual", r"visual\.bin: this weight file is missing"),
        ("mm_projector", r"mm_projector\.bin: this weight file is missing"),
    ],
)
def test_a_missing_part_is_named(missing: str, message: str, tmp_path: Path) -> None:
    folder = copied(PARTS, tmp_path)
    shutil.rmtree(folder / missing)
    with pytest.raises(TuwenError, match=message):
        read_folder(folder)


def test_a_merged_folder_of_the_usual_size_needs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codefuse_vlm, "_sizes", lambda files: dict(codefuse_vlm.USUAL_SIZES))
    vision = codefuse_vlm._merged_vision(WeightFiles.find(HERE / MERGED), VisionOptions())
    assert (vision.num_attention_heads, vision.image_size, vision.intermediate_size) == (16, 448, 8192)
    other = codefuse_vlm._merged_vision(WeightFiles.find(HERE / MERGED), VisionOptions(image_size=560))
    assert (other.num_attention_heads, other.image_size) == (16, 560)


def test_full_size_names_and_shapes() -> None:
    """Of Qwen-VL-Chat, whose sizes are public, without its weights."""
    text = Qwen1Config(vocab_size=151936, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, head_dim=128)
    special = {"<imgpad>": 151859, "<img>": 151857, "</img>": 151858}
    config = composition(text, QwenViTConfig(), special, None)
    shapes = published_shapes(published_rules(config), stored_state(config))
    assert len(shapes) == 3 + 32 * 8 + 4 + 48 * 12 + 14
    assert shapes["transformer.h.31.attn.c_attn.weight"] == (12288, 4096)
    assert shapes["transformer.h.0.mlp.w2.weight"] == (11008, 4096)
    assert shapes["transformer.visual.transformer.resblocks.47.attn.in_proj.bias"] == (4992,)
    assert shapes["transformer.visual.attn_pool.kv_proj.weight"] == (4096, 1664)
    assert shapes["transformer.visual.attn_pool.attn.in_proj_weight"] == (12288, 4096)
    assert shapes["transformer.visual.proj"] == (4096, 4096)
