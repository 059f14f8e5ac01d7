"""What is measured on held-out data is right, the same everywhere, and leaves no trace in what is trained."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
import yaml
from accelerate import Accelerator
from torch.nn import functional

from tests.conftest import TOY, refused, run_cli
from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.checkpoints.folder import load_model
from tuwen.config import TuwenError, parse_config
from tuwen.data.collator import Collator
from tuwen.data.dataset import write_data
from tuwen.data.media import fetch
from tuwen.data.sample import Sample
from tuwen.infer.vlm import VLM
from tuwen.train.engines.base import start_engine
from tuwen.train.losses import TrainedModel
from tuwen.train.measuring.generations import ModelInTraining, prompt_of
from tuwen.train.measuring.held_out import HeldOut, open_held_out
from tuwen.train.measuring.validation import HeldOutLoss, undisturbed
from tuwen.train.recipe import Recipe
from tuwen.train.settings import Distribution

HELD_OUT: dict[str, Any] = {
    "sources": [{"type": "synth", "size": 64, "suites": {"shapes": 1, "text": 1}}],
    "every": 2,
    "groups": 5,
    "batch": 2,
    "generate": {"count": 3, "new_tokens": 6},
}


def recipe_values(**settings: Any) -> dict[str, Any]:
    """A stage that draws random numbers in every step, by dropout, and balances its tasks."""
    values: dict[str, Any] = copy.deepcopy(TOY)
    values["checkpoints"] = {"steps": 1}
    values["stages"][1] |= {"steps": 5, "weighting": "task"}
    values["stages"][1]["modules"]["language"]["lora"]["dropout"] = 0.2
    return {**values, **settings}


def write_recipe(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def lines(run: Path, name: str = "validation.jsonl") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / name).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def weights(run: Path) -> dict[str, str]:
    files = sorted([*run.glob("stages/*/*.safetensors"), *run.glob("model/**/*.safetensors")])
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def train(recipe: Path, out: Path, *arguments: str) -> str:
    result = run_cli("train", recipe, "--out", out, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), recipe_values(validation=HELD_OUT))


@pytest.fixture(scope="module")
def measured(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is measured and shows samples."""
    out = tmp_path_factory.mktemp("measured") / "run"
    trackers = "tensorboard" if find_spec("tensorboard") else ""
    said = train(recipe, out, f"trackers=[{trackers}]")
    assert "instruct 4: validation 验证 " in said
    return out


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe that balances by what is measured, and a run of it."""
    folder = tmp_path_factory.mktemp("balanced")
    values = recipe_values(validation={**HELD_OUT, "every": 1})
    values["stages"][1]["balance"] = {"window": 3, "warmup": 2}
    path = write_recipe(folder, values)
    train(path, folder / "run")
    return path, folder / "run"


def held_out(recipe: Path, out: Path) -> HeldOut:
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    found = open_held_out(parse_config(Recipe, values, "test"), out, Accelerator(cpu=True))
    assert found is not None
    return found


def test_it_is_measured_before_the_first_step_on_the_way_and_at_the_end(measured: Path) -> None:
    moments = [(line["stage"], line["step"]) for line in lines(measured)]
    assert moments == [("align", 0), ("align", 2), ("instruct", 0), ("instruct", 2), ("instruct", 4), ("instruct", 5)]
    assert lines(measured)[1]["tasks"] == {"regions": lines(measured)[1]["loss"]}
    assert [line["step"] for line in lines(measured, "samples.jsonl")] == [0, 2, 4, 5]


def test_measuring_leaves_no_trace_in_the_weights(measured: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, recipe_values())
    train(path, tmp_path / "run")
    assert not (tmp_path / "run" / "validation.jsonl").exists()
    assert weights(measured) == weights(tmp_path / "run")


def test_losses_are_those_of_the_model_that_was_saved(recipe: Path, measured: Path, tmp_path: Path) -> None:
    """Sample by sample, with nothing of training's packing."""
    folder = load_model(measured / "model", dtype=torch.float32)
    found: dict[str, list[tuple[float, int]]] = {}
    data = held_out(recipe, tmp_path)
    for number in range(data.batches):
        for sample in (sample for group in data.batch(number) for sample in group):
            images = [folder.processor.policy.open(fetch(image)) for image in sample.images]
            encoded = folder.processor.encode(sample.messages, images)
            labels = torch.tensor(encoded.rendered.labels)[1:]
            pixels = {"pixel_values": torch.from_numpy(encoded.pixel_values)} if images else {}
            with torch.no_grad():
                logits = folder.model(input_ids=torch.tensor([encoded.rendered.input_ids]), **pixels).logits[0, :-1]
            loss = functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
            found.setdefault(sample.task, []).append((float(loss), int((labels != IGNORE_INDEX).sum())))
    last = lines(measured)[-1]
    mean = {task: sum(loss for loss, _ in own) / sum(n for _, n in own) for task, own in found.items()}
    assert last["tasks"] == pytest.approx(mean, rel=1e-4)
    every = [pair for own in found.values() for pair in own]
    assert last["loss"] == pytest.approx(sum(loss for loss, _ in every) / sum(n for _, n in every), rel=1e-4)


