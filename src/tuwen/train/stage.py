"""What a stage of training may say; read and checked without importing torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig
from tuwen.train.balance import Coba
from tuwen.train.policies import ModuleName, ModulePolicy, Optimizer, Schedule, Warmup, check_modules

# What a forward pass gives sums of, and what is made of them.
SumName = Literal["answers", "regions"]
ObjectiveName = Literal[SumName, "preference"]
PreferenceType = Literal["dpo", "dpo_norm", "ipo", "simpo"]
USUAL_BETA: dict[PreferenceType, float] = {"dpo": 0.1, "dpo_norm": 5.0, "ipo": 0.1, "simpo": 2.0}


class Preference(StrictConfig):
    """How better answers are preferred to worse ones.

    Attributes:
        type: ``dpo`` (arXiv 2305.18290); ``dpo_norm``, the same with log-probabilities divided by the answer's tokens
            (as Tülu 3 has it, arXiv 2411.15124); ``ipo`` (arXiv 2310.12036), divided likewise; ``simpo`` (arXiv
            2405.14734), divided likewise and without a reference.
        beta: how dear it is to leave the reference, or for ``simpo`` how much log-probability counts; 0.1 for ``dpo``
            and ``ipo``, 5 for ``dpo_norm`` and 2 for ``simpo`` unless said.
        margin: γ of ``simpo``: by how much the better answer's reward shall exceed the worse one's.
        label_smoothing: for ``dpo`` and ``dpo_norm``: the share of pairs that are taken to be the wrong way round.
    """

    type: PreferenceType = "dpo"
    beta: float | None = Field(default=None, gt=0)
    margin: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)

    @property
    def strength(self) -> float:
        """β."""
        return USUAL_BETA[self.type] if self.beta is None else self.beta

    @property
    def by_token(self) -> bool:
        """Whether log-probabilities are divided by the number of an answer's tokens."""
        return self.type != "dpo"

    @property
    def has_reference(self) -> bool:
        """Whether it compares with the model as it was before."""
        return self.type != "simpo"

    @model_validator(mode="after")
    def _has_an_effect(self) -> Preference:
        if self.margin != 1.0 and self.type != "simpo":
            raise ValueError(f"margin has no effect with type {self.type}; remove it, or set type to simpo")
        if self.label_smoothing and self.type not in ("dpo", "dpo_norm"):
            raise ValueError(f"label_smoothing has no effect with type {self.type}; remove it, or set type to dpo")
        return self


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
        warmup: steps over which the rates rise from 0, or below 1 this part of the stage.
        objectives: weights of the losses: ``answers`` (the assistant's tokens) and ``regions`` (each picture token
            names what is at its place; needs regions in the data and a connector that keeps the grid), and
            ``preference`` (better answers rather than worse ones; needs data with rejected answers).
        preference: which loss ``preference`` is.
        clip: largest norm of the gradient; 0 for no limit.
        ema: decay of a moving average of the trained weights, e.g. 0.999, which is measured and saved in their place.
        max_length: tokens of a packed row at most; as the longest group unless said.
        too_long: what becomes of a sample that is longer: ``shorten`` gives its pictures fewer tiles and then drops its
            last turns, ``reject`` leaves it out; both are counted and named in ``bad_samples.jsonl``.
        weighting: what counts alike in the loss of a step: each trained ``token``, each ``sample``, or each ``task``
            (as in CodeFuse's MFT: the mean of the tasks' own means).
        balance: how much each task counts, found out from validation losses, where tasks count by ``weighting``; see
            ``Coba``. Alike unless said.
        length_exponent: each token of a sample counts as the sample's trained tokens to this power: 0, or -1 where
            samples count alike, unless said.
        sources: data of this stage, in place of the recipe's.
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
    warmup: Warmup = 0
    objectives: dict[ObjectiveName, float] = {"answers": 1.0}
    preference: Preference = Preference()
    clip: float = Field(default=1.0, ge=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    max_length: int | None = Field(default=None, ge=8)
    too_long: Literal["shorten", "reject"] = "shorten"
    weighting: Literal["token", "sample", "task"] = "token"
    balance: Coba | None = None
    length_exponent: float | None = None
    sources: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _modules_can_do_it(self) -> Stage:
        check_modules(self.modules)
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

    @model_validator(mode="after")
    def _has_tasks_to_balance(self) -> Stage:
        if self.balance is not None and (self.weighting != "task" or "answers" not in self.wanted):
            raise ValueError("balance has an effect on answers with weighting task only; say so, or remove it")
        return self

    @model_validator(mode="after")
    def _has_pairs(self) -> Stage:
        if self.preference != Preference() and "preference" not in self.wanted:
            raise ValueError("preference has no effect; give objectives.preference a weight, or remove it")
        return self

    @property
    def wanted(self) -> list[ObjectiveName]:
        """Objectives with a weight."""
        return [name for name, weight in self.objectives.items() if weight > 0]

    @property
    def sums(self) -> list[SumName]:
        """What the objectives are made of: answers are read where they are compared, too."""
        made_of: dict[ObjectiveName, SumName] = {"answers": "answers", "preference": "answers", "regions": "regions"}
        return list(dict.fromkeys(made_of[name] for name in self.wanted))

    @property
    def exponent(self) -> float:
        """Each token of a sample weighs as much as the sample's trained tokens to this power."""
        return (-1.0 if self.weighting == "sample" else 0.0) if self.length_exponent is None else self.length_exponent

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
