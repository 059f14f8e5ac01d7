"""Who may come in, and how much may come in."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.conftest import KEY, Running, Serving, body
from tests.serve.engines import ScriptedEngine
from tests.serve.test_refusals import refusal
from tuwen.config import TuwenError
from tuwen.serve.auth import Keys, read_keys
from tuwen.serve.limits import Limits

OTHER = "another-key-of-16-characters-or-more"


def exchange(running: Running, request: bytes) -> tuple[int, dict[str, Any]]:
    """What comes back for these very bytes."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        head, _, content = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def test_only_health_and_ready_are_open(serving: Serving) -> None:
    with serving(keys=[KEY]) as running, httpx2.Client(base_url=running.url, trust_env=False) as stranger:
        for page in ("/health", "/ready"):
            assert stranger.get(page).status_code == 200
        routes = [route.path for route in running.server.config.app.routes]  # type: ignore[union-attr]
        assert len(routes) >= 7
        for page in [*routes, "/", "/nothing", "/v1", "/docs"]:
            if page not in ("/health", "/ready"):
                for method in ("GET", "POST", "PUT", "OPTIONS", "HEAD"):
                    reply = stranger.request(method, page)
                    assert reply.status_code == 401, (method, page)
                    assert reply.headers["www-authenticate"] == "Bearer"
        assert running.client.get("/v1/models").status_code == 200
        assert running.chat().status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        b"/health/../v1/models", b"/health%2f..%2fv1/models", b"//v1/models", b"/./v1/models", b"/v1/models?x=/health",
        b"http://localhost/health/../v1/models", b"/health;/v1/models", b"/%68ealth/", b"/v1/models/%2e%2e/health",
        b"/health/", b"/ready#/v1/models", b"/V1/models",
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", [b"localhost", b"localhost/health?x=", b"evil.example/health#"])
def test_no_way_of_writing_a_path_leads_past_the_gate(serving: Serving, target: bytes, host: bytes) -> None:
    with serving(keys=[KEY]) as running:
        request = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        status, content = exchange(running, request)
        assert status in (400, 401)
        assert content["error"]["code"] in ("invalid_http", "invalid_api_key")


@pytest.mark.parametrize(
    "values",
    [
        [], [""], ["Bearer"], [KEY], [f"Basic {KEY}"], [f"Bearer {KEY}x"], [f"Bearer {KEY[:-1]}"],
        [f"Bearer {KEY.upper()}"], [f"Bearer {KEY}", f"Bearer {KEY}"], [f"Bearer {OTHER} {KEY}"],
        ["Bearer " + hashlib.sha256(KEY.encode()).hexdigest()],
    ],
)  # fmt: skip
def test_only_the_key_opens(serving: Serving, values: list[str]) -> None:
    with serving(keys=[KEY]) as running:
        headers = [("authorization", value) for value in values]
        with httpx2.Client(base_url=running.url, headers=headers, trust_env=False) as stranger:
            assert refusal(stranger.get("/v1/models"), 401)["type"] == "authentication_error"


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = Keys.of([KEY, OTHER, "a-third-key-of-many-characters"])
    for given_key in (KEY, OTHER, "wrong"):
        compared.clear()
        keys.salt([f"Bearer {given_key}".encode()])
        assert len(compared) == 3
        assert all(len(one) == len(other) == 32 for one, other in compared)


@given(st.binary(max_size=60))
def test_no_other_bytes_open(value: bytes) -> None:
    assert Keys.of([KEY]).salt([value]) is None
    assert Keys.of([KEY]).salt([b"Bearer " + value]) is None


def test_each_key_has_a_salt_of_its_own(serving: Serving) -> None:
    with serving(keys=[KEY, OTHER]) as running:
        running.chat()
        running.client.post("/v1/chat/completions", json=body(), headers={"authorization": f"bearer {OTHER}"})
        first, second = (request.salt for request in running.engine.seen)
        assert first != second
        assert KEY.encode() not in first
    assert Keys().salt([]) == b""


