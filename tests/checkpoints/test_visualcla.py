"""VisualCLA-7B: opened merged or as its delta, answered and written back as the original does."""

from __future__ import annotations

import json
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.convert import convert, export
from tuwen.checkpoints.folder import ModelFolder, stored_state
from tuwen.checkpoints.layouts._visualcla_files import part_of
from tuwen.checkpoints.layouts.base import recognise
from tuwen.checkpoints.layouts.visualcla import VisualCLA, composition, rules
from tuwen.checkpoints.opening import load_published, open_model, read_folder, read_parts
from tuwen.checkpoints.renames import published_shapes
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError

HERE = Path(__file__).parents[2] / "../shared/fixtures/visualcla_llava"
TINY, REAL = HERE / "visualcla_tiny", HERE / "reference_configs"
pytestmark = pytest.mark.skipif(not TINY.is_dir(), reason="no ../shared/fixtures beside the repository")
MERGED, PARTS = TINY / "merged", (TINY / "delta", TINY / "text_model", TINY / "vision_model")
CASES = (
    "h0_zh_img", "h0_en_img", "h0_ws_img", "h1_zh_img", "h2_zh_img",
    "h0_zh_placeholder_noimg", "h1_zh_textonly", "h2_en_textonly", "h1_zh_textonly_with_pixels",
)  # fmt: skip
IMAGES = ("shapes_320x240.png", "tall_150x410_rgba.png", "gray_97x64.png", "palette_256x256.png")
GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": 24}
PLAIN = {**GREEDY, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


@cache
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TINY / "expected.json").read_text(encoding="utf-8"))
    return found


@cache
def numbers() -> dict[str, np.ndarray]:
    with np.load(TINY / "expected.npz") as stored:
        return dict(stored)


def case_of(name: str) -> dict[str, Any]:
    return next(case for case in expected()["cases"] if case["name"] == name)


