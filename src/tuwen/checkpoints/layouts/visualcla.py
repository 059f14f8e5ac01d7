"""VisualCLA-7B (github.com/airaria/Visual-Chinese-LLaMA-Alpaca): CLIP, a BERT-like resampler and Chinese-Alpaca.

Published as three folders in one: ``text_encoder/`` and ``vision_encoder/`` as `transformers` saves them, and the
resampler with its projection, the tokenizer and the composition beside them. What was released first is an adapter that
is put over Chinese-Alpaca-Plus-7B and CLIP ViT-L/14.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from tuwen.chat.templates import load_template
from tuwen.checkpoints.adapters import CONFIG as ADAPTER_CONFIG
from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.layouts._preprocessor import policy_from_preprocessor
from tuwen.checkpoints.layouts._slow_llama import read_slow_llama
from tuwen.checkpoints.layouts._visualcla_files import TEXT, VISION, derived_files, part_of
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.refusal import blamed_on, check_sizes
from tuwen.checkpoints.renames import Rule, same
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor

IMAGE_TOKEN, PAD_TOKEN = "<img_token>", "<pad>"
NEEDED_TOKENS = ("<img>", "</img>", IMAGE_TOKEN)
TEMPLATE = load_template("visualcla").jinja
# The original's readme misspells the folder that its code reads.
VISION_FOLDERS = (VISION, "image_encoer", "image_encoder")
# As its chat function sets them; it generates from embeddings, so that the penalties see the answer alone.
GENERATION: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.5,
    "top_k": 40,
    "top_p": 0.9,
    "repetition_penalty": 1.1,
    "no_repeat_ngram_size": 15,
    "max_new_tokens": 512,
    "penalise_prompt": False,
}
# Where a published tensor was, and tensors that no model computes with; kept beside the files that were there.
WEIGHT_MAP, UNUSED = "tuwen_weight_map.json", "tuwen_unused.safetensors"
POOLER = "visual_resampler.pooler.dense"
# What the composition puts before the names in the folders of LLaMA and CLIP, and CLIP's other tower.
BASE_PREFIXES = ("text_model.", "vision_model.")
OTHER_TOWER = ("text_model.", "logit_scale", "visual_projection.", "text_projection.")
RESAMPLER_LAYER = {
    "crossattention.self.query": "query",
    "crossattention.self.key": "key",
    "crossattention.self.value": "value",
    "crossattention.output.dense": "attention_output",
    "crossattention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_norm",
}
CLIP_LAYER = (
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2",
)  # fmt: skip
LLAMA_LAYER = (
    *(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
CLIP_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
    "patch_size", "hidden_act", "layer_norm_eps", "projection_dim", "initializer_range", "initializer_factor",
)  # fmt: skip
LLAMA_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range", "rope_theta", "rope_scaling",
    "attention_bias", "mlp_bias", "bos_token_id", "eos_token_id", "pad_token_id", "head_dim",
)  # fmt: skip


@LAYOUTS.register("visualcla")
class VisualCLA(Layout):
    """The merged folder, as the project's merge script writes it."""

    name = "visualcla"
    title = "VisualCLA-7B: CLIP ViT-L/14 × six-layer resampler × Chinese-Alpaca (LLaMA)"

    def recognises(self, folder: Path) -> bool:
        """By ``model_type``; the adapter that was released first has it too, and ``read`` says what it needs."""
        path = folder / "config.json"
        return path.is_file() and read_json(path).get("model_type") == self.name

    def recognises_delta(self, folder: Path) -> bool:
        """By ``model_type`` and the adapter's settings beside it."""
        return (folder / ADAPTER_CONFIG).is_file() and self.recognises(folder)

    def read(self, folder: Path) -> Published:
        """See ``Layout.read``."""
        if (folder / ADAPTER_CONFIG).is_file():
            raise TuwenError(
                f"{folder / ADAPTER_CONFIG}: an adapter, not a whole model; give the folders of its language model "
                "(Chinese-Alpaca-Plus) and its vision encoder (CLIP ViT-L/14) too"
            )
        whole = read_json(folder / "config.json")
        vision = next((name for name in VISION_FOLDERS if (folder / name).is_dir()), VISION)
        weights = _weights(folder, (TEXT, vision, ""))
        parts = (
            _stored(folder / TEXT / "config.json", whole.get("text_config")),
            _stored(folder / vision / "config.json", whole.get("vision_config")),
        )
        config = _checked(whole, *parts, weights, folder / "config.json")
        unused = {name: weights[name] for name in weights if _is_unused(name)}
        kept = [path for place in ("", TEXT, vision) for path in sorted((folder / place).glob("*.*")) if _small(path)]
        keep = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
        keep[WEIGHT_MAP] = json.dumps({name: weights.file(name) for name in weights}).encode()
        dtype = weights.dtype("model.embed_tokens.weight")
        return _published(folder, config, unused, files=weights, dtype=dtype, keep=keep)

    def read_delta(self, delta: Path, language: Path, vision: Path) -> Published:
        """The adapter folded into its base, as if the merged folder had been read; see ``Layout.read_delta``.

        Nothing is computed before a tensor is asked for. All numbers get the type of the language model's.

        Args:
            delta: ``adapter_config.json``, its weights, the composition's ``config.json`` and the tokenizer.
            language: Chinese-Alpaca-Plus-7B, whole or in shards.
            vision: CLIP ViT-L/14, both towers or the vision tower alone.
        """
        base = WeightFiles.find(language)
        dtype = base.dtype(next(iter(base)))
        weights = fold(base + WeightFiles.find(vision), read_adapter(delta), _base_name, dtype=dtype)
        text, clip = read_json(language / "config.json"), read_json(vision / "config.json")
        whole = read_json(delta / "config.json")
        config = _checked(whole, text, clip.get("vision_config", clip), weights, delta / "config.json")
        unused = {name: weights[name] for name in weights if _is_unused(name) and not name.startswith(OTHER_TOWER)}
        # The merge script makes float32 of the language model's table, whatever it was stored in.
        unused |= {name: table.float() for name, table in unused.items() if name.endswith("inv_freq")}
        found = _published(delta, config, unused, files=weights, dtype=dtype, keep={})
        return replace(found, ignored=lambda name: name.startswith(OTHER_TOWER))

    def write(self, config: TuwenConfig, processor: TuwenProcessor, keep: Mapping[str, bytes]) -> Outgoing:
        """See ``Layout.write``."""
        _check(config, processor)
        unused = load(keep[UNUSED]) if UNUSED in keep else {}
        if WEIGHT_MAP not in keep:
            unused = {**_idle(config), **unused}
            names = [name for rule in rules(config, unused) for name in rule.theirs]
            weight_map = {name: part_of(name) for name in names}
            return Outgoing(rules=rules(config, unused), files=derived_files(config, processor), weight_map=weight_map)
        rows = json.loads(keep["config.json"]).get("vocab_size", config.text_config.vocab_size)
        if rows != config.text_config.vocab_size:
            raise TuwenError(
                f"config.json: vocab_size: {config.text_config.vocab_size}, but the folder that the model came from "
                f"had {rows}; its tokenizer files do not fit any more"
            )
        return Outgoing(
            rules=rules(config, unused),
            files={name: content for name, content in keep.items() if name not in (WEIGHT_MAP, UNUSED)},
            weight_map=json.loads(keep[WEIGHT_MAP]),
        )


