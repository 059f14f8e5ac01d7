"""A vision encoder, a language model or a tokenizer out of a folder, whatever kind of folder it is.

A folder of a whole model, ours or published, gives any of its parts, through the rules that its layout has. Two parts
of the Qwen-VL family are published alone: Qwen-1, and the encoder as CodeFuse-VLM has it. All else is read as
`transformers` does. No code in a folder is ever run, and of pickles only tensors are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from tuwen.checkpoints.folder import REPORTED, check_report
from tuwen.checkpoints.layouts._qwen import (
    LANGUAGE,
    VISION,
    Settings,
    language_config,
    language_rules,
    vision_config,
    vision_rules,
)
from tuwen.checkpoints.layouts._qwen_files import RANKS, ignored, stored_config, tokenizer_of
from tuwen.checkpoints.layouts._slow_llama import read_slow_llama
from tuwen.checkpoints.layouts._tokenizer_files import read_settings, read_tokenizer
from tuwen.checkpoints.layouts.codefuse_vlm import VISION_CONFIG, VISION_WEIGHTS
from tuwen.checkpoints.opening import default_dtype, in_our_names, is_known, read_folder
from tuwen.checkpoints.refusal import blamed_on, check_sizes, quiet
from tuwen.checkpoints.renames import OurWeights, Rule, check_published
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError, first_line
from tuwen.models.encoders.base import encoder_kind
from tuwen.models.language.sentencepiece import MODEL_FILE
from tuwen.models.language.tiktoken import read_ranks

# More layers than any model has; how many weights there are is not looked at before they are read.
MOST_LAYERS = 10_000
# Of tokenizers that `transformers` makes from other files than tokenizer.json.
VOCABULARIES = (MODEL_FILE, "vocab.json", "vocab.txt", "spiece.model")
HEAD = "lm_head.weight"
VISION_ALONE, VISION_ALONE_WEIGHTS = Path(VISION_CONFIG).name, Path(VISION_WEIGHTS).name


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A vision encoder or a causal language model in a folder.

    Attributes:
        config: its configuration.
        load: reads its weights, in the type that they are stored in.
    """

    config: PretrainedConfig
    load: Callable[[], PreTrainedModel]


def stored_vision(path: Path, key: str) -> StoredPart:
    """The vision encoder of a folder: of a whole model, of both towers of CLIP and its like, or alone.

    Args:
        path: the folder.
        key: of the recipe that names it, for messages.

    Raises:
        TuwenError: when there is none, or its files are broken.
    """
    _check_there(path, key, "config.json", VISION_ALONE)
    with blamed_on(path):
        if is_known(path):
            return _of_whole(path, VISION)
        if (path / VISION_ALONE).is_file() and not (path / "config.json").is_file():
            return _qwen_vit_alone(path)
        config = _transformers_config(path, key)
        config = getattr(config, "vision_config", config)
        try:
            encoder_kind(config)
        except TuwenError as error:
            raise TuwenError(f"{key}: {path} holds no vision encoder that is known: {error}") from None
        # The other tower of a CLIP or SigLIP checkpoint is left where it is.
        return StoredPart(config, partial(_transformers_model, AutoModel, path, config, key, others=True))


def stored_language(path: Path, key: str) -> StoredPart:
    """The causal language model of a folder: of a whole model, or alone.

    Args:
        path: the folder.
        key: of the recipe that names it, for messages.

    Raises:
        TuwenError: when there is none, or its files are broken.
    """
    _check_there(path, key, "config.json")
    with blamed_on(path):
        if is_known(path):
            return _of_whole(path, LANGUAGE)
        if stored_config(path) is not None:
            return _qwen1_alone(path)
        config = _transformers_config(path, key)
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise TuwenError(f"{key}: {path} holds a {config.model_type}, which is no causal language model")
        return StoredPart(config, partial(_transformers_model, AutoModelForCausalLM, path, config, key))


def stored_tokenizer(path: Path, key: str) -> Any:
    """The tokenizer of a folder, as the original has it.

    Args:
        path: the folder: of a whole model, a language model or the tokenizer alone.
        key: of the recipe that names it, for messages.

    Raises:
        TuwenError: when there is none that is known.
    """
    if not path.is_dir():
        raise TuwenError(f"{key}: {path}: not found; give a folder")
    with blamed_on(f"{key}: {path} holds no tokenizer"):
        if is_known(path):
            return read_folder(path).processor.tokenizer
        if (path / RANKS).is_file():
            return tokenizer_of(path)
        if (path / "tokenizer.json").is_file():
            return read_tokenizer(path, read_settings(path), _token_ids(path))
        if (path / MODEL_FILE).is_file() and read_settings(path).get("legacy") is not False:
            return read_slow_llama(path)
        if not any((path / file).is_file() for file in VOCABULARIES):
            # The library would make an empty one.
            raise TuwenError(f"{key}: {path} holds no tokenizer; expected tokenizer.json, {', '.join(VOCABULARIES)}")
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _check_there(path: Path, key: str, *files: str) -> None:
    if not path.is_dir():
        raise TuwenError(f"{key}: {path}: not found; give a folder that holds this part of the model")
    if not any((path / file).is_file() for file in files):
        raise TuwenError(f"{key}: {path} has no config.json; give the folder of a transformers checkpoint")


