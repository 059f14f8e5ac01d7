"""The server's life: it binds, loads, answers, and on SIGTERM lets what has begun come to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tuwen.infer.engine.opening import open_engine
from tuwen.infer.loading import load
from tuwen.serve.application import Service, create_application
from tuwen.serve.auth import Keys, read_keys
from tuwen.serve.errors import bad_request
from tuwen.serve.fetching import Fetcher
from tuwen.serve.guard import Gate
from tuwen.serve.listening import bind, is_loopback
from tuwen.serve.metrics import Metrics
from tuwen.serve.settings import SERVERS, ServeSettings

MOST_HEADERS = 32 * 1024
# For the last bytes of answers to go out once all have ended.
LAST_SECONDS = 5
LOOK_EVERY = 0.05


@SERVERS.register("builtin")
def serve(settings: ServeSettings) -> None:
    """Serve with Tuwen's own engine until SIGTERM or SIGINT.

    Raises:
        TuwenError: when the port is taken, or a file or setting is wrong.
        KeyboardInterrupt: when a second signal came before all was answered.
    """
    # What can be said at once is said before the model is loaded.
    keys = Keys.of(read_keys(settings.api_key_file) if settings.api_key_file else [])
    fetcher = Fetcher(settings.remote_media) if settings.remote_media else None
    with bind(settings.host, settings.port) as listener:
        chatter = load(settings.model, device=settings.device, dtype=settings.dtype, quantize=settings.quantize)
        engine = open_engine(chatter, **settings.engine)
        try:
            metrics = Metrics(settings.model_name, engine.status)
            gate = Gate(keys, settings.limits, metrics, settings.host)
            service = Service(
                engine=engine,
                chatter=chatter,
                model=settings.model_name,
                gate=gate,
                limits=settings.limits,
                metrics=metrics,
                fetcher=fetcher,
            )
            if not keys.digests and not is_loopback(listener):
                print(
                    f"tuwen: warning: anyone who reaches {settings.host} may use this server; give --api-key-file",
                    file=sys.stderr,
                )
            run(service, listener, settings.origins)
        finally:
            engine.close()


def run(service: Service, listener: socket.socket, origins: Sequence[str] = ()) -> None:
    """Answer on a bound socket until told to stop.

    Raises:
        KeyboardInterrupt: when a second signal came before all was answered.
    """
    server = Server(configuration(service, origins), service, listener)
    server.run(sockets=[listener])
    if server.force_exit:
        raise KeyboardInterrupt


def configuration(service: Service, origins: Sequence[str] = ()) -> uvicorn.Config:
    """Of the HTTP server."""
    return uvicorn.Config(
        create_application(service, origins),
        http=Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        # A client could say anything about itself in such headers.
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADERS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


class Server(uvicorn.Server):
    """A server that is still to be talked to while it finishes what it has begun.

    At the first signal new requests are answered by 503 and /ready says so; when the others have ended, or their time
    is over, it stops. A second signal stops it at once.

    Args:
        config: of `uvicorn`.
        service: what is served.
        listener: where.
    """

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket) -> None:
        super().__init__(config)
        self._service, self._listener = service, listener
        self._stopping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say where."""
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"tuwen: serving {self._service.model} at http://{shown}:{port}/v1", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server in its own way, with exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {
            name: signal.signal(name, lambda *_: loop.call_soon_threadsafe(self.stop))
            for name in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def stop(self) -> None:
        """Finish what has begun; called again, do not."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._drain())
        else:
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        gate, end = self._service.gate, time.monotonic() + self._service.limits.shutdown_seconds
        gate.draining = True
        while gate.requests and time.monotonic() < end:
            await asyncio.sleep(LOOK_EVERY)
        # What is left is cancelled, and says so to its clients.
        await asyncio.to_thread(self._service.engine.drain, max(0.0, end - time.monotonic()))
        self.should_exit = True


class Protocol(H11Protocol):
    """HTTP whose refusals of what is no HTTP have the shape of all others."""

    def send_400_response(self, msg: str) -> None:
        """Refuse and close."""
        body = json.dumps(bad_request("The request is not valid HTTP.", code="invalid_http").body()).encode()
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
        )
        self.transport.write(head + body)
        self.transport.close()
