"""What a training recipe may say; read and checked without importing torch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig, TuwenError, apply_overrides, parse_config, read_yaml
from tuwen.data.bad_samples import BadSamplePolicy
from tuwen.data.epochs.mixture import MixtureSettings
from tuwen.models.recipe import ModelRecipe

ObjectiveName = Literal["answers", "regions"]
ModuleName = Literal["vision", "connector", "language"]
MODULES: tuple[ModuleName, ...] = ("vision", "connector", "language")


class Lora(StrictConfig):
    """Low-rank adapters (arXiv 2106.09685) on a module's linear layers.

    Attributes:
        rank: r.
        alpha: the update is scaled by alpha / rank.
        dropout: on the adapter's input.
        targets: names of linear layers, e.g. ``q_proj``; all of the module's unless said.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | None = None


class ModulePolicy(StrictConfig):
    """How one module is trained in a stage.

    Attributes:
        mode: ``frozen``, ``lora``, ``full``, or for the language model ``embeddings`` (token embeddings and output
            head alone).
        learning_rate: at its highest; needed unless frozen.
        weight_decay: of matrices; norms, biases and embeddings have none.
        warmup: steps over which the rate rises from 0; the stage's unless said.
        schedule: the stage's unless said.
        lora: settings, for ``lora``.
    """

    mode: Literal["frozen", "lora", "full", "embeddings"]
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: int | None = Field(default=None, ge=0)
    schedule: Schedule | None = None
    lora: Lora | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModulePolicy:
        if self.mode == "frozen":
            for name, field in type(self).model_fields.items():
                if name != "mode" and getattr(self, name) != field.default:
                    raise ValueError(f"{name} has no effect on a frozen module; remove it")
        elif self.learning_rate is None:
            raise ValueError(f"learning_rate: this key is required for mode {self.mode}")
        if self.lora is not None and self.mode != "lora":
            raise ValueError(f"lora has no effect in mode {self.mode}; remove it or set mode to lora")
        return self


class Schedule(StrictConfig):
    """How the learning rate goes after the warm-up.

    Attributes:
        type: ``constant``, ``linear`` or ``cosine`` decay.
        decay_from: part of the stage (0–1) at which the decay begins.
        floor: part of the highest rate that is left at the end.
    """

    type: Literal["constant", "linear", "cosine"] = "cosine"
    decay_from: float = Field(default=0.0, ge=0, lt=1)
    floor: float = Field(default=0.0, ge=0, le=1)


class Optimizer(StrictConfig):
    """The optimiser of a stage.

    Attributes:
        type: ``adamw`` (arXiv 1711.05101), or ``muon`` (Jordan et al. 2024) for hidden matrices and AdamW for
            the rest.
        betas: of AdamW.
        eps: of AdamW.
        matrix_scale: Muon's learning rate as a multiple of the module's.
        momentum: of Muon.
    """

    type: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    matrix_scale: float = Field(default=6.0, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)


