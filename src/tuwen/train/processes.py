"""What the processes of a run tell each other in plain numbers, and what they are told from outside."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from tuwen.config import TuwenError

T = TypeVar("T")


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

    def decided(self, decide: Callable[[], T]) -> T:
        """What the main process decides, in all of them; where it fails, all of them do.

        Raises:
            TuwenError: what the main process has met.
        """
        if self._accelerator.num_processes == 1:
            return decide()
        told: list[tuple[Any, str | None]] = [(None, None)]
        if self._accelerator.is_main_process:
            try:
                told = [(decide(), None)]
            except TuwenError as error:
                told = [(None, str(error))]
        broadcast_object_list(told)
        value, failure = told[0]
        if failure is not None:
            raise TuwenError(failure)
        result: T = value
        return result

    def all_or_none(self, failure: str | None) -> None:
        """Fail in all processes where one has failed.

        Raises:
            TuwenError: the first ``failure`` that there is.
        """
        everyone = [failure] if self._accelerator.num_processes == 1 else gather_object([failure])
        for one in everyone:
            if one is not None:
                raise TuwenError(one)


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
