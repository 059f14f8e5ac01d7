"""`tuwen serve` against `transformers serve` and against one `generate` after another: same folder, same requests.

    python benchmarks/serving.py [LLAVA_FOLDER] [--clients 1 4 16 64] [--tokens 32] [--requests 2] [--rounds 1]

The folder is one of `transformers`' own LLaVA, which both servers load as it is, in float32 on the CPU; without one, a
model of random weights is built and exported. Clients are asked in turns over HTTP, each waits for its answer and asks
again; half of the questions are about a picture of their own. The last way is in this process, clients in line. The
first token's time counts from the question on. Answers that differ from those of `generate` are counted and said;
tokens are counted as Tuwen's server tells them. Set OMP_NUM_THREADS for all of them where the machine is shared.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import queue
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import PIL.Image
import yaml
from rich.console import Console
from rich.table import Table

from tuwen.checkpoints.build import build_from_recipe
from tuwen.checkpoints.convert import export
from tuwen.checkpoints.opening import read_folder
from tuwen.infer import VLM, load

ROOT = Path(__file__).parents[1]
SIDE = 256
OURS = "tuwen serve"
HEADS = {"num_hidden_layers": 8, "num_attention_heads": 6, "hidden_size": 384, "intermediate_size": 1536}
MODEL: dict[str, Any] = {
    "vision": {"config": {"model_type": "clip_vision_model", "image_size": SIDE, "patch_size": 16, **HEADS}},
    "vision_feature": {"layers": [-2], "select": "patch"},
    "connector": {"type": "mlp", "depth": 2},
    "language": {
        "config": {
            "model_type": "qwen2",
            "hidden_size": 640,
            "intermediate_size": 2560,
            "num_hidden_layers": 10,
            "num_attention_heads": 10,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        }
    },
    "image_policy": {"type": "center_crop", "size": SIDE},
    "template": "chatml",
    "tokenizer": {"train": {"vocab_size": 2000, "files": [str(ROOT / "README.md"), str(ROOT / "README_EN.md")]}},
}


class Question(NamedTuple):
    """A text, and a picture's file or none."""

    text: str
    file: bytes | None


class Course(NamedTuple):
    """Seconds to the first token, the text, and its tokens where they are told."""

    first: float
    text: str
    tokens: int = 0


Ask = Callable[[Question], Awaitable[Course]]


def built(folder: Path) -> Path:
    """A LLaVA of `transformers` with random weights."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"model": MODEL}), encoding="utf-8")
    build_from_recipe(recipe, folder / "model", [])
    export(read_folder(folder / "model"), folder / "llava", "llava")
    return folder / "llava"


def questions(count: int, seed: int) -> list[Question]:
    """Of various lengths, every other one about a picture of its own."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        PIL.Image.frombytes("RGB", (SIDE, SIDE), chance.randbytes(SIDE * SIDE * 3)).save(buffer, "PNG")
        text = "图里有什么? What is there? " * chance.randint(1, 12) + str(number)
        found.append(Question(text, buffer.getvalue() if number % 2 else None))
    return found


