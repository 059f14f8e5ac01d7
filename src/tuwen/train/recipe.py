"""What a training recipe may say; read and checked without importing torch."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig, TuwenError, apply_overrides, parse_config, read_yaml
from tuwen.data.bad_samples import BadSamplePolicy
from tuwen.data.epochs.mixture import MixtureSettings
from tuwen.models.recipe import ModelRecipe
from tuwen.train.settings import CheckpointSettings, Distribution, Guards, Validation
from tuwen.train.stage import Stage


class Recipe(StrictConfig):
    """A whole training run.

    Attributes:
        model: what to put together, or the folder of a model to go on from.
        sources: the data, a list of ``{"type": NAME, "weight": …, …settings}``.
        mixture: what is said of all sources together, for stages with ``sequences``.
        stages: one after the other on the same model.
        seed: of data order, drawing and fresh parameters.
        precision: ``fp32``, or ``bf16`` for mixed precision with weights in fp32.
        workers: processes that prepare batches.
        save_precision: of the weights in the trained model's folder.
        bad_samples: how many samples may be unusable before the run stops.
        distribution: how several processes train together.
        checkpoints: when the run writes down where it is.
        guards: what is done about a step that goes wrong.
        validation: measuring in between on other data; none unless said.
        trackers: where curves go besides ``metrics.jsonl``.
    """

    model: ModelRecipe | Path
    sources: list[dict[str, Any]] = Field(min_length=1)
    mixture: MixtureSettings = MixtureSettings()
    stages: list[Stage] = Field(min_length=1)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    workers: int = Field(default=1, ge=0)
    save_precision: Literal["fp32", "bf16"] = "fp32"
    bad_samples: BadSamplePolicy = BadSamplePolicy()
    distribution: Distribution = Distribution()
    checkpoints: CheckpointSettings = CheckpointSettings()
    guards: Guards = Guards()
    validation: Validation | None = None
    trackers: list[Literal["tensorboard", "wandb", "swanlab", "trackio"]] = []

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"stages.{place}.name: {name!r} is the name of an earlier stage")
        return self

    @model_validator(mode="after")
    def _deepspeed_can_train_it(self) -> Recipe:
        if self.distribution.type not in ("zero2", "zero3"):
            return self
        instead = f"distribution.type {self.distribution.type}"
        for place, stage in enumerate(self.stages):
            if stage.optimizer.type != "adamw":
                raise ValueError(
                    f"stages.{place}.optimizer.type: {stage.optimizer.type} does not work with {instead}; "
                    "say adamw, or distribution.type ddp"
                )
            for name, policy in stage.modules.items():
                if policy.base == "nf4":
                    raise ValueError(
                        f"stages.{place}.modules.{name}.base: nf4 does not work with {instead}; "
                        "say another, or distribution.type ddp"
                    )
        return self

    @model_validator(mode="after")
    def _validation_is_there_and_used(self) -> Recipe:
        for place, stage in enumerate(self.stages):
            if stage.balance is not None and self.validation is None:
                raise ValueError(f"stages.{place}.balance: it is found out from validation losses; say validation")
        generates = self.validation is not None and self.validation.generate is not None
        if generates and not any("answers" in stage.sums for stage in self.stages):
            raise ValueError("validation.generate: no stage trains answers; give one objectives.answers, or remove it")
        return self


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe, given by its path or by the name of one that comes with Tuwen.

    Raises:
        TuwenError: when there is neither.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    folder = _packaged()
    names = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}
    if str(recipe) in names:
        return names[str(recipe)]
    choices = sorted(names)
    near = difflib.get_close_matches(str(recipe).removesuffix(".yaml"), choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise TuwenError(f"{recipe}: no such file; give a recipe's path, or one of {', '.join(choices)}{hint}")


def run_name(path: Path) -> str:
    """What a run of the recipe in this file is called, unless said: ``belle-vl-pretrain`` for ``belle-vl/pretrain``."""
    if not path.is_relative_to(_packaged()):
        return path.stem
    return "-".join(path.relative_to(_packaged()).with_suffix("").parts)


def _packaged() -> Path:
    """The folder of recipes that come with Tuwen."""
    return Path(str(files("tuwen.train") / "recipes"))


def read_recipe(path: Path, overrides: list[str]) -> Recipe:
    """The recipe in a YAML file, with ``key=value`` overrides made in it.

    Raises:
        TuwenError: naming the file and key, what was found and what would be right.
    """
    if not path.is_file():
        raise TuwenError(f"{path}: not found; give a recipe file, or the name of one that comes with Tuwen")
    return parse_config(Recipe, apply_overrides(read_yaml(path), overrides), str(path))
