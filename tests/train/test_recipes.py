"""The recipes that come with Tuwen: read strictly, planned at full size, and run at toy size from the parts and the
data that they name, by the real command line: trained, merged, chatted with, measured, exported."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import refused
from tests.data import corpora
from tuwen.chat.messages import Image
from tuwen.checkpoints.build import build_model, plan_model
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError, parse_config
from tuwen.data.dataset import open_data
from tuwen.data.formats.base import FORMATS
from tuwen.data.source import SOURCES
from tuwen.models.connectors.base import parse_connector
from tuwen.models.recipe import ModelRecipe
from tuwen.train.recipe import find_recipe, read_recipe, run_name
from tuwen.vision import parse_policy

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "src" / "tuwen" / "train" / "recipes"
NAMES = sorted(file.relative_to(RECIPES).with_suffix("").as_posix() for file in RECIPES.rglob("*.yaml"))
FIXTURES = ROOT.parent / "shared" / "fixtures"
QWEN, OTHERS = FIXTURES / "qwen_vl", FIXTURES / "visualcla_llava"
VISUALCLA, LLAVA = OTHERS / "visualcla_tiny", OTHERS / "llava_chinese_clip_tiny"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the fixtures are not there: {FIXTURES}")

# Runs command lines one after the other in one process, which saves loading torch for each.
RUNNER = """
import json, sys
from tuwen.cli.app import main

for line in json.loads(sys.stdin.read()):
    sys.argv = ["tuwen", *line]
    print("\\n$", json.dumps(line), flush=True)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def run_lines(lines: list[list[Any]], cwd: Path) -> list[str]:
    """What each of several command lines prints."""
    result = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([[str(word) for word in line] for line in lines]),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return [part.split("\n", 1)[1] for part in result.stdout.split("\n$ ")[1:]]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_read_strictly(name: str) -> None:
    recipe = read_recipe(find_recipe(name), [])
    assert isinstance(recipe.model, ModelRecipe)
    parse_connector(recipe.model.connector)
    parse_policy(recipe.model.image_policy)
    for entry in [*recipe.sources, *(entry for stage in recipe.stages for entry in stage.sources or [])]:
        settings = {key: value for key, value in entry.items() if key not in ("type", "weight", "count", "cap")}
        config = parse_config(SOURCES.get(entry["type"]).config_class, settings, name)
        if entry["type"] == "data" and config.options:
            parse_config(FORMATS.get(config.format).options_class, config.options, name)


def test_recipes_are_found_by_name_and_their_runs_do_not_meet() -> None:
    assert {name.partition("/")[0] for name in NAMES} >= {"belle-vl", "codefuse-vlm", "visualcla", "llava-chinese-clip"}
    assert len({run_name(find_recipe(name)) for name in NAMES}) == len(NAMES)
    assert run_name(find_recipe("belle-vl/finetune")) == "belle-vl-finetune"
    assert run_name(Path("somewhere/my.yaml")) == "my"
    assert refused("train", "belle-vl/finetun").endswith("did you mean belle-vl/finetune?")
    assert "or one of belle-vl/finetune, " in refused("train", "../recipes/quickstart")


# Parameters of vision encoder, connector and language model, as the published checkpoints have them; of Belle-VL's
# connector as it has one of the language model's width.
SIZES = {
    "belle-vl": (1_842_770_688, 140_953_600, 14_167_290_880),
    "codefuse-vlm": (1_842_770_688, 140_953_600, 14_167_290_880),
    "visualcla": (303_179_776, 79_841_280, 6_885_527_552),
    "llava-chinese-clip": (303_507_456, 16_522_240, 7_615_616_512),
    "llava-1.5": (303_507_456, 20_979_712, 6_738_423_808),
}


@pytest.mark.parametrize("name", [name for name in NAMES if "/" in name])
def test_every_recipe_is_of_the_published_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(find_recipe(name), []).model
    assert isinstance(recipe, ModelRecipe)
    model = plan_model(recipe)
    parts = [model.model.vision_tower, model.model.connector, model.model.language_model, model.lm_head]
    vision, connector, language, head = (sum(tensor.numel() for tensor in part.parameters()) for part in parts)
    assert (vision, connector, language + head) == SIZES[name.partition("/")[0]]


