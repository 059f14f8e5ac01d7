"""The published folders through the command line: the original's prompt and its greedy answer, token by token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tuwen
from tests.conftest import run_cli
from tuwen.checkpoints.weights import WeightFiles
from tuwen.infer.history import to_list_format

FIXTURES = Path(__file__).parents[2].parent / "shared" / "fixtures"
QWEN = FIXTURES / "qwen_vl"
OTHERS = FIXTURES / "visualcla_llava"
VISUALCLA, LLAVA = OTHERS / "visualcla_tiny", OTHERS / "llava_chinese_clip_tiny"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the fixtures are not there: {FIXTURES}")

# case → (question, pictures); histories and systems come with the case.
BELLE = {
    "text_only_en": ("What is the capital of France? Answer briefly.", []),
    "text_history2": ("再加三呢？", []),
    "image_square_en": ("What is in the picture?", ["images/square_112.png"]),
    "image_wide_zh": ("这是什么？请详细描述一下这张图。", ["images/wide_160x90.png"]),
    "image_rgba": ("Describe the image.", ["images/rgba_96.png"]),
    "image_zh_path": ("图中有什么？", ["images/中文 图片.png"]),
    "two_images": ("两张图有什么不同？", ["images/square_112.png", "images/tall_60x140.png"]),
    "image_history1": ('输出"圆"的检测框', []),
    "image_history2": ("And this one?", ["images/photo_120x80.jpg"]),
}


def ask(model: Path, question: str, images: list[Any], *more: str | Path, cwd: Path | None = None) -> dict[str, Any]:
    pictures = [argument for image in images for argument in ("--image", str(image))]
    result = run_cli("chat", model, question, *pictures, "--greedy", "--max-new-tokens", "24", "--json", *more, cwd=cwd)
    assert result.returncode == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def history(path: Path, turns: Any) -> list[str | Path]:
    path.write_text(json.dumps(turns, ensure_ascii=False), encoding="utf-8")
    return ["--history", path]


@pytest.fixture(scope="module")
def belle() -> tuple[dict[str, Any], Any]:
    expected = json.loads((QWEN / "belle_expected.json").read_text(encoding="utf-8"))
    return expected, np.load(QWEN / "belle_expected.npz")


@pytest.mark.parametrize("case", ["text_history2", "image_zh_path", "two_images", "image_history2"])
def test_belle_vl(case: str, belle: tuple[dict[str, Any], Any], tmp_path: Path) -> None:
    expected, arrays = belle
    wanted = expected["prompts"][case]
    question, images = BELLE[case]
    more = [*history(tmp_path / "h.json", wanted["history"]), "--system", wanted["system"]]
    got = ask(QWEN / "belle_vl_tiny", question, images, *more, cwd=QWEN)
    assert got["prompt_ids"] == arrays[f"prompt.{case}.input_ids"].ravel().tolist()
    assert got["token_ids"] == arrays[f"prompt.{case}.greedy_ids"].ravel().tolist()[: len(got["token_ids"])]
    assert got["token_ids"] == wanted["chat_generated_ids"][: len(got["token_ids"])]


@pytest.mark.parametrize("case", ["llava_bench_zh", "sketch2code"])
def test_codefuse_vlm(case: str) -> None:
    wanted = json.loads((QWEN / "codefuse_expected.json").read_text(encoding="utf-8"))["prompts"][case]
    ids = np.load(QWEN / "codefuse_expected.npz")[f"prompt.{case}.input_ids"].ravel().tolist()
    question = wanted["text"].split("<|im_start|>user\nPicture 1:<img></img>\n")[1].split("<|im_end|>")[0]
    got = ask(QWEN / "codefuse_vlm_tiny", question, [wanted["image_path"]], cwd=QWEN)
    assert got["prompt_ids"] == ids
    assert got["token_ids"] == wanted["greedy_ids_fp32in"][: len(got["token_ids"])]
    assert len(got["token_ids"]) == 24 or got["token_ids"][-1] in wanted["greedy_ids_fp32in"]


def visualcla_case(name: str) -> dict[str, Any]:
    cases = json.loads((VISUALCLA / "expected.json").read_text(encoding="utf-8"))["cases"]
    return next(case for case in cases if case["name"] == name)


@pytest.mark.parametrize("name", ["h0_en_img", "h2_zh_img", "h1_zh_textonly"])
def test_visualcla(name: str, tmp_path: Path) -> None:
    case = visualcla_case(name)
    images = [OTHERS / "images" / case["image"]] if case["image"] else []
    more = history(tmp_path / "h.json", case["history"]) if case["history"] else []
    plain = ask(VISUALCLA / "merged", case["text"], images, *more)
    assert plain["prompt_ids"] == case["input_ids"]
    assert plain["token_ids"] == case["greedy_new_tokens"]
    penalties = ("--repetition-penalty", "1.1", "--no-repeat-ngram-size", "15")
    penalised = ask(VISUALCLA / "merged", case["text"], images, *more, *penalties)
    assert penalised["token_ids"] == case["penalised_greedy_new_tokens"]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_llava_chinese_clip(place: int, tmp_path: Path) -> None:
    case = json.loads((LLAVA / "expected.json").read_text(encoding="utf-8"))["cases"][place]
    images = [OTHERS / "images" / name for name in case["images"]]
    question = case["messages"][-1]["content"].removeprefix("<image>\n")
    more = history(tmp_path / "h.json", case["messages"][1:-1]) if len(case["messages"]) > 2 else []
    got = ask(LLAVA / "merged", question, images, *more)
    assert got["prompt_ids"] == case["input_ids_expanded"]
    assert got["token_ids"] == case["greedy_new_tokens"]


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("qwen-vl", QWEN / "belle_vl_tiny"),
        ("qwen-vl", QWEN / "belle_vl_tiny_safetensors"),
        ("codefuse-vlm", QWEN / "codefuse_vlm_tiny"),
        ("codefuse-vlm", QWEN / "codefuse_vlm_tiny_merged"),
        ("visualcla", VISUALCLA / "merged"),
        ("llava", LLAVA / "base"),
        ("llava", LLAVA / "merged"),
    ],
)
def test_converted_and_exported_is_the_same_folder(layout: str, folder: Path, tmp_path: Path) -> None:
    if folder.name == "codefuse_vlm_tiny_merged":
        # Its encoder is smaller than the real one, and a merged folder does not say how it is cut up.
        shutil.copytree(folder, tmp_path / "copy")
        folder = tmp_path / "copy"
        options = {"vision": {"heads": 4, "image_size": 112}}
        (folder / "tuwen_layout.json").write_text(json.dumps(options), encoding="utf-8")
    described = run_cli("describe", folder)
    assert described.returncode == 0, described.stderr
    for verb in (
        ("convert", folder, tmp_path / "tuwen"),
        ("export", tmp_path / "tuwen", tmp_path / "back", "--to", layout),
    ):
        result = run_cli(*verb)
        assert result.returncode == 0, result.stderr
    result = run_cli("parity", folder, tmp_path / "tuwen")
    assert result.returncode == 0, result.stdout
    before = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    after = sorted(
        file.relative_to(tmp_path / "back").as_posix() for file in (tmp_path / "back").rglob("*") if file.is_file()
    )
    assert after == before
    for name in before:
        if name.endswith((".bin", ".safetensors")):
            one, other = WeightFiles(folder, [name]), WeightFiles(tmp_path / "back", [name])
            assert {key: (one.shape(key), one.dtype(key)) for key in one} == {
                key: (other.shape(key), other.dtype(key)) for key in other
            }, name
            assert all(torch.equal(one[key], other[key]) for key in one), name
        else:
            assert (folder / name).read_bytes() == (tmp_path / "back" / name).read_bytes(), name


def test_a_visualcla_delta_is_merged_and_loaded(tmp_path: Path) -> None:
    parts = ("--language", VISUALCLA / "text_model", "--vision", VISUALCLA / "vision_model")
    result = run_cli("merge", tmp_path / "whole", "--adapter", VISUALCLA / "delta", *parts)
    assert result.returncode == 0, result.stderr
    assert run_cli("parity", VISUALCLA / "merged", tmp_path / "whole").returncode == 0
    case = visualcla_case("h0_zh_img")
    vlm = tuwen.load(VISUALCLA / "delta", language=VISUALCLA / "text_model", vision=VISUALCLA / "vision_model")
    answer = vlm.chat(case["text"], [OTHERS / "images" / case["image"]], greedy=True, max_new_tokens=24)
    assert answer.token_ids == case["greedy_new_tokens"]


def test_a_llava_adapter_is_merged_and_loaded(tmp_path: Path) -> None:
    result = run_cli("merge", tmp_path / "whole", "--adapter", LLAVA / "adapter", "--base", LLAVA / "base")
    assert result.returncode == 0, result.stderr
    assert run_cli("parity", LLAVA / "merged", tmp_path / "whole").returncode == 0
    result = run_cli("parity", LLAVA / "base", tmp_path / "whole")
    assert result.returncode == 1
    assert "the first stage that differs: vision" in result.stdout


def test_a_question_in_the_originals_list_format(
    belle: tuple[dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(QWEN)
    vlm = tuwen.load("belle_vl_tiny_safetensors")
    expected, arrays = belle
    for case in ("two_images", "image_gray_raw"):
        query = to_list_format(expected["prompts"][case]["query"])
        answer = vlm.chat(query, greedy=True, max_new_tokens=4)
        assert answer.prompt_ids == arrays[f"prompt.{case}.input_ids"].ravel().tolist()
        assert answer.token_ids == expected["prompts"][case]["chat_generated_ids"][:4]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    verb = ["export", str(QWEN / "belle_vl_tiny"), str(tmp_path / "out"), "--to", "qwen-vl"]
    # No file may be larger than 100 blocks.
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", sys.executable, "-m", "tuwen", *verb]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "cannot be written (File too large); nothing was left behind" in result.stderr
    assert not list(tmp_path.iterdir())
