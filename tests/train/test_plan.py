"""`tuwen train --plan` says what a run will do, with its data or without it."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console
from torch import Tensor

from tests.conftest import TOY, refused, run_cli
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.dataset import write_data
from tuwen.data.sample import Sample
from tuwen.models.connectors.base import CONNECTORS
from tuwen.models.connectors.linear import LinearConnector
from tuwen.train.plan import PlanRequest, plan_run
from tuwen.train.planning.amounts import Assumed
from tuwen.train.planning.display import plan_lines
from tuwen.train.recipe import Recipe, find_recipe, read_recipe

WIDTH = 100


def toy(**changes: Any) -> dict[str, Any]:
    """The toy recipe with packed stages and changes in it."""
    values = copy.deepcopy(TOY)
    for stage in values["stages"]:
        for key in ("steps", "groups"):
            stage.pop(key, None)
        stage |= {"epochs": 2, "sequences": 2, "max_length": 256}
    return {**values, **changes}


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def plan(values: dict[str, Any], **request: Any) -> dict[str, Any]:
    return plan_run(Recipe.model_validate(values), PlanRequest(**request)).values()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred questions: about ten pictures, and every fifth about none."""
    folder = tmp_path_factory.mktemp("data")
    samples = []
    for number in range(100):
        picture = folder / f"{number % 10}.png"
        PIL.Image.new("RGB", (64, 64), (number % 10, 9, 9)).save(picture)
        shown = number % 5 > 0
        question = (Image(), f"有{number}个吗?") if shown else (f"{number}是几?",)
        messages = (Message.of("user", *question), Message.of("assistant", "是" * (1 + number % 3)))
        samples.append(Sample(id=f"q{number}", messages=messages, images=(picture,) if shown else ()))
    write_data(samples, folder / "data.json", format="llava")
    return folder / "data.json"


def test_the_steps_of_a_plan_are_those_of_the_run(data: Path, tmp_path: Path) -> None:
    recipe = written(tmp_path, toy(sources=[{"type": "data", "path": str(data)}], stages=[toy()["stages"][1]]))
    printed = run_cli("train", recipe, "--plan", "--json")
    assert printed.returncode == 0, printed.stderr
    (stage,) = json.loads(printed.stdout)["stages"]
    result = run_cli("train", recipe, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert stage["amounts"]["steps"] == len(lines) == 2 * stage["amounts"]["epoch"]["steps"]
    epoch = stage["amounts"]["epoch"]
    assert (epoch["samples"], epoch["with_pictures"], epoch["left_out"]) == (100, 80, 0)
    # Each answer and the mark behind it.
    assert epoch["trained"] == sum(2 + number % 3 for number in range(100))
    assert epoch["tokens"] <= epoch["sequences"] * 256
    shape = stage["amounts"]["shape"]
    assert shape["rows"] == 2
    assert shape["length"] <= 256
    assert (shape["width"], shape["height"]) == (64, 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.image_policy.type=pad_square", "image_policy 'pad_square'"),
        ("model.connector={type: resampler}", "the grid of patches"),
    ],
)
def test_a_plan_refuses_regions_that_training_would_refuse(toy_recipe: Path, change: str, said: str) -> None:
    message = refused("train", toy_recipe, "--plan", change)
    assert message.startswith("stages.align.objectives.regions: ")
    assert said in message


def test_drawn_data_is_drawn_a_little() -> None:
    values = plan_run(read_recipe(find_recipe("quickstart"), []), PlanRequest(flops=1e9)).values()
    align, instruct = values["stages"]
    assert not values["missing"]
    assert align["amounts"]["shape"]["tiles"] == 64
    assert align["amounts"]["shape"]["rows"] == 0
    assert align["amounts"]["shape"]["regions"] > 64
    assert instruct["amounts"]["shape"]["rows"] >= 1
    assert instruct["amounts"]["steps"] == 400
    # So slow a device ends each stage by the clock.
    assert values["hours"] == {"device": pytest.approx((1.3 + 3.3) / 60)}


def test_without_the_data_samples_are_taken_as_alike() -> None:
    recipe = toy(sources=[{"type": "data", "path": "nowhere/data.jsonl"}])
    unknown = plan(recipe)
    assert "nowhere/data.jsonl" in unknown["missing"]
    assert unknown["hours"]["H100"] is None
    assert all(stage["memory"]["peak"] > 0 for stage in unknown["stages"])
    assumed = Assumed(samples=10_000, tokens=64)
    said = plan(recipe, assumed=assumed, flops=1e12, device="A100", devices=4)
    assert said["speeds"] == [{"name": "A100", "flops": 1e12, "memory": 80 * 2**30}]
    for stage, batches in zip(said["stages"], (1, 2), strict=True):
        amounts = stage["amounts"]
        # Two epochs; a step takes two sequences of 256 tokens in each batch of four devices, nearly full.
        exact = 2 * 10_000 * 64 / (2 * batches * 4 * 256)
        assert exact <= amounts["steps"] <= 1.05 * exact
        assert amounts["steps"] * amounts["tokens"] == pytest.approx(2 * 10_000 * 64, rel=0.01)
        assert stage["hours"]["A100"] == pytest.approx(amounts["steps"] * stage["flops"]["step"] / (4 * 1e12 * 3600))
    assert said["hours"]["A100"] == pytest.approx(sum(stage["hours"]["A100"] for stage in said["stages"]))


def test_what_is_said_comes_before_what_is_there(data: Path) -> None:
    recipe = Recipe.model_validate(toy(sources=[{"type": "data", "path": str(data)}]))
    assumed = Assumed(samples=1_000_000, tokens=100)
    said = plan_run(recipe, PlanRequest(assumed=assumed)).stages[1].amounts
    found = plan_run(recipe).stages[1].amounts
    assert found.epoch is not None
    assert said.epoch is None
    assert said.steps is not None
    assert found.steps is not None
    assert said.steps > 1000 * found.steps


