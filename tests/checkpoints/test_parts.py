"""Parts out of folders of every kind are the published ones; models put together from them read as the originals."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from tests.conftest import TOY
from tuwen.chat.messages import Image, Message
from tuwen.chat.templates import TEMPLATES
from tuwen.checkpoints.build import absent_parts, build_model, plan_model, plan_processor
from tuwen.checkpoints.folder import save_model
from tuwen.checkpoints.opening import in_our_names, open_model, read_folder, read_parts
from tuwen.checkpoints.parts import stored_language, stored_tokenizer, stored_vision
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError, parse_config
from tuwen.models.recipe import ModelRecipe

FIXTURES = Path(__file__).parents[2].parent / "shared" / "fixtures"
QWEN, OTHERS = FIXTURES / "qwen_vl", FIXTURES / "visualcla_llava"
BELLE, CODEFUSE = QWEN / "belle_vl_tiny", QWEN / "codefuse_vlm_tiny"
VISUALCLA, LLAVA = OTHERS / "visualcla_tiny", OTHERS / "llava_chinese_clip_tiny"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"the fixtures are not there: {FIXTURES}")
VISION, LANGUAGE = "model.vision_tower.", "model.language_model."
CONNECTORS = {"connector": {"type": "mlp"}, "image_policy": {"type": "square", "size": 84}}


def qwen1_alone(folder: Path, whole: Path = BELLE) -> Path:
    """A language model of Qwen-1, as Qwen-14B-Chat is published."""
    folder.mkdir()
    shutil.copy(whole / "qwen.tiktoken", folder)
    values = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    values.pop("visual", None)
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    files = WeightFiles.find(whole)
    names = [name for name in files if ".visual." not in name]
    torch.save({name: files[name].clone() for name in names}, folder / "pytorch_model.bin")
    return folder


def chinese_clip(folder: Path) -> Path:
    """Both towers in a pickle, as Chinese-CLIP is published."""
    folder.mkdir()
    vision = json.loads((LLAVA / "base" / "config.json").read_text(encoding="utf-8"))["vision_config"]
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8}
    values = {"model_type": "chinese_clip", "vision_config": vision, "text_config": text, "projection_dim": 32}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    files = WeightFiles.find(LLAVA / "base")
    tower = {name.removeprefix("vision_tower."): files[name] for name in files if name.startswith("vision_tower.")}
    torch.save({**tower, "logit_scale": torch.zeros(())}, folder / "pytorch_model.bin")
    return folder


def qwen2(folder: Path, *without: str) -> Path:
    """A language model of Qwen2 with its tokenizer."""
    folder.mkdir()
    values = json.loads((LLAVA / "base" / "config.json").read_text(encoding="utf-8"))["text_config"]
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    files = WeightFiles.find(LLAVA / "base")
    names = [name for name in files if name.startswith("language_model.")]
    tensors = {name.removeprefix("language_model."): files[name] for name in names}
    save_file({name: tensor for name, tensor in tensors.items() if name not in without}, folder / "model.safetensors")
    shutil.copy(LLAVA / "base" / "tokenizer.json", folder)
    shutil.copy(LLAVA / "base" / "tokenizer_config.json", folder)
    return folder


def same(part: PreTrainedModel, whole: Path, prefix: str) -> None:
    """Make sure that a part has the weights, and their type, that it has in a whole model."""
    ours = in_our_names(read_folder(whole)).files
    state = (part if prefix == VISION else part.get_decoder()).state_dict()
    wanted = {name.removeprefix(prefix): name for name in ours if name.startswith(prefix)}
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name], ours[wanted[name]]) for name in state)
    assert {tensor.dtype for tensor in state.values()} == {ours.dtype(name) for name in wanted.values()}
    if prefix == LANGUAGE:
        assert torch.equal(part.get_output_embeddings().weight, ours["lm_head.weight"])


@pytest.mark.parametrize(
    ("folder", "whole"),
    [
        (lambda place: BELLE, BELLE),
        (lambda place: QWEN / "belle_vl_tiny_safetensors", BELLE),
        (lambda place: CODEFUSE, CODEFUSE),
        (lambda place: CODEFUSE / "Qwen-VL-visual", CODEFUSE),
        (lambda place: VISUALCLA / "merged", VISUALCLA / "merged"),
        (lambda place: LLAVA / "base", LLAVA / "base"),
        (chinese_clip, LLAVA / "base"),
    ],
)
def test_a_vision_encoder(folder: Callable[[Path], Path], whole: Path, tmp_path: Path) -> None:
    same(stored_vision(folder(tmp_path / "part"), "vision").load(), whole, VISION)


@pytest.mark.parametrize(
    ("folder", "whole"),
    [
        (lambda place: BELLE, BELLE),
        (qwen1_alone, BELLE),
        (lambda place: VISUALCLA / "merged", VISUALCLA / "merged"),
        (lambda place: LLAVA / "merged", LLAVA / "merged"),
        (qwen2, LLAVA / "base"),
    ],
)
def test_a_language_model(folder: Callable[[Path], Path], whole: Path, tmp_path: Path) -> None:
    same(stored_language(folder(tmp_path / "part"), "language").load(), whole, LANGUAGE)


def test_a_vision_tower_beside_another(tmp_path: Path) -> None:
    files = WeightFiles.find(VISUALCLA / "vision_model")
    tower = stored_vision(VISUALCLA / "vision_model", "vision").load().state_dict()
    assert all(torch.equal(value, files[f"vision_model.{name}"]) for name, value in tower.items())


def recipe_of(vision: Path, language: Path, **settings: Any) -> ModelRecipe:
    parts = {"vision": {"path": str(vision)}, "language": {"path": str(language)}}
    return parse_config(ModelRecipe, {**CONNECTORS, **parts, **settings}, "model")


def recipe_like(system: str, place: Path) -> tuple[ModelRecipe, Path]:
    """What one of the four systems is put together from, and a published folder of it."""
    qwen = {"connector": {"type": "cross_attention"}, "vision_feature": {"layers": [-1]}}
    square = {"type": "square", "transparency": "drop"}
    if system == "belle-vl":
        settings = {**qwen, "template": "qwen_vl", "image_policy": {**square, "size": 112}}
        return recipe_of(BELLE, qwen1_alone(place / "qwen"), **settings), BELLE
    if system == "codefuse-vlm":
        settings = {**qwen, "template": "codefuse_vlm", "image_policy": {**square, "size": 112}}
        return recipe_of(CODEFUSE / "Qwen-VL-visual", qwen1_alone(place / "qwen", CODEFUSE), **settings), CODEFUSE
    if system == "visualcla":
        settings = {
            "connector": {"type": "resampler", "num_heads": 6},
            "vision_feature": {"layers": [-1], "select": "all", "post_layernorm": True},
            "template": "visualcla",
            "image_policy": {"type": "center_crop", "size": 224, "transparency": "drop"},
        }
        return recipe_of(VISUALCLA / "vision_model", VISUALCLA / "text_model", **settings), VISUALCLA / "merged"
    settings = {"template": "llava_chatml", "image_policy": {**square, "size": 84}}
    return recipe_of(chinese_clip(place / "clip"), qwen2(place / "qwen2"), **settings), LLAVA / "base"


@pytest.mark.parametrize("system", ["belle-vl", "codefuse-vlm", "visualcla", "llava-chinese-clip"])
def test_a_model_of_the_parts_reads_what_the_published_one_reads(system: str, tmp_path: Path) -> None:
    recipe, folder = recipe_like(system, tmp_path)
    built, published = build_model(recipe), read_folder(folder)
    theirs = published.processor
    assert built.model.config.image_token_id == published.config.image_token_id
    assert built.model.config.image_span == published.config.image_span
    assert built.model.lm_head.weight.shape[0] >= len(built.processor.tokenizer) == len(theirs.tokenizer)
    assert set(built.model.generation_config.suppress_tokens) >= {published.config.image_token_id}
    picture = PIL.Image.new("RGB", (40, 30), "red")
    talk = [Message.of("user", Image(), "图里有 <ref>什么</ref>? <|im_end|>"), Message.of("assistant", "A square.")]
    talk += [Message.of("user", "再说一遍"), Message.of("assistant", "方块。")]
    for length in (1, 2, 3, 4):
        asked = {"add_generation_prompt": length % 2 == 1, "names": ["图.png"]}
        mine = built.processor.encode(talk[:length], [picture], **asked)
        wanted = theirs.encode(talk[:length], [picture], **asked)
        assert mine.rendered.input_ids == wanted.rendered.input_ids
        assert mine.rendered.labels == wanted.rendered.labels
        assert (mine.pixel_values == wanted.pixel_values).all()
    # As the plan has it before any weight is read.
    config = plan_model(recipe).config
    assert config.text_config.vocab_size == built.model.config.text_config.vocab_size
    assert plan_processor(recipe, config).tokens_per_tile == built.processor.tokens_per_tile


def test_new_rows_and_types_of_parts(tmp_path: Path) -> None:
    recipe, _ = recipe_like("visualcla", tmp_path)
    built = build_model(recipe).model
    old = WeightFiles.find(VISUALCLA / "text_model")["model.embed_tokens.weight"].float()
    assert torch.equal(built.get_input_embeddings().weight[: len(old)], old)
    assert built.get_input_embeddings().weight.shape[0] == len(old) + 4
    # fp16 and fp32 parts: all of them in fp32, which holds both.
    assert {tensor.dtype for tensor in built.parameters()} == {torch.float32}
    alike, _ = recipe_like("belle-vl", tmp_path)
    assert {tensor.dtype for tensor in build_model(alike).model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("template", TEMPLATES.names())
def test_a_new_tokenizer_has_all_that_a_template_writes(template: str) -> None:
    recipe = parse_config(ModelRecipe, {**TOY["model"], "template": template}, "model")
    built = build_model(recipe, ["What is in the picture? 图里有什么?"])
    entries = built.model.get_input_embeddings().weight.shape[0]
    assert len(built.processor.tokenizer) == entries <= plan_model(recipe).config.text_config.vocab_size
    rendered = built.processor.encode([Message.of("user", Image(), "a")], [PIL.Image.new("RGB", (9, 9))]).rendered
    assert [stop - start for start, stop in rendered.image_spans] == [built.processor.tokens_per_tile]


def test_a_model_may_start_from_the_weights_of_another(tmp_path: Path) -> None:
    recipe, _ = recipe_like("visualcla", tmp_path)
    first = build_model(recipe.model_copy(update={"template": "visualcla_plain"}))
    save_model(first.model, first.processor, tmp_path / "first")
    weights = {"weights": tmp_path / "first"}
    second = build_model(recipe.model_copy(update=weights))
    assert "Instruction" in second.processor.renderer.render([Message.of("user", "a")]).text
    state = second.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in first.model.state_dict().items())
    for change, message in [
        ({"connector": {"type": "mlp"}}, "model.connector.type: 'mlp', but the model in .* has 'resampler'"),
        ({"vision_feature": recipe.vision_feature.model_copy(update={"layers": [-2]})}, "vision_feature.layers"),
        ({"template": "qwen_vl"}, "qwen_vl writes .*<imgpad>.*, which the tokenizer in .* does not have"),
        ({"weights": tmp_path / "no"}, "model.weights: .*: not found; train what makes it first"),
    ]:
        with pytest.raises(TuwenError, match=message):
            build_model(recipe.model_copy(update={**weights, **change}))


def test_a_model_may_start_from_a_published_one_or_a_delta(tmp_path: Path) -> None:
    recipe, merged = recipe_like("visualcla", tmp_path)
    wanted = read_parts(VISUALCLA / "delta", VISUALCLA / "text_model", VISUALCLA / "vision_model")
    for weights, folder in ((VISUALCLA / "delta", wanted), (merged, read_folder(merged))):
        found = build_model(recipe.model_copy(update={"weights": weights})).model.state_dict()
        ours = in_our_names(folder).files
        assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_a_plan_needs_no_folders(tmp_path: Path) -> None:
    vision, language = TOY["model"]["vision"]["config"], {**TOY["model"]["language"]["config"], "vocab_size": 77}
    values = {
        "vision": {"path": str(tmp_path / "v"), "planned": vision},
        "language": {"path": str(tmp_path / "l"), "planned": language},
        "vision_feature": {"layers": [-1]},
        **CONNECTORS,
    }
    recipe = parse_config(ModelRecipe, values, "model")
    assert absent_parts(recipe) == [tmp_path / "v", tmp_path / "l"]
    assert plan_model(recipe).config.text_config.vocab_size == 77
    with pytest.raises(TuwenError, match="model.language.path: .*/l: not found"):
        build_model(recipe)
    values["language"].pop("planned")
    with pytest.raises(TuwenError, match="model.language.path: .*/l: not found"):
        plan_model(parse_config(ModelRecipe, values, "model"))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"path": "a", "config": {"model_type": "llama"}}, "give exactly one of path"),
        ({"config": {"model_type": "llama"}, "planned": {"model_type": "llama"}}, "planned has no effect with config"),
        ({"path": "a", "planned": {"hidden_size": 3}}, "planned.model_type: this key is required and missing"),
    ],
)
def test_settings_of_a_part_that_contradict_each_other(part: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        parse_config(ModelRecipe, {**CONNECTORS, "vision": {"path": "v"}, "language": part}, "model")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


def test_what_is_wrong_with_a_folder_is_one_line_and_nothing_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = qwen2(tmp_path / "code")
    (code / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}')
    (code / "evil.py").write_text("open('evil', 'w')")
    evil = qwen2(tmp_path / "evil_weights")
    (evil / "model.safetensors").unlink()
    (evil / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), 2))
    cut = qwen2(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:3000])
    other = qwen2(tmp_path / "other", "model.norm.weight")
    (tmp_path / "empty").mkdir()
    qwen = qwen1_alone(tmp_path / "qwen")
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: stored_language(code, "k").load(),
            "k: .*model_type 'evil' is not known; a folder's own code is never",
        ),
        (lambda: stored_language(evil, "k").load(), "pytorch_model.bin: .*nothing in it was run|cannot be read"),
        (lambda: stored_language(cut, "k").load(), "model.safetensors: cannot be read as safetensors"),
        (lambda: stored_language(other, "k").load(), "1 weights are missing: model.norm.weight"),
        (lambda: stored_language(VISUALCLA / "vision_model", "k"), "holds a clip, which is no causal language model"),
        (lambda: stored_language(VISUALCLA / "delta", "k"), "an adapter, not a whole model"),
        (lambda: stored_language(tmp_path / "empty", "k"), "k: .*/empty has no config.json"),
        (lambda: stored_vision(tmp_path / "no", "k"), "k: .*/no: not found"),
        (
            lambda: stored_vision(other, "k"),
            "k: .* holds no vision encoder that is known: unknown vision encoder 'qwen2'",
        ),
        (lambda: stored_vision(qwen, "k"), "k: .*model_type 'qwen' is not known"),
        (lambda: stored_tokenizer(tmp_path / "empty", "k"), "k: .*/empty holds no tokenizer; expected tokenizer.json"),
        (lambda: stored_tokenizer(tmp_path / "no", "k"), "k: .*/no: not found"),
    ]
    for call, message in cases:
        with pytest.raises(TuwenError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def test_a_trained_folder_gives_its_parts(toy_run: Path) -> None:
    model = toy_run / "model"
    whole = open_model(model).model
    vision = stored_vision(model, "vision").load().state_dict()
    assert all(torch.equal(value, vision[name]) for name, value in whole.model.vision_tower.state_dict().items())
    # Its output head is tied to its embeddings.
    language = stored_language(model, "language").load()
    assert language.get_output_embeddings().weight is language.get_input_embeddings().weight
    assert torch.equal(language.get_input_embeddings().weight, whole.get_input_embeddings().weight)
    assert len(stored_tokenizer(model, "tokenizer")) == whole.config.text_config.vocab_size