@pytest.fixture(scope="module", params=["merged", "delta", "converted"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    if request.param == "merged":
        return open_model(MERGED, dtype=torch.float32)
    if request.param == "delta":
        return load_published(read_parts(*PARTS), dtype=torch.float32)
    own = tmp_path_factory.mktemp("visualcla") / "own"
    convert(read_folder(MERGED), own)
    return open_model(own, dtype=torch.float32)


def pixels(folder: ModelFolder, name: str) -> Tensor:
    policy = folder.processor.policy
    return torch.from_numpy(policy.apply(policy.open(HERE / "images" / name)))


def messages_of(case: dict[str, Any]) -> list[Message]:
    turns = [
        Message.of(
            "user" if turn["type"] == "instruction" else "assistant",
            *([Image()] if turn.get("first_instruction") else []),
            turn["value"],
        )
        for turn in case["history"]
    ]
    # A conversation without a history always has the picture's block.
    return [*turns, Message.of("user", *([] if turns else [Image()]), case["text"])]


def rendered_ids(folder: ModelFolder, case: dict[str, Any]) -> list[int]:
    messages = messages_of(case)
    pictures = sum(isinstance(part, Image) for message in messages for part in message.parts)
    return folder.processor.renderer.render(messages, [64] * pictures, add_generation_prompt=True).input_ids


def prompt_of(folder: ModelFolder, case: dict[str, Any]) -> dict[str, Tensor]:
    """The prompt; a picture that no place waits for is ignored by the original and not given here."""
    inputs = {"input_ids": torch.tensor([case["input_ids"]])}
    if case["image"] and folder.processor.image_token_id in case["input_ids"]:
        inputs["pixel_values"] = pixels(folder, case["image"])
    return inputs


def embedded(folder: ModelFolder, case: dict[str, Any]) -> dict[str, Tensor]:
    """The prompt as embeddings, with which the penalties see the answer alone."""
    inputs = prompt_of(folder, case)
    model, ids = folder.model, inputs["input_ids"]
    if "pixel_values" not in inputs:
        embeddings = model.get_input_embeddings()(ids)
    else:
        embeddings = model.model.embed(ids, model.get_image_features(inputs["pixel_values"]).pooler_output)
    return {"inputs_embeds": embeddings, "attention_mask": torch.ones_like(ids)}


def close(found: Tensor, wanted: str, tolerance: float) -> None:
    torch.testing.assert_close(found.detach(), torch.from_numpy(numbers()[wanted]), atol=tolerance, rtol=0)


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_of_a_picture(folder: ModelFolder, image: str) -> None:
    model, seen = folder.model, {}
    connector = model.model.connector
    hooks = [
        model.model.vision_tower.encoder.layers[-1].register_forward_hook(
            lambda module, arguments, out: seen.update(last=out[0] if isinstance(out, tuple) else out)
        ),
        connector.layers[0].register_forward_hook(lambda module, arguments, out: seen.update(first=out)),
        connector.projection.register_forward_hook(lambda module, arguments, out: seen.update(out=arguments[0])),
    ]
    pixel_values = pixels(folder, image)
    close(pixel_values, f"pixel_values/{image}", 1e-6)
    with torch.no_grad():
        features = model.get_image_features(pixel_values)
    for hook in hooks:
        hook.remove()
    if image == IMAGES[0]:
        close(seen["last"][0], f"vision_last_hidden/{image}", 2e-5)
    close(features.last_hidden_state[0], f"vision_post_layernorm/{image}", 2e-5)
    close(seen["first"][0], f"resampler_hidden_1/{image}", 2e-5)
    close(seen["out"][0], f"resampler_out/{image}", 1.5e-5)
    close(features.pooler_output[0], f"projected/{image}", 2e-5)


@pytest.mark.parametrize("name", CASES)
def test_prompts_logits_and_answers(folder: ModelFolder, name: str) -> None:
    case, model = case_of(name), folder.model
    assert rendered_ids(folder, case) == case["input_ids"]
    with torch.no_grad():
        inputs = prompt_of(folder, case)
        logits = model(**inputs).logits[0, -8:]
        close(logits, f"logits_last8/{name}", 2e-4)
        close(logits, f"logits_last8_unmerged/{name}", 2e-4)
        ids = inputs["input_ids"]
        answer = model.generate(**inputs, attention_mask=torch.ones_like(ids), **PLAIN)[0, ids.shape[1] :].tolist()
        assert answer == case["greedy_new_tokens"]
        assert folder.processor.tokenizer.decode(answer, skip_special_tokens=True) == case["greedy_text_skip_special"]


@pytest.mark.parametrize("name", CASES)
def test_penalties_see_the_answer_alone(folder: ModelFolder, name: str) -> None:
    case, model = case_of(name), folder.model
    assert model.generation_config.penalise_prompt is False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = model.generate(**embedded(folder, case), **GREEDY)[0].tolist()
    assert answer == case["penalised_greedy_new_tokens"]


def test_generation_defaults_give_the_originals_probabilities(folder: ModelFolder) -> None:
    for wanted in expected()["first_step_sampling"]:
        inputs = embedded(folder, case_of(wanted["case"]))
        arguments = {"max_new_tokens": 1, "output_scores": True, "return_dict_in_generate": True}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            probabilities = folder.model.generate(**inputs, **arguments).scores[0][0].softmax(-1)
        assert probabilities.nonzero().flatten().tolist() == wanted["ids"]
        torch.testing.assert_close(probabilities[wanted["ids"]], torch.tensor(wanted["probs"]), atol=1e-3, rtol=0)
    assert folder.model.generation_config.max_new_tokens == 512
    assert folder.model.generation_config.pad_token_id == 2843


def test_an_answer_ends_at_the_end_token(folder: ModelFolder) -> None:
    wanted = expected()["early_stop"]
    inputs = prompt_of(folder, case_of(wanted["case"]))
    length = inputs["input_ids"].shape[1]
    arguments = {**PLAIN, "eos_token_id": wanted["eos_token_id"]}
    with torch.no_grad():
        output = folder.model.generate(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]), **arguments)
    # The original's output begins with a token of its own.
    assert output[0, length:].tolist() == wanted["greedy_raw_output"][1:]


def test_training_sees_the_same_ids_labels_and_loss(folder: ModelFolder) -> None:
    for wanted in expected()["labels"]:
        messages = [*messages_of(case_of(wanted["case"])), Message.of("assistant", wanted["response"])]
        rendered = folder.processor.renderer.render(messages, [64], need_labels=True)
        assert rendered.input_ids == wanted["input_ids"]
        assert rendered.labels == wanted["labels"]
        inputs = {"input_ids": torch.tensor([rendered.input_ids]), "labels": torch.tensor([rendered.labels])}
        with torch.no_grad():
            loss = folder.model(**inputs, pixel_values=pixels(folder, wanted["image"])).loss
        assert abs(float(loss) - wanted["loss"]) < 1e-4


def test_the_prompt_is_the_originals_byte_for_byte(folder: ModelFolder) -> None:
    for name in CASES:
        case = case_of(name)
        messages = messages_of(case)
        lengths = [64] * any(isinstance(part, Image) for part in messages[0].parts)
        text = folder.processor.renderer.render(messages, lengths, add_generation_prompt=True).text
        assert text.replace("<img_token>", "<img_token>" * 64) == case["prompt_text"]


def test_one_picture_in_the_first_message(folder: ModelFolder) -> None:
    for messages, count in (
        ([Message.of("user", Image(), Image(), "?")], 2),
        ([Message.of("user", "a"), Message.of("assistant", "b"), Message.of("user", Image(), "?")], 1),
    ):
        with pytest.raises(TuwenError, match="this model takes one picture, in the first user message"):
            folder.processor.renderer.render(messages, [64] * count)


