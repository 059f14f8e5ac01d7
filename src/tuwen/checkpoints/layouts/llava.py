"""LLaVA-1.5 (arXiv 2310.03744) as `transformers` saves it: any language model, CLIP, Chinese-CLIP or SigLIP.

Names of weights changed over the years, each part's by itself; a folder's own are read off its files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import LlavaConfig

from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.folder import stored_state
from tuwen.checkpoints.layouts._chat_template import published_template, renderable
from tuwen.checkpoints.layouts._llava_files import ARCHITECTURE, ENCODERS, SHARD, fresh_files
from tuwen.checkpoints.layouts._preprocessor import policy_from_preprocessor
from tuwen.checkpoints.layouts._tokenizer_files import adds_bos, read_settings, read_tokenizer
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.refusal import blamed_on, check_sizes
from tuwen.checkpoints.renames import Rule, published_shapes, same
from tuwen.checkpoints.shards import in_shards, index_file
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.encoders.base import encoder_kind
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor

KEPT = (
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "config.json", "generation_config.json",
    "merges.txt", "model.safetensors.index.json", "preprocessor_config.json", "processor_config.json",
    "pytorch_model.bin.index.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json",
)  # fmt: skip
# Which weight lies in which file; kept beside the files, and not one of them.
WEIGHT_MAP = "weight_map"
SELECT = {"default": "patch", "full": "all"}
MAX_NEW_TOKENS = 200
# Settings of generation_config.json that say nothing about how to generate.
NOTES = ("_from_model_config", "transformers_version")


@dataclass(frozen=True, slots=True)
class Names:
    """What stands before the names of each part's weights.

    Attributes:
        vision: of the vision encoder.
        connector: of the projector.
        language: of the language model without its head.
        head: of the output head.
    """

    vision: str
    connector: str
    language: str
    head: str


OURS = Names("model.vision_tower.", "model.connector.layers.", "model.language_model.", "lm_head.")
# Of mid-2024; `transformers` of any later date reads it too.
PUBLISHED = Names(
    "vision_tower.vision_model.", "multi_modal_projector.linear_", "language_model.model.", "language_model.lm_head."
)
EMBEDDING = f"{OURS.language}embed_tokens.weight"
# All that were ever written, longer before shorter.
KNOWN: dict[str, tuple[str, ...]] = {
    "vision": (
        "model.vision_tower.vision_model.", "model.vision_tower.", "vision_tower.vision_model.", "vision_tower.",
    ),
    "connector": ("model.multi_modal_projector.linear_", "multi_modal_projector.linear_"),
    "language": ("model.language_model.", "language_model.model."),
    "head": ("lm_head.", "language_model.lm_head."),
}  # fmt: skip
# The projector's two layers, theirs and ours: an activation stands between ours.
LAYERS = {"1.": "0.", "2.": "2."}


def names_of(weights: Iterable[str]) -> Names:
    """The names that a folder uses; as of mid-2024 for a part of which it has no weight."""
    listed = list(weights)
    found = {
        part: next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in listed)), None)
        for part, prefixes in KNOWN.items()
    }
    return Names(**{part.name: found[part.name] or getattr(PUBLISHED, part.name) for part in fields(Names)})


def adapter_rename(weights: Iterable[str]) -> Callable[[str], str]:
    """From names in an adapter of any date (without ``base_model.model.``) to those of its base, for ``fold``.

    Args:
        weights: names of the base's weights.
    """
    base = names_of(weights)

    def rename(name: str) -> str:
        for part, prefixes in KNOWN.items():
            for prefix in prefixes:
                if name.startswith(prefix):
                    return str(getattr(base, part)) + name.removeprefix(prefix)
        return name

    return rename


def _rules(ours: Iterable[str], names: Names, *, copy: bool = False) -> list[Rule]:
    """A rule for each of our tensors; with ``copy`` the embedding is published as the output head too."""
    rules = []
    for name in ours:
        if name.startswith(OURS.connector):
            rest = name.removeprefix(OURS.connector)
            theirs = next(names.connector + one + rest.removeprefix(two) for one, two in LAYERS.items() if two in rest)
        elif name.startswith(OURS.vision):
            theirs = names.vision + name.removeprefix(OURS.vision)
        elif name.startswith(OURS.language):
            theirs = names.language + name.removeprefix(OURS.language)
        else:
            theirs = names.head + name.removeprefix(OURS.head)
        rules.append(same(theirs, name))
    return [_doubled(rule, names) if copy and rule.ours == (EMBEDDING,) else rule for rule in rules]


def _doubled(rule: Rule, names: Names) -> Rule:
    """The embedding, stored again as the output head that is tied to it."""
    return Rule(
        theirs=(*rule.theirs, f"{names.head}weight"),
        ours=rule.ours,
        forward=lambda tensors: tensors[:1],
        backward=lambda tensors: [tensors[0], tensors[0]],
    )


def _ignored(name: str) -> bool:
    # Tables that old versions of `transformers` stored and all later ones compute.
    return name.endswith(("rotary_emb.inv_freq", "embeddings.position_ids"))


@LAYOUTS.register("llava")
class Llava(Layout):
    """Folders of ``LlavaForConditionalGeneration`` with a vision encoder of ours."""

    name: ClassVar[str] = "llava"
    title: ClassVar[str] = "LLaVA-1.5 as `transformers` saves it (llava-Qwen2-7B-Instruct-Chinese-CLIP, LLaVA-1.5 …)"

    def recognises(self, folder: Path) -> bool:
        """By ``model_type``, ``architectures`` and the vision encoder in ``config.json``."""
        if not (folder / "config.json").is_file():
            return False
        values = read_json(folder / "config.json")
        vision = values.get("vision_config") or {}
        return (
            isinstance(vision, dict)
            and values.get("model_type") == "llava"
            and ARCHITECTURE in (values.get("architectures") or [])
            and vision.get("model_type", "clip_vision_model") in ENCODERS
        )

    def read(self, folder: Path) -> Published:
        """See ``Layout.read``."""
        files = WeightFiles.find(folder)
        first = next(iter(files), None)
        if first is None:
            raise TuwenError(f"{folder}: its weight files hold no weights")
        dtype = files.dtype(first)
        path = folder / "config.json"
        values = read_json(path)
        check_sizes(values, len(files), path)
        with blamed_on(path):
            config = composition(values, str(path), dtype)
            ours = stored_state(config)
        processor, generation = _processor(folder, config), _generation(folder, config)
        names = names_of(files)
        copy = config.tie_word_embeddings and f"{names.head}weight" in files
        return Published(
            layout=self.name,
            config=config,
            processor=processor,
            generation={**generation, "pad_token_id": processor.tokenizer.pad_token_id},
            files=files,
            rules=_rules(ours, names, copy=copy),
            dtype=dtype,
            ignored=_ignored,
            keep={
                **{name: (folder / name).read_bytes() for name in KEPT if (folder / name).is_file()},
                WEIGHT_MAP: json.dumps({name: Path(files.file(name)).name for name in files}).encode(),
            },
        )

    def write(self, config: TuwenConfig, processor: TuwenProcessor, keep: Mapping[str, bytes]) -> Outgoing:
        """See ``Layout.write``; a model made elsewhere gets names and files as of mid-2024."""
        ours = stored_state(config)
        if not keep:
            # First, as it refuses what has no name in this layout.
            files = fresh_files(config, processor)
            rules = _rules(ours, PUBLISHED)
            sizes = {name: math.prod(shape) for name, shape in published_shapes(rules, ours).items()}
            weight_map = in_shards(sizes, SHARD)
            return Outgoing(rules=rules, files={**files, **index_file(weight_map)}, weight_map=weight_map)
        weight_map = json.loads(keep[WEIGHT_MAP])
        names = names_of(weight_map)
        copy = config.tie_word_embeddings and f"{names.head}weight" in weight_map
        _check_kept(config, ours, keep)
        return Outgoing(
            rules=_rules(ours, names, copy=copy),
            files={name: content for name, content in keep.items() if name != WEIGHT_MAP},
            weight_map={name: file for name, file in weight_map.items() if not _ignored(name)},
        )

    def adapt(self, base: Published, adapter: Path) -> Published:
        """See ``Layout.adapt``; the names of any date fit a base of any date."""
        return replace(base, files=fold(base.files, read_adapter(adapter), adapter_rename(base.files)))


def composition(values: Mapping[str, Any], where: str, dtype: torch.dtype | None = None) -> TuwenConfig:
    """The composition that a LLaVA ``config.json`` describes.

    Args:
        values: its content.
        where: what to call it in a message.
        dtype: of the weights.

    Raises:
        TuwenError: naming the key that is wrong or that our classes do not have.
    """
    try:
        theirs = LlavaConfig.from_dict(dict(values))
    except Exception as error:
        # The library's own checks raise errors of many kinds.
        raise TuwenError(f"{where}: cannot be read: {error}") from None
    if not theirs.multimodal_projector_bias:
        raise TuwenError(f"{where}: multimodal_projector_bias: found false; only projectors with biases are known")
    strategy, layer = theirs.vision_feature_select_strategy, theirs.vision_feature_layer
    if strategy not in SELECT:
        raise TuwenError(
            f"{where}: vision_feature_select_strategy: found {strategy!r}; choose one of {', '.join(SELECT)}"
        )
    if SELECT[strategy] == "patch" and not encoder_kind(theirs.vision_config).prefix(theirs.vision_config):
        raise TuwenError(
            f"{where}: vision_feature_select_strategy: 'default' drops the class token, which "
            f"{theirs.vision_config.model_type} does not have; expected 'full'"
        )
    for part in (theirs.vision_config, theirs.text_config):
        # What a part was trained in says nothing about these weights.
        part.dtype = dtype
    config = TuwenConfig(
        vision_config=theirs.vision_config,
        text_config=theirs.text_config,
        connector_config={"type": "mlp", "depth": 2, "activation": theirs.projector_hidden_act},
        vision_feature={"layers": [layer] if isinstance(layer, int) else list(layer), "select": SELECT[strategy]},
        image_token_id=theirs.image_token_index,
        tie_word_embeddings=bool(theirs.tie_word_embeddings),
        dtype=dtype,
    )
    try:
        config.check()
    except TuwenError as error:
        raise TuwenError(f"{where}: {error}") from None
    return config


def _processor(folder: Path, config: TuwenConfig) -> TuwenProcessor:
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
    policy = policy_from_preprocessor(path)
    tile, side = policy.plan(1, 1), config.vision_config.image_size
    if tile.height != side:
        raise TuwenError(
            f"{path}: pictures become {tile.width}x{tile.height} pixels, but vision_config.image_size in "
            f"config.json is {side}"
        )
    text = config.text_config
    ids = {
        "bos_token": getattr(text, "bos_token_id", None),
        "eos_token": _one(_generation(folder, config).get("eos_token_id")),
        "pad_token": _pad(folder, config),
    }
    settings = read_settings(folder)
    tokenizer = read_tokenizer(folder, settings, ids)
    image_token = tokenizer.convert_ids_to_tokens(config.image_token_id) if config.image_token_id >= 0 else None
    if not isinstance(image_token, str) or image_token not in tokenizer.get_added_vocab():
        raise TuwenError(
            f"{folder / 'config.json'}: image_token_index: found {config.image_token_id}, but tokenizer.json has "
            f"{len(tokenizer)} entries and no special one of that id"
        )
    try:
        template = renderable(
            published_template(folder, settings),
            {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
            image_token,
            begins=adds_bos(tokenizer),
        )
    except TuwenError as error:
        raise TuwenError(f"{folder}: {error}") from None
    tokens = config.connector.num_tokens(config.patch_grid(tile))
    images = TuwenImageProcessor(policy.to_dict())
    return TuwenProcessor(images, tokenizer, template, tokens_per_tile=tokens, image_token=image_token)


def _pad(folder: Path, config: TuwenConfig) -> int | None:
    value = read_json(folder / "config.json").get("pad_token_id", getattr(config.text_config, "pad_token_id", None))
    return value if isinstance(value, int) else None


def _one(value: Any) -> int | None:
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) else None


def _generation(folder: Path, config: TuwenConfig) -> dict[str, Any]:
    """Greedy and short where the folder says nothing else."""
    path = folder / "generation_config.json"
    stored = read_json(path) if path.is_file() else {}
    settings = {name: value for name, value in stored.items() if name not in NOTES}
    defaults: dict[str, Any] = {"do_sample": False, "max_new_tokens": MAX_NEW_TOKENS}
    for name in ("bos_token_id", "eos_token_id"):
        defaults[name] = getattr(config.text_config, name, None)
    return {**{name: value for name, value in defaults.items() if value is not None}, **settings}


def _check_kept(config: TuwenConfig, ours: Mapping[str, Tensor], keep: Mapping[str, bytes]) -> None:
    """Make sure that the old ``config.json`` still says what the model is."""
    kept = composition(json.loads(keep["config.json"]), "config.json")
    for key in ("connector_config", "vision_feature", "image_token_id", "tie_word_embeddings"):
        was, now = getattr(kept, key), getattr(config, key)
        if was != now:
            raise TuwenError(f"{key}: {now!r} is not what the folder that the model came from has: {was!r}")
    shapes = {name: tensor.shape for name, tensor in stored_state(kept).items()}
    for name, tensor in ours.items():
        if shapes.get(name) != tensor.shape:
            raise TuwenError(f"{name}: of shape {list(tensor.shape)}, which the folder that it came from does not have")
