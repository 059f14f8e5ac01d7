"""How much a stage goes through: steps, tokens, pictures, and how large its batches are.

Where the data is there, its first batches are made as training makes them. Where it is not, everything follows from a
sample of a stated size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuwen.data.collator import Batch
from tuwen.data.epochs.mixture import EpochSource, epoch_counts
from tuwen.data.epochs.packed_steps import PackedSteps
from tuwen.data.source import Mixture
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor
from tuwen.train.feeding import stage_collator, stage_feed
from tuwen.train.planning.rehearsal import BatchShape
from tuwen.train.recipe import Recipe
from tuwen.train.stage import Stage
from tuwen.vision import ImagePolicy

# Batches of so many steps are made; the first has the costliest sequence of the epoch, the others tell what is usual.
LOOKED_AT = 4
# A sample whose size is not known: a picture of such a size, so many tokens of text, this part of them trained.
PICTURE, TEXT_TOKENS, TRAINED_PART = (1024, 768), 256, 0.5
# Part of packed rows that is not empty.
FILLED = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What is known of data that is not there.

    Attributes:
        samples: in an epoch.
        tokens: of a sample, those of its pictures counted.
    """

    samples: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch of packed data.

    Attributes:
        samples: in it.
        with_pictures: those of them that have pictures.
        left_out: samples that cannot be used.
        tokens: after samples about the same pictures share them.
        trained: tokens that are trained.
        sequences: packed rows.
        empty: part (0–1) of the rows' places that no token stands in.
        steps: of an epoch.
    """

    samples: int
    with_pictures: int
    left_out: int
    tokens: int
    trained: int
    sequences: int
    empty: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What a stage goes through. Figures of a step are means, over all devices together.

    Attributes:
        steps: of the stage; None where the size of its data is not known.
        tokens: of a step.
        squares: sum over a step's samples of their length squared.
        tiles: of a step.
        answers: places whose logits are computed in a step.
        shape: of a large batch of one process.
        epoch: of packed data that is there.
        note: what is assumed, for people; empty where nothing is.
    """

    steps: int | None
    tokens: float
    squares: float
    tiles: float
    answers: float
    shape: BatchShape
    epoch: Epoch | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _First:
    """The first of so many processes."""

    num_processes: int
    process_index: int = 0


def amounts_of_data(
    recipe: Recipe, number: int, mixture: Mixture, processor: TuwenProcessor, config: TuwenConfig, *, devices: int
) -> Amounts:
    """What stage ``number`` goes through, found out from its data.

    Raises:
        TuwenError: as training would, where recipe and data do not fit.
    """
    stage, feed = stage_feed(recipe, number, mixture, processor, _First(devices))
    collator = stage_collator(stage, processor, config)
    assert stage.steps is not None, "stage_feed counts them"
    steps = [[collator(groups) for groups in feed(step)] for step in range(min(LOOKED_AT, stage.steps))]
    shapes = [_shape(batch, stage) for batches in steps for batch in batches]
    usual = [batch for batches in steps[1:] or steps for batch in batches]
    share = devices * stage.accumulate / len(usual)
    return Amounts(
        steps=stage.steps,
        tokens=share * sum(int((batch.segments >= 0).sum()) for batch in usual),
        # A place sees all before it in its sample: length² / 2 pairs.
        squares=share * sum(2 * int((batch.position_ids + 1)[batch.segments >= 0].sum()) for batch in usual),
        tiles=share * sum(batch.pictures for batch in usual),
        answers=share * sum(_places(batch, stage) for batch in usual),
        shape=_largest(shapes),
        epoch=_epoch(feed, recipe, mixture) if isinstance(feed, PackedSteps) else None,
    )


def _shape(batch: Batch, stage: Stage) -> BatchShape:
    rows, length = batch.input_ids.shape
    height, width = batch.pixel_values.shape[-2:]
    return BatchShape(
        rows=rows,
        length=length,
        tiles=batch.pictures,
        height=height,
        width=width,
        answers=int(batch.trained.sum()),
        regions=len(batch.region_places.unique()) if "regions" in stage.wanted else 0,
    )


