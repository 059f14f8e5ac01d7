"""Clients that go, queues that are full, engines that die, servers that are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.serve.conftest import KEY, MODEL, Running, Serving, body, data_url, events, image_part, png
from tests.serve.engines import ANSWER, ScriptedEngine
from tests.serve.test_refusals import refusal
from tuwen.cli.serve import command as serve_command
from tuwen.config import TuwenError
from tuwen.infer.vlm import Chatter
from tuwen.serve.limits import Limits

LONG = ("字",) * 500


def in_background(running: Running, results: list[Any], **values: Any) -> threading.Thread:
    thread = threading.Thread(target=lambda: results.append(running.chat(**values)), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("queued", [True, False])
def test_what_nobody_waits_for_is_given_up(serving: Serving, stream: bool, queued: bool) -> None:
    engine = ScriptedEngine(lambda request: LONG, step_seconds=0.01)
    if queued:
        engine.hold.set()
    with serving(engine) as running:

        async def leave() -> None:
            async with httpx2.AsyncClient(base_url=running.url, trust_env=False) as client:
                asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=body(stream=stream, n=2)))
                while len(engine.seen) < 2 or (not queued and not engine.status().running):
                    await asyncio.sleep(0.005)
                asking.cancel()

        asyncio.run(leave())
        running.wait(lambda: engine.status().running == engine.status().waiting == 0)
        running.wait(lambda: running.service.gate.requests == 0)
        assert engine.status().counts["generated_tokens"] < 2 * len(LONG)
        running.wait(lambda: 'finished_reason="cancelled",model_name="tiny"} 2.0' in figures(running))


def figures(running: Running) -> str:
    return running.client.get("/metrics").text


def test_a_stream_that_is_closed_half_way_is_given_up(serving: Serving) -> None:
    engine = ScriptedEngine(lambda request: LONG, step_seconds=0.005)
    with serving(engine) as running:
        with running.client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as reply:
            lines = reply.iter_lines()
            assert any("字" in line for line in lines)
        running.wait(lambda: engine.status().running == 0)
        assert engine.status().counts["generated_tokens"] < len(LONG)


def test_a_client_that_does_not_read_is_given_up(serving: Serving) -> None:
    import socket

    engine = ScriptedEngine(lambda request: ("字" * 20_000,) * 400)
    with serving(engine, limits=Limits(send_seconds=0.2)) as running:
        content = b'{"model":"tiny","stream":true,"messages":[{"role":"user","content":"x"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        host, port = running.url.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
            running.wait(lambda: len(engine.seen) == 1)
            running.wait(lambda: running.service.gate.requests == 0)


@pytest.mark.parametrize("answers", [1, 3])
def test_a_full_queue_is_said_with_a_time_to_come_back(serving: Serving, answers: int) -> None:
    engine = ScriptedEngine(max_queue=2)
    engine.hold.set()
    with serving(engine) as running:
        results: list[Any] = []
        threads = [in_background(running, results) for _ in range(3 - answers if answers < 3 else 1)]
        running.wait(lambda: len(engine.seen) == len(threads))
        for stream in (True, False):
            reply = running.chat(n=answers, stream=stream)
            assert refusal(reply, 429)["code"] == "queue_full"
            assert reply.headers["retry-after"] == "3"
        # Of several answers none is left behind where not all found a place.
        running.wait(lambda: engine.status().waiting == len(threads))
        assert 'reason="queue_full"} 2.0' in figures(running)
        engine.hold.clear()
        for thread in threads:
            thread.join(10)
        assert all(result.status_code == 200 for result in results)


def test_a_dead_engine_is_seen(serving: Serving) -> None:
    with serving() as running:
        running.engine._dead = True
        assert refusal(running.client.get("/health"), 503)["code"] == "engine_stopped"
        assert refusal(running.client.get("/ready"), 503)
        assert refusal(running.chat(), 503)["code"] == "engine_stopped"


def test_a_server_that_stops_finishes_what_has_begun(serving: Serving) -> None:
    engine = ScriptedEngine()
    engine.hold.set()
    with serving(engine) as running:
        results: list[Any] = []
        threads = [in_background(running, results, stream=stream) for stream in (True, False)]
        running.wait(lambda: len(engine.seen) == 2)
        stop(running)
        running.wait(lambda: running.client.get("/ready").status_code == 503)
        assert running.client.get("/health").status_code == 200
        reply = running.chat()
        assert refusal(reply, 503)["code"] == "draining"
        assert int(reply.headers["retry-after"]) >= 1
        engine.hold.clear()
        for thread in threads:
            thread.join(10)
        whole = next(result for result in results if result.headers["content-type"] == "application/json")
        assert whole.json()["choices"][0]["message"]["content"] == "".join(ANSWER)
        streamed = next(result for result in results if result is not whole)
        assert events(streamed.text)[-1] == "[DONE]"
        assert events(streamed.text)[-2]["choices"][0]["finish_reason"] == "stop"
        running.wait(lambda: running.server.should_exit)


def test_a_server_that_stops_finishes_what_was_let_in(
    serving: Serving, chatter: Chatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, encode = threading.Event(), chatter.encode

    def slow(*arguments: Any) -> Any:
        assert going_on.wait(20)
        return encode(*arguments)

    monkeypatch.setattr(chatter, "encode", slow, raising=False)
    with serving() as running:
        results: list[Any] = []
        thread = in_background(running, results)
        running.wait(lambda: running.service.gate.requests == 1)
        stop(running)
        running.wait(lambda: running.client.get("/ready").status_code == 503)
        going_on.set()
        thread.join(10)
        assert results[0].status_code == 200


def stop(running: Running) -> None:
    """As a signal does."""
    loop = running.server.servers[0].get_loop()
    loop.call_soon_threadsafe(running.server.stop)


def test_what_does_not_end_in_time_is_told_so(serving: Serving) -> None:
    engine = ScriptedEngine()
    engine.hold.set()
    with serving(engine, limits=Limits(shutdown_seconds=0.3)) as running:
        results: list[Any] = []
        threads = [in_background(running, results, stream=stream) for stream in (True, False)]
        running.wait(lambda: len(engine.seen) == 2)
        stop(running)
        for thread in threads:
            thread.join(10)
        streamed = next(result for result in results if result.status_code == 200)
        assert events(streamed.text)[-2]["error"]["code"] == "draining"
        whole = next(result for result in results if result is not streamed)
        assert refusal(whole, 503)["code"] == "draining"


@contextmanager
def command(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``tuwen serve`` in a process of its own, and where it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuwen", "serve", str(model), "--port", "0", "--device", "cpu", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"tuwen: serving {MODEL} at http://127.0.0.1:"), line + process.stderr.read()  # type: ignore[union-attr]
        yield process, line.split(" at ")[1].strip().removesuffix("/v1")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_command_serves_drains_and_leaves_with_0(model_folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="ascii")
    with command(model_folder, "--api-key-file", str(keys)) as (process, url):
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            asked = body([image_part(data_url(png()))], max_tokens=200, ignore_eos=True, stream=True)
            with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
                assert reply.status_code == 200
                lines = reply.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                text = "\n\n".join(lines)
        *chunks, done = events(text)
        assert done == "[DONE]"
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_remote_media": ["http://x"]}, "--allow-remote-media 'http://x'"),
        ({"allow_origin": ["*"]}, r"--allow-origin \*: would let every page"),
        ({"engine": "vlm"}, "unknown engine 'vlm': choose one of builtin, vllm; did you mean 'vllm'"),
        ({"host": "203.0.113.7", "port": 9}, "--host 203.0.113.7 --port 9: cannot be listened at"),
        ({"host": "no.such.host.invalid"}, "--host no.such.host.invalid: not an address"),
        ({"model": Path("none"), "port": 0}, "none: not found"),
        ({"memory_share": 2.0, "port": 0}, "memory_share"),
        ({"quantize": "int3", "port": 0}, "int3"),
    ],
)
def test_the_command_refuses(model_folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        serve_command(**{"model": model_folder, "device": "cpu", **options})


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    with pytest.raises(TuwenError, match=f"--port {port}: cannot be listened at .*in use"):
        serve_command(Path("none"), port=port)


def test_a_queue_never_grows_beyond_its_bound(serving: Serving) -> None:
    engine = ScriptedEngine(max_queue=3, slots=2, step_seconds=0.005)
    with serving(engine) as running:
        most: list[int] = []
        results: list[Any] = []
        threads = [in_background(running, results) for _ in range(40)]
        while any(thread.is_alive() for thread in threads):
            most.append(engine.status().waiting)
            time.sleep(0.002)
        assert max(most) <= 3
        assert {result.status_code for result in results} == {200, 429}
        good = [result for result in results if result.status_code == 200]
        assert all(result.json()["choices"][0]["message"]["content"] == "".join(ANSWER) for result in good)