def test_samples_are_answered_as_chat_answers_them(recipe: Path, measured: Path, tmp_path: Path) -> None:
    folder = load_model(measured / "model", dtype=torch.float32)
    engine = start_engine(TrainedModel(folder.model, ["answers"]), Distribution(), Accelerator(cpu=True))
    written = lines(measured, "samples.jsonl")[-1]["samples"]
    shown = held_out(recipe, tmp_path).shown
    assert [one["name"] for one in written] == [sample.id for sample in shown]
    assert len({sample.task for sample in shown}) == len({id(sample.images[0]) for sample in shown}) == 3
    for line, sample in zip(written, shown, strict=True):
        question = sample.messages[-2].text
        answer = VLM(folder).chat(question, sample.images, greedy=True, max_new_tokens=6)
        own = ModelInTraining(folder, engine).generate([prompt_of(sample)], greedy=True, max_new_tokens=6)[0]
        assert own == answer
        assert answer.prompt_ids[: len(own.prompt_ids)] == own.prompt_ids
        expected = {"prompt": question, "expected": sample.answer, "generated": answer.text}
        assert {key: line[key] for key in expected} == expected
        with PIL.Image.open(measured / line["picture"]) as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 64))


def test_trackers_get_losses_pictures_and_texts(measured: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(measured / "tuwen"))
    found.Reload()
    tags = found.Tags()
    last = lines(measured, "samples.jsonl")[-1]["samples"]
    assert tags["images"] == [f"samples/{one['name']}" for one in last]
    texts = found.Tensors(f"samples/{last[0]['name']}/text_summary")
    # Steps of both stages, one after the other.
    assert [text.step for text in texts] == [2, 4, 6, 7]
    assert last[0]["expected"] in texts[-1].tensor_proto.string_val[0].decode()
    curve = [event.value for event in found.Scalars("validation")]
    assert curve == pytest.approx([line["loss"] for line in lines(measured)], rel=1e-6)


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_measure_what_one_does(recipe: Path, measured: Path, tmp_path: Path, kind: str) -> None:
    halves = ("stages.0.groups=2", "stages.1.groups=2", "stages.1.accumulate=1")
    # Three batches, of which the second process has one.
    train(recipe, tmp_path / "run", "--nproc", "2", f"distribution.type={kind}", *halves, "workers=1")
    for mine, theirs in zip(lines(tmp_path / "run"), lines(measured), strict=True):
        assert (mine["stage"], mine["step"], mine["tasks"].keys()) == (
            *(theirs["stage"], theirs["step"]),
            theirs["tasks"].keys(),
        )
        # The sums do not depend on who has which part; what was trained until then does, by each process's dropout.
        first = (mine["stage"], mine["step"]) == ("align", 0)
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-9 if first else 1e-3)
    first, second = lines(tmp_path / "run", "samples.jsonl")[0], lines(measured, "samples.jsonl")[0]
    assert [(one["name"], one["picture"]) for one in first["samples"]] == [
        (one["name"], one["picture"]) for one in second["samples"]
    ]