def _places(batch: Batch, stage: Stage) -> int:
    shape = _shape(batch, stage)
    return shape.answers + shape.regions


def _largest(shapes: Sequence[BatchShape]) -> BatchShape:
    """At least as large as all of them."""
    longest = max(shapes, key=lambda shape: shape.rows * shape.length)
    most = {name: max(getattr(shape, name) for shape in shapes) for name in ("tiles", "answers", "regions")}
    return replace(longest, **most)


def _epoch(feed: PackedSteps, recipe: Recipe, mixture: Mixture) -> Epoch:
    plan = feed.epochs.plan(0)
    indices = [source.index for source in feed.epochs.sources]
    sizes = [EpochSource(len(index), share) for index, share in zip(indices, mixture.shares, strict=True)]
    counts = epoch_counts(sizes, recipe.mixture)

    def over_all(values: Sequence[np.ndarray]) -> int:
        means = [float(value.mean()) for value in values]
        return round(sum(count * mean for count, mean in zip(counts, means, strict=True)))

    samples, text_only = sum(counts), recipe.mixture.text_only_share
    with_pictures = over_all([index.has_pictures for index in indices])
    return Epoch(
        samples=samples,
        with_pictures=with_pictures if text_only is None else round((1 - text_only) * samples),
        left_out=len(mixture.bad) + len(feed.epochs.rejected),
        tokens=int(plan.tokens.sum()),
        trained=over_all([index.column("trained_tokens") for index in indices]),
        sequences=len(plan),
        empty=plan.waste,
        steps=len(plan) // feed.sequences_per_step,
    )


def amounts_assumed(stage: Stage, config: TuwenConfig, policy: ImagePolicy, assumed: Assumed, devices: int) -> Amounts:
    """What a stage goes through, if all its samples are alike.

    Args:
        stage: of the recipe.
        config: of the model.
        policy: how pictures are cut.
        assumed: what is known of a sample.
        devices: how many train.
    """
    grid = policy.plan(*PICTURE)
    per_tile = config.connector.num_tokens(config.patch_grid(grid))
    tokens = assumed.tokens or grid.tiles * per_tile + TEXT_TOKENS
    # What is said of tokens is kept to: where a picture is longer, so is its part of it smaller.
    tiles = min(grid.tiles, tokens / per_tile)
    answers = TRAINED_PART * max(1.0, tokens - tiles * per_tile) if "answers" in stage.sums else 0.0
    regions = tiles * per_tile if "regions" in stage.wanted else 0.0
    length = min(tokens, stage.max_length or tokens)
    if stage.sequences is None:
        assert stage.groups is not None, "a batch has groups or sequences"
        samples, rows = float(stage.groups), stage.groups
        if stage.max_length is not None:
            rows = math.ceil(stage.groups / (stage.max_length // length))
    else:
        assert stage.max_length is not None, "the recipe says how long sequences are"
        samples, rows = stage.sequences * FILLED * stage.max_length / length, stage.sequences
    in_step = samples * stage.accumulate * devices
    return Amounts(
        steps=_steps(stage, assumed, length, devices),
        tokens=in_step * length,
        squares=in_step * length**2,
        tiles=in_step * tiles,
        answers=in_step * (answers + regions),
        shape=BatchShape(
            rows=rows,
            length=stage.max_length or length,
            tiles=math.ceil(samples * tiles),
            height=grid.height,
            width=grid.width,
            answers=math.ceil(samples * answers),
            regions=math.ceil(samples * regions),
        ),
        note=f"samples of {tokens:,} tokens, among them {tiles:.3g} {'tile' if tiles == 1 else 'tiles'}, are assumed",
    )


def _steps(stage: Stage, assumed: Assumed, length: int, devices: int) -> int | None:
    if stage.steps is not None:
        return stage.steps
    if assumed.samples is None:
        return None
    assert stage.sequences is not None, "only packed stages have epochs"
    assert stage.max_length is not None, "the recipe says how long sequences are"
    sequences = assumed.samples * length / (FILLED * stage.max_length)
    per_epoch = int(sequences / (stage.sequences * stage.accumulate * devices))
    return max(1, round(per_epoch * (stage.epochs or 1)))
