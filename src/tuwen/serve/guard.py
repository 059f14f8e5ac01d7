"""The gate before the application: who may come in, how much may wait, how much a body may hold.

Plain ASGI. It looks at the path as it came, before anything is decoded or joined with a Host header, and lets nothing
through that it does not know to be open.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuwen.serve.auth import Keys
from tuwen.serve.errors import ApiError, bad_request, draining, internal_error
from tuwen.serve.limits import Limits
from tuwen.serve.metrics import Metrics

OPEN_PATHS = (b"/health", b"/ready")
RETRY_SECONDS = 1.0
DISCARD_SECONDS = 5.0
LOG = logging.getLogger(__name__)


class Gate:
    """What all requests share.

    Args:
        keys: that open the server.
        limits: on all requests together.
        metrics: where refusals are counted.
        host: the name or address that the server was told to listen at.
    """

    def __init__(self, keys: Keys, limits: Limits, metrics: Metrics, host: str = "127.0.0.1") -> None:
        self.keys, self.limits, self.metrics = keys, limits, metrics
        self.draining = False
        self._hosts = {"localhost", host.lower()}
        self.held_bytes = 0
        self._requests = 0

    @property
    def requests(self) -> int:
        """Requests that are worked on now."""
        return self._requests

    def refusal(self, error: ApiError) -> JSONResponse:
        """The answer to a request that is refused, which is counted here and nowhere else."""
        self.metrics.refused(error.code)
        return JSONResponse(error.body(), error.status, error.headers)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one more request.

        Raises:
            ApiError: when there is none, or the server is shutting down.
        """
        if self.draining:
            raise draining(self.limits.shutdown_seconds)
        if self._requests >= self.limits.requests:
            raise ApiError(
                429, f"{self._requests} requests are worked on, the most that may be.", "queue_full",
                retry_after=RETRY_SECONDS,
            )  # fmt: skip
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Room for one body among all that are held."""
        room = Room(self)
        try:
            yield room
        finally:
            self.held_bytes -= room.taken

    def knows_host(self, host: bytes | None) -> bool:
        """Whether a request names this server by a name that no stranger can point at it.

        A page from elsewhere whose name is made to lead to 127.0.0.1 (DNS rebinding) could otherwise use a server
        that asks for no key.
        """
        name = (host or b"").decode("latin-1").lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True


class Room:
    """What one body takes of the memory for all."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.taken = 0

    def take(self, size: int) -> None:
        """So many bytes more.

        Raises:
            ApiError: when this body, or all together, would take more than they may.
        """
        limits = self._gate.limits
        if self.taken + size > limits.body_bytes:
            raise _too_large(limits.body_bytes)
        if self._gate.held_bytes + size > limits.waiting_bytes:
            raise ApiError(429, "Other requests fill the memory.", "memory_full", retry_after=RETRY_SECONDS)
        self.taken += size
        self._gate.held_bytes += size


class Guard:
    """The middleware.

    Args:
        app: what is behind the gate.
        gate: the gate.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not supported"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = ended = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        async def receiving() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        try:
            await self._let_in(scope, receiving, sending)
        except Exception as error:
            if begun:
                raise
            if not isinstance(error, ApiError):
                LOG.exception("a request failed")
                error = internal_error()
            if not ended and not await self._discarded(scope, receive, error.status):
                error.headers["connection"] = "close"
            await self._gate.refusal(error)(scope, receive, send)

    async def _discarded(self, scope: Scope, receive: Receive, status: int) -> bool:
        """Read what is left of a body that is refused, and keep none of it.

        To close a connection on which bytes still come makes the system throw away the answer at the client's end.
        """
        length = b"".join(_values(scope, b"content-length"))
        most = self._gate.limits.body_bytes
        if status in (408, 413) or _values(scope, b"expect") or not length.isdigit() or int(length[:20]) > most:
            return False
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            return False
        return True

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["salt"] = self._salt(scope)
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with self._gate.place():
            await self._post(scope, receive, send)

    def _salt(self, scope: Scope) -> bytes:
        if scope.get("raw_path") in OPEN_PATHS:
            return b""
        keys = self._gate.keys
        salt = keys.salt(_values(scope, b"authorization"))
        if salt is None:
            raise ApiError(401, "A valid API key is needed: `Authorization: Bearer KEY`.", "invalid_api_key")
        hosts = _values(scope, b"host")
        if not keys.digests and not self._gate.knows_host(hosts[0] if len(hosts) == 1 else None):
            raise ApiError(421, "Without API keys this server answers to its address and to localhost.", "unknown_host")
        return salt

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_headers(scope, self._gate.limits.body_bytes)
        with self._gate.room() as room:
            try:
                async with asyncio.timeout(self._gate.limits.body_seconds):
                    body = await self._read(room, receive)
            except TimeoutError:
                raise ApiError(408, "The body did not come in time.", "body_too_slow") from None
            if body is not None:
                await self._app(scope, _replay(body, receive), send)

    async def _read(self, room: Room, receive: Receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        chunks = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            room.take(len(chunks[-1]))
            if not message.get("more_body", False):
                return b"".join(chunks)


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _check_headers(scope: Scope, most: int) -> None:
    kind = b"".join(_values(scope, b"content-type")).partition(b";")[0].strip().lower()
    if kind != b"application/json" or _values(scope, b"content-encoding"):
        raise ApiError(415, "The body must be application/json, not encoded further.", "unsupported_media_type")
    length = b"".join(_values(scope, b"content-length"))
    if length and not length.isdigit():
        raise bad_request("Content-Length is not a number.", code="invalid_header")
    if length and int(length[:20]) > most:
        raise _too_large(most)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The body is larger than the {most:,} bytes that are taken.", "body_too_large")


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` as if the body had not been read yet."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
