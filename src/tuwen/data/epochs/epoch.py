"""Which samples make up an epoch of a mixture, and in which order: a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.epochs.mixture import EpochSource, MixtureSettings, apportion, epoch_counts

# Third number of each generator's seed: no two kinds of drawing use the same stream. (`plan` has number 4.)
_CAP, _TURN, _ORDER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Samples that are drawn alike: those of a source, or of one side of it, with or without pictures.

    Attributes:
        members: their global numbers.
        count: how many of them an epoch has.
        seed: of the order in which they take turns.
    """

    members: np.ndarray
    count: int
    seed: list[int]


def epoch_samples(
    sources: Sequence[EpochSource],
    settings: MixtureSettings,
    seed: int,
    epoch: int,
    *,
    has_pictures: np.ndarray | None = None,
) -> np.ndarray:
    """The samples of an epoch in its order, as global numbers: offset of the source + number in the source.

    Samples of a source take turns in a fixed order drawn from the seed, and each epoch goes on where the one before
    ended. So over any number of epochs no sample of a source is ahead of another by more than one, and within an
    epoch none comes twice unless the source is repeated. Nothing before ``epoch`` is computed.

    Args:
        sources: their sizes and how much of each is taken.
        settings: of the whole mixture.
        seed: at least 0.
        epoch: from 0.
        has_pictures: bool for every sample of all sources; needed for ``settings.text_only_share``.

    Returns:
        int64; how many of each source is said by ``epoch_counts``, unless ``text_only_share`` is given.

    Raises:
        TuwenError: as ``epoch_counts``, or when ``text_only_share`` asks for samples of a kind that there is none of.
    """
    counts = epoch_counts(sources, settings)
    used = _used_samples(sources, seed)
    if settings.text_only_share is None:
        strata = [
            _Stratum(members, count, [seed, place, _TURN])
            for place, (members, count) in enumerate(zip(used, counts, strict=True))
        ]
    else:
        assert has_pictures is not None, "text_only_share needs has_pictures"
        strata = _sides(used, counts, has_pictures, seed, settings.text_only_share)
    samples = np.concatenate([_window(stratum, epoch) for stratum in strata])
    np.random.default_rng([seed, epoch, _ORDER]).shuffle(samples)
    return samples


def _used_samples(sources: Sequence[EpochSource], seed: int) -> list[np.ndarray]:
    """The global numbers of each source's samples that are used at all."""
    result, offset = [], 0
    for place, source in enumerate(sources):
        if source.used == source.size:
            numbers = np.arange(source.size)
        else:
            numbers = np.random.default_rng([seed, place, _CAP]).permutation(source.size)[: source.used]
            numbers.sort()
        result.append(numbers + offset)
        offset += source.size
    return result


def _sides(
    used: Sequence[np.ndarray], counts: Sequence[int], has_pictures: np.ndarray, seed: int, share: float
) -> list[_Stratum]:
    """Each source's samples without and with pictures, as many as give an epoch of the same size its share."""
    total = sum(counts)
    text_only = round(share * total)
    strata = []
    for side, wanted in enumerate((text_only, total - text_only)):
        members = [numbers[has_pictures[numbers] == bool(side)] for numbers in used]
        natural = [
            count * len(mine) / len(all_of_it) for count, mine, all_of_it in zip(counts, members, used, strict=True)
        ]
        if wanted and not any(natural):
            kind = "with" if side else "without"
            raise TuwenError(
                f"mixture.text_only_share: {share:g} takes {wanted} of {total} samples {kind} pictures, "
                "and the sources have none"
            )
        for place, count in enumerate(apportion(wanted, natural) if wanted else []):
            if count:
                strata.append(_Stratum(members[place], count, [seed, place, _TURN, side]))
    return strata


def _window(stratum: _Stratum, epoch: int) -> np.ndarray:
    """The stretch of the endless row of turns that falls to an epoch."""
    first = epoch * stratum.count % len(stratum.members)
    turns = np.random.default_rng(stratum.seed).permutation(stratum.members)
    return turns.take(np.arange(first, first + stratum.count), mode="wrap")