def test_files_of_keys(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    place.write_text(f"# ours\n\n{KEY}\n  {OTHER}  \n", encoding="ascii")
    assert read_keys(place) == [KEY, OTHER]
    for text, message in [
        ("", "no API key"),
        ("# none\n", "no API key"),
        (f"{KEY}\nshort\n", "line 2"),
        ("密钥", "ASCII"),
    ]:
        place.write_text(text, encoding="utf-8")
        with pytest.raises(TuwenError, match=message) as refused:
            read_keys(place)
        assert KEY not in str(refused.value)
    with pytest.raises(TuwenError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_without_keys_only_names_that_no_stranger_can_move_are_answered(running: Running) -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1", "192.168.1.5:80", "[::1]:8000"):
        assert running.client.get("/v1/models", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example:8000", "127.0.0.1.nip.io", "", "[evil]"):
        assert refusal(running.client.get("/v1/models", headers={"host": host}), 421)["code"] == "unknown_host"


def test_other_web_pages_are_let_in_only_where_they_are_named(serving: Serving) -> None:
    asking = {"origin": "https://chat.example", "access-control-request-method": "POST"}
    with serving() as running:
        reply = running.client.options("/v1/chat/completions", headers=asking)
        assert reply.status_code == 405
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert "access-control-allow-origin" not in running.client.get("/v1/models", headers=asking).headers
    with serving(keys=[KEY], origins=["https://chat.example"]) as running:
        allowed = running.client.options("/v1/chat/completions", headers=asking)
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
        denied = running.client.options("/v1/chat/completions", headers={**asking, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in denied.headers


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_comes(serving: Serving) -> None:
    with serving(limits=Limits(body_bytes=2000)) as running:
        assert running.chat("x" * 100).status_code == 200
        assert refusal(running.chat("x" * 3000), 413)["code"] == "body_too_large"
        host = running.url.removeprefix("http://").encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: " + host + b"\r\nContent-Type: application/json\r\n"
        # Nothing of a body that is announced too large is waited for.
        status, _ = exchange(running, head + b"Content-Length: 99999999999\r\n\r\n")
        assert status == 413
        status, _ = exchange(running, head + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n"
                             + b"400\r\n" + b" " * 1024 + b"\r\n")  # fmt: skip
        assert status == 413
        assert len(running.engine.seen) == 1


def test_a_body_that_comes_too_slowly_is_given_up(serving: Serving) -> None:
    with serving(limits=Limits(body_seconds=0.1)) as running:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        status, content = exchange(running, head + b"Content-Length: 100\r\n\r\n{")
        assert (status, content["error"]["code"]) == (408, "body_too_slow")
        running.wait(lambda: running.service.gate.requests == 0)


def test_all_bodies_together_have_a_bound(serving: Serving) -> None:
    with serving(limits=Limits(waiting_bytes=3000)) as running:
        host, port = running.url.removeprefix("http://").split(":")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(head + b"Content-Length: 2900\r\n\r\n" + b" " * 2800)
            running.wait(lambda: running.service.gate.held_bytes == 2800)
            error = refusal(running.chat("x" * 500), 429)
            assert error["code"] == "memory_full"
        running.wait(lambda: running.service.gate.held_bytes == 0)
        assert running.chat("x" * 500).status_code == 200


def test_requests_at_a_time_have_a_bound(serving: Serving) -> None:
    engine = ScriptedEngine(max_queue=100)
    engine.hold.set()
    with serving(engine, limits=Limits(requests=2)) as running:
        threads = [threading.Thread(target=running.chat) for _ in range(2)]
        for thread in threads:
            thread.start()
        running.wait(lambda: len(engine.seen) == 2)
        reply = running.chat()
        assert refusal(reply, 429)["type"] == "rate_limit_error"
        assert int(reply.headers["retry-after"]) >= 1
        # What tells how the server is, is not held up.
        assert running.client.get("/health").status_code == running.client.get("/metrics").status_code == 200
        engine.hold.clear()
        for thread in threads:
            thread.join(10)
        assert running.chat().status_code == 200


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_a_refusal_reaches_a_client_that_is_still_sending(serving: Serving, keys: tuple[str, ...]) -> None:
    engine = ScriptedEngine()
    with serving(engine, keys=keys) as running:
        running.service.gate.draining = True
        headers = {"authorization": "Bearer wrong"} if keys else {}
        with httpx2.Client(base_url=running.url, headers=headers, trust_env=False) as client:
            # The same connection can be used again.
            for _ in range(5):
                reply = client.post("/v1/chat/completions", json=body("x" * 5_000_000))
                assert reply.status_code == (401 if keys else 503)
                assert "connection" not in reply.headers
        assert running.service.gate.held_bytes == 0


def test_odd_ways_of_ending_a_connection_leave_nothing_behind(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for sent in (b"", b"GET", head, head + b"Content-Length: 100\r\n\r\n", head + b'Content-Length: 100\r\n\r\n{"mo'):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
            time.sleep(0.02)
    running.wait(lambda: running.service.gate.requests == 0)
    assert running.service.gate.held_bytes == 0
    assert running.chat().status_code == 200
