"""Work that nobody waits for any more is given up at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")
Item = TypeVar("Item")


class ClientGone(Exception):
    """Whoever asked has closed the connection."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` gives; it is cancelled when the client closes the connection first.

    Args:
        receive: of the request, whose body has been read.
        work: what to wait for.

    Raises:
        ClientGone: when it was cancelled.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def with_silences(items: AsyncIterator[Item], seconds: float) -> AsyncIterator[Item | None]:
    """The same items, and None whenever so many seconds passed without one."""
    task: asyncio.Future[Item] | None = None
    try:
        while True:
            task = task or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({task}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                item = task.result()
            except StopAsyncIteration:
                return
            task = None
            yield item
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