def test_as_many_devices_as_train_share_a_step(data: Path) -> None:
    recipe = Recipe.model_validate(toy(sources=[{"type": "data", "path": str(data)}]))
    one, two = (plan_run(recipe, PlanRequest(devices=devices)).stages[1] for devices in (1, 2))
    assert one.amounts.epoch is not None
    for stage, a_step in ((one, 4), (two, 8)):
        assert stage.amounts.steps == 2 * (one.amounts.epoch.sequences // a_step)
    assert two.amounts.tokens == pytest.approx(2 * one.amounts.tokens, rel=0.3)


@pytest.mark.parametrize("width", [80, WIDTH])
def test_it_is_said_in_a_terminal_with_nothing_cut_off(width: int) -> None:
    result = run_cli("train", "quickstart", "--plan", "--devices", 8, "distribution.type=fsdp", COLUMNS=str(width))
    assert result.returncode == 0, result.stderr
    assert max(cell_len(line) for line in result.stdout.splitlines()) <= width
    assert "…" not in result.stdout
    for word in ("stage align", "embeddings", "memory 显存", "gathered weights", "8 × H100", "tokens", "FLOP"):
        assert word in result.stdout


@pytest.mark.slow
def test_fourteen_billion_parameters_are_planned_without_data_and_weights() -> None:
    """Belle-VL's second stage, whose parts are given by their sizes."""
    language = {"model_type": "tuwen_qwen1", "hidden_size": 5120, "intermediate_size": 13696, "vocab_size": 151936}
    language |= {"num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40, "dtype": "bfloat16"}
    model = {
        "vision": {"config": {"model_type": "tuwen_qwen_vit", "dtype": "bfloat16"}},
        "vision_feature": {"layers": [-1]},
        "connector": {"type": "cross_attention"},
        "language": {"config": language},
        "image_policy": {"type": "square", "size": 448},
        "tokenizer": {"path": "qwen-14b"},
    }
    full = {"mode": "full", "learning_rate": 1e-5}
    stage = {"name": "finetune", "epochs": 1, "sequences": 4, "max_length": 2048, "modules": {"connector": full}}
    stage["modules"] |= {"language": {**full, "gradient_checkpointing": True}}
    values = {"model": model, "sources": [{"type": "data", "path": "belle"}], "stages": [stage]}
    recipe = Recipe.model_validate({**values, "distribution": {"type": "fsdp"}})
    found = plan_run(recipe, PlanRequest(devices=8, assumed=Assumed(samples=1_000_000, tokens=400)))
    console = Console(width=WIDTH, file=io.StringIO())
    console.print(plan_lines(found))
    assert max(cell_len(line) for line in console.file.getvalue().splitlines()) <= WIDTH  # type: ignore[attr-defined]
    (planned,) = found.values()["stages"]
    vision, connector, decoder = (module["parameters"] for module in planned["trained"])
    assert decoder == pytest.approx(14.17e9, rel=0.001)
    parts = planned["memory"]["parts"]
    assert parts["weights"] == (2 * vision + 4 * (connector + decoder)) / 8
    assert parts["optimiser"] == 2 * parts["gradients"] == 8 * (connector + decoder) / 8
    # Six operations a parameter and token, a little more for attention, pictures and logits, less for embeddings.
    assert planned["flops"]["step"] == pytest.approx(6 * decoder * planned["amounts"]["tokens"], rel=0.15)
    assert 40 < planned["memory"]["peak"] / 2**30 < 60


@pytest.mark.parametrize(
    ("changes", "request_", "line"),
    [
        (
            {"distribution": {"type": "fsdp"}},
            {},
            "distribution.type: fsdp needs several devices; say how many by --dev",
        ),
        (
            {"distribution": {"type": "fsdp", "replicas": 3}},
            {"devices": 8},
            "distribution.replicas: 8 devices cannot be split into 3 groups",
        ),
        ({}, {"device": "H10"}, "--device: unknown device 'H10': .* did you mean 'H100'?; for others say --flops"),
        (
            {"sources": [{"type": "data", "path": "nowhere", "colour": 1}]},
            {},
            "sources.0: colour: unknown key 'colour'",
        ),
        ({"model": "nowhere"}, {}, "nowhere: not found; give a model folder"),
    ],
)
def test_a_mistake_is_said_in_one_line(changes: dict[str, Any], request_: dict[str, Any], line: str) -> None:
    with pytest.raises(TuwenError, match=line.replace("?", r"\?")) as refusal:
        plan(toy(**changes), **request_)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("option", [["--devices", "2"], ["--json"]])
def test_options_of_plans_are_refused_without_one(toy_recipe: Path, option: list[str]) -> None:
    assert refused("train", toy_recipe, *option) == f"{option[0]}: has an effect with --plan only"


class Curious(LinearConnector):
    """Looks at numbers."""

    def forward(self, features_BND: Tensor, grid: Any) -> Tensor:
        """[B, N, D] → [B, N, H]."""
        return super().forward(features_BND * float(features_BND.detach().abs().max()), grid)


def test_a_model_that_looks_at_numbers_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONNECTORS._components, "curious", Curious)
    values = toy()
    values["model"]["connector"] = {"type": "curious"}
    with pytest.raises(TuwenError, match=r"^stages.align: this model cannot be planned, .*meta") as refusal:
        plan_run(Recipe.model_validate(values), PlanRequest(assumed=Assumed(tokens=40)))
    assert "\n" not in str(refusal.value)
