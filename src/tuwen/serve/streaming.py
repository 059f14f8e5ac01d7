"""Server-sent events (WHATWG HTML, 9.2), given up as soon as nobody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tuwen.serve.disconnect import ClientGone, unless_gone, with_silences
from tuwen.serve.limits import Limits

KEEP_ALIVE = b": keep-alive\n\n"


class EventStream(Response):
    """A stream of events.

    Args:
        events: the data of each, in one line.
        limits: how long a client may take, and how long silence may last.
        close: called in the end, however it comes.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], limits: Limits, close: Callable[[], None]) -> None:
        # Proxies that collect what they pass on (nginx) would make one answer of the stream.
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._limits, self._close = events, limits, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all, unless the client goes."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await unless_gone(receive, self._write(send))
        except (ClientGone, TimeoutError):
            # Nobody reads it, or too slowly to be waited for.
            pass
        finally:
            self._close()

    async def _write(self, send: Send) -> None:
        items = with_silences(self._events, self._limits.keep_alive_seconds)
        try:
            async for item in items:
                data = KEEP_ALIVE if item is None else f"data: {item}\n\n".encode("utf-8", errors="replace")
                async with asyncio.timeout(self._limits.send_seconds):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            for source in (items, self._events):
                if isinstance(source, AsyncGenerator):
                    await source.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
