"""What every contender is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.corpora import Corpus
from training.models import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A corpus, a model and how it is trained.

    Attributes:
        corpus: what is trained on.
        size: of the model.
        place: a folder that may be written to.
        samples: in the corpus.
        batch: samples of a step.
        precision: ``fp32``, or ``bf16`` for mixed precision.
        workers: processes that read.
        seed: of order.
    """

    corpus: Corpus
    size: Size
    place: Path
    samples: int
    batch: int
    precision: str
    workers: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; so many are measured, so that every sample counts once."""
        return self.samples // self.batch
