"""Put a model together from component folders and configurations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from tuwen.chat.templates import ChatTemplate, load_template
from tuwen.checkpoints.folder import ModelFolder, save_model
from tuwen.checkpoints.refusal import quiet
from tuwen.config import TuwenError, apply_overrides, parse_config, read_yaml
from tuwen.models.configuration import TuwenConfig
from tuwen.models.connectors.base import build_connector
from tuwen.models.language.tokenizer import add_control_tokens, train_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor
from tuwen.models.recipe import ModelRecipe, Part
from tuwen.vision import parse_policy

IMAGE_TOKEN = "<image>"
# Templates write these in every turn; a new tokenizer should not spell them out.
TEMPLATE_WORDS = ["system", "user", "assistant", "You are a helpful assistant."]
TEMPLATE_SHARE = 200


def build_from_recipe(recipe: Path, out: Path, overrides: Sequence[str] = ()) -> ModelFolder:
    """Build the ``model`` of a recipe file and write it to ``out`` (`tuwen build`).

    Args:
        recipe: YAML file with a ``model`` section; other sections are for training and left alone.
        out: the model folder to write.
        overrides: ``model.key=value`` assignments.

    Raises:
        TuwenError: naming the file, key or folder that is wrong; nothing is written then.
    """
    values = apply_overrides(read_yaml(recipe), overrides)
    if "model" not in values:
        raise TuwenError(f"{recipe}: model: this key is required and missing")
    if out.exists():
        raise TuwenError(f"{out}: already exists; choose another folder or remove it")
    folder = build_model(parse_config(ModelRecipe, values["model"], f"{recipe}: model"))
    save_model(folder.model, folder.processor, out)
    return folder


def build_model(recipe: ModelRecipe, texts: Iterable[str] | None = None) -> ModelFolder:
    """Put a model together: given parts keep their weights, the connector and missing parts are fresh.

    Args:
        recipe: what to put together.
        texts: what a new tokenizer is trained on, where the recipe names no files.

    Raises:
        TuwenError: when a part cannot be read or the parts do not fit together.
    """
    policy = parse_policy(recipe.image_policy)
    template = load_template(recipe.template)
    tokenizer = _tokenizer(recipe, texts)
    added = add_control_tokens(tokenizer, [*template.control_tokens, IMAGE_TOKEN])
    torch.manual_seed(recipe.seed)
    with quiet():
        vision = _vision(recipe.vision)
        language = _language(recipe.language, tokenizer, added)
    config = TuwenConfig(
        vision_config=vision.config,
        text_config=language.config,
        connector_config=recipe.connector,
        vision_feature=recipe.vision_feature.model_dump(),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        tie_word_embeddings=language.config.tie_word_embeddings,
    )
    processor = TuwenProcessor.for_model(config, policy, tokenizer, template.jinja)
    model = _assemble(config, vision, language)
    _set_generation_defaults(model, tokenizer, template)
    return ModelFolder(model, processor)


def plan_model(recipe: ModelRecipe) -> TuwenForConditionalGeneration:
    """The model that ``build_model`` would make, on the ``meta`` device: all shapes, no weights, nothing trained.

    A new tokenizer is taken to have all the entries that it may.

    Raises:
        TuwenError: when a part's configuration cannot be read or the parts do not fit together.
    """
    template = load_template(recipe.template)
    vision = recipe.vision
    if vision.path is None:
        vision_config = _fresh(vision, "model.vision.config")
    else:
        stored = _stored_config(vision.path, "model.vision.path")
        vision_config = getattr(stored, "vision_config", stored)
    if recipe.language.path is None:
        entries = {}
        if recipe.tokenizer is not None and recipe.tokenizer.train is not None:
            entries = {"vocab_size": recipe.tokenizer.train.vocab_size + len(template.control_tokens) + 1}
        part = recipe.language.model_copy(update={"config": {**entries, **(recipe.language.config or {})}})
        text_config = _fresh(part, "model.language.config")
    else:
        text_config = _stored_config(recipe.language.path, "model.language.path")
    config = TuwenConfig(
        vision_config=vision_config,
        text_config=text_config,
        connector_config=recipe.connector,
        vision_feature=recipe.vision_feature.model_dump(),
        tie_word_embeddings=text_config.tie_word_embeddings,
    )
    config.num_image_tokens(parse_policy(recipe.image_policy).plan(1, 1))
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
    model.tie_weights()
    return model


def _assemble(config: TuwenConfig, vision: PreTrainedModel, language: PreTrainedModel) -> TuwenForConditionalGeneration:
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
    model.model.vision_tower = vision
    model.model.language_model = language.get_decoder()
    model.lm_head = language.get_output_embeddings()
    model.model.connector = build_connector(config.connector_config, config.vision_dim, config.text_config.hidden_size)
    model.tie_weights()
    left = [name for name, value in model.state_dict().items() if value.is_meta]
    assert not left, f"built without weights: {left}"
    return model


def _vision(part: Part) -> PreTrainedModel:
    if part.path is None:
        return AutoModel.from_config(_fresh(part, "model.vision.config"))
    config = _stored_config(part.path, "model.vision.path")
    # A CLIP or SigLIP checkpoint holds two towers; its vision tower is a model of its own.
    config = getattr(config, "vision_config", config)
    try:
        return AutoModel.from_pretrained(part.path, config=config, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TuwenError(f"model.vision.path: {part.path} cannot be loaded: {error}") from error


def _language(part: Part, tokenizer: Any, added: int) -> PreTrainedModel:
    if part.path is None:
        assert part.config is not None
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        ids["pad_token_id"] = tokenizer.pad_token_id
        sized = part.model_copy(update={"config": {"vocab_size": len(tokenizer), **ids, **part.config}})
        model: PreTrainedModel = AutoModelForCausalLM.from_config(_fresh(sized, "model.language.config"))
    else:
        config = _stored_config(part.path, "model.language.path")
        try:
            model = AutoModelForCausalLM.from_pretrained(part.path, config=config, local_files_only=True)
        except (OSError, ValueError) as error:
            raise TuwenError(f"model.language.path: {part.path} cannot be loaded: {error}") from error
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        if part.path is None:
            raise TuwenError(
                f"model.language.config.vocab_size: {rows} is too small for the tokenizer's {len(tokenizer)} entries"
            )
        # New rows start at the mean of the old ones, so that no new token is likelier than others.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=bool(added))
    return model


def _fresh(part: Part, key: str) -> PretrainedConfig:
    assert part.config is not None
    values = dict(part.config)
    model_type = values.pop("model_type")
    try:
        config: PretrainedConfig = AutoConfig.for_model(model_type, **values)
    except (ValueError, TypeError) as error:
        raise TuwenError(f"{key}: {error}") from None
    unknown = sorted(set(values) - set(type(config)().to_dict()))
    if unknown:
        raise TuwenError(f"{key}.{unknown[0]}: {model_type} has no such setting")
    return config


def _stored_config(path: Path, key: str) -> PretrainedConfig:
    if not (path / "config.json").is_file():
        raise TuwenError(f"{key}: {path} has no config.json; give the folder of a transformers checkpoint")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TuwenError(f"{key}: {path}/config.json: {error}") from None
    return config


def _tokenizer(recipe: ModelRecipe, texts: Iterable[str] | None) -> Any:
    source = recipe.tokenizer
    if source is not None and source.train is not None:
        corpus = _lines(source.train.files) if source.train.files else texts
        if corpus is None:
            raise TuwenError("model.tokenizer.train.files: name at least one text file to train on")
        return train_tokenizer(chain(corpus, TEMPLATE_WORDS * TEMPLATE_SHARE), source.train.vocab_size)
    path = source.path if source is not None else recipe.language.path
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TuwenError(f"model.tokenizer.path: {path} holds no tokenizer: {error}") from None


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        try:
            yield from path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TuwenError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _set_generation_defaults(model: TuwenForConditionalGeneration, tokenizer: Any, template: ChatTemplate) -> None:
    stop = [tokenizer.convert_tokens_to_ids(token) for token in template.stop_tokens]
    known = [identifier for identifier in stop if identifier is not None]
    if tokenizer.eos_token_id is not None:
        known.append(tokenizer.eos_token_id)
    generation = model.generation_config
    generation.eos_token_id = list(dict.fromkeys(known))
    generation.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else known[0]
    # A picture's token in an answer could not be followed by a picture.
    generation.suppress_tokens = [model.config.image_token_id]