def _published(
    folder: Path, config: TuwenConfig, unused: Mapping[str, Tensor], *, keep: Mapping[str, bytes], **weights: Any
) -> Published:
    """The composition with what the small files of a folder say."""
    tokenizer = read_slow_llama(folder, PAD_TOKEN)
    return Published(
        layout=VisualCLA.name,
        config=_with_image_token(config, tokenizer, folder),
        processor=_processor(config, tokenizer, folder),
        generation=_generation(config, tokenizer),
        rules=rules(config, unused),
        keep={**keep, UNUSED: save({name: tensor.contiguous() for name, tensor in unused.items()})},
        **weights,
    )


def _checked(
    whole: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], weights: WeightFiles, where: Path
) -> TuwenConfig:
    """The composition of a folder that may hold anything."""
    with blamed_on(where):
        check_sizes({**whole, "text_config": text, "vision_config": vision}, len(weights), where)
        config = composition(whole, text, vision, weights=weights, where=where)
        config.check()
    return config


def composition(
    whole: Mapping[str, Any],
    text: Mapping[str, Any],
    vision: Mapping[str, Any],
    *,
    weights: WeightFiles,
    where: Path | None = None,
) -> TuwenConfig:
    """The configuration of the three parts; the image token is not known yet.

    Args:
        whole: ``config.json`` of the composition.
        text: of LLaMA; its ``vocab_size`` is that of Chinese-Alpaca, before the picture's tokens were added.
        vision: of CLIP's vision tower.
        weights: for the size of the vocabulary where ``whole`` does not say it.
        where: the file of ``whole``, where it is not beside the weights; for messages.
    """
    where = where or weights.folder / "config.json"
    sizes = whole.get("visual_resampler_config")
    if not whole.get("use_visual_resampler", True) or not isinstance(sizes, Mapping):
        raise TuwenError(f"{where}: visual_resampler_config: this key is missing or not in use; no other form is known")
    for part, key, expected in ((text, "text_config", "llama"), (vision, "vision_config", "clip_vision_model")):
        if part.get("model_type", expected) != expected:
            raise TuwenError(f"{where}: {key}.model_type: found {part['model_type']!r}, expected {expected!r}")
    rows = whole.get("vocab_size")
    if rows is None and "model.embed_tokens.weight" in weights:
        rows = weights.shape("model.embed_tokens.weight")[0]
    language = {key: text[key] for key in LLAMA_KEYS if text.get(key) is not None}
    try:
        connector = {
            "type": "resampler",
            "num_queries": sizes["num_query_tokens"],
            "num_layers": sizes["num_hidden_layers"],
            "num_heads": sizes["num_attention_heads"],
            "intermediate_size": sizes["intermediate_size"],
            "layer_norm_eps": whole.get("layer_norm_eps", 1e-12),
        }
    except KeyError as error:
        raise TuwenError(f"{where}: visual_resampler_config.{error.args[0]}: this key is missing") from None
    return TuwenConfig(
        vision_config={"model_type": "clip_vision_model", **{key: vision[key] for key in CLIP_KEYS if key in vision}},
        text_config={"model_type": "llama", **language, "vocab_size": rows, "tie_word_embeddings": False},
        connector_config=connector,
        vision_feature={"layers": [-1], "select": "all", "post_layernorm": True},
        tie_word_embeddings=False,
    )