@pytest.mark.slow
def test_the_four_systems_are_planned_without_anything_there(tmp_path: Path) -> None:
    finetuned = [f"{system}/finetune" for system in ("belle-vl", "codefuse-vlm", "visualcla", "llava-chinese-clip")]
    lines = [["train", name, "--plan", "--devices", 8, "--device", "A800", "--json"] for name in finetuned]
    for name, said in zip(finetuned, run_lines(lines, tmp_path), strict=True):
        (stage,) = json.loads(said)["stages"]
        assert len(json.loads(said)["absent"]) == 2
        assert 10 < stage["memory"]["needed"] / 2**30 < 80
        trained = {module["module"]: {group["part"]: 0 for group in module["groups"]} for module in stage["trained"]}
        for module in stage["trained"]:
            for group in module["groups"]:
                trained[module["module"]][group["part"]] += group["parameters"]
        if name == "llava-chinese-clip/finetune":
            # As many as the original trains.
            assert trained == {
                "vision": {"lora": 4_718_592},
                "connector": {"full": 16_522_240},
                "language": {"lora": 80_740_352},
            }
        if name == "visualcla/finetune":
            assert trained["language"]["embeddings"] == 2 * 49_958 * 4096
            assert set(trained["vision"]) == {"lora"}
        if name == "codefuse-vlm/finetune":
            assert trained["language"] == {"lora": 62_341_120}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(find_recipe("llava-1.5/pretrain"), ["model.vision.planned=null"]).model
    assert isinstance(recipe, ModelRecipe)
    with pytest.raises(TuwenError, match="model.vision.path: weights/clip-vit-large-patch14-336: not found"):
        plan_model(recipe)
    recipe = read_recipe(find_recipe("llava-1.5/finetune"), []).model
    assert isinstance(recipe, ModelRecipe)
    with pytest.raises(TuwenError, match="model.weights: runs/llava-1.5-pretrain/model: not found; train what"):
        build_model(recipe)


def caption_tar(path: Path, *captions: str) -> None:
    """A shard of WebDataset: pictures with their captions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, caption in enumerate(captions):
            name = f"{number:05d}"
            picture = corpora.draw(path.parent / f"{name}.jpg").read_bytes()
            for suffix, content in (("jpg", picture), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            (path.parent / f"{name}.jpg").unlink()


def llava_json(path: Path, images: Path, *turns: tuple[str, str], text: tuple[str, str] | None = None) -> None:
    """LLaVA's JSON with a picture for each turn, drawn into ``images``, and a sample of text alone."""
    records: list[dict[str, Any]] = []
    for number, (question, answer) in enumerate(turns):
        name = f"{path.stem[:3]}{number}.jpg"
        corpora.draw(images / name)
        talk = [{"from": "human", "value": f"{question}\n<image>"}, {"from": "gpt", "value": answer}]
        records.append({"id": name, "image": name, "conversations": talk, "blip_caption": answer})
    if text is not None:
        talk = [{"from": "human", "value": text[0]}, {"from": "gpt", "value": text[1]}]
        records.append({"id": "text", "conversations": talk})
    corpora.put(path, records)


def llava_pretrain(data: Path) -> None:
    """LLaVA's 558K captions and their translation, with one archive of pictures."""
    folder = data / "llava-pretrain"
    english = [("Describe the picture.", "a red square"), ("What is this?", "a green square on a table")]
    llava_json(folder / "blip_laion_cc_sbu_558k.json", folder / "images", *english)
    chinese = [("描述图片。", "一个红色的方块"), ("这是什么?", "桌上有一个绿色的方块")]
    llava_json(folder / "blip_laion_cc_sbu_558k_zh.json", folder / "images", *chinese)
    shutil.make_archive(str(folder / "images"), "zip", folder / "images")
    shutil.rmtree(folder / "images")


def test_a_caption_without_a_prompt_is_a_picture_and_its_caption(tmp_path: Path) -> None:
    llava_pretrain(tmp_path)
    folder = tmp_path / "llava-pretrain"
    (source,) = read_recipe(find_recipe("llava-1.5/pretrain"), []).sources
    dataset = open_data(
        folder / "blip_laion_cc_sbu_558k.json",
        format=source["format"],
        images=folder / "images.zip",
        options=source["options"],
    )
    assert [sample.messages[0].parts for sample in dataset] == [(Image(),), (Image(),)]
    assert next(iter(dataset)).messages[1].text == "a red square"


