"""Models of `transformers`' own classes chat through the same interface, from local files, without torchvision."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.refusal import quiet
from tuwen.config import TuwenError
from tuwen.infer import Prompt
from tuwen.infer.native import NativeVLM, load_native, serves
from tuwen.models.language.tokenizer import train_tokenizer

TEXTS = ["图里有什么? What is in the picture?", "user assistant system 一只猫坐在垫子上。 A cat sits on a mat."] * 8
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 420,
    "tie_word_embeddings": False,
    "initializer_range": 0.5,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CHATML = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- for part in message.content -%}
{{- 'IMAGE' if part.type == 'image' else part.text -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""


@dataclass(frozen=True)
class Family:
    """A kind of model: its settings, what its template writes for a picture, and its image processor."""

    model_type: str
    settings: Callable[[PreTrainedTokenizerFast], dict[str, Any]]
    image: str
    tokens: dict[str, str]
    image_processor: dict[str, Any]
    processor: dict[str, Any] | None = None


def qwen2_5_vl(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = tokenizer.convert_tokens_to_ids
    vision: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2, "patch_size": 4}
    vision |= {"out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 16, "tokens_per_second": 1}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    return {
        "text_config": {**TEXT, "rope_parameters": rope},
        "vision_config": vision,
        "image_token_id": ids("<|image_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "video_token_id": ids("<|video_pad|>"),
    }


def qwen3_vl(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    settings = qwen2_5_vl(tokenizer)
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0, "mrope_interleaved": True}
    settings["text_config"] = {**TEXT, "rope_parameters": rope}
    settings["vision_config"] = {
        "hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2, "patch_size": 4,
        "out_hidden_size": 32, "deepstack_visual_indexes": [0], "num_position_embeddings": 64,
    }  # fmt: skip
    return settings


def internvl(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "qwen2", **TEXT},
        "vision_config": {**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
        "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        "downsample_ratio": 0.5,
    }


def llava_next(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **VISION, "image_size": 32, "patch_size": 8},
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]],
    }


QWEN_TOKENS = {name: f"<|{name}|>" for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_PIXELS = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 64, "max_pixels": 32 * 32}
FAMILIES = [
    Family(
        "qwen2_5_vl",
        qwen2_5_vl,
        QWEN_PICTURE,
        QWEN_TOKENS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN_PIXELS},
    ),
    Family(
        "qwen3_vl",
        qwen3_vl,
        QWEN_PICTURE,
        QWEN_TOKENS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN_PIXELS},
    ),
    Family(
        "internvl",
        internvl,
        "<IMG_CONTEXT>\n",
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "size": {"height": 32, "width": 32},
            "crop_to_patches": False,
        },
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    ),
    Family(
        "llava_next",
        llava_next,
        "<image>\n",
        {"image_token": "<image>"},
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
            "image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]],
        },
        {
            "processor_class": "LlavaNextProcessor",
            "patch_size": 8,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    ),
]


def build(family: Family, folder: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *family.tokens.values()]})
    tokenizer.chat_template = CHATML.replace("IMAGE", family.image.replace("\n", "\\n"))
    tokenizer.eos_token = "<|im_end|>"
    torch.manual_seed(11)
    config = transformers.AutoConfig.for_model(family.model_type, **family.settings(tokenizer))
    model = AutoModelForImageTextToText.from_config(config)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    # As published: what a processor asks of its tokenizer by name.
    settings["extra_special_tokens"] = {name: token for name, token in family.tokens.items() if name.endswith("token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "preprocessor_config.json").write_text(json.dumps(family.image_processor))
    if family.processor is not None:
        (folder / "processor_config.json").write_text(json.dumps(family.processor))


def picture(seed: int, size: tuple[int, int] = (50, 70)) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.model_type)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param.model_type)
    build(request.param, path)
    return path


@pytest.fixture(scope="module")
def vlm(folder: Path) -> NativeVLM:
    return load_native(folder)


GREEDY: dict[str, Any] = {"greedy": True, "max_new_tokens": 8}


def test_answers_depend_on_the_picture_and_stop_where_they_are_told(vlm: NativeVLM) -> None:
    answers = [vlm.chat("图里有什么?", [picture(seed)], **GREEDY) for seed in (1, 1, 2)]
    assert answers[0] == answers[1]
    assert answers[0].prompt_ids == answers[2].prompt_ids
    assert answers[0].token_ids != answers[2].token_ids
    assert answers[0].finish_reason == "stop" or len(answers[0].token_ids) == 8
    assert "torchvision" not in sys.modules


def test_streamed_pieces_are_the_answer(vlm: NativeVLM) -> None:
    pieces = list(vlm.stream("What is it?", [picture(1)], **GREEDY))
    assert "".join(pieces).strip() == vlm.chat("What is it?", [picture(1)], **GREEDY).text


def test_a_session_is_its_whole_conversation(vlm: NativeVLM) -> None:
    session = vlm.session(system="用中文回答。")
    first = session.ask("这是什么?", [picture(1)], **GREEDY)
    second = session.ask("那这张呢?", [picture(2), picture(3)], **GREEDY)
    messages = (
        Message.of("system", "用中文回答。"),
        Message.of("user", Image(), "这是什么?"),
        Message.of("assistant", first.text),
        Message.of("user", Image(), Image(), "那这张呢?"),
    )
    assert vlm.generate([Prompt(messages, (picture(1), picture(2), picture(3)))], **GREEDY)[0] == second


def test_batched_answers_equal_those_one_by_one(vlm: NativeVLM) -> None:
    questions = ["图里有什么?", "What is in the picture? " * 3, "猫?"]
    prompts = [
        Prompt((Message.of("user", Image(), question),), (picture(place),)) for place, question in enumerate(questions)
    ]
    together = vlm.generate(prompts, batch_size=3, **GREEDY)
    assert together == [vlm.generate([prompt], **GREEDY)[0] for prompt in prompts]


def test_text_alone_is_answered(vlm: NativeVLM) -> None:
    answer = vlm.chat("你好", **GREEDY)
    assert (
        vlm.processor.tokenizer.decode(answer.prompt_ids) == "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    )


def test_text_never_becomes_a_control_or_image_token(vlm: NativeVLM) -> None:
    tokenizer = vlm.processor.tokenizer
    special = set(tokenizer.all_special_ids)
    plain = vlm.chat("你好", [picture(1)], **GREEDY).prompt_ids
    for written in tokenizer.all_special_tokens:
        try:
            attack = vlm.chat(f"你好{written}", [picture(1)], **GREEDY).prompt_ids
        except TuwenError:
            # InternVL's processor counts its pictures' tokens in text too, and refuses what then does not fit.
            assert written in ("<IMG_CONTEXT>", "<video>")
            continue
        assert len(attack) > len(plain)
        assert [token for token in attack if token in special] == [token for token in plain if token in special]
        assert f"你好{written}" in tokenizer.decode(attack)


def test_the_model_gets_what_its_own_processor_makes(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.model_type == "llava_next")
    build(family, tmp_path)
    with quiet():
        processor = AutoProcessor.from_pretrained(tmp_path)
        model = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    content = [{"type": "image", "image": picture(1)}, {"type": "text", "text": "这是什么?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    answer = load_native(tmp_path).chat("这是什么?", [picture(1)], **GREEDY)
    assert answer.prompt_ids == inputs["input_ids"][0].tolist()
    assert [*answer.prompt_ids, *answer.token_ids] == output[0].tolist()


@pytest.mark.parametrize("family", FAMILIES[:2], ids=lambda family: family.model_type)
def test_pictures_of_any_size_take_as_many_tokens_as_the_image_processor_says(family: Family, tmp_path: Path) -> None:
    build(family, tmp_path)
    vlm = load_native(tmp_path)
    with quiet():
        image_processor = AutoImageProcessor.from_pretrained(tmp_path)
    token = vlm.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for size in ((16, 16), (20, 60), (90, 30)):
        grid = image_processor(images=[picture(1, size)], return_tensors="pt")["image_grid_thw"]
        answer = vlm.chat("?", [picture(1, size)], max_new_tokens=1)
        assert answer.prompt_ids.count(token) == int(grid.prod()) // 4


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    build(FAMILIES[-1], tmp_path)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(TuwenError) as caught:
        load_native(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_missing_weight_is_named(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if "q_proj" in name)
    save_file(
        {key: value for key, value in tensors.items() if key != name}, broken / "model.safetensors", {"format": "pt"}
    )
    assert "1 weights are missing" in refused(broken)


def test_a_folder_without_a_template_is_refused(broken: Path) -> None:
    (broken / "chat_template.jinja").unlink()
    assert "no chat template" in refused(broken)


def test_code_in_a_folder_never_runs(broken: Path) -> None:
    values = json.loads((broken / "config.json").read_text())
    values |= {"model_type": "somebodys", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (broken / "config.json").write_text(json.dumps(values))
    (broken / "evil.py").write_text("raise SystemExit('this ran')")
    assert not serves(broken)
    assert "config.json: cannot be read" in refused(broken)


def test_a_language_model_is_no_image_text_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert not serves(tmp_path)
    assert "model_type: 'qwen2'" in refused(tmp_path)
    assert "no config.json" in refused(tmp_path / "nowhere")


def test_a_wrong_picture_is_said_before_the_first_piece(vlm: NativeVLM, tmp_path: Path) -> None:
    with pytest.raises(TuwenError, match="cannot be read"):
        vlm.stream("?", [tmp_path / "none.png"])
