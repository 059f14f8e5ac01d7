"""How modules are trained: modes, adapters, rates, optimisers; read and checked without importing torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig

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
