"""Better answers are preferred to worse ones: as the papers say, packed as alone, and in runs that can be stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from tests.conftest import TOY, refused, run_cli
from tests.train.stages import disturb, gradients, stage_of
from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import ModelFolder, load_model
from tuwen.config import TuwenError, parse_config
from tuwen.data.collator import Collator
from tuwen.data.data_source import DataSettings, DataSource
from tuwen.data.dataset import write_data
from tuwen.data.epochs.mixture import MixtureSettings, SourceShare
from tuwen.data.epochs.packed_steps import PackedEpochs
from tuwen.data.fitting import fit
from tuwen.data.sample import Sample
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.train.engines.base import start_engine
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.groups import make_groups
from tuwen.train.modules.lora import add_lora
from tuwen.train.preference import PreferenceObjective
from tuwen.train.settings import Distribution
from tuwen.train.stage import Preference

LOSSES: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.5, "label_smoothing": 0.1},
    "dpo_norm": {},
    "ipo": {"beta": 0.3},
    "simpo": {"margin": 0.7},
}


@pytest.fixture
def folder(toy_run: Path) -> ModelFolder:
    return load_model(toy_run / "model", dtype=torch.float32)


def pairs(picture: PIL.Image.Image) -> list[tuple[Sample, ...]]:
    """Two questions about a picture, and a conversation without one; answers of several lengths."""

    def sample(name: str, *turns: Any, images: tuple[PIL.Image.Image, ...] = (), rejected: str) -> Sample:
        roles = ("user", "assistant") * len(turns)
        messages = (Message.of(role, *turn) for role, turn in zip(roles, turns, strict=False))
        return Sample(id=name, messages=tuple(messages), images=images, rejected=rejected)

    seen = (picture,)
    return [
        (
            sample("a", (Image(), "什么颜色?"), ("red",), images=seen, rejected="blue and green"),
            sample("b", (Image(), "几个?"), ("三个圆形。",), images=seen, rejected="2"),
        ),
        (sample("c", ("hello",), ("yes, hello",), ("and?",), ("no",), rejected="no, never at all"),),
    ]


def alone(folder: ModelFolder, sample: Sample, answer: str) -> tuple[Tensor, int]:
    """Log-probability of an answer and its tokens, by the model's own logits for one unpacked conversation."""
    messages = (*sample.messages[:-1], Message.of("assistant", answer))
    opened = [folder.processor.policy.open(image) for image in sample.images]
    lengths = [folder.processor.num_image_tokens(*image.size) for image in opened]
    ids, before = (
        folder.processor.renderer.render(turns, lengths, name=sample.id).input_ids
        for turns in (messages, messages[:-1])
    )
    common = next(place for place, (mine, theirs) in enumerate(zip(ids, [*before, -1], strict=False)) if mine != theirs)
    labels = folder.processor.renderer.render(messages, lengths, name=sample.id).labels
    inputs: dict[str, Tensor] = {"input_ids": torch.tensor([ids])}
    if opened:
        inputs["pixel_values"] = torch.from_numpy(folder.processor.policy.apply(opened[0]))
    log_LV = folder.model(**inputs).logits[0].float().log_softmax(-1)
    places = [place for place, label in enumerate(labels) if label >= 0 and place >= common]
    return torch.stack([log_LV[place - 1, ids[place]] for place in places]).sum(), len(places)


def by_hand(name: str, settings: dict[str, Any], chosen: list[Any], rejected: list[Any]) -> Tensor:
    """A pair's loss as its paper writes it, from (log p, log p of the reference, tokens) of both answers."""
    (chosen_p, chosen_reference, chosen_tokens), (rejected_p, rejected_reference, rejected_tokens) = chosen, rejected
    if name == "simpo":
        difference = 2.0 * chosen_p / chosen_tokens - 2.0 * rejected_p / rejected_tokens
        return -functional.logsigmoid(difference - settings["margin"])
    better, worse = chosen_p - chosen_reference, rejected_p - rejected_reference
    if name == "dpo":
        difference, wrong = settings["beta"] * (better - worse), settings["label_smoothing"]
        return -(1 - wrong) * functional.logsigmoid(difference) - wrong * functional.logsigmoid(-difference)
    difference = better / chosen_tokens - worse / rejected_tokens
    if name == "dpo_norm":
        return -functional.logsigmoid(5.0 * difference)
    return (difference - 1 / (2 * settings["beta"])) ** 2


