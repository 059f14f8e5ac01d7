"""`tuwen export --to gguf`: types of numbers, what is refused, and llama.cpp's own programs where they are in PATH."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf")

import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.gguf_toys import CORPUS, Toy, byte_level, exported, pieces
from tests.checkpoints.llama_cpp_graph import GgufFile, picture_tokens
from tests.conftest import refused, run_cli
from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.opening import load_published, read_folder
from tuwen.config import MissingExtraError
from tuwen.models.language.tokenizer import train_tokenizer
from tuwen.vision import open_picture

FIXTURES = Path(__file__).parents[2] / "../shared/fixtures/visualcla_llava"
PUBLISHED = FIXTURES / "llava_chinese_clip_tiny" / "merged"
needs_fixtures = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="no ../shared/fixtures beside the repository")
PROGRAM, QUANTIZER = "llama-mtmd-cli", "llama-quantize"
needs_llama_cpp = pytest.mark.skipif(
    not (shutil.which(PROGRAM) and shutil.which(QUANTIZER)), reason="llama.cpp's programs are not in PATH"
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Toy().save(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="module")
def clip_in_f32(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, torch.Tensor]:
    return exported(clip, tmp_path_factory.mktemp("f32") / "out").language.tensors


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_a_smaller_type_rounds_each_number_once(
    kind: str, clip: Path, clip_in_f32: Mapping[str, torch.Tensor], tmp_path: Path
) -> None:
    result = run_cli("export", clip, tmp_path / "out", "--to", "gguf", "--type", kind)
    assert result.returncode == 0, result.stderr
    file, vision = GgufFile(tmp_path / "out" / f"model-{kind}.gguf"), GgufFile(tmp_path / "out" / "mmproj-f16.gguf")
    assert file.types["blk.0.attn_q.weight"] == kind.upper()
    # Rows of 48 are no whole number of blocks.
    assert file.types["blk.0.ffn_down.weight"] == ("F16" if kind == "q8_0" else kind.upper())
    assert {file.types["output_norm.weight"], vision.types["v.position_embd.weight"]} == {"F32"}
    assert {vision.types["v.patch_embd.weight"], vision.types["v.blk.0.ffn_up.weight"]} == {"F16"}
    for name, tensor in clip_in_f32.items():
        tolerance = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8}.get(file.types[name])
        if tolerance is not None:
            torch.testing.assert_close(file.tensors[name], tensor, rtol=tolerance, atol=1e-7)
        else:
            step = tensor.unflatten(-1, (-1, 32)).abs().amax(-1, keepdim=True) / 127
            # Half a step, and the rounding of the step itself to float16.
            error = (file.tensors[name] - tensor).unflatten(-1, (-1, 32)).abs()
            assert (error <= step * 0.6).all(), name


@needs_fixtures
def test_the_published_chinese_model(tmp_path: Path) -> None:
    whole = exported(PUBLISHED, tmp_path / "out", "--class-token", "first")
    values = whole.language.values
    spec = json.loads((PUBLISHED / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert (values["general.architecture"], values["tokenizer.ggml.pre"]) == ("qwen2", "qwen2")
    assert values["tokenizer.ggml.tokens"][: len(spec["vocab"])] == list(spec["vocab"])
    assert values["tokenizer.ggml.tokens"][values["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    weights = load_file(PUBLISHED / "model.safetensors")
    name = "language_model.model.layers.1.self_attn.q_proj.weight"
    assert torch.equal(whole.language.tensors["blk.1.attn_q.weight"], weights[name])
    for remark in ("make pictures square first", "gelu by its tanh form", "line break between a picture and the text"):
        assert remark in whole.notes
    # The last layer, which no feature depends on, is left out.
    assert whole.vision.values["clip.vision.block_count"] == 3
    published = read_folder(PUBLISHED)
    picture = open_picture(FIXTURES / "images" / "palette_256x256.png").convert("RGB")
    pixels = torch.from_numpy(published.processor.policy.apply(picture))
    with torch.no_grad():
        ours = load_published(published).model.get_image_features(pixels).pooler_output[0]
    torch.testing.assert_close(picture_tokens(whole.vision, pixels[0], "first"), ours, atol=2e-3, rtol=0)


def without_bos() -> Any:
    tokenizer = pieces("first")
    tokenizer.bos_token = None
    return tokenizer


@pytest.mark.parametrize(
    ("toy", "message"),
    [
        (
            Toy(vision="siglip2_vision_model"),
            "vision_config.model_type: llama.cpp's graph for LLaVA has chinese_clip_vision_model, ",
        ),
        (
            Toy(language="gemma"),
            "text_config.model_type: GGUF is written for the language models llama, qwen2, qwen3; found gemma",
        ),
        (Toy(connector="resampler", connector_settings={"num_queries": 4}), "has linear and mlp; found resampler"),
        (Toy(connector_settings={"depth": 3}), "connector_config.depth: the projector of llama.cpp's graph"),
        (Toy(connector_settings={"activation": "relu"}), "connector_config.activation: "),
        (Toy(connector_settings={"input_norm": True}), "connector_config.input_norm: "),
        (Toy(policy="anyres"), "image_policy.type: llama.cpp's graph for LLaVA takes one square picture (square, "),
        (Toy(feature={"select": "all"}), "vision_feature.select: llama.cpp leaves out the class token (patch); found"),
        (Toy(feature={"layers": [-1, -2]}), "vision_feature.layers: llama.cpp takes ascending ones above 0; found"),
        (Toy(feature={"layers": [1, 2], "post_layernorm": True}), "vision_feature.post_layernorm: "),
        (
            Toy(text={"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
            "rope_parameters: ",
        ),
        (Toy(language="qwen2", text={"head_dim": 8}), "text_config.head_dim: llama.cpp's qwen2 has hidden_size / "),
        (
            Toy(language="qwen3", text={"attention_bias": True}),
            "text_config.attention_bias: llama.cpp's qwen3 has False",
        ),
        (
            Toy(tokenizer=without_bos, template="alpaca"),
            "tokenizer: puts a blank before the first word of a prompt alone",
        ),
    ],
)
def test_what_llama_cpp_does_not_have_is_named(toy: Toy, message: str, tmp_path: Path) -> None:
    folder = toy.save(tmp_path / "model")
    found = refused("export", folder, tmp_path / "out", "--to", "gguf")
    assert found.startswith(f"{folder}: "), found
    assert message in found
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_that_cuts_text_in_its_own_way_is_refused(tmp_path: Path) -> None:
    def other() -> Any:
        from tokenizers import pre_tokenizers

        tokenizer = train_tokenizer(CORPUS, 400)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        return tokenizer

    found = refused("export", Toy(tokenizer=other).save(tmp_path / "model"), tmp_path / "out", "--to", "gguf")
    assert "cuts text like gpt-2, llama-bpe, qwen2, smollm; found the pre-tokenizer (('Whitespace'" in found


def test_options_that_are_wrong_or_have_no_effect_are_refused(clip: Path, tmp_path: Path) -> None:
    verb = ("export", clip, tmp_path / "out", "--to")
    assert "--to gguf: type: unknown type 'q4': choose one of f32, f16, " in refused(*verb, "gguf", "--type", "q4")
    assert "class_token" in refused(*verb, "gguf", "--class-token", "middle")
    assert "--type: the published layout llava has no such setting" in refused(*verb, "llava", "--type", "f16")
    assert "did you mean 'gguf'?" in refused(*verb, "ggu")
    siglip = Toy(vision="siglip_vision_model").save(tmp_path / "siglip")
    found = refused("export", siglip, tmp_path / "out", "--to", "gguf", "--class-token", "first")
    assert "--class-token: siglip_vision_model has no class token; leave it out" in found
    (tmp_path / "out").mkdir()
    assert "already exists" in refused(*verb, "gguf")


def test_a_number_that_float16_does_not_have_is_refused(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip, tmp_path / "model")
    weights = load_file(clip / "model.safetensors")
    weights["model.language_model.layers.1.mlp.up_proj.weight"][3, 4] = -7e4
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    found = refused("export", tmp_path / "model", tmp_path / "out", "--to", "gguf")
    assert found == "blk.1.ffn_up.weight: holds numbers beyond ±65504, the largest that float16 has; choose --type f32"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert run_cli("export", tmp_path / "model", tmp_path / "out", "--to", "gguf", "--type", "bf16").returncode == 0


def program(place: Path, script: str) -> Path:
    place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    place.chmod(0o755)
    return place


def test_k_quants_are_left_to_llama_cpps_own_program(clip: Path, tmp_path: Path) -> None:
    verb = ("export", clip, tmp_path / "out", "--to", "gguf", "--type", "q4_k_m")
    found = refused(*verb, PATH="/nowhere")
    assert "--type q4_k_m: llama.cpp's llama-quantize makes this type, and it is not in PATH; give it with" in found
    assert "none is no program that can be run" in refused(*verb, "--quantizer", tmp_path / "none")
    broken = program(tmp_path / "broken.sh", "echo loading >&2; echo 'failed to quantize: no way' >&2; exit 3")
    assert "ended with 3: failed to quantize: no way" in refused(*verb, "--quantizer", broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.sh"]
    # Names with blanks and signs go to it as they are.
    odd = program(tmp_path / "odd; name.sh", '[ $# = 3 ] && cp "$1" "$2" && echo "$3" >> "$0.log"')
    result = run_cli(*verb, "--quantizer", odd)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "odd; name.sh.log").read_text() == "Q4_K_M\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mmproj-f16.gguf", "model-q4_k_m.gguf"]
    # Nothing is rounded before it.
    assert GgufFile(tmp_path / "out" / "model-q4_k_m.gguf").types["output.weight"] == "F32"


def test_a_full_disk_leaves_nothing_behind(clip: Path, tmp_path: Path) -> None:
    verb = ["export", str(clip), str(tmp_path / "out"), "--to", "gguf", "--type", "f32"]
    # No file may be larger than 100 blocks.
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", sys.executable, "-m", "tuwen", *verb]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "nothing was left behind" in result.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_the_library_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "tuwen.checkpoints.gguf", raising=False)
    with pytest.raises(MissingExtraError, match=r"gguf is not installed: run `pip install 'tuwen\[gguf\]'`"):
        importlib.import_module("tuwen.checkpoints.gguf")


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize(
    "toy",
    [Toy(vision="siglip_vision_model", tokenizer=byte_level), Toy(vision="siglip_vision_model", language="qwen3")],
    ids=["llama", "qwen3"],
)
def test_llama_cpp_says_the_same_about_a_picture(toy: Toy, tmp_path: Path) -> None:
    folder, out = toy.save(tmp_path / "model"), tmp_path / "out"
    exported(folder, out)
    opened = load_published(read_folder(folder))
    picture = open_picture(FIXTURES / "images" / "palette_256x256.png").convert("RGB").resize((32, 32))
    picture.save(tmp_path / "picture.png")
    encoded = opened.processor.encode([Message.of("user", Image(), "你好 cat")], [picture], add_generation_prompt=True)
    ids = torch.tensor([encoded.rendered.input_ids])
    with torch.no_grad():
        answer = opened.model.generate(
            input_ids=ids,
            pixel_values=torch.from_numpy(encoded.pixel_values),
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=8,
        )
    text = opened.processor.tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)
    files = ["-m", out / "model-f32.gguf", "--mmproj", out / "mmproj-f32.gguf", "--image", tmp_path / "picture.png"]
    settings = ["--jinja", "--temp", "0", "-n", "8", "-c", "512", "-t", "1", "-fa", "off", "-ctk", "f32", "-ctv", "f32"]
    command = [PROGRAM, *map(str, files), *settings, "-p", "<__media__>你好 cat"]
    said = subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="replace")
    assert said.strip() == text.strip()


@needs_llama_cpp
def test_llama_cpps_own_quantizer(clip: Path, tmp_path: Path) -> None:
    result = run_cli("export", clip, tmp_path / "out", "--to", "gguf", "--type", "q4_k_m")
    assert result.returncode == 0, result.stderr
    types = GgufFile(tmp_path / "out" / "model-q4_k_m.gguf").types
    # Rows of 32 are too short for k-quants; it takes others.
    assert types["blk.0.attn_q.weight"] not in ("F32", "F16", "BF16")
