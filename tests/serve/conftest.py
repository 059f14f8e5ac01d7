"""A tiny model's processor, a scripted engine, and servers on real sockets."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest
import yaml

from tests.conftest import TOY
from tests.serve.engines import ScriptedEngine
from tuwen.checkpoints.build import build_from_recipe
from tuwen.infer.engine.interface import Engine
from tuwen.infer.loading import load
from tuwen.infer.vlm import Chatter
from tuwen.serve.application import Service
from tuwen.serve.auth import Keys
from tuwen.serve.fetching import Fetcher
from tuwen.serve.guard import Gate
from tuwen.serve.limits import Limits
from tuwen.serve.metrics import Metrics
from tuwen.serve.running import Server, bind, configuration

KEY = "a-key-of-at-least-16-characters"
MODEL = "tiny"
WORDS = "图里有一只猫。 What is in the picture? 这是什么颜色? A red circle and a blue square. <|im_start|> 你好 "


def png(width: int = 30, height: int = 20, colour: str = "red", format: str = "PNG") -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), colour).save(buffer, format)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def body(content: Any = "图里有什么?", **values: Any) -> dict[str, Any]:
    """A request with one message of the user's."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **values}


def events(text: str) -> list[Any]:
    """The data of a stream's events; ``[DONE]`` as text."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights."""
    place = tmp_path_factory.mktemp("tiny")
    (place / "words.txt").write_text(WORDS * 40, encoding="utf-8")
    model = json.loads(json.dumps(TOY["model"]))
    model["tokenizer"]["train"]["files"] = [str(place / "words.txt")]
    (place / "recipe.yaml").write_text(yaml.safe_dump({"model": model}), encoding="utf-8")
    build_from_recipe(place / "recipe.yaml", place / MODEL, [])
    return place / MODEL


@pytest.fixture(scope="session")
def chatter(model_folder: Path) -> Chatter:
    return load(model_folder, device="cpu")


@dataclass
class Running:
    """A server, and a client of it."""

    url: str
    service: Service
    server: Server
    client: httpx2.Client
    engine: Any = field(default=None)

    def chat(self, content: Any = "图里有什么?", **values: Any) -> httpx2.Response:
        return self.client.post("/v1/chat/completions", json=body(content, **values))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until something is so; a test that waits for what never comes fails."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.01)


Serving = Callable[..., AbstractContextManager[Running]]


@contextmanager
def serve(
    chatter: Chatter,
    engine: Engine | None = None,
    *,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
    fetcher: Fetcher | None = None,
    origins: Sequence[str] = (),
) -> Iterator[Running]:
    """A server in a thread, on a port of its own."""
    engine = engine or ScriptedEngine()
    limits = limits or Limits()
    metrics = Metrics(MODEL, engine.status)
    service = Service(
        engine=engine,
        chatter=chatter,
        model=MODEL,
        gate=Gate(Keys.of(keys), limits, metrics),
        limits=limits,
        metrics=metrics,
        fetcher=fetcher,
    )
    listener = bind("127.0.0.1", 0)
    server = Server(configuration(service, origins), service, listener)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    headers = {"authorization": f"Bearer {keys[0]}"} if keys else {}
    with httpx2.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        yield Running(url, service, server, client, engine)
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    engine.close()
    listener.close()


@pytest.fixture(scope="session")
def serving(chatter: Chatter) -> Serving:
    """``with serving(engine, limits=…, keys=…) as running``."""
    return partial(serve, chatter)


@pytest.fixture(scope="session")
def open_server(serving: Serving) -> Iterator[Running]:
    with serving() as server:
        yield server


@pytest.fixture
def running(open_server: Running) -> Running:
    """A server that is open to all who reach it, and has not been asked anything yet."""
    open_server.engine.seen.clear()
    return open_server
