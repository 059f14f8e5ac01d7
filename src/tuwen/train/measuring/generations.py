"""Answers of the model in training to held-out samples, for people to look at."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import TuwenError
from tuwen.data.sample import Sample, count_places
from tuwen.infer.prompts import Prompt
from tuwen.infer.vlm import VLM
from tuwen.train.engines.base import Engine
from tuwen.train.run_folder import Generation
from tuwen.train.settings import ShownPictures
from tuwen.vision.pictures import PictureError

FOLDER = "validation"
# Pixels of the longer side of a picture that is kept to be looked at.
LONGEST = 512


class ModelInTraining(VLM):
    """The model as it is behind an engine, asked as in a chat.

    Args:
        folder: model and processor.
        engine: holds the model.
    """

    def __init__(self, folder: ModelFolder, engine: Engine) -> None:
        super().__init__(folder)
        self._engine = engine

    @property
    def device(self) -> torch.device:
        """Where it computes, which is not always where its weights are."""
        device: torch.device = self._engine.accelerator.device
        return device

    def _generated(self, **arguments: Any) -> Tensor:
        # What is made in inference mode and kept by a module could not be trained through afterwards.
        with torch.no_grad(), self._engine.accelerator.autocast():
            # Processes that hold the model in parts must call it equally often.
            return self._engine.trained.generate(**arguments, synced_gpus=self._engine.splits)


class ShownAnswers:
    """Asks the same samples each time.

    Args:
        samples: that are asked, their last message the assistant's; those with a picture that cannot be opened are
            left out, and named where the data is measured.
        settings: from the recipe.
        folder: model and processor.
        engine: holds the model.
        out: the run's folder.

    Raises:
        TuwenError: when a picture cannot be written.
    """

    def __init__(
        self, samples: Sequence[Sample], settings: ShownPictures, folder: ModelFolder, *, engine: Engine, out: Path
    ) -> None:
        self._settings, self._model = settings, ModelInTraining(folder, engine)
        self._asked: list[tuple[Sample, Prompt, str]] = []
        for sample in samples:
            try:
                opened = [self._model.open(image).image for image in sample.images]
            except PictureError:
                continue
            kept = keep(opened[0], out) if opened and engine.accelerator.is_main_process else ""
            self._asked.append((sample, prompt_of(sample), kept))

    def generate(self) -> list[Generation]:
        """Greedy answers of the model as it is; every process must call it."""
        answers = self._model.generate(
            [prompt for _, prompt, _ in self._asked], greedy=True, max_new_tokens=self._settings.new_tokens
        )
        return [
            Generation(sample.id, picture, prompt.messages[-1].text, sample.answer, answer.text)
            for (sample, prompt, picture), answer in zip(self._asked, answers, strict=True)
        ]


def prompt_of(sample: Sample) -> Prompt:
    """A sample's conversation up to its last answer."""
    messages = sample.messages[:-1]
    return Prompt(messages, sample.images[: count_places(messages)])


def keep(image: PIL.Image.Image, out: Path) -> str:
    """Write a small copy of a picture into a run's folder, under a name that says what is in it.

    Returns:
        The path relative to ``out``.

    Raises:
        TuwenError: when it cannot be written.
    """
    small = image.copy()
    small.thumbnail((LONGEST, LONGEST))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    name = f"{FOLDER}/{hashlib.sha256(data.getvalue()).hexdigest()[:16]}.jpg"
    try:
        (out / FOLDER).mkdir(exist_ok=True)
        (out / name).write_bytes(data.getvalue())
    except OSError as error:
        raise TuwenError(f"{out / name}: cannot be written ({error.strerror})") from None
    return name
