"""Where samples come from: sources of groups, mixed as a pure function of (seed, index).

A group is all samples about the same pictures; they share those pictures' tokens when packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from tuwen.config import Registry, StrictConfig, TuwenError, parse_config
from tuwen.data.bad_samples import BadSample
from tuwen.data.epochs.mixture import SourceShare
from tuwen.data.sample import Sample

Group = tuple[Sample, ...]

_HERE = "tuwen.data"
SOURCES = Registry("data source", {"synth": f"{_HERE}.synth_source", "data": f"{_HERE}.data_source"})


class Source(Protocol):
    """Something that gives groups of samples."""

    config_class: ClassVar[type[StrictConfig]]

    @property
    def size(self) -> int | None:
        """How many groups there are; None when there is no end of them."""

    @property
    def samples(self) -> int | None:
        """How many samples there are; None when there is no end of them."""

    @property
    def bad(self) -> Sequence[BadSample]:
        """Samples that it had to leave out."""

    def group(self, seed: int, index: int) -> Group:
        """Group number ``index`` (below ``size``); a pure function of both arguments."""

    def texts(self, seed: int, count: int) -> list[str]:
        """About ``count`` texts as they occur in the samples, for training a tokenizer."""


BLOCK = 1024


class Mixture:
    """Several sources drawn from by weight, every group a pure function of (seed, index).

    Groups come in blocks of 1024. Each block holds as many groups of a source as its weight says, in an
    order of its own, so that how many were drawn before any index needs no counting. A source with an end is
    gone through in a new order every time round.

    Args:
        sources: the sources.
        shares: how often each is drawn from, by their weights; 1 unless said.

    Raises:
        TuwenError: when a weight is below a thousandth of all together.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[SourceShare]) -> None:
        self.sources, self.shares = list(sources), list(shares)
        weights = [share.weight or 1.0 for share in shares]
        share = np.asarray(weights, dtype=np.float64) / float(sum(weights)) * BLOCK
        counts = np.floor(share).astype(int)
        for place in np.argsort(counts - share)[: BLOCK - counts.sum()]:
            counts[place] += 1
        if counts.min() == 0:
            raise TuwenError(f"data.sources.{int(counts.argmin())}.weight: less than 1/{BLOCK} of the mixture")
        self._deck = np.repeat(np.arange(len(counts)), counts)
        self._counts = counts
        self._block: tuple[tuple[int, int], np.ndarray] | None = None

    def group(self, seed: int, index: int) -> Group:
        """Group number ``index`` of the endless sequence that ``seed`` stands for."""
        number, offset = divmod(index, BLOCK)
        block = self._shuffled(seed, number)
        chosen = int(block[offset])
        source = self.sources[chosen]
        drawn_before = number * int(self._counts[chosen]) + int((block[:offset] == chosen).sum())
        if source.size is None:
            return source.group(seed, drawn_before)
        turn, place = divmod(drawn_before, source.size)
        order = np.random.default_rng([seed, turn, chosen]).permutation(source.size)
        return source.group(seed, int(order[place]))

    @property
    def samples(self) -> int | None:
        """Samples of all sources together; None when one has no end."""
        counts = [source.samples for source in self.sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def bad(self) -> list[BadSample]:
        """Samples that the sources had to leave out."""
        return [bad for source in self.sources for bad in source.bad]

    def _shuffled(self, seed: int, number: int) -> np.ndarray:
        if self._block is None or self._block[0] != (seed, number):
            order = np.random.default_rng([seed, number]).permutation(self._deck)
            self._block = ((seed, number), order)
        return self._block[1]

    def texts(self, seed: int, count: int) -> list[str]:
        """About ``count`` texts from each source."""
        return [text for source in self.sources for text in source.texts(seed, count)]


def parse_sources(entries: Sequence[Mapping[str, Any]], where: str = "data.sources") -> Mixture:
    """The mixture in a list of ``{"type": NAME, "weight": …, …settings}``.

    Raises:
        TuwenError: naming the entry and key that is wrong, or the file that cannot be read.
    """
    if not entries:
        raise TuwenError(f"{where}: name at least one source")
    sources, shares = [], []
    for place, entry in enumerate(entries):
        here = f"{where}.{place}"
        settings = dict(entry)
        name = settings.pop("type", None)
        if not isinstance(name, str):
            raise TuwenError(f"{here}.type: name a source, one of {', '.join(SOURCES.names())}")
        common = {key: settings.pop(key) for key in SourceShare.model_fields if key in settings}
        shares.append(parse_config(SourceShare, common, here))
        kind = SOURCES.get(name)
        sources.append(kind(parse_config(kind.config_class, settings, here)))
    return Mixture(sources, shares)
