"""What a stage is fed with: its sources, drawn from without end or packed epoch by epoch."""

from __future__ import annotations

from typing import Protocol

from tuwen.config import TuwenError
from tuwen.data.collator import Collator
from tuwen.data.data_source import DataSource
from tuwen.data.epochs.mixture import MixtureSettings
from tuwen.data.epochs.packed_steps import PackedEpochs, PackedSteps
from tuwen.data.loader import DrawnSteps, StepGroups
from tuwen.data.source import Mixture
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor
from tuwen.models.recipe import ModelRecipe
from tuwen.train.recipe import Recipe
from tuwen.train.stage import Stage
from tuwen.vision import ImagePolicy

# Texts that a new tokenizer is trained on.
TOKENIZER_TEXTS = 20_000


def tokenizer_texts(model: ModelRecipe, mixture: Mixture, seed: int) -> list[str] | None:
    """What the model's new tokenizer is trained on; None where it has one."""
    if model.tokenizer is None or model.tokenizer.train is None:
        return None
    return mixture.texts(seed, TOKENIZER_TEXTS)


class Member(Protocol):
    """One of the processes that train together; an ``Accelerator`` is one."""

    @property
    def process_index(self) -> int:
        """Its number, from 0."""

    @property
    def num_processes(self) -> int:
        """How many there are."""


def stage_feed(
    recipe: Recipe, number: int, mixture: Mixture, processor: TuwenProcessor, member: Member
) -> tuple[Stage, StepGroups]:
    """A stage with its steps counted, and the groups of each of them.

    Args:
        recipe: of the run.
        number: of the stage, from 0.
        mixture: its sources.
        processor: of the model.
        member: the process that is fed.

    Raises:
        TuwenError: naming the key of the recipe that does not fit the sources.
    """
    stage = recipe.stages[number]
    seed = recipe.seed * 1000 + number
    rank, world = member.process_index, member.num_processes
    if stage.sequences is None:
        _check_drawn(mixture)
        assert stage.groups is not None, "a batch has groups or sequences"
        assert stage.steps is not None, "without epochs, steps are said"
        return stage, DrawnSteps(
            mixture=mixture, seed=seed, groups=stage.groups, batches=stage.accumulate, rank=rank, world=world
        )
    assert stage.max_length is not None, "the recipe says how long sequences are"
    epochs = PackedEpochs(
        _on_disk(mixture, stage, processor),
        mixture.shares,
        recipe.mixture,
        processor,
        budget=stage.max_length,
        seed=seed,
        too_long=stage.too_long,
    )
    steps = PackedSteps(epochs, sequences=stage.sequences, batches=stage.accumulate, rank=rank, world=world)
    if stage.epochs is None:
        return stage, steps
    counted = stage.model_copy(update={"steps": max(1, steps.steps(stage.epochs)), "epochs": None})
    return counted, steps


def _on_disk(mixture: Mixture, stage: Stage, processor: TuwenProcessor) -> list[DataSource]:
    found: list[DataSource] = []
    for place, source in enumerate(mixture.sources):
        if not isinstance(source, DataSource):
            raise TuwenError(
                f"stages.{stage.name}.sequences: sources.{place} is drawn as it is needed and has no epochs; "
                "draw it to disk with `tuwen data synth`, or say groups in place of sequences"
            )
        source.measure(processor, pairs="preference" in stage.wanted)
        found.append(source)
    return found


def _check_drawn(mixture: Mixture) -> None:
    """What says how much of a source an epoch takes has no effect where there are no epochs."""
    for place, share in enumerate(mixture.shares):
        for name in ("count", "repeat", "cap"):
            if getattr(share, name) is not None:
                raise TuwenError(
                    f"sources.{place}.{name}: has an effect in stages with sequences only; "
                    "say weight, or sequences in place of groups"
                )


def check_mixture(recipe: Recipe) -> None:
    """Refuse settings of the mixture that no stage takes up.

    Raises:
        TuwenError: naming the key.
    """
    if recipe.mixture != MixtureSettings() and all(stage.sequences is None for stage in recipe.stages):
        name = next(iter(recipe.mixture.model_fields_set))
        raise TuwenError(f"mixture.{name}: has an effect in stages with sequences only; say sequences, or remove it")


def stage_collator(stage: Stage, processor: TuwenProcessor, config: TuwenConfig) -> Collator:
    """What makes a stage's batches.

    Raises:
        TuwenError: when the stage trains regions and the connector or the image policy does not keep places.
    """
    return Collator(
        processor,
        token_grid=_token_grid(stage, processor.policy, config) if "regions" in stage.wanted else None,
        answers="answers" in stage.sums,
        max_length=stage.max_length,
        too_long=stage.too_long,
        pairs="preference" in stage.wanted,
    )


def _token_grid(stage: Stage, policy: ImagePolicy, config: TuwenConfig) -> tuple[int, int]:
    """Rows and columns of a picture's tokens."""
    grid: tuple[int, int] | None = config.connector.token_grid(config.patch_grid(policy.plan(1, 1)))
    if grid is None:
        raise TuwenError(
            f"stages.{stage.name}.objectives.regions: connector {config.connector_config['type']!r} does not keep "
            "the grid of patches; choose one that does, e.g. mlp, or leave regions out"
        )
    if not policy.keeps_fractions:
        raise TuwenError(
            f"stages.{stage.name}.objectives.regions: image_policy {policy.to_dict()['type']!r} cuts or pads the "
            "picture; choose square, or leave regions out"
        )
    return grid
