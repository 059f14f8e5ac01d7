"""What a plan is made from: the model's configuration, and its data and processor where they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuwen.checkpoints.build import absent_parts, plan_model, plan_processor
from tuwen.checkpoints.opening import read_folder
from tuwen.config import parse_config
from tuwen.data.epochs.mixture import SourceShare
from tuwen.data.source import SOURCES, Mixture, parse_sources
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor
from tuwen.models.recipe import ModelRecipe
from tuwen.train.feeding import tokenizer_texts
from tuwen.train.recipe import Recipe
from tuwen.vision import ImagePolicy, parse_policy


@dataclass(frozen=True, slots=True)
class OpenData:
    """Data that is there.

    Attributes:
        mixtures: of each stage.
        processor: of the model.
    """

    mixtures: list[Mixture]
    processor: TuwenProcessor


def planned_config(recipe: Recipe) -> TuwenConfig:
    """The configuration of the model that a recipe trains.

    Raises:
        TuwenError: when a part of the model cannot be read.
    """
    if isinstance(recipe.model, ModelRecipe):
        config: TuwenConfig = plan_model(recipe.model).config
        return config
    return read_folder(recipe.model).config


def absent_folders(recipe: Recipe) -> tuple[str, ...]:
    """Folders of the model's parts that are not there and are taken to hold what the recipe says."""
    return tuple(map(str, absent_parts(recipe.model))) if isinstance(recipe.model, ModelRecipe) else ()


def planned_policy(recipe: Recipe) -> ImagePolicy:
    """How that model's pictures are cut."""
    if isinstance(recipe.model, ModelRecipe):
        return parse_policy(recipe.model.image_policy)
    return read_folder(recipe.model).processor.policy


def check_sources(recipe: Recipe) -> None:
    """Refuse what no data could make right.

    Raises:
        TuwenError: naming the entry and key that is wrong.
    """
    _check_entries(recipe.sources, "sources")
    for place, stage in enumerate(recipe.stages):
        _check_entries(stage.sources or (), f"stages.{place}.sources")


def _check_entries(entries: Sequence[Mapping[str, Any]], where: str) -> None:
    for place, entry in enumerate(entries):
        settings = {key: value for key, value in entry.items() if key not in ("type", *SourceShare.model_fields)}
        kind = SOURCES.get(str(entry.get("type")))
        parse_config(kind.config_class, settings, f"{where}.{place}")


def open_planned_data(recipe: Recipe, config: TuwenConfig) -> OpenData:
    """Data and processor, as training opens them.

    Raises:
        TuwenError: when something of it is not there.
    """
    mixture = parse_sources(recipe.sources, "sources")
    mixtures = [
        parse_sources(stage.sources, f"stages.{place}.sources") if stage.sources else mixture
        for place, stage in enumerate(recipe.stages)
    ]
    if not isinstance(recipe.model, ModelRecipe):
        return OpenData(mixtures, read_folder(recipe.model).processor)
    texts = tokenizer_texts(recipe.model, mixture, recipe.seed)
    return OpenData(mixtures, plan_processor(recipe.model, config, texts))
