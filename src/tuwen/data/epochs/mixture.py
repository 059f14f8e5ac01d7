"""How many samples of each source an epoch takes: settings and arithmetic. Which ones is said by ``epoch``.

Neither numpy nor torch is imported, so that a recipe is read and refused at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig, TuwenError


class SourceShare(StrictConfig):
    """How much of one source an epoch takes; all of it, once, unless said.

    Attributes:
        weight: its part of the epoch, relative to the weights of the other sources. Every source has one, or none.
        count: samples of it in an epoch. A number below its size takes other samples in each epoch until all have
            had their turn; one above it goes through the source again (as ``NAME#COUNT`` of ms-swift does).
        repeat: how many times an epoch goes through it: 2 is twice, 0.5 one half and in the next epoch the other.
        cap: how many different samples of it are used at most: a part chosen from the seed, the same in every epoch.
    """

    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    count: int | None = Field(default=None, ge=1)
    repeat: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    cap: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_measure(self) -> SourceShare:
        given = [name for name in ("weight", "count", "repeat") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say how much of the source an epoch takes; keep one of them")
        return self


class MixtureSettings(StrictConfig):
    """What is said of all sources together.

    Attributes:
        samples: size of an epoch, divided by the weights.
        stopping_strategy: size of an epoch where ``samples`` is not given and sources have weights.
            ``first_exhausted`` goes through the source that its weight uses up first exactly once, so that nothing
            is repeated; ``all_exhausted`` through the one that is used up last, so that nothing is left out and
            the others are repeated. ``first_exhausted`` unless said. The names are those of ``datasets`` and
            ms-swift; LLaMA-Factory calls them ``interleave_under`` and ``interleave_over``.
        text_only_share: part (0–1) of the epoch's samples that have no picture. The epoch stays as long as it would
            be: one side is thinned and the other one repeated, each with its sources in proportion.
    """

    samples: int | None = Field(default=None, ge=1)
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] | None = None
    text_only_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_size(self) -> MixtureSettings:
        if self.samples is not None and self.stopping_strategy is not None:
            raise ValueError("samples and stopping_strategy each say how long an epoch is; keep one of them")
        return self


@dataclass(frozen=True, slots=True)
class EpochSource:
    """A source as an epoch sees it.

    Attributes:
        size: how many samples it has.
        share: how much of it is taken.
    """

    size: int
    share: SourceShare = field(default_factory=SourceShare)

    @property
    def used(self) -> int:
        """How many different samples of it are used."""
        return self.size if self.share.cap is None else min(self.size, self.share.cap)


def epoch_counts(sources: Sequence[EpochSource], settings: MixtureSettings) -> list[int]:
    """How many samples of each source an epoch has, before ``text_only_share`` moves some; the same in every epoch.

    Raises:
        TuwenError: when settings of different sources contradict each other, a source is empty, or so little of it
            is asked for that it is less than one sample.
    """
    if not sources:
        raise TuwenError("sources: name at least one")
    for place, source in enumerate(sources):
        if source.size < 1:
            raise TuwenError(f"sources.{place}: it holds no samples; take it out")
    weights = [source.share.weight for source in sources]
    given = [weight for weight in weights if weight is not None]
    if not given:
        return _counts_without_weights(sources, settings)
    if len(given) < len(sources):
        raise TuwenError(
            f"sources.{weights.index(None)}: it has no weight, and sources.{weights.index(given[0])} has one; "
            "give every source a weight, or none"
        )
    counts = _counts_by_weight([source.used for source in sources], given, settings)
    if 0 in counts:
        place = counts.index(0)
        raise TuwenError(
            f"sources.{place}.weight: {given[place]:g} is less than one sample of an epoch of {sum(counts)}; "
            "raise it, or take the source out"
        )
    return counts


def _counts_without_weights(sources: Sequence[EpochSource], settings: MixtureSettings) -> list[int]:
    for name in ("samples", "stopping_strategy"):
        if (value := getattr(settings, name)) is not None:
            raise TuwenError(f"mixture.{name}: {value} has no effect without weights; give every source a weight")
    counts = []
    for place, source in enumerate(sources):
        share = source.share
        count = round(source.used * (share.repeat or 1)) if share.count is None else share.count
        if count == 0:
            raise TuwenError(f"sources.{place}.repeat: {share.repeat} of {source.used} samples is less than one sample")
        counts.append(count)
    return counts


def _counts_by_weight(sizes: Sequence[int], weights: Sequence[float], settings: MixtureSettings) -> list[int]:
    if settings.samples is not None:
        return apportion(settings.samples, weights)
    choose = max if settings.stopping_strategy == "all_exhausted" else min
    size, weight = choose(zip(sizes, weights, strict=True), key=lambda one: one[0] / one[1])
    return [round(size * other / weight) for other in weights]


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` divided in proportion to ``weights`` into whole numbers that add up to it (largest remainder).

    Args:
        total: what is divided.
        weights: at least one above 0, none below.
    """
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [int(part) for part in exact]
    nearest = sorted(range(len(weights)), key=lambda place: counts[place] - exact[place])
    for place in nearest[: total - sum(counts)]:
        counts[place] += 1
    return counts
