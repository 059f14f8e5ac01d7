"""The source ``synth``: pictures drawn as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tuwen.data.bad_samples import BadSample
from tuwen.data.sample import Sample
from tuwen.data.source import SOURCES, Group
from tuwen.data.synth import SynthConfig, Synthesiser


@SOURCES.register("synth")
class SynthSource:
    """Endless drawn pictures with their questions; see ``tuwen.data.synth``.

    Args:
        config: what is drawn.
    """

    config_class: ClassVar[type[SynthConfig]] = SynthConfig

    def __init__(self, config: SynthConfig) -> None:
        self._synthesiser = Synthesiser(config)

    @property
    def size(self) -> int | None:
        """Without end."""
        return None

    samples = size
    bad: Sequence[BadSample] = ()

    def group(self, seed: int, index: int) -> Group:
        """The samples of a drawn picture."""
        samples: tuple[Sample, ...] = self._synthesiser.draw(seed, index).samples
        return samples

    def texts(self, seed: int, count: int) -> list[str]:
        """Questions and answers as they are drawn, and every word that can be."""
        return self._synthesiser.texts(seed, count)
