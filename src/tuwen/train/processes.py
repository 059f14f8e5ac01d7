"""What the processes of a run tell each other in plain numbers, and what they are told from outside."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Mapping
from types import FrameType, TracebackType

from accelerate import Accelerator
from accelerate.utils import gather_object


class Processes:
    """Adds numbers up over all processes of a run.

    Args:
        accelerator: knows them.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def add_up(self, own: Mapping[str, float]) -> dict[str, float]:
        """The sums over all processes, under names in alphabetical order; the same in each of them."""
        everyone = [own] if self._accelerator.num_processes == 1 else gather_object([dict(own)])
        total: defaultdict[str, float] = defaultdict(float)
        for one in everyone:
            for name, value in one.items():
                total[name] += value
        return {name: total[name] for name in sorted(total)}


class Interruption:
    """Notes that the run is asked to end, by SIGTERM or the first Ctrl-C, so that it can save before it does.

    Attributes:
        asked: whether it was.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        # The second Ctrl-C ends the run at once.
        signal.signal(number, self._before[signal.Signals(number)])

    def __enter__(self) -> Interruption:
        self._before = {one: signal.signal(one, self._note) for one in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
