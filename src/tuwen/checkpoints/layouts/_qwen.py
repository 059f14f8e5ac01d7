"""What the layouts of the Qwen-VL family (arXiv 2308.12966) share: their settings and weights in our terms and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuwen.checkpoints.renames import Rule, interleaved, same, stacked
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.connectors.cross_attention import HEAD_WIDTH, CrossAttentionConfig
from tuwen.models.encoders.qwen_vit import QwenViTConfig
from tuwen.models.language.qwen1 import Qwen1Config
from tuwen.models.processing import TuwenProcessor
from tuwen.vision.policy import CLIP_MEAN, CLIP_STD
from tuwen.vision.square import Square

# Places of a picture in the prompt, and so queries of the resampler: fixed in the original's tokenizer.
PLACES = 256
NORM_EPS = 1e-6
LANGUAGE, VISION, CONNECTOR = "model.language_model.", "model.vision_tower.", "model.connector."


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of a JSON file, each looked at when it is asked for.

    Attributes:
        where: the file and, inside it, the mapping; for messages.
        values: the mapping.
    """

    where: str | Path
    values: Mapping[str, Any]

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number above 0.

        Raises:
            TuwenError: when it is missing without a default, or something else; so for the methods below.
        """
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "a whole number above 0")
        return value

    def number(self, key: str) -> float:
        """A number above 0."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def only(self, key: str, value: Any) -> None:
        """Make sure that a setting, where it is there at all, is the one that our classes know."""
        if self.values.get(key, value) != value:
            raise self.wrong(key, f"{value!r}, the only one that is known here")

    def wrong(self, key: str, expected: str) -> TuwenError:
        """The error for a value that is missing or wrong."""
        found = f"found {self.values[key]!r}" if key in self.values else "this key is missing"
        return TuwenError(f"{self.where}: {key}: expected {expected}; {found}")


def square_policy(size: int) -> Square:
    """How the family sees pictures; the colour that a file holds behind what is transparent comes forward."""
    return Square(size=size, mean=CLIP_MEAN, std=CLIP_STD, transparency="drop")


def language_config(settings: Settings, end_of_text: int) -> Qwen1Config:
    """The language model of a Qwen-1 ``config.json``.

    Args:
        settings: of the file.
        end_of_text: id of ``<|endoftext|>``.
    """
    settings.only("no_bias", True)
    settings.only("rotary_pct", 1.0)
    settings.only("tie_word_embeddings", False)
    heads, inner = settings.integer("num_attention_heads"), settings.integer("intermediate_size")
    if inner % 2:
        # The published number is that of both halves of the gated layer.
        raise settings.wrong("intermediate_size", "an even number")
    return Qwen1Config(
        vocab_size=settings.integer("vocab_size"),
        hidden_size=settings.integer("hidden_size"),
        intermediate_size=inner // 2,
        num_hidden_layers=settings.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=settings.integer("kv_channels"),
        max_position_embeddings=settings.integer("max_position_embeddings"),
        rms_norm_eps=settings.number("layer_norm_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": settings.number("rotary_emb_base")},
        initializer_range=settings.number("initializer_range"),
        seq_length=settings.integer("seq_length"),
        use_dynamic_ntk=settings.flag("use_dynamic_ntk"),
        use_logn_attn=settings.flag("use_logn_attn"),
        tie_word_embeddings=False,
        eos_token_id=end_of_text,
    )


def language_values(config: Qwen1Config) -> dict[str, Any]:
    """What a Qwen-1 ``config.json`` has to say of a language model."""
    return {
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": 2 * config.intermediate_size,
        "kv_channels": config.head_dim,
        "layer_norm_epsilon": config.rms_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
        "no_bias": True,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "rotary_emb_base": config.rope_parameters["rope_theta"],
        "rotary_pct": 1.0,
        "seq_length": config.seq_length,
        "tie_word_embeddings": False,
        "use_dynamic_ntk": config.use_dynamic_ntk,
        "use_logn_attn": config.use_logn_attn,
        "vocab_size": config.vocab_size,
    }