def _token_ids(path: Path) -> dict[str, int | None]:
    """Ids of special tokens that the model's own settings name; of several that end an answer the first."""
    values = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    found = {role: values.get(f"{role}_id") for role in ("bos_token", "eos_token", "pad_token")}
    firsts = {role: value[0] if isinstance(value, list) and value else value for role, value in found.items()}
    return {role: value if isinstance(value, int) else None for role, value in firsts.items()}


def _of_whole(path: Path, prefix: str) -> StoredPart:
    """A part of a whole model, whose weights of ours begin with ``prefix``."""
    published = read_folder(path)
    config = published.config.vision_config if prefix == VISION else published.config.text_config
    files = in_our_names(published).files
    return StoredPart(config, partial(_filled, config, files, prefix))


def _qwen1_alone(path: Path) -> StoredPart:
    """Qwen-1 (Qwen-14B-Chat and the like), whose tokenizer lies beside it."""
    where = path / "config.json"
    settings = Settings(where, read_json(where))
    check_sizes(settings.values, MOST_LAYERS, where)
    config = language_config(settings, end_of_text=len(read_ranks(path / RANKS)))
    rules = list(language_rules(config.num_hidden_layers))
    return StoredPart(config, lambda: _by_rules(config, WeightFiles.find(path), rules, LANGUAGE))


def _qwen_vit_alone(path: Path) -> StoredPart:
    """Qwen-VL's encoder in a folder of its own, as CodeFuse-VLM publishes it."""
    where = path / VISION_ALONE
    settings = Settings(where, read_json(where))
    check_sizes(settings.values, MOST_LAYERS, where)
    config = vision_config(settings)
    rules = list(vision_rules(config, ""))
    return StoredPart(config, lambda: _by_rules(config, WeightFiles(path, [VISION_ALONE_WEIGHTS]), rules, VISION))


def _by_rules(config: PretrainedConfig, files: WeightFiles, rules: list[Rule], prefix: str) -> PreTrainedModel:
    with torch.device("meta"):
        shapes = _places(_empty(config, prefix), prefix)
    check_published(files, rules, shapes, ignored)
    return _filled(config, OurWeights(files, rules, shapes), prefix)


def _filled(config: PretrainedConfig, weights: WeightFiles, prefix: str) -> PreTrainedModel:
    """The part with its weights, which stand under our names in ``weights``; others there are not read."""
    names = [name for name in weights if name.startswith((prefix, HEAD) if prefix == LANGUAGE else prefix)]
    with no_init_weights(), default_dtype(_type(weights, names)):
        model = _empty(config, prefix)
    places = _places(model, prefix)
    with torch.no_grad():
        for name in names:
            places[name].copy_(weights[name])
    model.tie_weights()
    return model


def _type(files: WeightFiles, names: Iterable[str]) -> torch.dtype:
    """The type of these weights; fp32, which holds all of them, where they differ."""
    types = {files.dtype(name) for name in names}
    found = {dtype for dtype in types if dtype.is_floating_point}
    return found.pop() if len(found) == 1 else torch.float32


def _empty(config: PretrainedConfig, prefix: str) -> PreTrainedModel:
    made: PreTrainedModel = (AutoModel if prefix == VISION else AutoModelForCausalLM).from_config(config)
    return made


def _places(model: PreTrainedModel, prefix: str) -> Mapping[str, Tensor]:
    """The part's tensors under our names; of a tied output head there is none."""
    body: nn.Module = model if prefix == VISION else model.get_decoder()
    places = {prefix + name: tensor.detach() for name, tensor in body.state_dict(keep_vars=True).items()}
    head = None if prefix == VISION else model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        places[HEAD] = head.weight.detach()
    return places


def _transformers_config(path: Path, key: str) -> PretrainedConfig:
    where = path / "config.json"
    values = read_json(where)
    check_sizes(values, MOST_LAYERS, where)
    model_type = values.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise TuwenError(
            f"{key}: {where}: model_type {model_type!r:.80} is not known; a folder's own code is never run"
        )
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The library's own checks raise errors of many kinds, some of many lines.
        raise TuwenError(f"{key}: {where}: cannot be used: {first_line(error)}") from None
    return config


def _transformers_model(
    kind: Any, path: Path, config: PretrainedConfig, key: str, *, others: bool = False
) -> PreTrainedModel:
    """A model as `transformers` reads it.

    Args:
        kind: the auto class.
        path: the folder.
        config: of the model, or of the tower that is wanted.
        key: of the recipe, for messages.
        others: whether the folder may hold other weights too.
    """
    # Refuses what is broken or holds code before the library looks at it.
    files = WeightFiles.find(path)
    with blamed_on(f"{key}: {path}"), quiet():
        model, report = kind.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            # What the configuration says is not always how the weights are stored.
            dtype=_type(files, files),
            output_loading_info=True,
        )
    # What is missing would be made up.
    wanted = {name: report.get(name, ()) for _, name in REPORTED if not (others and name == "unexpected_keys")}
    check_report(path, wanted)
    made: PreTrainedModel = model
    return made
