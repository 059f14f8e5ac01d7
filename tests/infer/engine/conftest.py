"""A tiny folder to ask, and what tests of engines share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.build import build_from_recipe
from tuwen.infer import VLM, load
from tuwen.infer.engine.interface import Engine, Finish, Request, Sampling
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.prompts import EncodedPrompt

ROOT = Path(__file__).parents[3]
GREEDY = Sampling(temperature=0, max_tokens=12)


def picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8))


def ask(vlm: VLM, text: str, *seeds: int, system: str | None = None) -> EncodedPrompt:
    """A question about pictures of some seeds."""
    first = [Message.of("system", system)] if system else []
    messages = [*first, Message.of("user", *(Image() for _ in seeds), text)]
    return vlm.encode(messages, [vlm.open(picture(seed)) for seed in seeds])


def answer(engine: Engine, *requests: Request) -> list[tuple[list[int], str, Finish]]:
    """Token ids, text and end of requests that are submitted together."""
    found = []
    for ticket in [engine.submit(request) for request in requests]:
        pieces = list(ticket)
        assert ticket.finish is not None
        found.append(
            ([token for piece in pieces for token in piece.token_ids], "".join(p.text for p in pieces), ticket.finish)
        )
    return found


@pytest.fixture(scope="session")
def folder(toy_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, large enough that answers wander."""
    out = tmp_path_factory.mktemp("engine") / "model"
    build_from_recipe(toy_recipe, out, [f"model.tokenizer.train.files=[{ROOT / 'README.md'}, {ROOT / 'README_EN.md'}]"])
    built = load(out, device="cpu")
    with torch.no_grad():
        for weights in built.model.parameters():
            if weights.ndim > 1:
                weights *= 4
    built.model.save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def vlm(folder: Path) -> VLM:
    found = load(folder, device="cpu")
    assert isinstance(found, VLM)
    return found


@pytest.fixture
def engine(vlm: VLM) -> Iterator[Engine]:
    found = open_engine(vlm, step_tokens=24, block_tokens=4, max_running=8, cache_tokens=4096)
    yield found
    found.close()
