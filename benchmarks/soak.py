"""A server under more than it can do, by clients good and bad, for some minutes: nothing wrong, nothing grows.

    python benchmarks/soak.py [MINUTES] [--clients 24] [--model MODEL]

`tuwen serve` runs in a process of its own with a short queue. Of the clients some ask and compare every answer with one
that was computed before, as a whole and as a stream; others leave in the middle, send what is no request, broken and
hostile pictures, and bodies that never end. Exit code 1 when an answer was wrong, a good request failed in any way but
429, the queue was longer than it may be, memory grew, or the server did not end with 0 at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import yaml

from tuwen.checkpoints.build import build_from_recipe
from tuwen.infer import load

ROOT = Path(__file__).parents[1]
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
MODEL: dict[str, Any] = {
    "vision": {"config": {"model_type": "clip_vision_model", "image_size": 64, "patch_size": 16, **SIZES}},
    "connector": {"type": "mlp"},
    "language": {
        "config": {
            "model_type": "qwen2",
            **SIZES,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
        }
    },
    "image_policy": {"type": "square", "size": 64},
    "tokenizer": {"train": {"vocab_size": 2000, "files": [str(ROOT / "README.md")]}},
}
MAX_QUEUE, MAX_RUNNING, TOKENS = 8, 4, 24
QUESTIONS = 24
# Of resident memory, from the second quarter of the time to the last; allocators keep some of what they once had.
MOST_GROWTH = 1.10
PAGE = "/v1/chat/completions"
PNG = b"\x89PNG\r\n\x1a\n"


def picture(seed: int, kind: str = "PNG") -> bytes:
    """A picture's file, another one for each seed."""
    size = (20 + seed % 50, 20 + seed * 7 % 60)
    buffer = io.BytesIO()
    PIL.Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3)).save(buffer, kind)
    return buffer.getvalue()


def body(text: str, file: bytes | None, **values: Any) -> dict[str, Any]:
    """A request about a picture, or none."""
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if file is not None:
        url = "data:image/png;base64," + base64.b64encode(file).decode()
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "user", "content": content}]
    return {"model": "model", "messages": messages, "temperature": 0, "max_tokens": TOKENS, **values}


def chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hostile_pictures() -> list[bytes]:
    """Bombs, cut files, other formats, odd sizes, and noise."""
    whole = picture(1)
    header = [chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) for side in (20_000, 2**31 - 1)]
    bombs = [PNG + head + chunk(b"IDAT", zlib.compress(bytes(100_000))) for head in header]
    other = [b"II*\x00" + bytes(100), b"P6 1 1 255\n\0\0\0", b"%!PS-Adobe-3.0 EPSF", b"SIMPLE  =", b"8BPS\x00\x01"]
    flipped = [bytes(byte ^ (index % 97 == seed) for index, byte in enumerate(whole)) for seed in range(8)]
    return [*bombs, *other, *flipped, whole[:60], whole[:-30], b"", os.urandom(5000), PNG + os.urandom(500)]


