"""What is done about a step that goes wrong: stop, pass over it, or go back to before it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median

from tuwen.config import TuwenError
from tuwen.data.collator import Batch
from tuwen.train.settings import Guards

# A spike is seen against the median of so many steps before, once there are at least FEWEST of them.
WINDOW, FEWEST = 50, 10
NAMED = 5


class RollBack(Exception):
    """The run is to go back to its last checkpoint and pass over a step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step}")
        self.step = step


class StepGuard:
    """Judges every step before it changes the model.

    Args:
        settings: from the recipe.
        where: how the stage is called in a message.
    """

    def __init__(self, settings: Guards, where: str) -> None:
        self.settings, self.where = settings, where
        self.wrong = 0
        self._before: deque[float] = deque(maxlen=WINDOW)

    def judge(self, step: int, loss: float, norm: float, names: Sequence[str]) -> str | None:
        """Whether a step may change the model: None if it may, else what is wrong with it, in a line.

        Args:
            step: its number, from 1.
            loss: of all processes.
            norm: of the gradient.
            names: of the step's samples in this process.

        Raises:
            TuwenError: when the recipe wants the run to stop, or too many steps went wrong.
            RollBack: when it wants the run to go back.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what, answer = f"the loss is {loss:g} and its gradient's norm {norm:g}", self.settings.not_finite
        elif self._is_spike(loss):
            times = loss / median(self._before)
            what = f"the loss is {loss:.4g}, {times:.1f} times that of the steps before"
            answer = self.settings.on_spike
        else:
            self._before.append(loss)
            return None
        line = f"{self.where}: step {step}: {what}; its samples: {_named(names)}"
        if answer == "stop":
            raise TuwenError(f"{line}; lower the learning rate or raise the warm-up, or let guards skip such steps")
        self.wrong += 1
        if self.wrong > self.settings.budget:
            raise TuwenError(f"{line}; more than guards.budget {self.settings.budget} steps went wrong")
        if answer == "roll_back":
            raise RollBack(step)
        return line

    def _is_spike(self, loss: float) -> bool:
        if self.settings.spike is None or len(self._before) < FEWEST:
            return False
        return loss > self.settings.spike * median(self._before)


def out_of_memory(where: str, step: int, batch: Batch) -> TuwenError:
    """The message for a batch that does not fit into the device's memory."""
    rows, length = batch.input_ids.shape
    height, width = batch.pixel_values.shape[-2:]
    return TuwenError(
        f"{where}: step {step}: out of memory with {rows} rows of {length} tokens and {batch.pictures} tiles of "
        f"{width}x{height} (samples {_named(batch.names)}); take fewer sequences or groups and accumulate more, or "
        "turn gradient_checkpointing on"
    )


def _named(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
