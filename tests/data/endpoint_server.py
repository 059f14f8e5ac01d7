"""A chat endpoint that misbehaves as it is told, and counts what it is asked."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Body = dict[str, Any]


@dataclass
class Answer:
    """What goes back.

    Attributes:
        body: bytes of the reply.
        status: of HTTP.
        headers: beside the usual ones.
        wait: seconds before anything is sent.
        sent: bytes after which the connection breaks; None sends all.
        dribble: seconds between two bytes.
    """

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    sent: int | None = None
    dribble: float = 0.0


def completion(text: str | None, finish_reason: str = "stop", *, wait: float = 0.0, **message: Any) -> Answer:
    """A reply that is in order: 100 tokens in, 10 out."""
    value = {
        "model": "served",
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
    return Answer(json.dumps(value).encode(), wait=wait)


def failure(status: int, message: str = "", **headers: str) -> Answer:
    """An error in OpenAI's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps({"error": {"message": message}}).encode(), status, named)


def texts_of(request: Body) -> str:
    """The last message's text."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class EndpointServer:
    """Use as ``with EndpointServer(answer) as server``.

    Args:
        answer: what to answer to a request's body.

    Attributes:
        script: answers that come first, one for each request.
        requests: bodies, in order of arrival.
        headers: of these requests, names in lower case.
        arrivals: of these requests, in seconds of a clock of its own.
        most_parallel: requests that were open at the same time, at most.
    """

    def __init__(self, answer: Callable[[Body], Answer], script: list[Answer] | None = None) -> None:
        self.answer, self.script = answer, list(script or [])
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.arrivals: list[float] = []
        self.most_parallel = self._parallel = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = server._received(body, {name.lower(): value for name, value in self.headers.items()})
                try:
                    time.sleep(answer.wait)
                    server._send(self, answer)
                except OSError:
                    # The client has gone: it was killed, or would not wait.
                    self.close_connection = True
                finally:
                    with server._lock:
                        server._parallel -= 1

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def _received(self, body: Body, headers: dict[str, str]) -> Answer:
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.arrivals.append(time.monotonic())
            self._parallel += 1
            self.most_parallel = max(self.most_parallel, self._parallel)
            scripted = self.script.pop(0) if self.script else None
        return scripted or self.answer(body)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.sent == 0:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        for piece in [bytes([byte]) for byte in answer.body] if answer.dribble else [answer.body[: answer.sent]]:
            handler.wfile.write(piece)
            time.sleep(answer.dribble)
        handler.close_connection = handler.close_connection or answer.sent is not None

    def asked(self) -> Counter[str]:
        """How often each text was asked."""
        return Counter(texts_of(request) for request in self.requests)

    def __enter__(self) -> EndpointServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
