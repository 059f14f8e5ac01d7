"""Samples about one picture share its encoding where they can, and train as if each had it alone."""

from __future__ import annotations

import copy
from pathlib import Path

import PIL.Image
import pytest
import torch

from tests.conftest import TOY
from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.chat.templates import load_template
from tuwen.checkpoints.build import build_model
from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import parse_config
from tuwen.data.collator import Batch, Collator
from tuwen.data.sample import Sample
from tuwen.models.recipe import ModelRecipe
from tuwen.train.losses import TrainedModel

FIRST: tuple[Part, ...] = (Image(), Text("What is this?"))
LAST: tuple[Part, ...] = (Text("What is this?"), Image())
OTHER: tuple[Part, ...] = (Text("Is it red?"), Image())
BARE: tuple[Part, ...] = (Image(),)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "red.png"
    PIL.Image.new("RGB", (64, 64), "red").save(path)
    return path


def folder(template: str) -> ModelFolder:
    values = copy.deepcopy(TOY["model"])
    values["template"] = load_template(template).name
    return build_model(parse_config(ModelRecipe, values, "toy"), ["What is this? Is it red? A cat."] * 50)


def sample(number: int, question: tuple[Part, ...], picture: Path) -> Sample:
    turns = (Message("user", question), Message("assistant", (Text("A cat." * (1 + number)),)))
    return Sample(id=str(number), messages=turns, images=(picture,))


def losses(model: ModelFolder, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return TrainedModel(model.model.eval(), ["answers"])(batch)["answers"]


@pytest.mark.parametrize(
    ("template", "questions", "tiles"),
    [
        ("chatml", (FIRST, FIRST), 1),
        # LLaVA's data has the picture before or after the question.
        ("chatml", (FIRST, LAST), 2),
        ("chatml", (LAST, OTHER), 2),
        ("chatml", (FIRST, LAST, FIRST, LAST), 2),
        # Captions: the picture's last token names the first of the answer's.
        ("plain", (BARE, BARE), 2),
    ],
)
def test_samples_about_a_picture_train_as_they_would_alone(
    picture: Path, template: str, questions: tuple[tuple[Part, ...], ...], tiles: int
) -> None:
    model = folder(template)
    collate = Collator(model.processor, max_length=400)
    group = tuple(sample(number, question, picture) for number, question in enumerate(questions))
    batch = collate([group])
    assert batch.pictures == tiles
    assert not batch.notes
    alone = {one.id: losses(model, collate([(one,)])) for one in group}
    expected = torch.cat([alone[name.split(" ")[0]] for name in batch.names])
    assert torch.allclose(losses(model, batch), expected, rtol=1e-5)
