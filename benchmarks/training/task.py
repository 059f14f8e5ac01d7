"""What every contender is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.corpora import Corpus
from training.measure import Amounts, Meter, Outcome
from training.models import Size, planned
from tuwen.train.planning.flops import stage_flops
from tuwen.train.stage import Stage


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

    def outcome(self, meter: Meter, amounts: Amounts) -> Outcome:
        """What the meter saw while ``amounts`` were trained, and the operations that these need."""
        config, processor = planned(self.corpus.model(self.size))
        stage = Stage.model_validate({"name": "measured", "steps": 1, "groups": 1, "modules": self.size.modules})
        needed = stage_flops(config, stage, processor.policy.plan(1, 1))
        flops = needed.of(amounts.tokens, amounts.squares, amounts.tiles, amounts.answers)
        return meter.outcome(amounts, flops)
