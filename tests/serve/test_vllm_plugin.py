"""vLLM's plug-in: what its Transformers backend asks of a model holds, and where vLLM is, answers are the same."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.conftest import run_cli
from tuwen.chat.messages import Image, Message
from tuwen.infer.loading import load
from tuwen.models.modeling import TuwenForConditionalGeneration, TuwenModel
from tuwen.models.processing import TuwenProcessor
from tuwen.serve import vllm_plugin

QUESTION = "图中有几个圆?"


def picture() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


@pytest.fixture
def folder(toy_run: Path) -> Path:
    return toy_run / "model"


def test_it_is_found_by_its_entry_point() -> None:
    (found,) = [entry for entry in entry_points(group="vllm.general_plugins") if entry.name == "tuwen"]
    assert found.load() is vllm_plugin.register


def test_every_process_may_register_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: dict[str, str] = {}
    models = SimpleNamespace(get_supported_archs=lambda: registered.keys(), register_model=registered.__setitem__)
    vllm = ModuleType("vllm")
    vllm.ModelRegistry = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    vllm_plugin.register()
    vllm_plugin.register()
    # A string: the class would touch a GPU before processes are forked.
    assert registered == {"TuwenForConditionalGeneration": vllm_plugin.BACKEND}


def test_the_folder_opens_by_the_auto_classes_with_its_parts_where_vllm_looks(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == [vllm_plugin.ARCHITECTURE]
    assert config.get_text_config() is not config
    text = config.get_text_config()
    assert all(
        getattr(text, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    model = AutoModel.from_config(config)
    assert isinstance(model, TuwenModel)
    assert model.base_model_prefix == "model"
    assert model._supports_attention_backend
    assert model.get_decoder() is model.language_model
    assert model.get_encoder(modality="image") is model.vision_tower
    whole = AutoModelForImageTextToText.from_pretrained(folder)
    assert isinstance(whole, TuwenForConditionalGeneration)
    assert {name.split(".")[0] for name in whole.state_dict()} == {"model", "lm_head"}


def test_every_layer_asks_for_its_attention_and_hands_on_what_it_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folder).model
    asked: Counter[int] = Counter()
    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(module: Any, *arguments: Any, attention_instances: Any = None, **kwargs: Any) -> Any:
        assert attention_instances == "given"
        asked[module.layer_idx] += 1
        return usual(module, *arguments, **kwargs)

    # Where vLLM puts its own.
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "vllm", attend)
    model.config.text_config._attn_implementation = "vllm"
    ids_1L = torch.arange(5)[None]
    positions_1L = torch.arange(5)[None]
    with torch.no_grad():
        output = model(
            input_ids=ids_1L,
            position_ids=positions_1L,
            use_cache=False,
            return_dict=False,
            attention_instances="given",
        )
    layers = model.config.text_config.num_hidden_layers
    assert asked == Counter(range(layers))
    assert output[0].shape == (1, 5, model.config.text_config.hidden_size)


def test_pictures_become_as_many_rows_as_the_processor_has_said(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    assert isinstance(processor, TuwenProcessor)
    assert {"image_processor", "tokenizer"} <= set(inspect.signature(TuwenProcessor.__init__).parameters)
    sizes = [(90, 120), (64, 64), (300, 20)]
    pictures = [PIL.Image.new("RGB", (width, height)) for height, width in sizes]
    text = processor.image_token * len(sizes)
    inputs = processor(images=pictures, text=text, return_tensors="pt")
    assert set(inputs) - {"input_ids", "attention_mask"} == set(processor.image_processor.model_input_names)
    said = processor._get_num_multimodal_tokens(image_sizes=sizes)
    assert (inputs["input_ids"] == processor.image_token_id).sum() == sum(said["num_image_tokens"])
    assert inputs["image_tiles"].tolist() == said["num_image_patches"]
    model = AutoModelForImageTextToText.from_pretrained(folder).model
    with torch.no_grad():
        rows = model.get_image_features(inputs["pixel_values"], image_tiles=inputs["image_tiles"]).pooler_output
    assert [len(part) for part in rows] == said["num_image_tokens"]


IN_VLLM = """
import json, sys
import numpy as np, PIL.Image
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    folder, prompt, question = sys.argv[1:]
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    llm = LLM(model=folder, dtype="float32", max_model_len=512, enforce_eager=True)
    plain = SamplingParams(temperature=0, max_tokens=12, logprobs=0)
    given = llm.generate({"prompt": prompt, "multi_modal_data": {"image": picture}}, plain)[0]
    parts = [{"type": "image_pil", "image_pil": picture}, {"type": "text", "text": question}]
    chat = llm.chat([{"role": "user", "content": parts}], plain)[0]
    found = {
        name: {
            "prompt": list(one.prompt_token_ids),
            "tokens": list(one.outputs[0].token_ids),
            "scores": [place[token].logprob for place, token in zip(one.outputs[0].logprobs, one.outputs[0].token_ids)],
        }
        for name, one in (("generate", given), ("chat", chat))
    }
    print("\\nFOUND", json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_in_vllm_prompts_scores_and_answers_are_the_same(toy_recipe: Path, tmp_path: Path) -> None:
    # Kernels for CPUs know heads of 32 and more.
    trained = run_cli("train", toy_recipe, "--out", tmp_path / "run", "model.language.config.hidden_size=128")
    assert trained.returncode == 0, trained.stderr
    folder = tmp_path / "run" / "model"
    script = tmp_path / "in_vllm.py"
    script.write_text(IN_VLLM, encoding="utf-8")
    vlm = load(folder)
    encoded = vlm.processor.encode([Message.of("user", Image(), QUESTION)], [picture()], add_generation_prompt=True)
    token = vlm.processor.image_token
    count = vlm.processor.num_image_tokens(120, 90)
    prompt = vlm.processor.tokenizer.decode(encoded.rendered.input_ids).replace(token * count, token)
    made = subprocess.run(
        [sys.executable, str(script), str(folder), prompt, QUESTION],
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_PLUGINS": "tuwen"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    found = json.loads(made.stdout.split("\nFOUND ")[1].splitlines()[0])
    answer = vlm.chat(QUESTION, [picture()], greedy=True, max_new_tokens=12)
    ids = torch.tensor([[*answer.prompt_ids, *answer.token_ids]])
    with torch.no_grad():
        logits = vlm.model(input_ids=ids, pixel_values=torch.from_numpy(encoded.pixel_values)).logits
    scores = logits[0, len(answer.prompt_ids) - 1 : -1].log_softmax(-1)
    wanted = scores.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0].tolist()
    for one in found.values():
        assert one["prompt"] == answer.prompt_ids
        assert one["tokens"] == answer.token_ids
        assert one["scores"] == pytest.approx(wanted, abs=1e-4)