class Stage(StrictConfig):
    """One stage of training.

    Attributes:
        name: for logs and folders.
        steps: optimiser steps; or say ``epochs``.
        epochs: how often the data of the stage is gone through, with ``sequences``.
        minutes: of the stage at most; where the machine is too slow for all steps, the learning rates follow the
            clock instead of the steps, and the stage ends with it. None for as long as it takes.
        groups: pictures with all their samples (or text-only samples) in a batch of one process, drawn from the
            sources by their weights without end; or say ``sequences``.
        sequences: rows of ``max_length`` tokens in a batch of one process, into which each epoch of the sources is
            packed; needs sources on disk (``type: data``).
        accumulate: batches of a step.
        modules: how each module is trained; one that is not named is frozen.
        optimizer: see ``Optimizer``.
        schedule: of the learning rates.
        warmup: steps over which the rates rise from 0.
        objectives: weights of the losses: ``answers`` (the assistant's tokens) and ``regions`` (each picture token
            names what is at its place; needs regions in the data and a connector that keeps the grid).
        clip: largest norm of the gradient; 0 for no limit.
        max_length: tokens of a packed row at most; as the longest group unless said.
        too_long: what becomes of a sample that is longer: ``shorten`` gives its pictures fewer tiles and then drops its
            last turns, ``reject`` leaves it out; both are counted and named in ``bad_samples.jsonl``.
        length_exponent: weight of a sample in the loss: trained tokens to this power, for each of its tokens.
        sources: data of this stage, in place of the recipe's.
        save_every: steps between checkpoints; 0 for one at the end of the run alone.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    groups: int | None = Field(default=None, ge=1)
    sequences: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    modules: dict[ModuleName, ModulePolicy]
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    warmup: int = Field(default=0, ge=0)
    objectives: dict[ObjectiveName, float] = {"answers": 1.0}
    clip: float = Field(default=1.0, ge=0)
    max_length: int | None = Field(default=None, ge=8)
    too_long: Literal["shorten", "reject"] = "shorten"
    length_exponent: float = 0.0
    sources: list[dict[str, Any]] | None = None
    save_every: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _embeddings_are_of_language(self) -> Stage:
        for name, policy in self.modules.items():
            if policy.mode == "embeddings" and name != "language":
                raise ValueError(f"modules.{name}.mode: only the language model has embeddings; choose full")
        return self

    @model_validator(mode="after")
    def _length_and_batch_are_said_once(self) -> Stage:
        if (self.groups is None) == (self.sequences is None):
            raise ValueError("say how large a batch is, by either groups or sequences")
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say how long the stage is, by either steps or epochs")
        if self.epochs is not None and self.sequences is None:
            raise ValueError("epochs: groups are drawn without end; say steps, or sequences in place of groups")
        if self.sequences is not None and self.max_length is None:
            raise ValueError("sequences: say their length in tokens by max_length")
        return self

    @property
    def batch(self) -> str:
        """What a step of one process takes, for people."""
        size, unit = (self.groups, "groups") if self.sequences is None else (self.sequences, "sequences")
        return f"{size} {unit}" if self.accumulate == 1 else f"{self.accumulate} × {size} {unit}"

    @property
    def duration(self) -> str:
        """How long the stage is, for people."""
        return f"{self.epochs:g} epochs" if self.steps is None else f"{self.steps} steps"

    @model_validator(mode="after")
    def _trains_something(self) -> Stage:
        if all(policy.mode == "frozen" for policy in self.modules.values()):
            raise ValueError("modules: every module is frozen, so there is nothing to train")
        if not any(weight > 0 for weight in self.objectives.values()):
            raise ValueError("objectives: at least one weight must be above 0")
        return self


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
        bad_samples: how many samples may be unusable before the run stops.
        trackers: where curves go besides ``metrics.jsonl``.
    """

    model: ModelRecipe | Path
    sources: list[dict[str, Any]] = Field(min_length=1)
    mixture: MixtureSettings = MixtureSettings()
    stages: list[Stage] = Field(min_length=1)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    workers: int = Field(default=1, ge=0)
    bad_samples: BadSamplePolicy = BadSamplePolicy()
    trackers: list[Literal["tensorboard", "wandb", "swanlab", "trackio"]] = []

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"stages.{place}.name: {name!r} is the name of an earlier stage")
        return self


ModulePolicy.model_rebuild()


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe, given by its path or by the name of one that comes with Tuwen.

    Raises:
        TuwenError: when there is neither.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    folder = Path(str(files("tuwen.train") / "recipes"))
    named = folder / f"{recipe}.yaml"
    if named.is_file():
        return named
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise TuwenError(f"{recipe}: no such file; give a recipe's path, or one of {names}")


def read_recipe(path: Path, overrides: list[str]) -> Recipe:
    """The recipe in a YAML file, with ``key=value`` overrides made in it.

    Raises:
        TuwenError: naming the file and key, what was found and what would be right.
    """
    if not path.is_file():
        raise TuwenError(f"{path}: not found; give a recipe file, or the name of one that comes with Tuwen")
    return parse_config(Recipe, apply_overrides(read_yaml(path), overrides), str(path))
