"""Put a model together from component folders and configurations, or start from one that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from tuwen.chat.templates import ChatTemplate, load_template
from tuwen.checkpoints.folder import ModelFolder, save_model
from tuwen.checkpoints.layouts.base import recognise
from tuwen.checkpoints.opening import load_published, read_folder, read_parts
from tuwen.checkpoints.parts import StoredPart, stored_language, stored_tokenizer, stored_vision
from tuwen.checkpoints.refusal import quiet
from tuwen.config import TuwenError, apply_overrides, parse_config, read_yaml
from tuwen.models.configuration import TuwenConfig, config_of
from tuwen.models.connectors.base import build_connector
from tuwen.models.language.tokenizer import add_control_tokens, add_text_tokens, train_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor
from tuwen.models.recipe import ModelRecipe, Part
from tuwen.vision import ImagePolicy, parse_policy

# Templates write these in every turn; a new tokenizer should not spell them out.
TEMPLATE_WORDS = ["system", "user", "assistant", "You are a helpful assistant."]
TEMPLATE_SHARE = 200
# Settings of a vision encoder or a language model by which it is known again.
SIZES = ("model_type", "hidden_size", "num_hidden_layers")


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

    Weights are of the parts' type where all parts have the same, else fp32.

    Args:
        recipe: what to put together, or what the model whose weights it names must be.
        texts: what a new tokenizer is trained on, where the recipe names no files.

    Raises:
        TuwenError: when a part cannot be read or the parts do not fit together.
    """
    policy = parse_policy(recipe.image_policy)
    template = load_template(recipe.template)
    if recipe.weights is not None:
        return _started(recipe, recipe.weights, template, policy)
    tokenizer = _tokenizer(recipe, texts)
    added = _add_tokens(tokenizer, template)
    torch.manual_seed(recipe.seed)
    with quiet():
        vision = _vision(recipe.vision)
        language = _language(recipe.language, tokenizer, added)
    config = _composition(recipe, vision.config, language.config)
    processor = _processor(config, policy, tokenizer, template)
    model = _assemble(config, vision, language)
    _set_generation_defaults(model, tokenizer, template)
    return ModelFolder(model, processor)


def plan_model(recipe: ModelRecipe) -> TuwenForConditionalGeneration:
    """The model that ``build_model`` would make, on the ``meta`` device: all shapes, no weights, nothing trained.

    A new tokenizer is taken to have all the entries that it may. A part whose folder is not there is taken to be as its
    ``planned`` says; see ``absent_parts``.

    Raises:
        TuwenError: when a part's configuration cannot be read or the parts do not fit together.
    """
    template = load_template(recipe.template)
    vision_config = _planned(recipe.vision, "model.vision", stored_vision)
    language = recipe.language
    if language.path is None and recipe.tokenizer is not None and recipe.tokenizer.train is not None:
        entries = recipe.tokenizer.train.vocab_size + len({*template.tokens, *template.text_tokens})
        language = language.model_copy(update={"config": {"vocab_size": entries, **(language.config or {})}})
    text_config = _planned(language, "model.language", stored_language)
    if language.path is not None and language.path.is_dir() and recipe.weights is None:
        tokenizer = _tokenizer(recipe, None)
        _add_tokens(tokenizer, template)
        text_config.vocab_size = max(text_config.vocab_size, len(tokenizer))
    config = _composition(recipe, vision_config, text_config)
    config.num_image_tokens(parse_policy(recipe.image_policy).plan(1, 1))
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
    model.tie_weights()
    return model


def plan_processor(recipe: ModelRecipe, config: TuwenConfig, texts: Iterable[str] | None = None) -> TuwenProcessor:
    """The processor that ``build_model`` would make beside the model of ``plan_model``.

    Args:
        recipe: what is put together.
        config: of the planned model.
        texts: what a new tokenizer is trained on, where the recipe names no files.

    Raises:
        TuwenError: when the tokenizer cannot be read or made.
    """
    template = load_template(recipe.template)
    if recipe.weights is not None:
        tokenizer = stored_tokenizer(recipe.weights, "model.weights")
        _check_tokens(tokenizer, template, recipe.weights)
    else:
        tokenizer = _tokenizer(recipe, texts)
        _add_tokens(tokenizer, template)
    return _processor(config, parse_policy(recipe.image_policy), tokenizer, template)


def absent_parts(recipe: ModelRecipe) -> list[Path]:
    """Folders that are not there and in whose place ``plan_model`` takes what the recipe says they hold."""
    parts = (recipe.vision, recipe.language)
    folders = [part.path for part in parts if part.planned is not None and part.path is not None]
    return [folder for folder in folders if not folder.is_dir()]


def _started(recipe: ModelRecipe, weights: Path, template: ChatTemplate, policy: ImagePolicy) -> ModelFolder:
    """The whole model in a folder, which is as the recipe says, in the recipe's template and image policy."""
    if not weights.is_dir():
        raise TuwenError(
            f"model.weights: {weights}: not found; train what makes it first, or give another model's folder"
        )
    language, vision = recipe.language.path, recipe.vision.path
    if language is not None and vision is not None and recognise(weights, delta=True) is not None:
        published = read_parts(weights, language, vision)
    else:
        published = read_folder(weights)
    _check_is(recipe, published.config, weights)
    tokenizer = published.processor.tokenizer
    _check_tokens(tokenizer, template, weights)
    processor = _processor(published.config, policy, tokenizer, template)
    model = load_published(published).model
    _set_generation_defaults(model, tokenizer, template)
    return ModelFolder(model, processor)