@contextmanager
def server(program: Sequence[str], port: int) -> Iterator[str]:
    """A server in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "no_proxy": "*"}
    process = subprocess.Popen(
        [*program, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                httpx2.get(f"{url}/health", trust_env=False).raise_for_status()
                break
            except httpx2.HTTPError:
                time.sleep(0.2)
        else:
            raise SystemExit(f"{program[0]} did not start")
        yield url
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def over_http(client: httpx2.AsyncClient, model: str, tokens: int) -> Ask:
    """By a server's stream."""

    async def ask(question: Question) -> Course:
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        if question.file is not None:
            url = "data:image/png;base64," + base64.b64encode(question.file).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        asked = {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started, first, pieces, count = time.perf_counter(), 0.0, [], 0
        async with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                count = (event.get("usage") or {}).get("completion_tokens", count)
                for choice in event["choices"]:
                    if piece := choice["delta"].get("content"):
                        first = first or time.perf_counter() - started
                        pieces.append(piece)
        return Course(first or time.perf_counter() - started, "".join(pieces), count)

    return ask


def in_line(vlm: VLM, tokens: int) -> Ask:
    """One `generate` after another."""
    line = threading.Lock()

    def work(question: Question, done: queue.Queue[Course], started: float) -> None:
        with line:
            first, pieces = 0.0, []
            images = [question.file] if question.file else []
            for piece in vlm.stream(question.text, images, greedy=True, max_new_tokens=tokens):
                first = first or time.perf_counter() - started
                pieces.append(piece)
        done.put(Course(first or time.perf_counter() - started, "".join(pieces)))

    async def ask(question: Question) -> Course:
        done: queue.Queue[Course] = queue.Queue()
        await asyncio.to_thread(work, question, done, time.perf_counter())
        return done.get()

    return ask


async def measured(ask: Ask, asked: Sequence[Question], clients: int) -> tuple[float, list[Course]]:
    """Seconds until all is answered, and each answer."""
    waiting = iter(range(len(asked)))
    found: dict[int, Course] = {}

    async def client() -> None:
        for number in waiting:
            found[number] = await ask(asked[number])

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - started, [found[number] for number in range(len(asked))]


async def compare(folder: Path, urls: dict[str, tuple[str, str]], options: argparse.Namespace) -> Table:
    """All ways, in turns; medians of the rounds."""
    vlm = load(folder, device="cpu", dtype="float32")
    assert isinstance(vlm, VLM)
    table = Table("clients", "way", "requests/s", "tokens/s", "first token p50", "p99", title=str(folder.name))
    for clients in options.clients:
        rows: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(options.rounds):
            asked = questions(max(options.requests * clients, 8), seed)
            said: dict[str, list[str]] = {}
            tokens = 0
            for way, (url, model) in {**urls, "generate": ("", "")}.items():
                async with httpx2.AsyncClient(base_url=url or "http://none", timeout=3600, trust_env=False) as client:
                    ask = over_http(client, model, options.tokens) if url else in_line(vlm, options.tokens)
                    # What a server does at its first request is nothing that it does again.
                    await ask(Question("热身", questions(2, -1)[1].file))
                    seconds, courses = await measured(ask, asked, clients)
                firsts = sorted(course.first for course in courses)
                if way == OURS:
                    tokens = sum(course.tokens for course in courses)
                last = firsts[min(len(firsts) - 1, int(len(firsts) * 0.99))]
                rows.setdefault(way, []).append(
                    (len(asked) / seconds, tokens / seconds, statistics.median(firsts), last)
                )
                said[way] = [course.text.strip() for course in courses]
            for way, texts in said.items():
                same = sum(one == other for one, other in zip(texts, said["generate"], strict=True))
                if same < len(texts):
                    print(f"{clients} clients: {way} says the same as `generate` to {same} of {len(texts)}", flush=True)
        for way, found in rows.items():
            rate, speed, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
            table.add_row(
                str(clients), way, f"{rate:.2f}", f"{speed:.1f}", f"{p50 * 1e3:.0f} ms", f"{p99 * 1e3:.0f} ms"
            )
    return table


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2, help="of each client, 8 in all at least")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = (options.folder or built(Path(place))).resolve()
        ours = [sys.executable, "-m", "tuwen", "serve", str(folder), "--device", "cpu", "--dtype", "float32"]
        theirs = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
        theirs += ["--device", "cpu", "--dtype", "float32"]
        with server(ours, free_port()) as our_url, server(theirs, free_port()) as their_url:
            urls = {OURS: (our_url, folder.name), "transformers serve": (their_url, str(folder))}
            Console(width=110).print(asyncio.run(compare(folder, urls, options)))


if __name__ == "__main__":
    main()