def vision_config(settings: Settings) -> QwenViTConfig:
    """The encoder of a ``visual`` section."""
    width, ratio = settings.integer("width"), settings.number("mlp_ratio")
    heads = settings.integer("heads")
    if width % heads:
        raise settings.wrong("heads", f"a divisor of the width {width}")
    if settings.integer("n_queries", PLACES) != PLACES:
        raise settings.wrong("n_queries", f"{PLACES}, as many as the tokenizer gives places to a picture")
    return QwenViTConfig(
        image_size=settings.integer("image_size"),
        patch_size=settings.integer("patch_size"),
        hidden_size=width,
        num_hidden_layers=settings.integer("layers"),
        num_attention_heads=heads,
        intermediate_size=int(width * ratio),
        layer_norm_eps=NORM_EPS,
    )


def vision_values(config: QwenViTConfig, kept: Mapping[str, Any], image_start: int, output: int) -> dict[str, Any]:
    """What a ``visual`` section has to say.

    Args:
        config: of the encoder.
        kept: the section of the folder that the model came from; empty where there is none.
        image_start: id of ``<img>``.
        output: width of the resampler.
    """
    width, inner = config.hidden_size, config.intermediate_size
    ratio = kept.get("mlp_ratio", math.ceil(inner / width * 1e4) / 1e4)
    return {
        "heads": config.num_attention_heads,
        "image_size": config.image_size,
        "image_start_id": image_start,
        "layers": config.num_hidden_layers,
        # A loader rounds the product down.
        "mlp_ratio": ratio if int(width * ratio) == inner else (inner + 0.5) / width,
        "output_dim": output,
        "patch_size": config.patch_size,
        "width": width,
    }


def composition(language: Qwen1Config, vision: QwenViTConfig, special: Mapping[str, int], dtype: Any) -> TuwenConfig:
    """Both parts and the resampler, which has the language model's width, as one.

    Args:
        language: the language model.
        vision: the encoder.
        special: ids of special tokens.
        dtype: of the weights.
    """
    return TuwenConfig(
        vision_config=vision,
        text_config=language,
        connector_config={"type": "cross_attention", "num_queries": PLACES, "layer_norm_eps": NORM_EPS},
        vision_feature={"layers": [-1]},
        image_token_id=special["<imgpad>"],
        image_span={"start": special["<img>"], "end": special["</img>"]},
        tie_word_embeddings=False,
        dtype=dtype,
    )


def language_rules(layers: int) -> Iterator[Rule]:
    """The language model; its query, key and value are one matrix, three blocks of rows."""
    yield same("transformer.wte.weight", f"{LANGUAGE}embed_tokens.weight")
    names = {
        "ln_1.weight": "input_layernorm.weight",
        "ln_2.weight": "post_attention_layernorm.weight",
        "attn.c_proj.weight": "self_attn.o_proj.weight",
        # The second of the two inner layers is the gate.
        "mlp.w1.weight": "mlp.up_proj.weight",
        "mlp.w2.weight": "mlp.gate_proj.weight",
        "mlp.c_proj.weight": "mlp.down_proj.weight",
    }
    for index in range(layers):
        theirs, ours = f"transformer.h.{index}.", f"{LANGUAGE}layers.{index}."
        yield from (same(theirs + one, ours + two) for one, two in names.items())
        for kind in ("weight", "bias"):
            parts = [f"{ours}self_attn.{part}_proj.{kind}" for part in "qkv"]
            yield stacked(f"{theirs}attn.c_attn.{kind}", parts)
    yield same("transformer.ln_f.weight", f"{LANGUAGE}norm.weight")
    yield same("lm_head.weight", "lm_head.weight")


