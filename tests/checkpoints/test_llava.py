"""llava-Qwen2-7B-Instruct-Chinese-CLIP and its like: opened, merged and written back without a change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoProcessor, LlavaConfig, LlavaForConditionalGeneration, SiglipImageProcessorPil

import tuwen
from tests.models.compositions import ENCODER_CONFIGS, LANGUAGE_CONFIGS
from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.chat.renderer import Renderer
from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.convert import convert, export
from tuwen.checkpoints.folder import save_model, stored_state
from tuwen.checkpoints.layouts._chat_template import renderable
from tuwen.checkpoints.layouts._preprocessor import policy_from_preprocessor
from tuwen.checkpoints.layouts.base import Published, recognise
from tuwen.checkpoints.layouts.llava import WEIGHT_MAP, Llava, adapter_rename, composition
from tuwen.checkpoints.opening import load_published, read_folder
from tuwen.checkpoints.refusal import quiet
from tuwen.checkpoints.renames import published_shapes
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.tokenizer import add_control_tokens, train_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import Encoded, TuwenProcessor
from tuwen.vision import parse_policy

HERE = Path(__file__).parents[2] / "../shared/fixtures/visualcla_llava"
TINY = HERE / "llava_chinese_clip_tiny"
BASE, MERGED, ADAPTER = TINY / "base", TINY / "merged", TINY / "adapter"
needs_fixtures = pytest.mark.skipif(not TINY.is_dir(), reason="no ../shared/fixtures beside the repository")
IMAGES = ("shapes_320x240.png", "tall_150x410_rgba.png", "gray_97x64.png", "palette_256x256.png")
CASES = ("readme_zh", "en", "image_mid", "multi_turn", "two_images", "no_system", "text_only")
IMAGE_TOKEN = "<image>"

Model = TuwenForConditionalGeneration


def filled(published: Published) -> Model:
    return load_published(published).model


def picture(name: str) -> PIL.Image.Image:
    # The published code converts to RGB, which drops what is transparent.
    return parse_policy({"type": "square", "transparency": "drop"}).open(HERE / "images" / name)


def messages_of(case: dict[str, Any]) -> list[Message]:
    turns = []
    for message in case["messages"]:
        parts: list[Part] = []
        for place, text in enumerate(message["content"].split(IMAGE_TOKEN)):
            parts += [Image()] if place else []
            parts += [Text(text)] if text else []
        turns.append(Message(message["role"], tuple(parts)))
    return turns


def encoded(processor: TuwenProcessor, case: dict[str, Any]) -> Encoded:
    pictures = [picture(name) for name in case["images"]]
    return processor.encode(messages_of(case), pictures, add_generation_prompt=True)


def inputs(one: Encoded) -> dict[str, Tensor]:
    ids = torch.tensor([one.rendered.input_ids])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        **({"pixel_values": torch.from_numpy(one.pixel_values)} if len(one.pixel_values) else {}),
    }


@torch.inference_mode()
def logits(model: Model, one: Encoded) -> np.ndarray:
    return model(**inputs(one)).logits[0].numpy()


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TINY / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def golden() -> Any:
    return np.load(TINY / "expected.npz")


@pytest.fixture(scope="module")
def cases(expected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in expected["cases"]}


@pytest.fixture(scope="module")
def merged() -> Published:
    return Llava().read(MERGED)


@pytest.fixture(scope="module")
def base() -> Published:
    return Llava().read(BASE)


@pytest.fixture(scope="module")
def merged_model(merged: Published) -> Model:
    return filled(merged)


@needs_fixtures
@pytest.mark.parametrize("name", IMAGES)
def test_pictures_become_the_published_pixels(name: str, merged: Published, golden: Any) -> None:
    policy = merged.processor.policy
    pixels = policy.apply(policy.open(HERE / "images" / name))
    assert np.abs(pixels[0] - golden[f"pixel_values/{name}"]).max() <= 1e-6


@needs_fixtures
@pytest.mark.parametrize("name", IMAGES[:2])
def test_pictures_of_full_size_become_the_published_pixels(name: str, tmp_path: Path, golden: Any) -> None:
    values = json.loads((MERGED / "preprocessor_config.json").read_text())
    values["size"] = values["crop_size"] = {"height": 336, "width": 336}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(values))
    pixels = policy_from_preprocessor(path).apply(picture(name))
    assert np.abs(pixels[0, :, ::8, ::8] - golden[f"pixel_values_336_square/{name}"]).max() <= 1e-6


@needs_fixtures
@pytest.mark.parametrize("name", IMAGES)
@torch.inference_mode()
def test_features_are_the_published_ones(name: str, merged_model: Model, golden: Any) -> None:
    found = merged_model.get_image_features(torch.from_numpy(golden[f"pixel_values/{name}"])[None])
    assert np.abs(found.last_hidden_state[0].numpy() - golden[f"vision_hidden_m2_nocls/{name}"]).max() <= 2e-5
    assert np.abs(found.pooler_output[0].numpy() - golden[f"projected/{name}"]).max() <= 2e-5


@needs_fixtures
@pytest.mark.parametrize("tokenizer_config", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_prompts_are_the_published_ones(
    name: str, tokenizer_config: bool, cases: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    folder = shutil.copytree(MERGED, tmp_path / "merged")
    folder.chmod(0o755)
    if not tokenizer_config:
        # The readme's list of files to copy does not name it.
        (folder / "tokenizer_config.json").unlink()
    case = cases[name]
    processor = Llava().read(folder).processor
    one = encoded(processor, case).rendered
    assert one.text == case["prompt"]
    assert one.input_ids == case["input_ids_expanded"]
    shortened = processor.renderer.render(messages_of(case), [1] * len(case["images"]), add_generation_prompt=True)
    assert shortened.input_ids == case["input_ids_published_era"]
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert processor.tokenizer.pad_token == "<|endoftext|>"


@needs_fixtures
def test_answers_are_marked_for_training_though_the_published_template_marks_nothing(merged: Published) -> None:
    turns = [Message.of("user", Image(), "图中有几个人？"), Message.of("assistant", "三个。")]
    one = merged.processor.renderer.render(turns, [36], need_labels=True)
    trained = [label for label in one.labels if label >= 0]
    assert merged.processor.tokenizer.decode(trained) == "三个。<|im_end|>"
    assert "<|im_start|>user\n<image>\n图中有几个人？<|im_end|>" in one.text


@needs_fixtures
@pytest.mark.parametrize("name", CASES)
def test_logits_and_answers_are_the_published_ones(
    name: str, merged: Published, merged_model: Model, cases: dict[str, dict[str, Any]], golden: Any
) -> None:
    one = encoded(merged.processor, cases[name])
    found = logits(merged_model, one)
    assert np.abs(found[-8:] - golden[f"logits_last8/{name}"]).max() <= 2e-4
    assert np.abs(found[-8:] - golden[f"logits_last8_unmerged/{name}"]).max() <= 2e-4
    assert np.array_equal(found.argmax(-1), golden[f"logits_argmax_all/{name}"])
    with torch.inference_mode():
        output = merged_model.generate(**inputs(one), **{**merged.generation, "max_new_tokens": 24})
    assert output[0, len(one.rendered.input_ids) :].tolist() == cases[name]["greedy_new_tokens"]


@needs_fixtures
def test_a_batch_answers_as_its_rows_do_alone(
    merged: Published, merged_model: Model, expected: dict[str, Any], cases: dict[str, dict[str, Any]]
) -> None:
    chosen = [cases[name] for name in expected["left_padded_batch"]["cases"]]
    rows = [encoded(merged.processor, case) for case in chosen]
    width = max(len(one.rendered.input_ids) for one in rows)
    pad = merged.generation["pad_token_id"]
    ids = [[pad] * (width - len(one.rendered.input_ids)) + one.rendered.input_ids for one in rows]
    mask = [[0] * (width - len(one.rendered.input_ids)) + [1] * len(one.rendered.input_ids) for one in rows]
    with torch.inference_mode():
        output = merged_model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            pixel_values=torch.from_numpy(np.concatenate([one.pixel_values for one in rows])),
            **{**merged.generation, "max_new_tokens": 24},
        )
    assert output[:, width:].tolist() == [case["greedy_new_tokens"] for case in chosen]


@needs_fixtures
def test_generation_is_greedy_and_ends_with_the_turn(merged: Published) -> None:
    assert merged.generation == {
        "do_sample": False,
        "max_new_tokens": 200,
        "bos_token_id": 2000,
        "eos_token_id": 2002,
        "pad_token_id": 2000,
    }


@needs_fixtures
def test_the_base_alone_is_another_model(base: Published, cases: dict[str, dict[str, Any]], golden: Any) -> None:
    found = logits(filled(base), encoded(base.processor, cases["readme_zh"]))
    assert np.abs(found[-8:] - golden["logits_last8_BASE_ONLY/readme_zh"]).max() <= 2e-4
    assert np.abs(found[-8:] - golden["logits_last8/readme_zh"]).max() > 1


def peft_names_of_today(name: str) -> str:
    """As `peft` 0.21 names what it adapts in a LlavaForConditionalGeneration of `transformers` 5."""
    plain = name.removeprefix("base_model.model.")
    for old, new in (
        ("language_model.model.", "model.language_model."),
        ("vision_tower.vision_model.", "model.vision_tower."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
    ):
        if plain.startswith(old):
            return f"base_model.model.{new}{plain.removeprefix(old)}"
    raise AssertionError(name)


@needs_fixtures
@pytest.mark.parametrize("naming", [None, peft_names_of_today])
def test_base_and_adapter_are_the_merged_model_bit_for_bit(
    naming: Callable[[str], str] | None, base: Published, merged_model: Model, tmp_path: Path
) -> None:
    folder = ADAPTER
    if naming is not None:
        folder = tmp_path
        shutil.copyfile(ADAPTER / "adapter_config.json", folder / "adapter_config.json")
        tensors = load_file(ADAPTER / "adapter_model.safetensors")
        save_file({naming(name): value for name, value in tensors.items()}, folder / "adapter_model.safetensors")
    both = read_folder(BASE, folder)
    found = filled(both).state_dict()
    for name, value in merged_model.state_dict().items():
        assert torch.equal(value, found[name]), name
    changed = [name for name in base.files if not torch.equal(base.files[name], both.files[name])]
    assert {"multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_2.bias"} < set(changed)
    assert any("vision_tower" in name for name in changed)


@needs_fixtures
@torch.inference_mode()
def test_an_adapter_that_peft_writes_today_fits_a_published_base(base: Published, tmp_path: Path) -> None:
    torch.manual_seed(7)
    with quiet():
        theirs = LlavaForConditionalGeneration.from_pretrained(BASE)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["linear_1"])
    adapted = get_peft_model(theirs, settings)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1)
    adapted.save_pretrained(tmp_path)
    one = inputs(base.processor.encode([Message.of("user", Image(), "你好")], [picture(IMAGES[0])]))
    found = filled(read_folder(BASE, tmp_path))(**one).logits
    assert torch.allclose(found, adapted.eval()(**one).logits, atol=1e-4)
    assert not torch.allclose(found, filled(base)(**one).logits, atol=1e-2)


@needs_fixtures
def test_a_full_size_model_has_the_published_names_and_shapes() -> None:
    values = json.loads(
        (HERE / "reference_configs/llava_qwen2_7b_chinese_clip_336.config.reconstructed.json").read_text()
    )
    shapes = json.loads((HERE / "reference_configs/llava_qwen2_7b_chinese_clip_336.key_shapes.json").read_text())
    config = composition(values, "config.json")
    weight_map = json.dumps(dict.fromkeys(shapes["merged_or_base"], "model.safetensors")).encode()
    kept = {"config.json": json.dumps(values).encode(), WEIGHT_MAP: weight_map}
    # What was read of a folder is enough to write it back, so the processor is not looked at.
    outgoing = Llava().write(config, cast(TuwenProcessor, None), kept)
    found = published_shapes(outgoing.rules, stored_state(config))
    assert {name: list(shape) for name, shape in found.items()} == shapes["merged_or_base"]
    policy = parse_policy({"type": "square", "size": 336})
    assert config.num_image_tokens(policy.plan(640, 480)) == 576


@needs_fixtures
@pytest.mark.parametrize("folder", [BASE, MERGED], ids=["base", "merged"])
def test_export_writes_the_folder_that_was_read(folder: Path, tmp_path: Path) -> None:
    own, out = tmp_path / "own", tmp_path / "out"
    convert(read_folder(folder), own)
    export(read_folder(own), out, "llava")
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            assert (out / path.name).read_bytes() == path.read_bytes()
            continue
        stored, written = load_file(path), load_file(out / path.name)
        assert stored.keys() == written.keys()
        assert all(torch.equal(value, written[name]) for name, value in stored.items())


def small_llava(vision: str, language: str, **settings: Any) -> LlavaForConditionalGeneration:
    torch.manual_seed(3)
    sizes = {"vocab_size": 2048, "bos_token_id": 2000, "eos_token_id": 2002, "pad_token_id": 2000}
    config = LlavaConfig(
        vision_config={"model_type": vision, **ENCODER_CONFIGS[vision]},
        text_config={"model_type": language, **LANGUAGE_CONFIGS[language], **sizes},
        image_token_index=2003,
        **settings,
    )
    return LlavaForConditionalGeneration(config).eval()


def save_small(model: LlavaForConditionalGeneration, folder: Path, image_processor: dict[str, Any]) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(BASE / name, folder / name)
    (folder / "preprocessor_config.json").write_text(json.dumps(image_processor))
    with quiet():
        model.save_pretrained(folder)


SQUASH = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3}
CROP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
PAD = {"image_processor_type": "LlavaImageProcessor", "do_pad": True, "size": {"height": 32, "width": 32}}
PAD["crop_size"] = {"height": 32, "width": 32}
COMPOSITIONS = [
    ("clip_vision_model", "llama", {"vision_feature_layer": [-2, -1]}, CROP),
    ("siglip_vision_model", "qwen3", {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}, SQUASH),
    ("chinese_clip_vision_model", "qwen2", {"vision_feature_select_strategy": "full"}, PAD),
]


@needs_fixtures
@pytest.mark.parametrize(("vision", "language", "settings", "image_processor"), COMPOSITIONS)
@torch.inference_mode()
def test_what_transformers_saves_today_opens_and_computes_the_same(
    vision: str, language: str, settings: dict[str, Any], image_processor: dict[str, Any], tmp_path: Path
) -> None:
    theirs = small_llava(vision, language, **settings)
    save_small(theirs, tmp_path, image_processor)
    layout = recognise(tmp_path)
    assert isinstance(layout, Llava)
    published = layout.read(tmp_path)
    model = filled(published)
    turns = [Message.of("user", Image(), "这是什么?")]
    one = inputs(published.processor.encode(turns, [picture(IMAGES[0])], add_generation_prompt=True))
    assert torch.allclose(model(**one).logits, theirs(**one).logits, atol=1e-5)
    assert set(published_shapes(published.rules, stored_state(published.config))) == set(published.files)
    assert vision != "siglip_vision_model" or "vision_tower.head.probe" in published.files


@needs_fixtures
def test_names_of_all_times_load_to_the_same_tensors(base: Published, tmp_path: Path) -> None:
    wanted = filled(base).state_dict()
    renames = [
        # The parameters' own names in `transformers` 5, as other trainers save them.
        lambda name: (
            peft_names_of_today(name).removeprefix("base_model.model.") if "lm_head" not in name else "lm_head.weight"
        ),
        # What `transformers` 5 saves for a new model.
        lambda name: name.replace("vision_tower.vision_model.", "vision_tower."),
        # Those of `transformers` 4.52.
        lambda name: (
            ("model." + name)
            .replace("model.language_model.model.", "model.language_model.")
            .replace("model.language_model.lm_head", "lm_head")
        ),
    ]
    for place, rename in enumerate(renames):
        folder = tmp_path / str(place)
        folder.mkdir()
        for name, content in base.keep.items():
            if "index" not in name and name != WEIGHT_MAP:
                (folder / name).write_bytes(content)
        save_file({rename(name): base.files[name] for name in base.files}, folder / "model.safetensors")
        published = Llava().read(folder)
        found = filled(published).state_dict()
        assert all(torch.equal(value, found[name]) for name, value in wanted.items())
        outgoing = Llava().write(published.config, published.processor, published.keep)
        assert set(outgoing.weight_map) == set(published.files)
        adapter = fold(published.files, read_adapter(ADAPTER), adapter_rename(published.files))
        assert set(adapter) == set(published.files)


@needs_fixtures
@pytest.mark.parametrize("kind", ["square", "center_crop", "pad_square"])
@pytest.mark.parametrize("tied", [False, True])
@torch.inference_mode()
def test_a_model_made_elsewhere_is_written_as_transformers_reads_it(
    kind: str, tied: bool, merged: Published, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    text = {**LANGUAGE_CONFIGS["qwen2"], "vocab_size": 2048, "tie_word_embeddings": tied, "eos_token_id": 2002}
    config = TuwenConfig(
        vision_config={"model_type": "clip_vision_model", **ENCODER_CONFIGS["clip_vision_model"]},
        text_config={"model_type": "qwen2", **text},
        image_token_id=2003,
    )
    policy = parse_policy(
        {"type": kind, "size": 32, "transparency": "drop", **({"crop_size": 32} if kind == "center_crop" else {})}
    )
    processor = TuwenProcessor.for_model(config, policy, merged.processor.tokenizer, merged.processor.chat_template)
    model = Model(config).eval()
    save_model(model, processor, tmp_path / "own")
    out = tmp_path / "out"
    export(read_folder(tmp_path / "own"), out, "llava")
    assert ("language_model.lm_head.weight" in load_file(out / "model.safetensors")) is not tied
    with quiet():
        theirs, report = LlavaForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    again = Llava().read(out)
    assert again.processor.policy == policy
    turns = [Message.of("user", Image(), "这是什么?")]
    one = inputs(processor.encode(turns, [picture(IMAGES[0])], add_generation_prompt=True))
    two = inputs(again.processor.encode(turns, [picture(IMAGES[0])], add_generation_prompt=True))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert torch.allclose(model(**one).logits, theirs.eval()(**one).logits, atol=1e-5)
    assert torch.equal(filled(again)(**one).logits, model(**one).logits)
    with quiet():
        their_processor = AutoProcessor.from_pretrained(out)
    content = [{"type": "image", "image": picture(IMAGES[0])}, {"type": "text", "text": "这是什么?"}]
    three = their_processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(one["input_ids"], three["input_ids"])
    # Where it pads, Pillow rounds some pixels the other way (1 of 255).
    assert torch.allclose(one["pixel_values"], three["pixel_values"], atol=2e-2 if kind == "pad_square" else 1e-5)


@needs_fixtures
@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"multimodal_projector_bias": False}, "multimodal_projector_bias: found false"),
        ("config.json", {"vision_feature_layer": -9}, "-9 is outside the 5 hidden states"),
        ("config.json", {"image_token_index": 5000}, "image_token_index: found 5000"),
        ("preprocessor_config.json", {"size": {"height": 80, "width": 84}}, "size: found"),
        ("preprocessor_config.json", {"size": {"height": 70, "width": 70}}, "image_size in config.json is 84"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 84}}, "do_center_crop: found false"),
        ("preprocessor_config.json", {"do_resize": False}, "do_resize: found false"),
        ("preprocessor_config.json", {"resample": 5}, "resample: found 5"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean: found [0.5]"),
        ("preprocessor_config.json", {"image_processor_type": "FuyuImageProcessor"}, "found 'FuyuImageProcessor'"),
        ("tokenizer_config.json", {"chat_template": "nothing"}, "chat template: writes neither"),
        ("tokenizer_config.json", {"chat_template": "{% if"}, "chat template, line 1"),
    ],
)
def test_what_is_wrong_in_a_folder_is_said(file: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = shutil.copytree(MERGED, tmp_path / "merged", copy_function=shutil.copyfile)
    folder.chmod(0o755)
    values = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**values, **changes}))
    with pytest.raises(TuwenError) as caught:
        Llava().read(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@needs_fixtures
@pytest.mark.parametrize("name", ["readme_zh", "en", "two_images"])
def test_the_published_questions_are_answered_from_base_and_adapter(
    name: str, cases: dict[str, dict[str, Any]]
) -> None:
    vlm = tuwen.load(BASE, adapter=ADAPTER, device="cpu")
    case = cases[name]
    paths = [HERE / "images" / file for file in case["images"]]
    question = case["messages"][-1]["content"].split(IMAGE_TOKEN)[-1]
    # Without its line break, which the template puts behind leading pictures by itself.
    written = question if name == "readme_zh" else question.removeprefix("\n")
    answer = vlm.chat(written, paths, max_new_tokens=24)
    assert answer.prompt_ids == case["input_ids_expanded"]
    assert answer.token_ids == case["greedy_new_tokens"]


PARTS_ONLY = """{%- for message in messages -%}
{{- message.role | upper + ': ' -}}
{%- for part in message.content | selectattr('type', 'equalto', 'image') -%}{{- '<image>\n' -}}{%- endfor -%}
{%- for part in message.content | selectattr('type', 'equalto', 'text') -%}{{- part.text + ' ' -}}{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}"""


@needs_fixtures
@pytest.mark.parametrize("begins", [False, True])
def test_a_template_that_takes_parts_alone_gets_them(begins: bool, merged: Published) -> None:
    tokens = {"bos_token": "<|endoftext|>"}
    template = renderable(PARTS_ONLY, tokens, IMAGE_TOKEN, begins=begins)
    tokenizer = merged.processor.tokenizer
    tokenizer.bos_token = "<|endoftext|>"
    turns = [Message.of("user", Image(), "一?"), Message.of("assistant", "二"), Message.of("user", "三?")]
    text = Renderer(tokenizer, template).render(turns, [1], add_generation_prompt=True).text
    start = "<|endoftext|>" if begins else ""
    assert text == f"{start}USER: <image>\n一? ASSISTANT: 二 USER: 三? ASSISTANT:"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([Image(), "是?"], "<image>\n是?"),
        ([Image(), Image(), "是?"], "<image>\n<image>\n是?"),
        (["看", Image(), "是?"], "看<image>是?"),
        ([Image(), "\n 是?"], "<image>\n 是?"),
        ([Image()], "<image>"),
        (["是?"], "是?"),
    ],
)
def test_pictures_that_lead_a_message_stand_on_their_own_lines(parts: list[Any], text: str) -> None:
    tokenizer = train_tokenizer(["是?"], 300)
    add_control_tokens(tokenizer, ["<|im_start|>", "<|im_end|>", IMAGE_TOKEN])
    renderer = Renderer(tokenizer, renderable(None, {}, IMAGE_TOKEN))
    places = [1] * sum(isinstance(part, Image) for part in parts)
    rendered = renderer.render([Message.of("system", "s"), Message.of("user", *parts)], places)
    assert rendered.text == f"<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "crop_size": 224}, ("center_crop", 336, 224)),
        ({"image_processor_type": "SiglipImageProcessor", "size": {"height": 64, "width": 64}}, ("square", 64, None)),
        ({"image_processor_type": "ViTFeatureExtractor", "size": 64}, ("square", 64, None)),
        ({"image_processor_type": "LlavaImageProcessorFast", "size": {"shortest_edge": 336}, "crop_size": 336,
          "do_pad": True}, ("pad_square", 336, None)),
        ({"image_processor": {"image_processor_type": "CLIPImageProcessorPil"}}, ("center_crop", 224, 224)),
    ],
)  # fmt: skip
def test_image_processors_of_all_times_are_policies(values: Any, wanted: tuple[Any, ...], tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(values))
    found = policy_from_preprocessor(path).to_dict()
    assert (found["type"], found["size"], found.get("crop_size")) == wanted


@pytest.mark.parametrize(("rescale", "normalise"), [(1 / 255, True), (1 / 127.5, True), (1 / 255, False)])
def test_any_scale_goes_into_mean_and_deviation(rescale: float, normalise: bool, tmp_path: Path) -> None:
    values = {**SQUASH, "rescale_factor": rescale, "do_normalize": normalise, "image_std": [0.25, 0.5, 0.75]}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(values))
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    wanted = SiglipImageProcessorPil(**{key: value for key, value in values.items() if "type" not in key})
    pixels = wanted(images=[picture], return_tensors="np")["pixel_values"]
    assert np.abs(policy_from_preprocessor(path).apply(picture) - pixels).max() <= 1e-5