class Soak:
    """The clients, and what they met."""

    def __init__(self, url: str, expected: list[tuple[dict[str, Any], str]]) -> None:
        self.url, self.expected = url, expected
        self.met: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.waiting: list[int] = []
        self.memory: list[float] = []
        self._hostile = hostile_pictures()
        self._kinds: list[tuple[Callable[[httpx2.AsyncClient, random.Random], Awaitable[None]], int]] = [
            (self.whole, 30), (self.stream, 30), (self.leave, 15), (self.garbage, 10), (self.attack, 12),
            (self.linger, 3),
        ]  # fmt: skip

    async def run(self, clients: int, end: float, process: int) -> None:
        """All clients at once, until ``end``."""
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=self.url, timeout=60, limits=limits, trust_env=False) as client:
            await asyncio.gather(
                self.watch(client, end, process), *(self.client(client, n, end) for n in range(clients))
            )

    async def client(self, client: httpx2.AsyncClient, number: int, end: float) -> None:
        """One after another, each of some kind by chance."""
        chance = random.Random(number)
        acts, weights = zip(*self._kinds, strict=True)
        while time.monotonic() < end:
            act = chance.choices(acts, weights)[0]
            try:
                await act(client, chance)
            except httpx2.HTTPError as error:
                self.wrong.append(f"{act.__name__}: {type(error).__name__} {error}")

    async def whole(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        asked, expected = chance.choice(self.expected)
        reply = await client.post(PAGE, json=asked)
        if not await self.refused(reply.status_code, reply.text):
            self.compare(reply.json()["choices"][0]["message"]["content"], expected)

    async def stream(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        asked, expected = chance.choice(self.expected)
        async with client.stream("POST", PAGE, json={**asked, "stream": True}) as reply:
            text = (await reply.aread()).decode()
        if not await self.refused(reply.status_code, text):
            data = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
            if data.pop() != "[DONE]":
                self.wrong.append(f"a stream without end: {text[-200:]}")
            deltas = [json.loads(one)["choices"][0]["delta"].get("content", "") for one in data]
            self.compare("".join(deltas), expected)

    async def refused(self, status: int, text: str) -> bool:
        if status == 200:
            return False
        self.met[f"good: {status}"] += 1
        if status != 429:
            self.wrong.append(f"a good request got {status}: {text[:200]}")
        await asyncio.sleep(0.05)
        return True

    def compare(self, found: str, expected: str) -> None:
        self.met["good: answered"] += 1
        if found.strip() != expected:
            self.wrong.append(f"{found!r} in place of {expected!r}")

    async def leave(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        asked, _ = chance.choice(self.expected)
        asked = {**asked, "stream": chance.random() < 0.5, "n": chance.randint(1, 2), "max_tokens": 500}
        task = asyncio.ensure_future(client.post(PAGE, json=asked))
        await asyncio.wait({task}, timeout=chance.random() * 0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.met["left"] += 1

    async def garbage(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        content = chance.choice(
            [b"{", b"[" * 50_000, chance.randbytes(2000), b"null", b'{"model":"model","messages":[{}]}', b"1e999",
             json.dumps(body("x", None, temperature="hot", tools=[1])).encode(), b"\xff" * 100, b'{"model":' * 1000]
        )  # fmt: skip
        reply = await client.post(PAGE, content=content, headers={"content-type": "application/json"})
        self.check(reply)

    async def attack(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        reply = await client.post(PAGE, json=body("看", chance.choice(self._hostile)))
        if reply.status_code != 200:
            self.check(reply)

    def check(self, reply: httpx2.Response) -> None:
        self.met[f"bad: {reply.status_code}"] += 1
        if reply.status_code not in (400, 413, 415, 429) or re.search(
            r"0x[0-9a-f]{4}|Traceback|/home|\.py", reply.text
        ):
            self.wrong.append(f"a bad request got {reply.status_code}: {reply.text[:200]}")

    async def linger(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {PAGE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
        writer.write(head[: chance.randint(1, len(head))].encode() if chance.random() < 0.5 else head.encode() + b"{")
        await asyncio.sleep(chance.random())
        writer.transport.abort()
        self.met["lingered"] += 1

    async def watch(self, client: httpx2.AsyncClient, end: float, process: int) -> None:
        """The queue and the memory, twice a second."""
        while time.monotonic() < end:
            text = (await client.get("/metrics")).text
            found = re.search(r"^tuwen:num_requests_waiting\S* (\d+)", text, re.MULTILINE)
            assert found is not None
            self.waiting.append(int(found[1]))
            pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
            self.memory.append(pages * os.sysconf("SC_PAGESIZE") / 2**20)
            await asyncio.sleep(0.5)


def expected_answers(model: Path) -> list[tuple[dict[str, Any], str]]:
    """Requests and their answers, computed one by one."""
    vlm = load(model, device="cpu", dtype="float32")
    pairs = []
    for seed in range(QUESTIONS):
        file = picture(seed) if seed % 2 else None
        text = f"第{seed}个问题: 图里有什么? " * (1 + seed % 5)
        answer = vlm.chat(text, [file] if file else [], greedy=True, max_new_tokens=TOKENS)
        pairs.append((body(text, file), answer.text))
    return pairs


def growth(memory: list[float]) -> float:
    """Of the last quarter over the second."""
    quarter = max(1, len(memory) // 4)
    return sum(memory[-quarter:]) / len(memory[-quarter:]) / (sum(memory[quarter : 2 * quarter]) / quarter)


def main() -> int:
    """Print what was met; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = options.model or Path(place, "model")
        if options.model is None:
            recipe = Path(place, "recipe.yaml")
            recipe.write_text(yaml.safe_dump({"model": MODEL}), encoding="utf-8")
            build_from_recipe(recipe, model, [])
        expected = expected_answers(model)
        command = ["serve", str(model), "--name", "model", "--port", "0", "--device", "cpu", "--dtype", "float32"]
        command += ["--max-queue", str(MAX_QUEUE), "--max-running", str(MAX_RUNNING), "--max-requests", "20"]
        server = subprocess.Popen([sys.executable, "-m", "tuwen", *command], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        url = server.stdout.readline().split(" at ")[1].strip().removesuffix("/v1")
        soak = Soak(url, expected)
        try:
            asyncio.run(soak.run(options.clients, time.monotonic() + options.minutes * 60, server.pid))
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(90)
    return report(soak, code)


def report(soak: Soak, code: int) -> int:
    """Print what was met; 1 where a promise was broken."""
    for kind, count in sorted(soak.met.items()):
        print(f"{count:8d} {kind}")
    grown = growth(soak.memory)
    print(f"queue: at most {max(soak.waiting)} of {MAX_QUEUE}")
    print(
        f"memory: {soak.memory[0]:.0f} MiB at first, {soak.memory[-1]:.0f} in the end; last quarter {grown:.3f} × 2nd"
    )
    print(f"the server ended with {code}; {len(soak.wrong)} wrong")
    for line in soak.wrong[:10]:
        print(f"  {line}")
    fine = not soak.wrong and code == 0 and max(soak.waiting) <= MAX_QUEUE and grown <= MOST_GROWTH
    return 0 if fine and soak.met["good: answered"] else 1


if __name__ == "__main__":
    sys.exit(main())