def vision_rules(config: QwenViTConfig, prefix: str) -> Iterator[Rule]:
    """The encoder; its query, key and value are interleaved head by head."""
    yield same(f"{prefix}conv1.weight", f"{VISION}patch_embedding.weight")
    yield same(f"{prefix}positional_embedding", f"{VISION}position_embedding")
    names = {
        "ln_1": "norm1",
        "attn.out_proj": "projection",
        "ln_2": "norm2",
        "mlp.c_fc": "expand",
        "mlp.c_proj": "contract",
    }
    for kind in ("weight", "bias"):
        yield same(f"{prefix}ln_pre.{kind}", f"{VISION}pre_norm.{kind}")
    for index in range(config.num_hidden_layers):
        theirs, ours = f"{prefix}transformer.resblocks.{index}.", f"{VISION}blocks.{index}."
        for kind in ("weight", "bias"):
            yield from (same(f"{theirs}{one}.{kind}", f"{ours}{two}.{kind}") for one, two in names.items())
            heads = config.num_attention_heads
            yield interleaved(f"{theirs}attn.in_proj.{kind}", f"{ours}query_key_value.{kind}", heads)


def resampler_rules(config: TuwenConfig, prefix: str) -> Iterator[Rule]:
    """The resampler, and the norm and projection that are published beside it."""
    pool = ["query", "pos_embed", "attn.in_proj_weight", "attn.in_proj_bias"]
    pool += [f"{layer}.{kind}" for layer in ("attn.out_proj", "ln_q", "ln_kv") for kind in ("weight", "bias")]
    if config.vision_dim != config.text_config.hidden_size:
        pool.append("kv_proj.weight")
    yield from (same(f"{prefix}attn_pool.{name}", CONNECTOR + name) for name in pool)
    yield from (same(prefix + name, CONNECTOR + name) for name in ("ln_post.weight", "ln_post.bias", "proj"))


def check_expressible(config: TuwenConfig, processor: TuwenProcessor, layout: str) -> None:
    """Make sure that a model is of this family.

    Raises:
        TuwenError: naming the first part that is not, with what would be.
    """
    text, vision, policy = config.text_config, config.vision_config, processor.policy
    parts: list[tuple[str, Any, Any]] = [
        ("text_config.model_type", text.model_type, Qwen1Config.model_type),
        ("vision_config.model_type", vision.model_type, QwenViTConfig.model_type),
        ("connector_config.type", config.connector_config.get("type"), "cross_attention"),
    ]
    _refuse_first(parts, layout)
    connector = config.connector
    assert isinstance(connector, CrossAttentionConfig)
    width = text.hidden_size
    parts = [
        ("connector_config.num_queries", connector.num_queries, PLACES),
        ("connector_config.width", connector.width or width, width),
        ("connector_config.num_heads", connector.num_heads or max(1, width // HEAD_WIDTH), max(1, width // HEAD_WIDTH)),
        ("connector_config.layer_norm_eps", connector.layer_norm_eps, NORM_EPS),
        ("vision_config.layer_norm_eps", vision.layer_norm_eps, NORM_EPS),
        ("vision_config.num_positions", vision.num_positions, PLACES),
        ("vision_feature.layers", [layer % (vision.num_hidden_layers + 1) for layer in config.feature.layers],
         [vision.num_hidden_layers]),
        ("text_config.num_key_value_heads", text.num_key_value_heads, text.num_attention_heads),
        ("text_config.rope_parameters.rope_type", text.rope_parameters.get("rope_type"), "default"),
        ("tie_word_embeddings", config.tie_word_embeddings, False),
        ("image_policy", policy.model_copy(update={"transparency": "drop"}), square_policy(vision.image_size)),
    ]  # fmt: skip
    _refuse_first(parts, layout)


def _refuse_first(parts: list[tuple[str, Any, Any]], layout: str) -> None:
    for name, found, wanted in parts:
        if found != wanted:
            raise TuwenError(f"{name}: the layout {layout} can hold {wanted!r} only, found {found!r}")
