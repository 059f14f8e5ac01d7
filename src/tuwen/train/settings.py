"""What a recipe says of the run as a whole; read and checked without importing torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig

Answer = Literal["stop", "skip", "roll_back"]


class Distribution(StrictConfig):
    """How processes train together.

    Attributes:
        type: ``ddp`` (every process has the whole model), ``fsdp`` (weights, gradients and optimiser are split over
            processes, arXiv 2304.11277, by torch's ``fully_shard``), ``zero2`` (gradients and optimiser are, by
            DeepSpeed, arXiv 1910.02054), or ``zero3`` (weights, too).
        replicas: for ``fsdp``: groups of processes that hold the whole model each (HSDP); processes are split within
            a group only.
        offload: whether split weights and the optimiser stay in the processor's memory.
    """

    type: Literal["ddp", "fsdp", "zero2", "zero3"] = "ddp"
    replicas: int = Field(default=1, ge=1)
    offload: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Distribution:
        if self.replicas > 1 and self.type != "fsdp":
            raise ValueError(f"replicas has no effect with type {self.type}; remove it, or set type to fsdp")
        if self.offload and self.type == "ddp":
            raise ValueError("offload has no effect with type ddp; remove it, or set type to fsdp, zero2 or zero3")
        return self


class CheckpointSettings(StrictConfig):
    """When a run writes down where it is.

    Attributes:
        minutes: between two checkpoints.
        steps: between two checkpoints, in place of ``minutes``.
        keep: how many are kept.
        asynchronous: whether training goes on while one is written.
    """

    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    keep: int = Field(default=2, ge=1)
    asynchronous: bool = True

    @model_validator(mode="after")
    def _once(self) -> CheckpointSettings:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("say either minutes or steps")
        return self

    @property
    def every_minutes(self) -> float | None:
        """Minutes between two checkpoints, where steps do not say when."""
        return None if self.steps else self.minutes or 15.0


class Guards(StrictConfig):
    """What is done about a step that goes wrong.

    Attributes:
        not_finite: a loss or gradient that is not a number: ``stop`` the run, ``skip`` the step, or ``roll_back`` to
            the last checkpoint and pass over the step.
        spike: a loss counts as a spike from this multiple of the median of the 50 steps before; None for never.
        on_spike: what is done about one.
        budget: so many steps of a stage may go wrong before the run stops.
    """

    not_finite: Answer = "stop"
    spike: float | None = Field(default=None, gt=1)
    on_spike: Answer = "skip"
    budget: int = Field(default=10, ge=1)


class ShownPictures(StrictConfig):
    """Answers of the model in training, to look at, in stages that train answers.

    Attributes:
        count: samples of the validation data that are answered.
        new_tokens: tokens of an answer at most.
    """

    count: int = Field(default=4, ge=1)
    new_tokens: int = Field(default=64, ge=1)


class Validation(StrictConfig):
    """Measuring on data that is not trained on.

    Attributes:
        sources: the data, as in the recipe's ``sources``; none of it should be among those.
        every: steps between two measurements; there is one before each stage and at its end, too.
        groups: pictures with all their samples (or text-only samples) that are measured, the same each time.
        batch: so many of them in a forward pass.
        generate: answers to look at; none unless said.
    """

    sources: list[dict[str, Any]] = Field(min_length=1)
    every: int = Field(default=200, ge=1)
    groups: int = Field(default=64, ge=1)
    batch: int = Field(default=8, ge=1)
    generate: ShownPictures | None = None