def _with_image_token(config: TuwenConfig, tokenizer: Any, folder: Path) -> TuwenConfig:
    """``config`` with the image token's id.

    Raises:
        TuwenError: when the tokenizer lacks a token of the prompt, or has more entries than the model.
    """
    known = tokenizer.get_added_vocab()
    for token in NEEDED_TOKENS:
        if token not in known:
            raise TuwenError(f"{folder / 'added_tokens.json'}: {token!r}: this key is missing")
    if len(tokenizer) > config.text_config.vocab_size:
        raise TuwenError(
            f"{folder / 'config.json'}: vocab_size: found {config.text_config.vocab_size}, "
            f"but the tokenizer has {len(tokenizer)} entries"
        )
    config.image_token_id = known[IMAGE_TOKEN]
    return config


def _processor(config: TuwenConfig, tokenizer: Any, folder: Path) -> TuwenProcessor:
    """Tokenizer, prompt and image policy of a folder with ``preprocessor_config.json``."""
    policy = policy_from_preprocessor(folder / "preprocessor_config.json")
    tokens = config.connector.num_tokens(config.patch_grid(policy.plan(1, 1)))
    return TuwenProcessor(
        TuwenImageProcessor(policy.to_dict()), tokenizer, TEMPLATE, tokens_per_tile=tokens, image_token=IMAGE_TOKEN
    )