def test_the_delta_folded_is_the_merged_folder_bit_for_bit(tmp_path: Path) -> None:
    export(read_parts(*PARTS), tmp_path / "out", "visualcla")
    _assert_same_weights(tmp_path / "out")
    vocabulary = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    assert vocabulary == 2845


@pytest.mark.parametrize("vision", ["vision_encoder", "image_encoer"])
def test_export_writes_back_what_was_read(tmp_path: Path, vision: str) -> None:
    shutil.copytree(MERGED, tmp_path / "in")
    if vision != "vision_encoder":
        (tmp_path / "in" / "vision_encoder").rename(tmp_path / "in" / vision)
    convert(read_folder(tmp_path / "in"), tmp_path / "own")
    export(read_folder(tmp_path / "own"), tmp_path / "out", "visualcla")
    names = [str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*") if path.is_file()]
    assert sorted(names) == sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    for name in names:
        if not name.endswith(".bin"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes(), name
    _assert_same_weights(tmp_path / "out")


def _assert_same_weights(out: Path) -> None:
    """All 190 tensors, those that no model computes with too, in the same files."""
    weights, found = VisualCLA().read(MERGED).files, VisualCLA().read(out).files
    assert set(found) == set(weights)
    assert len(weights) == 190
    for name in weights:
        assert found[name].dtype == weights[name].dtype, name
        assert torch.equal(found[name], weights[name]), name
        assert found.path(name).name == weights.path(name).name


def test_the_delta_reads_old_and_new_image_settings_alike() -> None:
    assert read_parts(*PARTS).processor.policy == read_folder(MERGED).processor.policy


def test_real_sizes(tmp_path: Path) -> None:
    def stored(name: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((REAL / name).read_text(encoding="utf-8"))
        return values

    whole = stored("visualcla_7b_merged.config.reconstructed.json")
    text = stored("visualcla_7b_merged.text_encoder.config.from_issue9.json")
    assert text["vocab_size"] == 49954
    config = composition(whole, text, whole["vision_config"], weights=WeightFiles(tmp_path, []))
    wanted = {
        name: (part, tuple(shape))
        for part, shapes in stored("visualcla_7b_merged.key_shapes.json").items()
        for name, shape in shapes.items()
    }
    state = stored_state(config)
    used = {name for rule in rules(config, {}) for name in rule.theirs}
    unused = {name: torch.empty(wanted[name][1], device="meta") for name in wanted if name not in used}
    assert all("inv_freq" in name or "position_ids" in name or "pooler" in name for name in unused)
    shapes = published_shapes(rules(config, unused), state)
    assert shapes == {name: shape for name, (_, shape) in wanted.items()}
    assert all(part_of(name).startswith(part) for name, (part, _) in wanted.items())
    assert {name for rule in rules(config, unused) for name in rule.ours} == set(state)


def test_folders_are_told_apart() -> None:
    assert isinstance(recognise(MERGED), VisualCLA)
    for part in PARTS[1:]:
        assert not VisualCLA().recognises(part)
    assert VisualCLA().recognises_delta(PARTS[0])
    assert not VisualCLA().recognises_delta(MERGED)
    with pytest.raises(TuwenError, match=r"adapter_config\.json: an adapter, not a whole model; give the folders"):
        read_folder(PARTS[0])


def test_what_the_layout_cannot_say_is_named(tmp_path: Path) -> None:
    published = read_folder(MERGED)
    published.config.vision_feature["select"] = "patch"
    with pytest.raises(TuwenError, match="vision_feature.select: 'patch' cannot be written as VisualCLA"):
        export(published, tmp_path / "out", "visualcla")
    with pytest.raises(TuwenError, match="connector_config: LLaVA-1.5 has an mlp of two layers"):
        export(read_folder(MERGED), tmp_path / "out", "llava")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("config.json", "visual_resampler_config", None, r"config\.json: visual_resampler_config: .*missing"),
        ("config.json", "vocab_size", 2841, r"config\.json: vocab_size: found 2841, but the tokenizer has 2845"),
        ("tokenizer_config.json", "legacy", False, r"tokenizer_config\.json: legacy: found false"),
        ("added_tokens.json", "<img>", 7, r"added_tokens\.json: '<img>': found 7, expected an id from 2841"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, file: str, key: str, value: Any, message: str) -> None:
    shutil.copytree(MERGED, tmp_path / "in")
    values = json.loads((tmp_path / "in" / file).read_text(encoding="utf-8"))
    values[key] = value
    (tmp_path / "in" / file).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(TuwenError, match=message) as caught:
        read_folder(tmp_path / "in")
    assert "\n" not in str(caught.value)
