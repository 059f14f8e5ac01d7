"""A run in which one process meets a loss that is no number; started by ``test_deepspeed``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch import Tensor

from tests.train.test_guards import poisoned
from tuwen.data.collator import Batch
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train import losses
from tuwen.train.run import train

# The first batch of the fourth step, of two batches each.
SPOILT = 7
# So few that a batch's answers are read stretch by stretch, in other numbers by each process.
MOST_LOGITS = 9000


def spoil(wanted: bool) -> None:
    """Let the loss be wrong in one of the passes that are trained."""
    if not wanted:
        return
    plain, spoilt = losses.answers, poisoned(SPOILT, float("nan"))

    def answers(model: TuwenForConditionalGeneration, batch: Batch, image_tokens_PTH: Tensor) -> Tensor:
        return (spoilt if model.training else plain)(model, batch, image_tokens_PTH)

    losses.OBJECTIVES["answers"] = answers


if __name__ == "__main__":
    recipe, out, *overrides = sys.argv[1:]
    losses.token_losses.__defaults__ = (MOST_LOGITS,)
    spoil(os.environ.get("RANK", "1") == "1")
    train(Path(recipe), overrides, Path(out), "auto")
