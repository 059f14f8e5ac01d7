"""Settings of modules and optimisers: one that has no effect is refused, in one line that says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.train.stages import stage_of
from tuwen.config import TuwenError, parse_config, to_yaml
from tuwen.train.policies import ModulePolicy, Optimizer, Schedule
from tuwen.train.stage import Stage

CONNECTOR = {"connector": {"mode": "full"}}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"vision": {"mode": "frozen", "warmup": 3}}, "modules.vision: warmup has no effect on a frozen module"),
        ({"vision": {"mode": "full", "lora": {}}}, "lora has no effect in mode full; remove it, or set mode to lora"),
        ({"vision": {"mode": "full", "base": "bf16"}}, "base has no effect in mode full"),
        ({"language": {"mode": "full", "embeddings": True}}, "embeddings has no effect in mode full"),
        ({"language": {"mode": "full", "new_rows": 3}}, "new_rows has no effect in mode full"),
        ({"language": {"mode": "embeddings", "weight_decay": 0.1}}, "weight_decay has no effect in mode embeddings"),
        ({"language": {"mode": "embeddings", "layer_decay": 0.9}}, "layer_decay has no effect in mode embeddings"),
        (
            {"language": {"mode": "embeddings", "embeddings_learning_rate": 0.1}},
            "embeddings_learning_rate has no effect in mode embeddings",
        ),
        (
            {"language": {"mode": "lora", "embeddings_learning_rate": 0.1}},
            "embeddings_learning_rate has no effect; remove it, or set embeddings to true",
        ),
        (
            {"language": {"mode": "lora", "embeddings": True, "new_rows": 3}},
            "new_rows has no effect where embeddings are trained in full; remove one of the two",
        ),
        ({"vision": {"mode": "embeddings"}}, "modules.vision.mode: only the language model has embeddings"),
        ({"vision": {"mode": "lora", "new_rows": 3}}, "modules.vision.new_rows: only the language model has token"),
        ({"connector": {"mode": "full", "layer_decay": 0.9}}, "modules.connector.layer_decay: a connector's layers"),
        (
            {"vision": {"mode": "frozen", "gradient_checkpointing": True}, **CONNECTOR},
            "modules.vision.gradient_checkpointing has no effect, no gradient passes through it; remove it",
        ),
        ({"vision": {"mode": "lora", "warmup": 1.5}}, "1.5 is neither a whole number of steps nor a part of the stage"),
        (
            {"vision": {"mode": "lora", "lora": {"rank": 3, "initialisation": "orthogonal"}}},
            "orthogonal needs an even rank, found 3",
        ),
    ],
)
def test_a_setting_without_an_effect_is_refused(modules: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError) as caught:
        stage_of(modules)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mode_that_trains_needs_a_rate() -> None:
    values = {"name": "one", "steps": 1, "groups": 1, "modules": {"vision": {"mode": "lora"}}}
    with pytest.raises(TuwenError, match="learning_rate: this key is required for mode lora"):
        parse_config(Stage, values, "test")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Optimizer, {"type": "adamw", "momentum": 0.9}, "momentum has no effect with type adamw; remove it, or set"),
        (Optimizer, {"type": "adamw_8bit", "matrix_scale": 1}, "matrix_scale has no effect with type adamw_8bit"),
        (Schedule, {"type": "constant", "floor": 0.1}, "floor has no effect with type constant"),
    ],
)
def test_optimisers_and_schedules_say_what_has_no_effect(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError) as caught:
        parse_config(kind, values, "test")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "modules",
    [
        # Gradients of the connector pass through a frozen language model.
        {**CONNECTOR, "language": {"mode": "frozen", "gradient_checkpointing": True, "base": "nf4"}},
        {"vision": {"mode": "lora", "layer_decay": 0.9, "warmup": 0.03, "schedule": {"type": "constant"}}},
        {"language": {"mode": "lora", "embeddings": True, "embeddings_learning_rate": 0.1, "warmup": 5}},
        {"language": {"mode": "embeddings", "new_rows": 3}},
        {"language": {"mode": "full", "embeddings_learning_rate": 0.1}},
    ],
)
def test_a_stage_that_is_written_down_is_the_same_when_read(modules: dict[str, Any]) -> None:
    import yaml

    stage = stage_of(modules, ema=0.99, warmup=0.1)
    again = parse_config(Stage, yaml.safe_load(to_yaml(stage)), "test")
    assert again == stage
    assert again.warmup == 0.1


def test_the_modules_in_the_documentation_are_taken() -> None:
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    section = page.partition("## Modules and optimisers")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    parse_config(Stage, {"name": "one", "steps": 1, "groups": 1, **yaml.safe_load(block)}, "docs/train.md")
    named = set(re.findall(r"`(\w+)(?:: N)?`", section))
    keys = {*ModulePolicy.model_fields, *Optimizer.model_fields} - {"mode", "learning_rate", "betas", "eps", "momentum"}
    assert keys - named - set(yaml.safe_load(block)["optimizer"]) <= {"embeddings_learning_rate"}