def test_balanced_tasks_have_weights_and_other_gradients(balanced: tuple[Path, Path], measured: Path) -> None:
    found = [line for line in lines(balanced[1]) if line["stage"] == "instruct"]
    assert [line["step"] for line in found] == [0, 1, 2, 3, 4, 5]
    assert set(found[0]["weights"].values()) == {1.0}
    for line in found[1:]:
        assert sum(line["weights"].values()) == pytest.approx(len(line["tasks"]))
        assert len({round(weight, 6) for weight in line["weights"].values()}) > 1
    # Until the warm-up is over, the run is the one whose tasks count alike.
    both = zip(lines(balanced[1], "metrics.jsonl"), lines(measured, "metrics.jsonl"), strict=True)
    instruct = [(mine["answers"], theirs["answers"]) for mine, theirs in both if mine["stage"] == "instruct"]
    assert instruct[0][0] == instruct[0][1]
    assert all(mine != theirs for mine, theirs in instruct[1:])


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_weights_of_tasks(balanced: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, uninterrupted = balanced
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tuwen", "train", str(recipe), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if list(out.glob("checkpoints/instruct-00000[234]")):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "goes on after step" in train(recipe, out, "--resume", "auto")
    assert weights(out) == weights(uninterrupted)
    assert lines(out) == lines(uninterrupted)
    assert lines(out, "samples.jsonl") == lines(uninterrupted, "samples.jsonl")


def test_a_run_that_stopped_between_two_stages_writes_nothing_twice(
    balanced: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, uninterrupted = balanced
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints")
    train(recipe, out, "--resume", "auto")
    assert weights(out) == weights(uninterrupted)
    for name in ("validation.jsonl", "samples.jsonl"):
        assert lines(out, name) == lines(uninterrupted, name)
    assert len(lines(out, "metrics.jsonl")) == len(lines(uninterrupted, "metrics.jsonl"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures with two questions each, one of them broken, and a text."""
    folder = tmp_path_factory.mktemp("few")
    samples = []
    for number in range(4):
        picture = folder / f"{number}.png"
        PIL.Image.effect_noise((600, 300), 40).convert("RGB").save(picture)
        for task in ("ocr", "caption"):
            messages = (Message.of("user", Image(), f"{task}?"), Message.of("assistant", "是"))
            samples.append(Sample(id=f"{task}{number}", messages=messages, images=(picture,), task=task))
    messages = (Message.of("user", "你好"), Message.of("assistant", "好"))
    samples.append(Sample(id="text", messages=messages, task="talk"))
    write_data(samples, folder / "data.jsonl", format="tuwen")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:500])
    return folder / "data.jsonl"


def validation(path: Path, **settings: Any) -> str:
    return "validation=" + json.dumps({"sources": [{"type": "data", "path": str(path)}], **settings})


def test_small_data_is_measured_once_and_what_is_broken_is_named(toy_run: Path, few: Path, tmp_path: Path) -> None:
    settings = {"sources": [{"type": "data", "path": str(few)}], "groups": 50, "generate": {"count": 50}}
    values = recipe_values(validation=settings, bad_samples={"share": 0.5})
    data = held_out(write_recipe(tmp_path, values), tmp_path)
    assert len(data.indices) == 5
    # Pictures first, tasks in turn, and each picture before any comes again.
    assert [sample.id for sample in data.shown][-1] == "text"
    assert len({sample.images for sample in data.shown[:4]}) == 4
    folder = load_model(toy_run / "model", dtype=torch.float32)
    engine = start_engine(TrainedModel(folder.model, ["answers"]), Distribution(), Accelerator(cpu=True))
    record = HeldOutLoss(data, Collator(folder.processor), engine, workers=0).measure()
    assert record["tasks"].keys() == {"ocr", "caption", "talk"}
    named = [json.loads(line) for line in data.bad.path.read_text(encoding="utf-8").splitlines()]
    assert {bad["sample"] for bad in named} == {"ocr2", "caption2"}


def test_too_much_that_is_broken_stops_the_run_before_its_first_step(
    toy_recipe: Path, few: Path, tmp_path: Path
) -> None:
    message = refused("train", toy_recipe, "--out", tmp_path / "run", validation(few))
    assert message.startswith("2 samples cannot be used, 0 of 9 may be left out (bad_samples.share 0.001)")
    assert message.endswith(f"all are named in {tmp_path / 'run' / 'bad_samples.validation.jsonl'}")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_model_is_left_as_it_was_whatever_is_done_with_it(toy_run: Path) -> None:
    model = load_model(toy_run / "model", dtype=torch.float32).model
    engine = start_engine(TrainedModel(model, ["answers"]), Distribution(), Accelerator(cpu=True))
    model.train()
    model.model.connector.eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with contextlib.suppress(RuntimeError), undisturbed(model, engine):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        torch.rand(100)
        raise RuntimeError
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": []}, "validation.source: unknown key"),
        ({"sources": []}, "validation.sources: "),
        ({"sources": [{"type": "synt"}]}, "unknown data source 'synt'"),
        ({"sources": [{"type": "synth", "sise": 64}]}, "validation.sources.0: sise: unknown key"),
        ({"sources": [{"type": "data", "path": "/no/such"}]}, "/no/such: "),
        (
            {"sources": [{"type": "synth", "suites": {"text": 1}, "repeat": 2}]},
            "validation.sources.0.repeat: has no effect here; say weight",
        ),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TuwenError) as error:
        held_out(write_recipe(tmp_path, recipe_values(validation=settings)), tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_data_without_what_a_stage_trains_is_refused_before_its_first_step(toy_recipe: Path, tmp_path: Path) -> None:
    override = "validation={sources: [{type: synth, suites: {text: 1}}]}"
    assert refused("train", toy_recipe, "--out", tmp_path / "run", override) == (
        "validation.sources: nothing in them has what regions are measured on"
    )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_answers_that_nobody_trains_are_not_shown(toy_recipe: Path) -> None:
    overrides = ("stages.1.objectives={regions: 1}", "validation={sources: [{type: synth}], generate: {}}")
    assert refused("train", toy_recipe, "--plan", *overrides).startswith(
        f"{toy_recipe}: validation.generate: no stage trains answers"
    )
