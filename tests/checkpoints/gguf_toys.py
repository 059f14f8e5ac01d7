"""Tiny models for llama.cpp, each of other parts, and their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.checkpoints.llama_cpp_graph import GgufFile
from tests.conftest import run_cli
from tests.models.compositions import ENCODER_CONFIGS, LANGUAGE_CONFIGS
from tuwen.chat.templates import load_template
from tuwen.checkpoints.folder import save_model
from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.tokenizer import add_control_tokens, train_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import parse_policy

CORPUS = ["你好,世界。这是一张图片。", "hello world picture of a cat", "图中有三个红色的圆。 what is 12 plus 30?"] * 5
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def byte_level() -> PreTrainedTokenizerFast:
    return train_tokenizer(CORPUS, 400)


def pieces(scheme: str | None = None) -> PreTrainedTokenizerFast:
    """A SentencePiece vocabulary as fast tokenizers have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] not in BYTES]
    if scheme:
        cutter = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
        spec.update(normalizer=None, pre_tokenizer=cutter)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)), bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<unk>",
    )  # fmt: skip


@dataclass
class Toy:
    """A composition of tiny parts; what is not said is CLIP, MLP and LLaMA."""

    vision: str = "clip_vision_model"
    language: str = "llama"
    connector: str = "mlp"
    connector_settings: dict[str, Any] | None = None
    policy: str = "square"
    template: str = "chatml"
    tokenizer: Callable[[], Any] = byte_level
    feature: dict[str, Any] | None = None
    text: dict[str, Any] | None = None

    def save(self, out: Path) -> Path:
        torch.manual_seed(0)
        template, tokenizer = load_template(self.template), self.tokenizer()
        add_control_tokens(tokenizer, template.tokens)
        ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        sizes = {**LANGUAGE_CONFIGS[self.language], "vocab_size": len(tokenizer) + 5, **ids, **(self.text or {})}
        config = TuwenConfig(
            vision_config={"model_type": self.vision, **ENCODER_CONFIGS[self.vision]},
            text_config={"model_type": self.language, **sizes},
            connector_config={"type": self.connector, **(self.connector_settings or {})},
            vision_feature=self.feature or {},
            image_token_id=tokenizer.convert_tokens_to_ids(template.image_token),
        )
        model = TuwenForConditionalGeneration(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                # Biases and norms too must matter.
                parameter.add_(torch.randn_like(parameter) * 0.1)
        policy = parse_policy({"type": self.policy, "size": 32})
        save_model(model, TuwenProcessor.for_model(config, policy, tokenizer, template.jinja), out)
        return out


TOYS = {
    "clip mlp llama": Toy(connector_settings={"activation": "gelu_new"}),
    "chinese-clip linear llama": Toy(
        vision="chinese_clip_vision_model",
        connector="linear",
        connector_settings={"bias": False},
        policy="center_crop",
        template="vicuna",
        tokenizer=pieces,
        feature={"layers": [1, 2]},
        text={"attention_bias": True, "rope_parameters": LLAMA3},
    ),
    "siglip linear qwen3": Toy(
        vision="siglip_vision_model",
        language="qwen3",
        connector="linear",
        policy="pad_square",
        feature={"layers": [-1], "post_layernorm": True},
    ),
    "siglip mlp qwen2": Toy(vision="siglip_vision_model", language="qwen2", text={"rope_parameters": LINEAR}),
}


@dataclass
class Exported:
    """A model and its files in float32."""

    folder: Path
    language: GgufFile
    vision: GgufFile
    notes: str


def exported(folder: Path, out: Path, *options: str) -> Exported:
    result = run_cli("export", folder, out, "--to", "gguf", "--type", "f32", *options)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["mmproj-f32.gguf", "model-f32.gguf"]
    return Exported(folder, GgufFile(out / "model-f32.gguf"), GgufFile(out / "mmproj-f32.gguf"), result.stdout)