def belle_data(data: Path) -> None:
    llava_pretrain(data)
    corpora.draw(data / "flickr30k-images" / "1000092795.jpg")
    table = data / "flickr30k-cna" / "train" / "flickr30k_cna_train.txt"
    table.parent.mkdir(parents=True)
    table.write_text("1000092795#0\t两个年轻人站在外面\n1000092795#1\t两个男孩\n", encoding="utf-8")
    challenger = data / "ai-challenger"
    corpora.draw(challenger / "caption_train_images_20170902" / "a.jpg")
    record = {"image_id": "a.jpg", "caption": ["一个人在跑步", "男人跑步", "跑步的人", "一个人", "跑"]}
    corpora.put(challenger / "caption_train_annotations_20170902.json", [record])
    mixed = {"text": ("你好", "你好!")}
    llava_json(data / "llava-v1.5/llava_v1_5_mix665k.json", data / "llava-v1.5", ("What?", "A square."), **mixed)
    llava_json(data / "llava-v1.5/llava_v1_5_mix665k_zh.json", data / "llava-v1.5", ("什么?", "方块。"), **mixed)
    lrv = data / "lrv-instruction"
    llava_json(lrv / "lrv_instruction.json", lrv / "images", ("Is there a dog?", "No, there is no dog."))
    llava_json(lrv / "lrv_instruction_zh.json", lrv / "images", ("有狗吗?", "没有狗。"))
    llava_json(data / "llavar/llava_instruct_150k_llavar_16k.json", data / "llavar/images", ("Read it.", "SALE"))
    llava_json(data / "lvis-instruct4v/lvis_instruct4v_220k.json", data / "lvis-instruct4v", ("Count.", "One."))


def codefuse_data(data: Path) -> None:
    for name in ("synthdog-en", "synthdog-zh"):
        corpora.synthdog(data / name)
    for name, captions in {"cc3m": ["a cat", "a dog"], "cc3m-zh": ["一只猫"], "sbu": ["my old car"]}.items():
        caption_tar(data / name / "00000.tar", *captions)
    corpora.visual_genome(data / "visual-genome")
    corpora.ocr_vqa(data / "ocr-vqa")


def visualcla_data(data: Path) -> None:
    caption_tar(data / "zh-image-text" / "00000.tar", "一只猫在草地上", "桌上的苹果", "山", "海")
    folder = data / "visualcla"
    asked = [("图中有什么?", "一个方块。"), ("什么颜色?", "红色。")]
    llava_json(folder / "multimodal.json", folder / "images", *asked)
    alpaca = [{"instruction": "写一句诗", "input": "", "output": "春眠不觉晓"}]
    corpora.put(folder / "alpaca_zh.json", [*alpaca, {"instruction": "翻译", "input": "cat", "output": "猫"}])


def memes_data(data: Path) -> None:
    corpora.memes(data / "memes")
    llava_pretrain(data)


def qwen_weights(weights: Path) -> None:
    """Qwen-VL-Chat as published, and Qwen-14B-Chat: CodeFuse-VLM without the two folders of its other parts."""
    shutil.copytree(QWEN / "belle_vl_tiny", weights / "Qwen-VL-Chat")
    others = shutil.ignore_patterns("Qwen-VL-visual", "mm_projector")
    shutil.copytree(QWEN / "codefuse_vlm_tiny", weights / "Qwen-14B-Chat", ignore=others)


def visualcla_weights(weights: Path) -> None:
    shutil.copytree(VISUALCLA / "text_model", weights / "chinese-alpaca-plus-7b")
    shutil.copytree(VISUALCLA / "vision_model", weights / "clip-vit-large-patch14")