@pytest.mark.parametrize("name", LOSSES)
def test_packed_pairs_give_the_losses_and_gradients_of_the_papers(name: str, folder: ModelFolder) -> None:
    groups_of_samples = pairs(PIL.Image.linear_gradient("L").convert("RGB"))
    samples = [sample for group in groups_of_samples for sample in group]
    before = copy.deepcopy(folder)
    stage = stage_of(
        {"connector": {"mode": "full"}, "language": {"mode": "lora", "embeddings": True, "lora": {"dropout": 0.5}}},
        objectives={"preference": 1.0},
        preference={"type": name, **LOSSES[name]},
    )
    add_lora(folder.model, stage)
    groups = make_groups(folder.model, stage)
    engine = start_engine(TrainedModel(folder.model, stage.sums), Distribution(), Accelerator(cpu=True))
    objective = PreferenceObjective(stage.preference, engine, groups)
    disturb(groups)
    folder.model.train()
    now = {key: value.clone() for key, value in folder.model.state_dict().items()}
    batch = Collator(folder.processor, pairs=True)(groups_of_samples)
    assert batch.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert batch.learnt.tolist() == [*(count for pair in batch.trained.view(3, 2).tolist() for count in (pair[0], 0))]
    reference_S = objective.reference_losses(batch)

    assert (reference_S is None) == (name == "simpo")
    assert all(torch.equal(value, now[key]) for key, value in folder.model.state_dict().items())
    assert all(module.training for module in folder.model.modules())
    if reference_S is not None:
        expected = [
            float(alone(before, one, text)[0].detach()) for one in samples for text in (one.answer, str(one.rejected))
        ]
        torch.testing.assert_close(-reference_S, torch.tensor(expected), rtol=1e-5, atol=1e-5)

    folder.model.eval()
    compared = objective.compare(engine.losses(batch)["answers"], reference_S, batch)
    compared.losses_P.mean().backward()
    packed = gradients(groups)
    folder.model.zero_grad()
    losses = []
    for sample in samples:
        sides = [
            [*alone(folder, sample, text)[:1], alone(before, sample, text)[0].detach(), alone(folder, sample, text)[1]]
            for text in (sample.answer, str(sample.rejected))
        ]
        losses.append(by_hand(name, LOSSES[name], *sides))
    torch.testing.assert_close(compared.losses_P, torch.stack(losses), rtol=1e-5, atol=1e-5)
    torch.stack(losses).mean().backward()
    for key, gradient in gradients(groups).items():
        assert gradient is not None
        torch.testing.assert_close(packed[key], gradient, rtol=1e-4, atol=1e-5, msg=key)


