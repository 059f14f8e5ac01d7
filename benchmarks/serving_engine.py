"""The engine against one `generate` after another: same model, same requests, in one run, in turns.

    python benchmarks/serving_engine.py [MODEL] [--clients 1 4 16 64] [--tokens 32] [--threads 2]

Without MODEL a model of random weights is put together: 66 million parameters in the language model, pictures of 256
pixels. Every client asks, waits for its answer and asks again; half of the questions are about a picture. The first
token's time counts from the question on, waiting included. The last lines say how soon a second question about the same
picture is answered, with what the first left behind and without.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
import yaml

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.build import build_from_recipe
from tuwen.infer import VLM, load
from tuwen.infer.engine.interface import Engine, Request, Sampling
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.options import GenerationOptions
from tuwen.infer.prompts import EncodedPrompt

ROOT = Path(__file__).parents[1]
ROUNDS = 3
MODEL: dict[str, Any] = {
    "vision": {
        "config": {
            "model_type": "clip_vision_model",
            "image_size": 256,
            "patch_size": 16,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 8,
            "num_attention_heads": 6,
        }
    },
    "vision_feature": {"layers": [-1], "post_layernorm": True},
    "connector": {"type": "mlp"},
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
    "image_policy": {"type": "square", "size": 256},
    "tokenizer": {"train": {"vocab_size": 2000, "files": [str(ROOT / "README.md"), str(ROOT / "README_EN.md")]}},
}


class Course(NamedTuple):
    """How a question was answered.

    Attributes:
        first: seconds to the first token.
        tokens: of the answer.
    """

    first: float
    tokens: list[int]


class FirstToken:
    """A streamer of `transformers` that notes when the first token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, ids: torch.Tensor) -> None:
        """The prompt, and then each token."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing more."""


Ask = Callable[[EncodedPrompt], Course]


def built(folder: Path) -> Path:
    """A model of random weights that does not say the same for ever."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"model": MODEL}), encoding="utf-8")
    build_from_recipe(recipe, folder / "model", [])
    return folder / "model"


def questions(vlm: VLM, count: int, seed: int) -> list[EncodedPrompt]:
    """Prompts of various lengths, every other one with a picture of its own."""
    chance = random.Random(seed)
    prompts = []
    for number in range(count):
        pictures = [_picture(vlm, seed * 1000 + number)] if number % 2 else []
        text = "图里有什么? What is there? " * chance.randint(1, 12) + str(number)
        prompts.append(vlm.encode([Message.of("user", *(Image() for _ in pictures), text)], pictures))
    return prompts


def _picture(vlm: VLM, seed: int) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return vlm.open(PIL.Image.fromarray(pixels))


def sequential(vlm: VLM, tokens: int) -> Ask:
    """One `generate` after another, clients wait in line."""
    options, line = GenerationOptions(greedy=True, max_new_tokens=tokens), threading.Lock()

    def ask(prompt: EncodedPrompt) -> Course:
        started, streamer = time.perf_counter(), FirstToken()
        with line:
            answer = vlm._answer([prompt], options, streamer)[0]  # type: ignore[list-item]
        return Course(streamer.times[1] - started, answer.token_ids)

    return ask


def through(engine: Engine, tokens: int) -> Ask:
    """By an engine."""

    def ask(prompt: EncodedPrompt) -> Course:
        started = time.perf_counter()
        first, found = 0.0, list[int]()
        for piece in engine.submit(Request(prompt=prompt, sampling=Sampling(temperature=0, max_tokens=tokens))):
            first = first or time.perf_counter() - started
            found += piece.token_ids
        return Course(first, found)

    return ask


def measured(ask: Ask, prompts: Sequence[EncodedPrompt], clients: int) -> tuple[float, list[Course]]:
    """Seconds until all is answered, and each answer."""
    courses: dict[int, Course] = {}
    waiting = iter(range(len(prompts)))
    taking = threading.Lock()

    def client() -> None:
        while True:
            with taking:
                number = next(waiting, None)
            if number is None:
                return
            courses[number] = ask(prompts[number])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, [courses[number] for number in range(len(prompts))]


def compare(vlm: VLM, clients: int, tokens: int) -> None:
    """Both ways in turns; prints medians of the rounds."""
    count = max(2 * clients, 8)
    found: dict[str, list[tuple[float, ...]]] = {"generate": [], "engine": []}
    for seed in range(ROUNDS):
        prompts = questions(vlm, count, seed + 1)
        said = {}
        for way, rows in found.items():
            engine = open_engine(vlm) if way == "engine" else None
            ask = sequential(vlm, tokens) if engine is None else through(engine, tokens)
            seconds, courses = measured(ask, prompts, clients)
            if engine is not None:
                engine.close()
            firsts = sorted(course.first for course in courses)
            given = sum(len(course.tokens) for course in courses)
            p99 = firsts[min(len(firsts) - 1, int(len(firsts) * 0.99))]
            rows.append((count / seconds, given / seconds, statistics.median(firsts), p99))
            said[way] = [course.tokens for course in courses]
        assert said["generate"] == said["engine"], "answers must be equal"
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (rate, speed, p50, p99) in medians.items():
        print(
            f"{clients:3d} clients, {way:8s}: {rate:6.2f} requests/s, {speed:7.1f} tokens/s, "
            f"first token p50 {p50 * 1000:7.0f} ms, p99 {p99 * 1000:7.0f} ms"
        )
    print(f"{clients:3d} clients: {medians['engine'][0] / medians['generate'][0]:.1f} times the requests/s", flush=True)


def second_turn(vlm: VLM) -> None:
    """The first token of a second question about a picture, with and without what the first left behind."""
    firsts: dict[bool, list[float]] = {True: [], False: []}
    for kept, times in firsts.items():
        engine = open_engine(vlm, share_prefixes=kept, picture_cache_bytes=2**28 if kept else 0)
        for seed in range(2 * ROUNDS):
            pictures = [_picture(vlm, seed)]
            turn = Message.of("user", Image(), "图里有什么? What is there?")
            answer = through(engine, 16)(vlm.encode([turn], pictures))
            text = vlm.processor.tokenizer.decode(answer.tokens, skip_special_tokens=True)
            turns = [turn, Message.of("assistant", text), Message.of("user", "还有呢? What else?")]
            times.append(through(engine, 1)(vlm.encode(turns, pictures)).first)
        engine.close()
    again, kept_first = (statistics.median(firsts[kept]) for kept in (False, True))
    print(
        f"second turn: first token after {kept_first * 1000:.1f} ms, with the picture encoded again {again * 1000:.1f} "
        f"ms: {again / kept_first:.1f} times"
    )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        vlm = load(options.model or built(Path(place)), dtype="float32")
        assert isinstance(vlm, VLM)
        weights = sum(parameter.numel() for parameter in vlm.model.parameters()) / 1e6
        print(f"{weights:.0f} million parameters on {vlm.device}, {torch.get_num_threads()} threads", flush=True)
        for clients in options.clients:
            compare(vlm, clients, options.tokens)
        second_turn(vlm)


if __name__ == "__main__":
    main()
