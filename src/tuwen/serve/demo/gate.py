"""The gate before the page: the few paths that it needs, from the pages that may ask, in bodies of bounded size.

The page's library has routes that read files, take files in and fetch from elsewhere. The page needs none of them, so
none of them can be reached.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 * 2**20
# Matched against the path as it came: what is encoded in it does not match, and leads nowhere.
_FILE = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,120}"
_OPEN = re.compile(
    rf"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(?:assets|static)(?:/{_FILE}){{1,4}}"
    r"|/gradio_api/(?:queue/join|queue/data|queue/status|startup-events|reset|cancel|info|app_id|theme\.css)/?"
    r"|/gradio_api/heartbeat/[a-z0-9]{1,40}"
)
# Nothing may be asked of the outside, whatever the page holds. The library compiles templates, which needs eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Hosts:
    """The names under which the page is asked for.

    A name that a stranger makes lead here (DNS rebinding) is none of them.

    Args:
        host: that the server listens at.
    """

    def __init__(self, host: str) -> None:
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    def add(self, name: str) -> None:
        """One more name."""
        self._names.add(name.lower())

    def know(self, authority: str) -> bool:
        """Whether ``authority``, a name with or without a port, leads here: a known name, or a bare address."""
        try:
            name = urlsplit(f"//{authority}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return authority.partition(":")[0].lower() in self._names
        return True


class PageGate:
    """The middleware.

    Args:
        app: the page.
        hosts: under which it is asked for.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or refuse."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refused := self._refusal(scope):
            await refused(scope, receive, send)
        else:
            await self._app(scope, self._bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        if not self._hosts.know(headers.get("host", "")):
            return PlainTextResponse("This page is not known by that name.", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("Only the page itself may ask.", 403)
        if scope["method"] not in ("GET", "HEAD", "POST") or not _OPEN.fullmatch(path):
            return PlainTextResponse("There is no such page.", 404)
        if int(headers.get("content-length", "0") or 0) > MOST_BYTES:
            return PlainTextResponse("That is too large.", 413)
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """A body whose length was not said ends the connection where it grows too large."""
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return {"type": "http.disconnect"} if taken > MOST_BYTES else message

        return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *HEADERS]
        await send(message)

    return sending
