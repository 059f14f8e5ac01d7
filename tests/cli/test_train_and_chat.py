"""`tuwen train`, `build`, `describe` and `chat`, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file

import tuwen
from tests.conftest import refused, run_cli
from tuwen.checkpoints.folder import load_model
from tuwen.train.recipe import Recipe


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "图 1.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def test_a_run_leaves_everything_that_made_it(toy_run: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load((toy_run / "recipe.yaml").read_text(encoding="utf-8")))
    assert [stage.name for stage in recipe.stages] == ["align", "instruct"]
    assert json.loads((toy_run / "environment.json").read_text(encoding="utf-8"))["tuwen"] == tuwen.__version__
    lines = [json.loads(line) for line in (toy_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("align", 1),
        ("align", 2),
        ("instruct", 1),
        ("instruct", 2),
        ("instruct", 3),
    ]
    assert set(lines[0]["lr"]) == {"vision", "connector", "language"}
    assert set(lines[-1]["lr"]) == {"connector", "language"}
    assert not list(toy_run.rglob(".*partial*"))


def test_only_what_the_recipe_trains_has_changed(toy_run: Path) -> None:
    before = load_file(toy_run / "stages" / "align" / "model.safetensors")
    after = load_file(toy_run / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("model.connector.") for name in changed)
    language = {name for name in changed if name.startswith("model.language_model.")}
    assert language == {f"model.language_model.layers.0.self_attn.{target}_proj.weight" for target in ("q", "v")}
    assert not any(name.startswith("model.vision_tower.") for name in changed)


def test_peft_opens_the_adapter_and_it_equals_the_merged_model(toy_run: Path) -> None:
    merged = load_model(toy_run / "model").model
    base = load_model(toy_run / "stages" / "align").model
    adapted = PeftModel.from_pretrained(base, str(toy_run / "model" / "adapter")).eval()
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


def test_the_model_after_each_stage_is_a_model_too(toy_run: Path, picture: Path) -> None:
    answer = tuwen.load(toy_run / "stages" / "align").chat("什么?", [picture], max_new_tokens=3)
    assert len(answer.token_ids) <= 3


def test_same_seed_same_weights(toy_run: Path, toy_recipe: Path, tmp_path: Path) -> None:
    result = run_cli("train", toy_recipe, "--out", tmp_path / "again", "workers=1")
    assert result.returncode == 0, result.stderr
    one = load_file(toy_run / "model" / "model.safetensors")
    other = load_file(tmp_path / "again" / "model" / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_accumulated_equals_one_large_batch(toy_run: Path, toy_recipe: Path, tmp_path: Path) -> None:
    result = run_cli("train", toy_recipe, "--out", tmp_path / "big", "stages.1.accumulate=1", "stages.1.groups=4")
    assert result.returncode == 0, result.stderr
    one = [json.loads(line) for line in (toy_run / "metrics.jsonl").read_text().splitlines()]
    other = [json.loads(line) for line in (tmp_path / "big" / "metrics.jsonl").read_text().splitlines()]
    for mine, theirs in zip(one[2:], other[2:], strict=True):
        assert mine["answers"] == pytest.approx(theirs["answers"], rel=1e-5)
        assert mine["grad norm"] == pytest.approx(theirs["grad norm"], rel=1e-4)


def test_plan_says_what_is_trained_and_makes_nothing(toy_recipe: Path, tmp_path: Path) -> None:
    result = run_cli("train", toy_recipe, "--plan", "--out", tmp_path / "no")
    assert result.returncode == 0, result.stderr
    for word in ("stage align", "stage instruct", "frozen", "lora", "optimiser", "together"):
        assert word in result.stdout
    assert not (tmp_path / "no").exists()


def test_chat_json_and_python_agree(toy_run: Path, picture: Path) -> None:
    model = toy_run / "model"
    result = run_cli("chat", model, "图里有几个图形?", "--image", picture, "--greedy", "--max-new-tokens", 5, "--json")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    answer = tuwen.load(model).chat("图里有几个图形?", [picture], greedy=True, max_new_tokens=5)
    assert values["token_ids"] == answer.token_ids
    assert values["prompt_ids"] == answer.prompt_ids
    assert values["text"] == answer.text
    assert values["boxes"] == []


def test_conversation_in_the_terminal(toy_run: Path, picture: Path, tmp_path: Path) -> None:
    saved = tmp_path / "chat.json"
    lines = [
        "/image nothing.png",
        f"/image {picture}",
        "这是什么?",
        "/imag",
        f"/save {saved}",
        "/reset",
        "/help",
        "/exit",
    ]
    result = run_cli("chat", toy_run / "model", "--max-new-tokens", 4, stdin="\n".join(lines) + "\n")
    assert result.returncode == 0, result.stderr
    assert "nothing.png: cannot be read" in result.stdout
    assert "did you mean '/image'" in result.stdout
    turns = json.loads(saved.read_text(encoding="utf-8"))
    assert [turn["role"] for turn in turns] == ["user", "assistant"]
    assert turns[0]["content"] == [{"type": "image"}, {"type": "text", "text": "这是什么?"}]


def test_describe(toy_run: Path) -> None:
    result = run_cli("describe", toy_run / "model")
    assert result.returncode == 0, result.stderr
    for word in ("tuwen_conv_vit", "mlp", "llama", "336x336: 16", "<|im_start|>user"):
        assert word in result.stdout


def test_build_then_train_from_the_folder(toy_recipe: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("红色的圆形\nred circle\n" * 50, encoding="utf-8")
    built = tmp_path / "built"
    result = run_cli("build", toy_recipe, built, f"model.tokenizer.train.files=[{corpus}]")
    assert result.returncode == 0, result.stderr
    result = run_cli(
        "train", toy_recipe, "--out", tmp_path / "run", f"model={built}", "stages.0.steps=1", "stages.1.steps=1"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "run" / "model" / "tokenizer.json").read_bytes() == (built / "tokenizer.json").read_bytes()
    assert "already exists" in refused("build", toy_recipe, built)


def test_build_takes_weights_from_folders(toy_run: Path, tmp_path: Path) -> None:
    folder = load_model(toy_run / "model")
    from transformers import CLIPConfig, CLIPModel, Qwen2Config, Qwen2ForCausalLM

    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPModel(
        CLIPConfig(vision_config={**small, "image_size": 32, "patch_size": 16}, text_config={**small, "vocab_size": 99})
    )
    clip.save_pretrained(tmp_path / "clip")
    rows = len(folder.processor.tokenizer) - 2
    language = Qwen2ForCausalLM(Qwen2Config(**small, num_key_value_heads=2, vocab_size=rows, tie_word_embeddings=True))
    language.save_pretrained(tmp_path / "qwen2")
    folder.processor.tokenizer.save_pretrained(tmp_path / "qwen2")
    recipe = tmp_path / "own.yaml"
    parts = {
        "vision": {"path": str(tmp_path / "clip")},
        "connector": {"type": "linear"},
        "language": {"path": str(tmp_path / "qwen2")},
        "image_policy": {"type": "center_crop", "size": 32},
    }
    recipe.write_text(yaml.safe_dump({"model": parts}), encoding="utf-8")
    result = run_cli("build", recipe, tmp_path / "own")
    assert result.returncode == 0, result.stderr
    built = load_model(tmp_path / "own").model
    for name, value in clip.vision_model.state_dict().items():
        assert torch.equal(built.model.vision_tower.state_dict()[name.removeprefix("vision_model.")], value)
    embeddings = built.get_input_embeddings().weight
    assert torch.equal(embeddings[:rows], language.get_input_embeddings().weight)
    assert embeddings.shape[0] == rows + 2
    assert built.lm_head.weight is embeddings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.step=3", "stages.0.step: unknown key 'step'.*did you mean 'steps'"),
        ("stages.0.steps=many", "stages.0.steps: Input should be a valid integer.*found 'many'"),
        ("model.connector.type=mlpp", "unknown connector 'mlpp'.*did you mean 'mlp'"),
        ("model.connector={type: identity}", "stages.*|connector identity"),
        ("model.connector={type: resampler, num_heads: 4}", "connector 'resampler' does not keep the grid"),
        ("model.language.config.model_type=lama", "model.language.config.model_type: 'lama' is not known"),
        ("model.language.config.hidden=32", "model.language.config.hidden: llama has no such setting"),
        ("model.vision={}", "model.vision: give exactly one of path .* and config"),
        ("model.vision={path: nowhere}", "model.vision.path: nowhere: not found"),
        ("model.image_policy.size=8", "tiles of 8x8 pixels are smaller than the vision encoder's patches of 16x16"),
        ("sources.0.type=sinth", "unknown data source 'sinth'.*did you mean 'synth'"),
        ("sources.0.suites={shaps: 1}", "unknown synthesis suite 'shaps'.*did you mean 'shapes'"),
        ("sources.0={type: data, path: no.json}", "no.json: not found"),
        ("stages.0.modules.vision.mode=frozen", "stages.0.modules.vision: learning_rate has no effect on a frozen"),
        ("stages.1.modules.language.lora.targets=[qq]", "no linear layer is called 'qq'; there are .*q_proj"),
        ("stages.1.name=align", "stages.1.name: 'align' is the name of an earlier stage"),
        ("stages.0.objectives={answer: 1}", "stages.0.objectives"),
        ("trackers=[swanlab]", "trackers: swanlab is not installed"),
        ("precision=fp8", "precision: Input should be 'fp32' or 'bf16', found 'fp8'"),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(override: str, message: str, toy_recipe: Path, tmp_path: Path) -> None:
    import re

    assert re.search(message, refused("train", toy_recipe, "--out", tmp_path / "run", override))
    assert not (tmp_path / "run" / "model").exists()


def test_other_mistakes_are_one_line(toy_run: Path, toy_recipe: Path, tmp_path: Path, picture: Path) -> None:
    model = toy_run / "model"
    assert "no.png: cannot be read" in refused("chat", model, "什么?", "--image", "no.png")
    assert "nowhere: not found; give a model folder" in refused("chat", "nowhere", "什么?")
    assert "it has no config.json" in refused("describe", tmp_path)
    assert "temperature: Input should be greater than 0" in refused("chat", model, "什么?", "--temperature", "0")
    assert "--json needs a PROMPT" in refused("chat", model, "--json")
    message = refused("train", "quikstart")
    assert "no such file; give a recipe's path, or one of belle-vl/finetune" in message
    assert message.endswith("did you mean quickstart?")
    assert "holds an earlier run" in refused("train", toy_recipe, "--out", toy_run)
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors: cannot be read as safetensors" in refused("chat", broken, "什么?")
    (broken / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    assert "model_type is 'llama', expected 'tuwen'" in refused("describe", broken)


def test_a_full_disk_leaves_nothing_half_written(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from tuwen.checkpoints.folder import save_model
    from tuwen.config import TuwenError

    folder = load_model(toy_run / "model")
    out = tmp_path / "model"
    save_model(folder.model, folder.processor, out)
    before = (out / "model.safetensors").read_bytes()

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(folder.processor), "save_pretrained", full)
    with pytest.raises(TuwenError, match="cannot be written .No space left on device.; nothing was left behind"):
        save_model(folder.model, folder.processor, out)
    assert (out / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
