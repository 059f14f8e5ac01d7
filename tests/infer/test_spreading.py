"""A model that is larger than a device goes over several, with every layer whole."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

import tuwen
from tests.models.compositions import compose
from tuwen.config import TuwenError
from tuwen.infer.spreading import device_map, whole_layers


def size(name: str, parameters: dict[str, int]) -> int:
    return sum(count for one, count in parameters.items() if one == name or one.startswith(f"{name}."))


@pytest.mark.parametrize("language", ["llama", "qwen3", "tuwen_qwen1"])
def test_each_device_is_filled_in_order_and_no_layer_is_cut(language: str) -> None:
    model = compose(language=language)
    parameters = {name: tensor.numel() * tensor.element_size() for name, tensor in model.named_parameters()}
    whole = sum(parameters.values())
    memory = {0: int(0.7 * whole), 1: int(0.7 * whole), "cpu": whole}
    found = device_map(model, memory)
    places = list(found.values())
    assert places == sorted(places, key=list(memory).index)
    assert len(list(groupby(places))) > 1
    for name in parameters:
        assert sum(name == part or name.startswith(f"{part}.") for part in found) == 1, name
    for place in (0, 1):
        assert sum(size(name, parameters) for name, there in found.items() if there == place) <= memory[place]
    kinds = set(whole_layers(model))
    layers = [name for name, module in model.named_modules() if type(module).__name__ in kinds]
    assert layers
    for layer in layers:
        assert not any(part.startswith(f"{layer}.") for part in found), layer


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(TuwenError, match="fits on no device; use --quantize"):
        device_map(compose(language="llama"), {"cpu": 1000})


def test_auto_is_the_one_device_that_there_is(toy_run: Path) -> None:
    folder = toy_run / "model"
    answers = [
        tuwen.load(folder, device=device).chat("什么?", greedy=True, max_new_tokens=4) for device in ("auto", None)
    ]
    assert answers[0].token_ids == answers[1].token_ids
