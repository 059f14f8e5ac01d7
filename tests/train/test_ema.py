"""The moving average of the trained weights is what it says, comes and goes, and goes on after a stop."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.models.compositions import compose
from tests.train.stages import backward, stage_of
from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.ema import MovingAverage
from tuwen.train.modules.groups import Group, make_groups
from tuwen.train.modules.optimizer import GroupedOptimizer
from tuwen.train.stage import Stage

STAGE = stage_of({"connector": {"mode": "full"}, "language": {"mode": "embeddings"}})


def weights(model: TuwenForConditionalGeneration) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def train(
    model: TuwenForConditionalGeneration, optimizer: GroupedOptimizer, average: MovingAverage, steps: range
) -> None:
    for step in steps:
        backward(model, seed=step)
        optimizer.step(step)
        average.update()


def parts(stage: Stage = STAGE) -> tuple[TuwenForConditionalGeneration, list[Group]]:
    model = compose()
    return model, make_groups(model, stage)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30), st.floats(0.01, 0.999))
def test_it_is_a_mean_that_forgets(values: list[float], decay: float) -> None:
    tensor = torch.nn.Parameter(torch.zeros(2))
    group = Group(
        module="connector",
        part="full",
        rule="adamw",
        names=["one"],
        tensors=[tensor],
        learning_rate=1,
        weight_decay=0,
        warmup=0,
        schedule=STAGE.schedule,
    )
    average = MovingAverage([group], decay)
    expected = 0.0
    for step, value in enumerate(values, start=1):
        tensor.data.fill_(value)
        average.update()
        left = min(decay, (1 + step) / (10 + step))
        expected = left * expected + (1 - left) * value
    assert float(average.state_tensors()["one"][0]) == pytest.approx(expected, abs=1e-4)


def test_the_model_has_the_average_only_while_it_is_wanted() -> None:
    model, groups = parts()
    average = MovingAverage(groups, 0.5)
    start = weights(model)
    train(model, GroupedOptimizer(groups, STAGE), average, range(3))
    trained = weights(model)
    with average.swapped():
        inside = weights(model)
    assert equal(weights(model), trained)
    with pytest.raises(RuntimeError, match="in the middle"), average.swapped():
        raise RuntimeError("in the middle")
    assert equal(weights(model), trained)
    names = {name for group in groups for name in group.names} | {"lm_head.weight"}
    for name, value in inside.items():
        assert torch.equal(value, trained[name]) == torch.equal(value, start[name]) == (name not in names)
    assert torch.equal(inside["lm_head.weight"], inside["model.language_model.embed_tokens.weight"])
    average.take()
    assert equal(weights(model), inside)


def test_it_goes_on_after_a_stop(tmp_path: Path) -> None:
    model, groups = parts()
    optimizer, average = GroupedOptimizer(groups, STAGE), MovingAverage(groups, 0.9)
    train(model, optimizer, average, range(3))
    save_file(average.state_tensors(), tmp_path / "ema.safetensors")
    other = copy.deepcopy(model)
    other_groups = make_groups(other, STAGE)
    again, other_average = GroupedOptimizer(other_groups, STAGE), MovingAverage(other_groups, 0.9)
    again.load_state_tensors(optimizer.state_tensors())
    other_average.load_state_tensors(load_file(tmp_path / "ema.safetensors"))
    train(model, optimizer, average, range(3, 6))
    train(other, again, other_average, range(3, 6))
    assert equal(average.state_tensors(), other_average.state_tensors())


def test_an_average_of_other_tensors_is_refused() -> None:
    _, groups = parts()
    _, fewer = parts(stage_of({"connector": {"mode": "full"}}))
    with pytest.raises(TuwenError, match=r"ema: \S+ is not in both the average and what the stage trains"):
        MovingAverage(fewer, 0.9).load_state_tensors(MovingAverage(groups, 0.9).state_tensors())