def _check_is(recipe: ModelRecipe, config: TuwenConfig, weights: Path) -> None:
    """Refuse a model that is not what the recipe says, as far as that can be seen without other folders."""
    connector = {"type": config.connector_config["type"], **config.connector.model_dump()}
    feature = recipe.vision_feature.model_dump(include=recipe.vision_feature.model_fields_set)
    said = [(f"connector.{key}", value, connector.get(key)) for key, value in recipe.connector.items()]
    said += [(f"vision_feature.{key}", value, getattr(config.feature, key)) for key, value in feature.items()]
    for name, part, found in (
        ("vision", recipe.vision, config.vision_config),
        ("language", recipe.language, config.text_config),
    ):
        sizes = {key: value for key, value in (part.config or {}).items() if key in SIZES}
        said += [(f"{name}.config.{key}", value, getattr(found, key, None)) for key, value in sizes.items()]
    for name, wanted, is_there in said:
        if wanted != is_there:
            raise TuwenError(f"model.{name}: {wanted!r}, but the model in {weights} has {is_there!r}")


def _composition(recipe: ModelRecipe, vision: PretrainedConfig, language: PretrainedConfig) -> TuwenConfig:
    """The configuration of the parts together; which token is the picture's is not known yet."""
    return TuwenConfig(
        vision_config=vision,
        text_config=language,
        connector_config=recipe.connector,
        vision_feature=recipe.vision_feature.model_dump(),
        tie_word_embeddings=language.tie_word_embeddings,
    )


def _processor(config: TuwenConfig, policy: ImagePolicy, tokenizer: Any, template: ChatTemplate) -> TuwenProcessor:
    """What reads for the model; the configuration is told the pictures' tokens."""
    config.image_token_id = tokenizer.convert_tokens_to_ids(template.image_token)
    if template.image_span is not None:
        ids = tokenizer.convert_tokens_to_ids(list(template.image_span))
        config.image_span = dict(zip(("start", "end"), ids, strict=True))
    return TuwenProcessor(
        TuwenImageProcessor(policy.to_dict()),
        tokenizer,
        template.jinja,
        tokens_per_tile=config.connector.num_tokens(config.patch_grid(policy.plan(1, 1))),
        image_token=template.image_token,
        text_tokens=template.text_tokens,
        image_path_bytes=template.image_path_bytes,
    )


def _add_tokens(tokenizer: Any, template: ChatTemplate) -> int:
    """Give the tokenizer all that the template writes; returns how many entries are new."""
    new = add_control_tokens(tokenizer, template.tokens, strip=template.tokens_strip)
    return new + add_text_tokens(tokenizer, template.text_tokens)


def _check_tokens(tokenizer: Any, template: ChatTemplate, folder: Path) -> None:
    known = tokenizer.get_vocab()
    missing = [token for token in (*template.tokens, *template.text_tokens) if token not in known]
    if missing:
        raise TuwenError(
            f"model.template: {template.name} writes {' '.join(missing)}, which the tokenizer in {folder} does not "
            "have; choose a template of the same tokens, or put the model together anew from its parts"
        )


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
    types = {vision.dtype, language.dtype}
    return model.to(types.pop() if len(types) == 1 else torch.float32)


def _vision(part: Part) -> PreTrainedModel:
    if part.path is not None:
        return stored_vision(part.path, "model.vision.path").load()
    model: PreTrainedModel = AutoModel.from_config(_fresh(part.config, "model.vision.config"))
    return model


def _language(part: Part, tokenizer: Any, added: int) -> PreTrainedModel:
    if part.path is None:
        assert part.config is not None
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        ids["pad_token_id"] = tokenizer.pad_token_id
        sized = {"vocab_size": len(tokenizer), **ids, **part.config}
        model: PreTrainedModel = AutoModelForCausalLM.from_config(_fresh(sized, "model.language.config"))
    else:
        model = stored_language(part.path, "model.language.path").load()
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        if part.path is None:
            raise TuwenError(
                f"model.language.config.vocab_size: {rows} is too small for the tokenizer's {len(tokenizer)} entries"
            )
        # New rows start at the mean of the old ones, so that no new token is likelier than others.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=bool(added))
    return model


def _planned(part: Part, key: str, stored: Callable[[Path, str], StoredPart]) -> PretrainedConfig:
    """A part's configuration: fresh, that of its folder, or while that is not there what the recipe says of it."""
    if part.path is None:
        return _fresh(part.config, f"{key}.config")
    if part.planned is not None and not part.path.is_dir():
        return _fresh(part.planned, f"{key}.planned")
    return stored(part.path, f"{key}.path").config


def _fresh(settings: Mapping[str, Any] | None, key: str) -> PretrainedConfig:
    assert settings is not None
    values = dict(settings)
    model_type = values.pop("model_type")
    config = config_of(model_type, values, key)
    unknown = sorted(set(values) - set(type(config)().to_dict()))
    if unknown:
        raise TuwenError(f"{key}.{unknown[0]}: {model_type} has no such setting")
    return config


def _tokenizer(recipe: ModelRecipe, texts: Iterable[str] | None) -> Any:
    source = recipe.tokenizer
    if source is not None and source.train is not None:
        corpus = _lines(source.train.files) if source.train.files else texts
        if corpus is None:
            raise TuwenError("model.tokenizer.train.files: name at least one text file to train on")
        return train_tokenizer(chain(corpus, TEMPLATE_WORDS * TEMPLATE_SHARE), source.train.vocab_size)
    if source is not None and source.path is not None:
        return stored_tokenizer(source.path, "model.tokenizer.path")
    assert recipe.language.path is not None, "the recipe names a tokenizer where the language model has no folder"
    return stored_tokenizer(recipe.language.path, "model.language.path")


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
    # A picture's tokens in an answer could not be followed by a picture.
    pictures = (*(template.image_span or ()), template.image_token)
    generation.suppress_tokens = tokenizer.convert_tokens_to_ids(list(pictures))
