"""Qwen-VL and Belle-VL: the original's ids, pixels, features, logits and answers, and its folder written back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file

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
from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.convert import convert, export
from tuwen.checkpoints.folder import ModelFolder
from tuwen.checkpoints.layouts.base import LAYOUTS, recognise
from tuwen.checkpoints.layouts.qwen_vl import QwenVL
from tuwen.checkpoints.opening import load_published, open_model, read_folder
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError
from tuwen.infer.vlm import VLM
from tuwen.models.positions import resize_positions
from tuwen.models.processing import Encoded

pytestmark = needs_fixtures
FOLDERS = ("belle_vl_tiny", "belle_vl_tiny_safetensors")
IMAGES = ("square", "wide", "tall", "rgba", "gray", "pal", "jpg", "zh", "one", "la")
PROMPTS = (
    "text_only_en", "text_only_zh", "text_history2", "image_square_en", "image_wide_zh", "image_rgba",
    "image_gray_raw", "image_zh_path", "two_images", "image_history1", "image_history2", "inject_special",
)  # fmt: skip
LONG = [f"long.ntk_logn.{length}" for length in (60, 64, 65, 100, 129, 150, 200)]
LONG += ["long.ntk_only.150", "long.logn_only.150", "long.off.150", "long.published_2048.150"]
LABEL = "Picture N: "


@pytest.fixture(scope="module")
def belle() -> ModelFolder:
    return opened("belle_vl_tiny")


def encoded(folder: ModelFolder, name: str) -> tuple[Encoded, torch.Tensor]:
    """A prompt of the fixtures through our own messages, names and template."""
    case = values("belle_expected")["prompts"][name]
    label = "" if name == "image_gray_raw" else LABEL
    turns = [text for turn in case["history"] for text in turn] + [case["query"]]
    split = [message(("user", "assistant")[place % 2], text, label) for place, text in enumerate(turns)]
    messages = [Message.of("system", case["system"]), *(one for one, _ in split)]
    paths = [path for _, names in split for path in names]
    rendered = folder.processor.renderer.render(
        messages,
        [256] * len(paths),
        image_ids=[folder.processor.image_name_ids(path, 256) for path in paths],
        add_generation_prompt=True,
        variables={"picture_label": label},
    )
    images = pixels(folder.processor, *paths) if paths else folder.processor.image_processor.no_pixels()
    tensor = torch.as_tensor(images)
    return Encoded(rendered, tensor.numpy(), (1,) * len(paths)), tensor


def inputs_of(one: tuple[Encoded, torch.Tensor]) -> dict[str, torch.Tensor]:
    inputs = {"input_ids": torch.tensor([one[0].rendered.input_ids])}
    return inputs | ({"pixel_values": one[1]} if len(one[1]) else {})


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folder_is_known_and_its_composition_read(name: str) -> None:
    layout = recognise(HERE / name)
    assert isinstance(layout, QwenVL)
    published = layout.read(HERE / name)
    config, generation = published.config, published.generation
    assert (config.text_config.model_type, config.vision_config.model_type) == ("tuwen_qwen1", "tuwen_qwen_vit")
    assert (config.image_token_id, config.image_span) == (1398, {"start": 1396, "end": 1397})
    assert published.dtype == torch.bfloat16
    assert generation["eos_token_id"] == [1184, 1183, 1182]
    assert (generation["top_k"], generation["top_p"], generation["max_new_tokens"]) == (0, 0.3, 512)
    assert generation["suppress_tokens"] == [1396, 1397, 1398]


def test_both_formats_hold_the_same_model(belle: ModelFolder) -> None:
    other = opened(FOLDERS[1]).model.state_dict()
    for key, tensor in belle.model.state_dict().items():
        assert torch.equal(tensor, other[key]), key


@pytest.mark.parametrize("name", IMAGES)
def test_pictures(belle: ModelFolder, name: str) -> None:
    expected, info = arrays("belle"), values("belle_expected")
    values_13HW = pixels(belle.processor, info["images"][name]["path"])
    tolerance = {"atol": 0.02, "rtol": 0.0} if name == "jpg" else PIXELS
    close(values_13HW[0], expected[f"image.{name}.pixel_values"], **tolerance)
    if name == "jpg":
        values_13HW = torch.from_numpy(expected[f"image.{name}.pixel_values"])[None]
    check_features(belle, values_13HW, f"image.{name}.")


def check_features(folder: ModelFolder, values_13HW: torch.Tensor, prefix: str) -> None:
    """All arrays of one picture whose names start with ``prefix``."""
    expected, rows = arrays("belle"), values("belle_expected")["visual_rows"]
    caught: dict[str, torch.Tensor] = {}
    model, connector = folder.model.model, folder.model.model.connector
    hook = connector.attn.register_forward_hook(lambda module, inputs, output: caught.update(resampler=output[0][0]))
    with torch.inference_mode():
        states = model.vision_tower(values_13HW, output_hidden_states=True).hidden_states
        caught["visual"] = model.get_image_features(values_13HW).pooler_output[0]
    hook.remove()
    caught |= {"ln_pre": states[0][0], "trunk": states[-1][0]}
    seen = 0
    for key, found in caught.items():
        if prefix + key in expected:
            close(found, expected[prefix + key])
            seen += 1
        elif f"{prefix}{key}_rows" in expected:
            chosen = rows if key in ("resampler", "visual") else list(range(0, len(found), 16))
            close(found[chosen], expected[f"{prefix}{key}_rows"])
            seen += 1
    assert seen >= 2


@pytest.mark.parametrize("size", [280, 224])
def test_other_picture_sizes(size: int, tmp_path: Path) -> None:
    folder = changed(tmp_path, lambda config: config["visual"].update(image_size=size))
    found = load_published(read_folder(folder), dtype=torch.float32)
    values_13HW = pixels(found.processor, values("belle_expected")["images"]["wide"]["path"])
    check_features(found, values_13HW, f"image{size}.wide.")
    if size == 280:
        expected = arrays("belle")
        crop = expected["image280.wide.pixel_values_crop"]
        assert any(
            torch.allclose(values_13HW[0, :, top : top + 28, left : left + 28], torch.from_numpy(crop), atol=1e-6)
            for top in range(253)
            for left in (0, top, 126)
            if left <= 252
        )
        table = resize_positions(found.model.model.vision_tower.position_embedding.detach(), 20, 20)
        close(table[::16], expected["image280.pos_embed_vit_rows"])


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(belle: ModelFolder, name: str) -> None:
    expected = arrays("belle")
    one = encoded(belle, name)
    assert one[0].rendered.input_ids == expected[f"prompt.{name}.input_ids"].tolist()
    inputs = inputs_of(one)
    with torch.inference_mode():
        output = belle.model(**inputs, output_hidden_states=True)
    close(output.logits[0, -8:], expected[f"prompt.{name}.logits_last8"])
    assert output.logits[0].argmax(-1).tolist() == expected[f"prompt.{name}.logits_argmax"].tolist()
    close(output.hidden_states[-1][0, -1], expected[f"prompt.{name}.hidden_last"])
    assert greedy(belle.model, **inputs)[0] == expected[f"prompt.{name}.greedy_ids"].tolist()


def test_all_hidden_states(belle: ModelFolder) -> None:
    expected, info = arrays("belle"), values("belle_expected")["prompts"]
    with torch.inference_mode():
        text = belle.model(**inputs_of(encoded(belle, "text_only_en")), output_hidden_states=True)
        image = belle.model(**inputs_of(encoded(belle, "image_square_en")), output_hidden_states=True)
    close(text.logits[0], expected["prompt.text_only_en.logits"])
    close(torch.cat(text.hidden_states), expected["prompt.text_only_en.hidden_states"])
    rows = info["image_square_en"]["hidden_states_rows"]
    close(torch.cat(image.hidden_states)[:, rows], expected["prompt.image_square_en.hidden_states_rows"])


def test_repetition_penalty_counts_the_bytes_of_the_path(belle: ModelFolder) -> None:
    inputs = inputs_of(encoded(belle, "image_square_en"))
    with torch.inference_mode():
        off = {"eos_token_id": None, "suppress_tokens": None}
        output = belle.model.generate(**inputs, max_new_tokens=24, do_sample=False, repetition_penalty=1.1, **off)
    expected = values("belle_expected")["prompts"]["image_square_en"]["greedy_ids_repetition_penalty_1.1"]
    assert output[0, inputs["input_ids"].shape[1] :].tolist() == expected


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_left_padded_batch(implementation: str) -> None:
    folder = opened("belle_vl_tiny_safetensors")
    folder.model.set_attn_implementation(implementation)
    expected, info = arrays("belle"), values("belle_expected")["batch"]
    ids, mask = torch.from_numpy(expected["batch.input_ids"]).long(), torch.from_numpy(expected["batch.attention_mask"])
    rows = []
    for query in info["queries"]:
        path, _, text = query.removeprefix("<img>").partition("</img>")
        places = folder.processor.image_name_ids(path, 256)
        rows.append([1396, *places, 1397, *folder.processor.tokenizer(text).input_ids])
    width = max(map(len, rows))
    assert [[1182] * (width - len(row)) + row for row in rows] == ids.tolist()
    paths = [query.removeprefix("<img>").partition("</img>")[0] for query in info["queries"]]
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "pixel_values": pixels(folder.processor, *paths)}
    with torch.inference_mode():
        close(folder.model(**inputs).logits[:, -1], expected["batch.logits_last"])
    generated = torch.tensor(greedy(folder.model, 10, **inputs, pad_token_id=1182))
    assert generated.tolist() == expected["batch.greedy_ids"].tolist()
    folder.model.set_attn_implementation("sdpa")


def changed(tmp_path: Path, change: Any) -> Path:
    """A copy of the folder with another ``config.json``."""
    folder = tmp_path / "changed"
    shutil.copytree(HERE / "belle_vl_tiny_safetensors", folder)
    # The fixtures may be read-only, and copies with them.
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("case", LONG)
def test_prompts_longer_than_trained_for(case: str, tmp_path: Path) -> None:
    expected, info = arrays("belle"), values("belle_expected")["long"]["cases"][case]
    model = load_published(
        read_folder(changed(tmp_path, lambda config: config.update(info["overrides"]))), dtype=torch.float32
    ).model
    ids = torch.from_numpy(expected["long.input_ids"][: info["n"]]).long()[None]
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0]
    close(logits[-8:], expected[f"{case}.logits_last8"])
    if f"{case}.logits_argmax" in expected:
        assert logits.argmax(-1).tolist() == expected[f"{case}.logits_argmax"].tolist()
    if "greedy_ids" not in info:
        return
    assert greedy(model, input_ids=ids)[0] == info["greedy_ids"]
    assert greedy(model, input_ids=ids, use_cache=False)[0] == info["greedy_ids_nocache"]
    with torch.inference_mode():
        scores = model.generate(
            input_ids=ids, max_new_tokens=24, do_sample=False, eos_token_id=None, suppress_tokens=None,
            output_scores=True, return_dict_in_generate=True,
        ).scores  # fmt: skip
    steps = torch.cat([scores[step] for step in info["decode_step_rows"]])
    close(steps, expected[f"{case}.decode_step_scores"])


def test_a_training_step_has_the_same_loss_and_gradients() -> None:
    folder = load_published(read_folder(HERE / "belle_vl_tiny"), dtype=torch.float32)
    info = values("belle_expected")["train_step"]
    samples = {sample["id"]: sample for sample in values("labels_qwenvl")["samples"] if sample["max_len"] == 400}
    chosen = [samples[name] for name in ("en_image_1", "zh_image_2turns")]
    ids, labels = (
        torch.tensor([(sample[key] + [padding] * 400)[:400] for sample in chosen])
        for key, padding in (("input_ids", 1182), ("labels", -100))
    )
    paths = [
        turn["value"].partition("<img>")[2].partition("</img>")[0]
        for sample in chosen
        for turn in sample["conversations"]
        if "<img>" in turn["value"]
    ]
    model = folder.model.train()
    output = model(
        input_ids=ids, attention_mask=ids.ne(1182).long(), labels=labels, pixel_values=pixels(folder.processor, *paths)
    )
    assert output.loss.item() == pytest.approx(info["loss"], abs=1e-4)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    published = read_folder(HERE / "belle_vl_tiny")
    for rule in published.rules:
        if any(gradients.get(name) is None for name in rule.ours):
            assert rule.theirs == ("transformer.visual.attn_pool.pos_embed",)
            continue
        theirs = rule.backward([gradients[name] for name in rule.ours])[0]  # type: ignore[misc]
        wanted = info["grads"][rule.theirs[0]]
        assert theirs.norm().item() == pytest.approx(wanted["norm"], rel=1e-4, abs=1e-5), rule.theirs
        assert theirs.flatten()[0].item() == pytest.approx(wanted["first"], abs=1e-4)
        assert theirs.flatten()[-1].item() == pytest.approx(wanted["last"], abs=1e-4)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("through", ["at once", "a Tuwen folder"])
def test_written_back_as_it_was(name: str, through: str, tmp_path: Path) -> None:
    source = HERE / name
    if through != "at once":
        convert(read_folder(source), tmp_path / "own")
        source = tmp_path / "own"
    export(read_folder(source), tmp_path / "out", "qwen-vl")
    same_folders(HERE / name, tmp_path / "out")


def same_folders(wanted: Path, found: Path) -> None:
    """The same files; weights with the same names in each file, and the same numbers in the same type."""
    files = sorted(path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file())
    assert sorted(path.relative_to(found) for path in found.rglob("*") if path.is_file()) == files
    for path in files:
        if path.suffix not in (".bin", ".safetensors"):
            assert (found / path).read_bytes() == (wanted / path).read_bytes(), path
            continue
        before, after = (WeightFiles(folder, [path]) for folder in (wanted, found))
        assert sorted(before) == sorted(after)
        for key in before:
            assert before.dtype(key) == after.dtype(key), key
            assert torch.equal(before[key], after[key]), key


def test_a_model_made_elsewhere_is_published_whole(tmp_path: Path) -> None:
    published = read_folder(HERE / "belle_vl_tiny")
    outgoing = LAYOUTS.get("qwen-vl")().write(published.config, published.processor, {})
    assert set(outgoing.weight_map) == set(load_file(HERE / "belle_vl_tiny_safetensors" / "model.safetensors"))
    assert set(outgoing.weight_map.values()) == {"model.safetensors"}
    assert outgoing.files["qwen.tiktoken"] == (HERE / "belle_vl_tiny" / "qwen.tiktoken").read_bytes()
    wanted = json.loads((HERE / "belle_vl_tiny" / "config.json").read_text())
    found = json.loads(outgoing.files["config.json"])
    # The ratio is rounded down to whole numbers; any that gives the same width will do.
    assert int(64 * found["visual"].pop("mlp_ratio")) == int(64 * wanted["visual"].pop("mlp_ratio"))
    assert {**wanted, **found} == wanted
    assert set(wanted) - set(found) <= {"_name_or_path", "transformers_version"}


def test_answers_through_a_tuwen_folder(belle: ModelFolder, tmp_path: Path) -> None:
    convert(read_folder(HERE / "belle_vl_tiny"), tmp_path / "own")
    folder = open_model(tmp_path / "own", dtype=torch.float32)
    image = HERE / values("belle_expected")["images"]["square"]["path"]
    question = "What is in the picture?"
    answer = VLM(folder).chat(question, [str(image)], max_new_tokens=24, greedy=True)
    wanted = values("belle_expected")["prompts"]["image_square_en"]
    assert answer.token_ids == wanted["greedy_ids"]
    assert answer.text == wanted["greedy_text_keep"].strip()
    assert VLM(belle).chat(question, [str(image)], max_new_tokens=24, greedy=True).token_ids == answer.token_ids


def test_a_stop_word_ends_the_answer(belle: ModelFolder) -> None:
    wanted = values("belle_expected")["prompts"]["text_only_zh"]
    answer = VLM(belle).chat(wanted["query"], max_new_tokens=24, greedy=True)
    assert answer.token_ids == wanted["chat_generated_ids"][:-1]
    assert (answer.text, answer.finish_reason) == (wanted["chat_response"], "stop")


def test_names_of_pictures(belle: ModelFolder) -> None:
    processor = belle.processor
    image = [PIL.Image.new("RGB", (8, 8))]
    talk = [Message.of("user", Image(), "?")]
    unnamed, named = (processor.encode(talk, image, names=names).rendered for names in ((), ["a.png"]))
    start, stop = named.image_spans[0]
    assert named.input_ids[start:stop] == [*b"a.png", *[1398] * 251]
    assert unnamed.input_ids[start:stop] == [1398] * 256
    assert processor.image_name_ids("p" * 254, 256)[-3:] == [ord("p"), 1398, 1398]
    with pytest.raises(TuwenError, match="its name has 255 bytes, 254 are possible"):
        processor.image_name_ids("p" * 255, 256)
    with pytest.raises(TuwenError, match="talk-1: 2 names for 1 pictures"):
        processor.encode(talk, image, names=["a", "b"], name="talk-1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 1300}, "config.json: vocab_size: expected at least 1399"),
        ({"intermediate_size": 351}, "config.json: intermediate_size: expected an even number"),
        ({"use_logn_attn": None}, "config.json: use_logn_attn: expected true or false"),
        ({"rotary_pct": 0.5}, "config.json: rotary_pct: expected 1.0"),
    ],
)
def test_settings_that_cannot_be_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = changed(tmp_path, lambda config: config.update(change))
    with pytest.raises(TuwenError, match=message):
        read_folder(folder)


def test_a_label_of_ones_own(tmp_path: Path) -> None:
    folder = changed(tmp_path, lambda config: None)
    (folder / "tuwen_layout.json").write_text('{"picture_label": "Picture N:"}')
    rendered = read_folder(folder).processor.renderer.render([Message.of("user", Image(), "a", Image())], [256, 256])
    assert "user\nPicture 1:<img><imgpad></img>\naPicture 2:<img><imgpad></img>\n<|im_end|>" in rendered.text
    (folder / "tuwen_layout.json").write_text('{"picture": ""}')
    with pytest.raises(TuwenError, match=r"tuwen_layout\.json: picture: unknown key"):
        read_folder(folder)
