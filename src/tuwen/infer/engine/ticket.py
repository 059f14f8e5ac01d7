"""A request that was taken: how its pieces get from the engine's thread to whoever waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from tuwen.infer.engine.interface import Finish, Piece


class Follower:
    """The ``Ticket`` of this package's engines; the engine calls ``put`` and ``end``.

    Args:
        on_cancel: called once when the request is given up before its end.
    """

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self.cancelled = False
        self._on_cancel = on_cancel
        self._pieces: deque[Piece] = deque()
        self._finish: Finish | None = None
        self._changed = threading.Condition()
        self._wake: Callable[[], object] | None = None

    @property
    def finish(self) -> Finish | None:
        """How it ended; None while it has not."""
        return self._finish

    def cancel(self) -> None:
        """Give up."""
        with self._changed:
            if self.cancelled or self._finish is not None:
                return
            self.cancelled = True
        self._on_cancel()

    def put(self, piece: Piece) -> None:
        """One more piece."""
        self._tell(piece, None)

    def end(self, finish: Finish) -> None:
        """No more pieces; what was said first holds."""
        self._tell(None, finish)

    def __iter__(self) -> Iterator[Piece]:
        """Pieces as they come, blocking."""
        while True:
            with self._changed:
                self._changed.wait_for(self._is_ready)
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
            yield piece

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces as they come, for `asyncio`."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            self._wake = lambda: loop.call_soon_threadsafe(ready.set)
        while True:
            ready.clear()
            while self._pieces:
                yield self._pieces.popleft()
            with self._changed:
                if self._finish is not None and not self._pieces:
                    return
                waits = not self._pieces
            if waits:
                await ready.wait()

    def _is_ready(self) -> bool:
        return bool(self._pieces) or self._finish is not None

    def _tell(self, piece: Piece | None, finish: Finish | None) -> None:
        with self._changed:
            if self._finish is not None:
                return
            if piece is not None:
                self._pieces.append(piece)
            self._finish = finish
            self._changed.notify_all()
            wake = self._wake
        if wake is not None:
            # The reader's loop may be gone already.
            with contextlib.suppress(RuntimeError):
                wake()