def _generation(config: TuwenConfig, tokenizer: Any) -> dict[str, Any]:
    """Generation defaults with the tokens' ids; a picture's token in an answer could not be followed by a picture."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids["pad_token_id"] = tokenizer.pad_token_id
    return {**GENERATION, **ids, "suppress_tokens": [config.image_token_id]}


def _base_name(name: str) -> str:
    """A parameter of the composition → its name in the folders of LLaMA and CLIP."""
    return next((name.removeprefix(start) for start in BASE_PREFIXES if name.startswith(start)), name)


def rules(config: TuwenConfig, unused: Mapping[str, Tensor]) -> list[Rule]:
    """Published names ↔ ours; tensors that nothing computes with come back as they were."""
    pairs = [
        ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        ("model.norm.weight", "model.language_model.norm.weight"),
        ("lm_head.weight", "lm_head.weight"),
        # The original's own spelling.
        ("visual_resampler.query_embeddding", "model.connector.query_embedding"),
        *_both("image_projection_layer", "model.connector.projection"),
    ]
    for layer in range(config.text_config.num_hidden_layers):
        stem = f"layers.{layer}"
        pairs += [(f"model.{stem}.{n}.weight", f"model.language_model.{stem}.{n}.weight") for n in LLAMA_LAYER]
    vision = ["class_embedding", "patch_embedding.weight", "position_embedding.weight"]
    pairs += [(f"vision_model.embeddings.{n}", f"model.vision_tower.embeddings.{n}") for n in vision]
    modules = ["pre_layrnorm", "post_layernorm"]
    modules += [f"encoder.layers.{i}.{n}" for i in range(config.vision_config.num_hidden_layers) for n in CLIP_LAYER]
    pairs += [pair for n in modules for pair in _both(f"vision_model.{n}", f"model.vision_tower.{n}")]
    for layer in range(config.connector.model_dump()["num_layers"]):
        for theirs, ours in RESAMPLER_LAYER.items():
            stem = f"visual_resampler.encoder.layer.{layer}.{theirs}"
            pairs += _both(stem, f"model.connector.layers.{layer}.{ours}")
    return [*(same(*pair) for pair in pairs), *(_constant(name, tensor) for name, tensor in unused.items())]


def _both(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")]


def _constant(name: str, tensor: Tensor) -> Rule:
    """A published tensor that is none of ours."""
    return Rule(theirs=(name,), ours=(), forward=lambda tensors: [], backward=lambda tensors: [tensor])


def _is_unused(name: str) -> bool:
    """Whether a published tensor takes no part: an old rotary table, position numbers, the pooler."""
    return name.startswith(POOLER) or name.endswith(("rotary_emb.inv_freq", "embeddings.position_ids"))


def _idle(config: TuwenConfig) -> dict[str, Tensor]:
    """The same for a model that came from elsewhere: tables from their formulas, a pooler of zeros."""
    text, width = config.text_config, config.vision_config.hidden_size
    size = text.hidden_size // text.num_attention_heads
    table = 1.0 / (10000.0 ** (torch.arange(0, size, 2).float() / size))
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return {
        **{f"model.layers.{i}.self_attn.rotary_emb.inv_freq": table.clone() for i in range(text.num_hidden_layers)},
        "vision_model.embeddings.position_ids": torch.arange(patches + 1)[None],
        f"{POOLER}.weight": torch.zeros(width, width, dtype=torch.float16),
        f"{POOLER}.bias": torch.zeros(width, dtype=torch.float16),
    }


def _weights(folder: Path, places: Sequence[str]) -> WeightFiles:
    found: list[str] = []
    for place in places:
        part = WeightFiles.find(folder / place)
        found += dict.fromkeys(f"{place}/{part.file(name)}" if place else part.file(name) for name in part)
    return WeightFiles(folder, found)


def _stored(path: Path, other: Any) -> Mapping[str, Any]:
    """A part's own configuration; without one, what the composition says of it."""
    if path.is_file() or not isinstance(other, Mapping):
        return read_json(path)
    return other


def _small(path: Path) -> bool:
    return path.is_file() and path.suffix in (".json", ".model", ".md", ".txt")


def _check(config: TuwenConfig, processor: TuwenProcessor) -> None:
    """Refuse what the original's code cannot load or would compute in another way."""
    facts: Iterable[tuple[str, Any, Any]] = (
        ("vision_config.model_type", config.vision_config.model_type, "clip_vision_model"),
        ("text_config.model_type", config.text_config.model_type, "llama"),
        ("connector_config.type", config.connector_config.get("type"), "resampler"),
        ("vision_feature.layers", config.feature.layers, [-1]),
        ("vision_feature.select", config.feature.select, "all"),
        ("vision_feature.post_layernorm", config.feature.post_layernorm, True),
        ("tie_word_embeddings", bool(config.tie_word_embeddings), False),
        ("image_token", processor.image_token, IMAGE_TOKEN),
    )
    for key, found, expected in facts:
        if found != expected:
            raise TuwenError(f"{key}: {found!r} cannot be written as VisualCLA, which has {expected!r}")
    if (processor.chat_template or "").strip() != TEMPLATE.strip():
        raise TuwenError("chat_template: VisualCLA's code has one prompt of its own; another cannot be written")
