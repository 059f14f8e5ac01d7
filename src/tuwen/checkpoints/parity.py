"""Whether two folders hold the same model, stage by stage (`tuwen parity`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from tuwen.chat.messages import Image, Message, Part
from tuwen.checkpoints.folder import ModelFolder
from tuwen.checkpoints.opening import open_model
from tuwen.models.processing import Encoded

QUESTION = "图里有什么? What is in the picture?"
STAGES = ("tokens", "pixels", "vision", "connector", "logits")


@dataclass(frozen=True, slots=True)
class StageResult:
    """How far two models are apart in one stage.

    Attributes:
        stage: ``tokens``, ``pixels``, ``vision``, ``connector`` or ``logits``.
        difference: greatest absolute difference; for tokens how many places differ.
        scale: greatest absolute value of the first model.
        same: whether it is within the tolerance; tokens must be equal.
        note: what cannot be compared, if anything.
    """

    stage: str
    difference: float
    scale: float
    same: bool
    note: str = ""


def drawn_picture() -> PIL.Image.Image:
    """A picture with every colour and fine detail, 320 × 240."""
    across, down = np.meshgrid(np.arange(320), np.arange(240))
    pixels = np.stack([across * 255 // 319, down * 255 // 239, (across * down) % 256], axis=-1)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def compare(
    one: Path,
    other: Path,
    images: Sequence[PIL.Image.Image],
    *,
    question: str = QUESTION,
    tolerance: float = 1e-4,
    dtypes: tuple[torch.dtype, torch.dtype] = (torch.float32, torch.float32),
) -> list[StageResult]:
    """Run the same pictures and question through two model folders and compare every stage.

    Args:
        one: a folder of any known kind.
        other: another.
        images: the pictures; without one, vision and connector are not compared.
        question: what is asked.
        tolerance: greatest difference, as a part of the greatest value, that still counts as the same.
        dtypes: of the two models' weights.

    Returns:
        One result a stage, in the order of computation; the first that differs is where to look.

    Raises:
        TuwenError: when a folder cannot be loaded.
    """
    seen = [
        _observe(open_model(path, dtype=dtype), images, question)
        for path, dtype in zip((one, other), dtypes, strict=True)
    ]
    return [_compare(stage, seen[0][stage], seen[1][stage], tolerance) for stage in STAGES if stage in seen[0]]


@torch.inference_mode()
def _observe(folder: ModelFolder, images: Sequence[PIL.Image.Image], question: str) -> dict[str, Tensor]:
    model, processor = folder.model, folder.processor
    parts: list[Part | str] = [*(Image() for _ in images), question]
    encoded: Encoded = processor.encode([Message.of("user", *parts)], list(images), add_generation_prompt=True)
    ids_BL = torch.tensor([encoded.rendered.input_ids])
    seen = {"tokens": ids_BL[0].float()}
    tokens_PTH = None
    if images:
        pixels_P3HW = torch.from_numpy(encoded.pixel_values)
        features = model.get_image_features(pixels_P3HW.to(model.dtype))
        tokens_PTH = features.pooler_output
        seen |= {"pixels": pixels_P3HW, "vision": features.last_hidden_state.float(), "connector": tokens_PTH.float()}
    seen["logits"] = model(input_ids=ids_BL, image_embeds=tokens_PTH).logits.float()
    return seen


def _compare(stage: str, one: Tensor, other: Tensor, tolerance: float) -> StageResult:
    if one.shape != other.shape:
        note = f"shapes {list(one.shape)} and {list(other.shape)}"
        return StageResult(stage, float("inf"), float(one.abs().max()), False, note)
    difference, scale = float((one - other).abs().max()), float(one.abs().max())
    if stage == "tokens":
        places = int((one != other).sum())
        return StageResult(stage, places, scale, places == 0)
    # Pixels are numbers of a known size; the rest is as large as its weights make it.
    allowed = tolerance * (1.0 if stage == "pixels" else max(scale, 1e-6))
    return StageResult(stage, difference, scale, difference <= allowed)