def test_before_the_first_step_model_and_reference_are_alike(folder: ModelFolder) -> None:
    stage = stage_of(
        {"connector": {"mode": "full"}, "language": {"mode": "lora", "lora": {"type": "dora"}}},
        objectives={"preference": 1.0},
    )
    add_lora(folder.model, stage)
    engine = start_engine(TrainedModel(folder.model, stage.sums), Distribution(), Accelerator(cpu=True))
    objective = PreferenceObjective(Preference(type="dpo_norm"), engine, make_groups(folder.model, stage))
    batch = Collator(folder.processor, pairs=True)(pairs(PIL.Image.new("RGB", (64, 64), "red")))
    reference_S = objective.reference_losses(batch)
    compared = objective.compare(engine.losses(batch)["answers"], reference_S, batch)
    torch.testing.assert_close(compared.losses_P, torch.full((3,), math.log(2)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compared.figures()["margin"], torch.zeros(3), rtol=0, atol=1e-5)


def test_a_batch_without_pairs_has_a_loss_of_nothing(folder: ModelFolder) -> None:
    stage = stage_of({"language": {"mode": "full"}}, objectives={"preference": 1.0})
    groups = make_groups(folder.model, stage)
    engine = start_engine(TrainedModel(folder.model, stage.sums), Distribution(), Accelerator(cpu=True))
    objective = PreferenceObjective(stage.preference, engine, groups)
    batch = Collator(folder.processor, pairs=True)([])
    reference_S = objective.reference_losses(batch)
    compared = objective.compare(engine.losses(batch)["answers"], reference_S, batch)
    compared.losses_P.sum().backward()
    assert compared.losses_P.shape == (0,)


def test_answers_alone_are_learnt_from_the_same_data(folder: ModelFolder) -> None:
    (group, _) = pairs(PIL.Image.new("RGB", (64, 64), "red"))
    plain = [tuple(Sample(id=one.id, messages=one.messages, images=one.images) for one in group)]
    found, expected = (Collator(folder.processor)(groups) for groups in ([group], plain))
    for name in ("input_ids", "labels", "owners", "trained", "pairs"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    batch = Collator(folder.processor, pairs=True)(plain)
    assert batch.samples == 0
    assert [note.reason for note in batch.notes] == [
        f"{one.id}: it has no rejected answer to compare its answer with" for one in group
    ]
    same = Sample(id="s", messages=group[0].messages, images=group[0].images, rejected=group[0].answer)
    (note,) = Collator(folder.processor, pairs=True)([(same,)]).notes
    assert note.reason == "s: its rejected answer is the same as its answer"


def test_pairs_take_the_room_that_was_planned_for_them(folder: ModelFolder, tmp_path: Path) -> None:
    processor, budget = folder.processor, 400
    made = []
    for number in range(30):
        picture = tmp_path / f"{number // 3}.png"
        PIL.Image.new("RGB", (64, 64), (9 * number, 0, 0)).save(picture)
        messages = (Message.of("user", Image(), f"问题{number}?"), Message.of("assistant", "答" * (1 + number % 9)))
        rejected = "错" * (1 + number % 4) if number % 10 else None
        made.append(Sample(id=str(number), messages=messages, images=(picture,), rejected=rejected))
    write_data(made, tmp_path / "pairs.jsonl")
    source = DataSource(DataSettings(path=str(tmp_path / "pairs.jsonl")))
    source.measure(processor, pairs=True)
    assert [bad.reason.partition(":")[2] for bad in source.bad] == [
        " it has no rejected answer to compare its answer with"
    ] * 3
    whole = source.index.lengths(processor).tolist()
    for row, length in enumerate(whole):
        sample = source.sample(row)
        batch = Collator(processor, pairs=True)([(sample,)])
        assert batch.input_ids.shape == (1, length)
        opened = [processor.policy.open(picture_of(sample))]
        fit(sample, opened, processor, length, pair=True)
        with pytest.raises(TuwenError, match=rf"^{sample.id}: it takes {length} tokens, more than max_length"):
            fit(sample, opened, processor, length - 1, pair=True)
    epochs = PackedEpochs([source], [SourceShare()], MixtureSettings(), processor, budget=budget, seed=3)
    collate = Collator(processor, max_length=budget, pairs=True)
    together = 0
    for pack in range(len(epochs.plan(0))):
        groups = epochs.groups(0, pack)
        batch = collate(groups)
        assert batch.input_ids.shape[0] == 1
        assert not batch.notes
        together += sum(len(group) > 1 for group in groups)
    assert together >= 5


def picture_of(sample: Sample) -> PIL.Image.Image:
    (path,) = sample.images
    return PIL.Image.open(path).convert("RGB")


# --- runs ---


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that is taught to answer, and then to prefer what is right of some twenty questions."""
    folder = tmp_path_factory.mktemp("preference")
    drawn = Synthesiser(SynthConfig(suites={"shapes": 1}, size=64, languages=["en"], preference=True, questions=4))
    seen = [sample for index in range(4) for sample in drawn.draw(1, index).samples]
    sums = Synthesiser(SynthConfig(suites={"text": 1}, tasks=["add"], languages=["en"]))
    told = [sample for index in range(6) for sample in sums.draw(1, index).samples]
    told = [replace(one, rejected=other.answer) for one, other in zip(told, [*told[1:], told[0]], strict=True)]
    write_data(seen + told, folder / "pairs.jsonl")
    values: dict[str, Any] = copy.deepcopy(TOY)
    prefer = {
        "name": "prefer",
        "steps": 40,
        "groups": 10,
        "warmup": 4,
        "objectives": {"preference": 1.0},
        "preference": {"beta": 1.0},
        "sources": [{"type": "data", "path": str(folder / "pairs.jsonl")}],
        "modules": {
            "vision": {"mode": "lora", "learning_rate": 0.005},
            "connector": {"mode": "full", "learning_rate": 0.003},
            "language": {"mode": "full", "learning_rate": 0.005},
        },
    }
    held_out = {"type": "synth", "size": 64, "suites": {"shapes": 1}, "preference": True}
    values |= {
        "stages": [values["stages"][1], prefer],
        "checkpoints": {"steps": 10, "keep": 5},
        "validation": {"sources": [held_out], "every": 20, "groups": 4, "generate": {"count": 1, "new_tokens": 3}},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    result = run_cli("train", recipe, "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "reference 参考: the model without adapters, a copy of " in result.stdout
    return out


def lines(run: Path, name: str = "metrics.jsonl", stage: str = "prefer") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / name).read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["stage"] == stage]


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_a_toy_comes_to_prefer_what_is_right(run: Path) -> None:
    found = lines(run)
    first, last = found[0], found[-1]
    assert first["preference"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["preference"] < 0.4
    assert last["preferred"] > 0.8
    assert last["margin"] == pytest.approx(last["chosen reward"] - last["rejected reward"], abs=1e-5)
    measured = lines(run, "validation.jsonl")
    assert [line["step"] for line in measured] == [0, 20, 40]
    assert measured[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert measured[0]["preferred"] == 0.5
    assert 0 <= measured[-1]["preferred"] <= 1
    assert measured[0]["tasks"].keys() == measured[-1]["tasks"].keys() >= {"color_yesno"}
    assert {"answers", "margin", "chosen reward", "rejected reward"} <= measured[-1].keys()
    # In the stage before, the same data was measured as answers.
    assert "preferred" not in lines(run, "validation.jsonl", "instruct")[-1]
    assert lines(run, "samples.jsonl")[-1]["samples"]


@pytest.mark.slow
def test_a_run_that_was_stopped_compares_with_the_same_reference(recipe: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    whole = run_cli("train", recipe, "--out", out)
    assert whole.returncode == 0, whole.stderr
    assert weights(out) == weights(run)
    (out / "model").rename(out / "gone")
    for step in (40, 30, 20):
        path = out / "checkpoints" / f"prefer-{step:06d}"
        if path.exists():
            path.rename(out / f"gone-{step}")
    again = run_cli("train", recipe, "--out", out, "--resume", "auto")
    assert again.returncode == 0, again.stderr
    assert "goes on after step 10" in again.stdout
    assert weights(out) == weights(run)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("objectives", ["{preference: 1}", "{preference: 0.5, answers: 1}"])
def test_two_processes_give_the_losses_of_one(recipe: Path, tmp_path: Path, kind: str, objectives: str) -> None:
    runs = []
    short = ("stages.1.steps=8", "stages.1.warmup=4", f"stages.1.objectives={objectives}", "stages.0.steps=1")
    for name, settings in {
        "one": ("stages.1.groups=4", "stages.0.groups=2"),
        "two": ("stages.1.groups=2", "stages.0.groups=1", f"distribution.type={kind}", "--nproc", "2"),
    }.items():
        result = run_cli("train", recipe, "--out", tmp_path / name, *short, *settings)
        assert result.returncode == 0, result.stdout + result.stderr
        runs.append(tmp_path / name)
    one, two = map(lines, runs)
    assert len(one) == len(two) == 8
    names = {"preference", "margin", "preferred", "chosen reward", "rejected reward", "tasks"}
    for mine, theirs in zip(two, one, strict=True):
        assert names <= mine.keys() == theirs.keys()
        assert ("answers" in mine) == ("answers" in objectives)
        for key in ({"answers"} & mine.keys()) | names - {"tasks", "preferred"}:
            assert mine[key] == pytest.approx(theirs[key], abs=1e-4), key
    assert lines(tmp_path / "two", "validation.jsonl")[-1]["loss"] == pytest.approx(
        lines(tmp_path / "one", "validation.jsonl")[-1]["loss"], abs=1e-4
    )
    found, expected = (load_file(path / "model" / "model.safetensors") for path in runs)
    for key, value in expected.items():
        assert float((found[key] - value).abs().max()) < 2e-3, key


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("stages.1.objectives={answers: 1}", "stages.1: preference has no effect; give objectives.preference a weight"),
        ("stages.1.preference={margin: 2}", "stages.1.preference: margin has no effect with type dpo"),
        (
            "stages.1.preference={type: simpo, label_smoothing: 0.1}",
            "stages.1.preference: label_smoothing has no effect",
        ),
        ("stages.1.preference={type: orpo}", "stages.1.preference.type: "),
        ("stages.1.sources=", "out of the samples of a step"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings: str, problem: str, recipe: Path, tmp_path: Path) -> None:
    if settings.endswith("="):
        # Data without rejected answers.
        settings = "stages.1.sources=[{type: synth, size: 64, suites: {shapes: 1}}]"
        problem = "it has no rejected answer to compare its answer with"
        assert problem in refused("train", recipe, "--out", tmp_path / "run", settings, "validation=null")
        return
    assert problem in refused("train", recipe, "--out", tmp_path / "run", settings)


def test_drawn_questions_have_the_other_answer_to_reject() -> None:
    drawn = Synthesiser(SynthConfig(suites={"shapes": 1, "faces": 1}, size=64, preference=True))
    samples = [sample for index in range(6) for sample in drawn.draw(0, index).samples]
    assert {(sample.answer, sample.rejected) for sample in samples} == {
        ("是", "否"), ("否", "是"), ("yes", "no"), ("no", "yes"),
    }  # fmt: skip
    settings = parse_config(SynthConfig, {"suites": {"text": 1}, "preference": True, "tasks": ["add"]}, "test")
    with pytest.raises(TuwenError, match="has a question that preference can be learnt from"):
        Synthesiser(settings).draw(0, 0)
