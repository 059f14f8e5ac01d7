"""The golden fixtures of the Qwen-VL family, for the tests of its layouts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.checkpoints.folder import ModelFolder
from tuwen.checkpoints.opening import load_published, read_folder
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

HERE = Path(__file__).parents[2] / "../shared/fixtures/qwen_vl"
needs_fixtures = pytest.mark.skipif(not HERE.is_dir(), reason="no ../shared/fixtures beside the repository")
FEATURES = {"atol": 1e-4, "rtol": 0.0}
PIXELS = {"atol": 1e-6, "rtol": 0.0}


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of ``NAME_expected.npz``."""
    with np.load(HERE / f"{name}_expected.npz") as file:
        return {key: file[key] for key in file}


@cache
def values(name: str) -> dict[str, Any]:
    """A JSON file of the fixtures."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def opened(folder: str) -> ModelFolder:
    """A fixture folder, in fp32."""
    return load_published(read_folder(HERE / folder), dtype=torch.float32)


def pixels(processor: TuwenProcessor, *paths: str) -> torch.Tensor:
    """Pixels [pictures, 3, height, width] of some pictures of the fixtures."""
    return torch.from_numpy(
        np.concatenate([processor.policy.apply(processor.policy.open(HERE / path)) for path in paths])
    )


def close(found: torch.Tensor, expected: np.ndarray, **tolerance: float) -> None:
    """Make sure that two arrays are equal within 1e-4, or within ``tolerance``."""
    torch.testing.assert_close(found, torch.from_numpy(np.asarray(expected)), **(tolerance or FEATURES))


def message(role: str, text: str, label: str) -> tuple[Message, list[str]]:
    """A message of the original's text, in which pictures stand as ``LABEL<img>PATH</img>`` and a newline."""
    parts: list[Part] = []
    names: list[str] = []
    for number, piece in enumerate(text.split("</img>\n"), start=1):
        before, tag, path = piece.partition("<img>")
        if tag:
            assert before == label.replace("N", str(number))
            names.append(path)
            parts.append(Image())
        elif piece:
            parts.append(Text(piece))
    return Message(role, tuple(parts)), names  # type: ignore[arg-type]


def greedy(model: TuwenForConditionalGeneration, count: int = 24, **inputs: Any) -> list[list[int]]:
    """Tokens generated without stop words or suppressed ones, as the fixtures' were."""
    off = {"eos_token_id": None, "suppress_tokens": None, "top_p": None, "top_k": None}
    length = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=count, do_sample=False, **off)
    rows: list[list[int]] = output[:, length:].tolist()
    return rows