def chinese_clip_weights(weights: Path) -> None:
    """Chinese-CLIP with both towers in a pickle, and Qwen2 without the token that LLaVA adds."""
    whole = json.loads((LLAVA / "base" / "config.json").read_text(encoding="utf-8"))
    files = WeightFiles.find(LLAVA / "base")
    clip = weights / "chinese-clip-vit-large-patch14-336px"
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8}
    towers = {"vision_config": whole["vision_config"], "text_config": text, "projection_dim": 32}
    corpora.put(clip / "config.json", {"model_type": "chinese_clip", **towers})
    vision = {name.removeprefix("vision_tower."): files[name] for name in files if name.startswith("vision_tower.")}
    torch.save({**vision, "logit_scale": torch.zeros(())}, clip / "pytorch_model.bin")
    qwen2 = weights / "Qwen2-7B-Instruct"
    corpora.put(qwen2 / "config.json", {**whole["text_config"], "architectures": ["Qwen2ForCausalLM"]})
    language = [name for name in files if name.startswith("language_model.")]
    save_file({name.removeprefix("language_model."): files[name] for name in language}, qwen2 / "model.safetensors")
    tokenizer = json.loads((LLAVA / "base" / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<image>"]
    corpora.put(qwen2 / "tokenizer.json", tokenizer)
    corpora.put(qwen2 / "tokenizer_config.json", {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def memes_and_pairs(data: Path) -> None:
    memes_data(data)
    folder = data / "rlaif-v"
    answers = [("Two red squares.", "A dog."), ("一个方块。", "一只猫在桌上。")]
    corpora.draw(folder / "a.jpg")
    rows = [
        {"image": "a.jpg", "question": f"What is this? {number}", "chosen": chosen, "rejected": rejected}
        for number, (chosen, rejected) in enumerate(answers * 3)
    ]
    corpora.put_lines(folder / "pairs.jsonl", rows)


# What a toy differs in from the recipe: the length of rows and how many are in a batch, and numbers kept exactly.
TOY = ["workers=0", "save_precision=fp32", "distribution.type=ddp"]
SMALL = ["sequences=1", "accumulate=1", "max_length=768"]


@dataclass(frozen=True)
class System:
    """A system's recipes, with what a toy of it needs.

    Attributes:
        recipes: in order.
        weights: puts small parts where the recipes look for them.
        data: puts small data where the recipes look for it.
        layout: that its models are exported to.
        overrides: of all its recipes.
        of: overrides of one of them.
        adapted: whether the last stage leaves an adapter.
    """

    recipes: tuple[str, ...]
    weights: Callable[[Path], None]
    data: Callable[[Path], None]
    layout: str
    overrides: tuple[str, ...] = ()
    of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    adapted: bool = True


SYSTEMS = {
    "belle-vl": System(
        ("belle-vl/pretrain", "belle-vl/finetune"),
        qwen_weights,
        belle_data,
        "qwen-vl",
        overrides=("model.image_policy.size=112",),
        adapted=False,
    ),
    "codefuse-vlm": System(
        ("codefuse-vlm/pretrain", "codefuse-vlm/finetune"),
        qwen_weights,
        codefuse_data,
        "codefuse-vlm",
        overrides=("model.image_policy.size=112",),
    ),
    "visualcla": System(
        ("visualcla/pretrain", "visualcla/finetune"),
        visualcla_weights,
        visualcla_data,
        "visualcla",
        overrides=("model.connector.num_heads=6",),
        of={"visualcla/finetune": ("sources.0.count=3", "sources.1.count=4")},
    ),
    "llava-chinese-clip": System(
        ("llava-chinese-clip/finetune",),
        chinese_clip_weights,
        memes_data,
        "llava",
        overrides=("model.image_policy.size=84", "stages.0.modules.language.base=fp32"),
    ),
    "llava-chinese-clip-dpo": System(
        ("llava-chinese-clip/finetune", "llava-chinese-clip/dpo"),
        chinese_clip_weights,
        memes_and_pairs,
        "llava",
        overrides=("model.image_policy.size=84", "stages.0.modules.language.base=fp32"),
    ),
    "llava-chinese-clip-two-stage": System(
        ("llava-chinese-clip/two-stage",),
        chinese_clip_weights,
        memes_data,
        "llava",
        overrides=(
            "model.image_policy.size=84",
            "stages.0.modules.language.base=fp32",
            "stages.1.modules.language.base=fp32",
        ),
    ),
}


def training(system: System) -> list[list[Any]]:
    """The command lines that train a toy of a system, each from what the one before leaves."""
    lines = []
    for name in system.recipes:
        stages = len(read_recipe(find_recipe(name), []).stages)
        small = [f"stages.{number}.{setting}" for number in range(stages) for setting in SMALL]
        own = [*TOY, *small, *system.overrides, *system.of.get(name, ())]
        lines.append(["train", name, *own])
    return lines


def benchmark(folder: Path) -> None:
    """Two questions of our own, in the form of the benchmark ``folder``."""
    corpora.draw(folder / "folder" / "a.jpg")
    rows = [
        {"id": "1", "image": "a.jpg", "question": "有猫吗?", "answer": "没有", "metric": "exact"},
        {"id": "2", "image": "a.jpg", "question": "什么颜色?", "answer": "红", "metric": "exact"},
    ]
    corpora.put_lines(folder / "folder" / "questions.jsonl", rows)


@pytest.mark.slow
@needs_fixtures
def test_training_goes_on_from_what_can_be_chatted_with(tmp_path: Path) -> None:
    """A published folder, a delta on two folders, and LLaVA-1.5's two prompts and image policies."""
    visualcla_weights(tmp_path / "weights")
    visualcla_data(tmp_path / "data")
    llava_pretrain(tmp_path / "data")
    shutil.copytree(tmp_path / "weights" / "clip-vit-large-patch14", tmp_path / "weights/clip-vit-large-patch14-336")
    shutil.copytree(tmp_path / "weights" / "chinese-alpaca-plus-7b", tmp_path / "weights/vicuna-7b-v1.5")
    small = [*TOY, "stages.0.max_length=768", "model.image_policy.size=224"]
    counts = ["sources.0.count=3", "sources.1.count=4", "stages.0.sequences=1"]
    mixture = "data/llava-v1.5"
    llava_json(tmp_path / mixture / "llava_v1_5_mix665k.json", tmp_path / mixture, ("What?", "A square."))
    ask = ["What?", "--greedy", "--max-new-tokens", 3, "--json"]
    said = run_lines(
        [
            ["train", "visualcla/finetune", *TOY, *counts, f"model={VISUALCLA / 'merged'}", "--out", "runs/merged"],
            [
                *("train", "visualcla/finetune", *TOY, *counts, f"model.weights={VISUALCLA / 'delta'}"),
                *("model.connector.num_heads=6", "--out", "runs/delta"),
            ],
            ["train", "llava-1.5/pretrain", *small, "stages.0.groups=2", "stages.0.steps=2"],
            ["chat", "runs/llava-1.5-pretrain/model", *ask],
            ["train", "llava-1.5/finetune", *small, "stages.0.sequences=1", "stages.0.accumulate=1"],
            ["chat", "runs/llava-1.5-finetune/model", *ask],
        ],
        tmp_path,
    )
    for run in ("merged", "delta"):
        assert json.loads((tmp_path / "runs" / run / "metrics.jsonl").read_text().splitlines()[-1])["step"] >= 1
    plain, vicuna = json.loads(said[3]), json.loads(said[5])
    assert len(vicuna["prompt_ids"]) > len(plain["prompt_ids"]) + 20


@pytest.mark.slow
@needs_fixtures
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_toy_of_each_system_is_trained_merged_measured_and_exported(name: str, tmp_path: Path) -> None:
    system = SYSTEMS[name]
    system.weights(tmp_path / "weights")
    system.data(tmp_path / "data")
    benchmark(tmp_path / "bench")
    picture = corpora.draw(tmp_path / "图.png")
    runs = [Path("runs") / recipe.replace("/", "-") for recipe in system.recipes]
    model = runs[-1] / "model"
    ask = ["这是什么?", "--image", picture, "--greedy", "--max-new-tokens", 6, "--json"]
    lines = training(system)
    # What the last stage started from.
    recipe = read_recipe(find_recipe(system.recipes[-1]), [])
    if len(recipe.stages) > 1:
        start: Path = runs[-1] / "stages" / recipe.stages[0].name
    elif len(runs) > 1:
        start = runs[-2] / "model"
    else:
        start = Path("start")
        lines.append(["build", find_recipe(system.recipes[-1]), start, *system.overrides[:1]])
    if not system.adapted:
        lines.append(["delta", model, "delta", "--base", start])
    adapter = model / "adapter" if system.adapted else Path("delta")
    lines += [
        ["merge", "merged", "--adapter", adapter, "--base", start],
        ["chat", model, *ask],
        ["eval", model, "--bench", "folder", "--data", "bench", "--out", "results", "--batch-size", 2],
        ["export", model, "exported", "--to", system.layout],
        ["chat", "exported", *ask],
    ]
    said = run_lines(lines, tmp_path)
    trained = load_file(tmp_path / model / "model.safetensors")
    merged = WeightFiles.find(tmp_path / "merged")
    assert set(trained) == set(merged)
    for key, value in trained.items():
        torch.testing.assert_close(merged[key], value, rtol=1e-5, atol=1e-5, msg=key)
    answer, exported = json.loads(said[-4]), json.loads(said[-1])
    assert answer["token_ids"]
    assert (exported["prompt_ids"], exported["token_ids"]) == (answer["prompt_ids"], answer["token_ids"])
    assert "exact" in said[-3]
