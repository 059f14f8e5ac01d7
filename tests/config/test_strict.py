"""Configuration mistakes are named in one line: place, what was found, what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.config import Registry, StrictConfig, TuwenError, apply_overrides, parse_config, read_yaml, to_yaml


class Inner(StrictConfig):
    rate: float = 0.1


class Outer(StrictConfig):
    inner: Inner = Inner()
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    steps: int


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "recipe.yaml: steps: this key is required and missing"),
        ({"steps": "x"}, "recipe.yaml: steps: Input should be a valid integer"),
        ({"steps": 1, "step": 2}, "recipe.yaml: step: unknown key 'step'.*did you mean 'steps'"),
        ({"stps": 1}, "recipe.yaml: stps: unknown key 'stps'.*did you mean 'steps'"),
        ({"steps": 1, "inner": {"rat": 1}}, "recipe.yaml: inner.rat: unknown key.*did you mean 'rate'"),
        ({"steps": 1, "many": [{"rat": 1}]}, "recipe.yaml: many.0.rat: unknown key.*did you mean 'rate'"),
        ({"steps": 1, "named": {"a": {"rat": 1}}}, "recipe.yaml: named.a.rat: unknown key.*did you mean 'rate'"),
        ([], "recipe.yaml: expected keys and values, found list"),
    ],
)
def test_mistakes_are_named(values: object, message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        parse_config(Outer, values, "recipe.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = Outer(steps=3, many=[Inner(rate=0.5)])
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert parse_config(Outer, read_yaml(path), str(path)) == config


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00"])
def test_unreadable_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TuwenError, match="recipe.yaml") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_overrides_keep_types_and_leave_the_original() -> None:
    values = {"a": {"b": 1}, "many": [{"rate": 1.0}]}
    changed = apply_overrides(values, ["a.b=2.5", "a.c=[1, 2]", "many.0.rate=3", "d.e=yes it is", "f=null"])
    assert changed == {
        "a": {"b": 2.5, "c": [1, 2]},
        "many": [{"rate": 3}],
        "d": {"e": "yes it is"},
        "f": None,
    }
    assert values == {"a": {"b": 1}, "many": [{"rate": 1.0}]}


@pytest.mark.parametrize("assignment", ["a", "=1", "a.b.c=1", "many.7.rate=1", "many.x=1", "a=[1"])
def test_wrong_overrides_are_named(assignment: str) -> None:
    with pytest.raises(TuwenError, match="override"):
        apply_overrides({"a": {"b": 1}, "many": [{}]}, [assignment])


@given(st.text(min_size=1, max_size=12))
def test_registry_takes_exact_names_only(name: str) -> None:
    registry = Registry("shape")
    registry.register("circle")(object())
    if name != "circle":
        with pytest.raises(TuwenError, match="choose one of circle"):
            registry.get(name)


def test_registry_refuses_a_second_owner_of_a_name() -> None:
    registry = Registry("shape")
    registry.register("circle")(object())
    with pytest.raises(TuwenError, match="already registered"):
        registry.register("circle")(object())
