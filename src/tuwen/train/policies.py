"""How modules are trained: modes, adapters, rates, optimisers; read and checked without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tuwen.config import StrictConfig

ModuleName = Literal["vision", "connector", "language"]
Mode = Literal["frozen", "lora", "full", "embeddings"]
Base = Literal["fp32", "bf16", "nf4"]
MODULES: tuple[ModuleName, ...] = ("vision", "connector", "language")


def _steps_or_part(value: int | float) -> int | float:
    if value >= 1 and value != int(value):
        raise ValueError(f"{value} is neither a whole number of steps nor a part of the stage (below 1)")
    return value


# Steps, or below 1 a part of the stage.
Warmup = Annotated[int | float, Field(ge=0), AfterValidator(_steps_or_part)]


class Lora(StrictConfig):
    """Low-rank adapters (arXiv 2106.09685) on a module's linear layers.

    Attributes:
        type: ``lora``, or ``dora``, which trains the length of each output's weights apart from their direction (arXiv
            2402.09353).
        rank: r.
        alpha: the update is scaled by alpha / rank.
        rank_stabilised: whether it is scaled by alpha / √rank instead (arXiv 2312.03732).
        dropout: on the adapter's input.
        targets: names of linear layers, e.g. ``q_proj``; all of the module's unless said.
        initialisation: of A: ``uniform`` (as a linear layer), ``gaussian``, or ``orthogonal`` for A and B; at the start
            the model is the same with all of them.
        b_scale: learning rate of B as a multiple of A's (LoRA+, arXiv 2402.12354).
    """

    type: Literal["lora", "dora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    rank_stabilised: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | None = Field(default=None, min_length=1)
    initialisation: Literal["uniform", "gaussian", "orthogonal"] = "uniform"
    b_scale: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _rank_can_be_split(self) -> Lora:
        if self.initialisation == "orthogonal" and self.rank % 2:
            raise ValueError(f"initialisation: orthogonal needs an even rank, found {self.rank}")
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

    @model_validator(mode="after")
    def _has_an_effect(self) -> Schedule:
        for name in ("decay_from", "floor"):
            if self.type == "constant" and getattr(self, name):
                raise ValueError(f"{name} has no effect with type constant; remove it, or set type to linear")
        return self


class ModulePolicy(StrictConfig):
    """How one module is trained in a stage.

    Attributes:
        mode: ``frozen``, ``lora``, ``full``, or for the language model ``embeddings`` (token embeddings and output
            head alone).
        learning_rate: at its highest; needed unless frozen.
        weight_decay: of matrices; norms, biases and embeddings have none.
        warmup: steps over which the rate rises from 0, or below 1 this part of the stage; the stage's unless said.
        schedule: the stage's unless said.
        layer_decay: for the vision encoder and the language model: layer i of n has learning_rate times this to the
            power of n - i, what stands before the first layer is layer 0 (as BEiT is trained, arXiv 2106.08254).
        lora: settings, for ``lora``.
        embeddings: for the language model with ``lora``: whether its token embeddings and output head are trained too,
            in full (as VisualCLA's are).
        new_rows: for the language model with ``lora`` or ``embeddings``: of embeddings and output head the rows from
            this one on are trained alone, those of tokens that were added.
        embeddings_learning_rate: of embeddings and output head beside the rest of the language model; ``learning_rate``
            unless said.
        base: what weights that are not trained are held in: ``fp32``, ``bf16``, or ``nf4`` for linear layers in 4 bits
            (QLoRA, arXiv 2305.14314). Unless said, ``bf16`` where the recipe's precision is that and no number of the
            module changes by it, else ``fp32``. Trained weights are in fp32 always.
        gradient_checkpointing: keep the inputs of layers alone for the backward pass and compute the rest again (arXiv
            1604.06174).
    """

    mode: Mode
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: Warmup | None = None
    schedule: Schedule | None = None
    layer_decay: float | None = Field(default=None, gt=0, lt=1)
    lora: Lora | None = None
    embeddings: bool = False
    new_rows: int | None = Field(default=None, ge=1)
    embeddings_learning_rate: float | None = Field(default=None, gt=0)
    base: Base | None = None
    gradient_checkpointing: bool = False

    @property
    def trains_embeddings(self) -> bool:
        """Whether token embeddings and output head are trained beside something else or alone, by rows or in full."""
        return self.mode == "embeddings" or self.embeddings or self.new_rows is not None

    @model_validator(mode="after")
    def _has_an_effect(self) -> ModulePolicy:
        for name, modes in _MODES_OF.items():
            if getattr(self, name) == type(self).model_fields[name].default or self.mode in modes:
                continue
            if self.mode == "frozen":
                raise ValueError(f"{name} has no effect on a frozen module; remove it")
            raise ValueError(f"{name} has no effect in mode {self.mode}; remove it, or set mode to {modes[-1]}")
        if self.mode != "frozen" and self.learning_rate is None:
            raise ValueError(f"learning_rate: this key is required for mode {self.mode}")
        if self.embeddings and self.new_rows is not None:
            raise ValueError("new_rows has no effect where embeddings are trained in full; remove one of the two")
        if self.mode == "lora" and self.embeddings_learning_rate is not None and not self.trains_embeddings:
            raise ValueError("embeddings_learning_rate has no effect; remove it, or set embeddings to true")
        return self


# Modes in which a setting has an effect, the commonest last.
_MODES_OF: dict[str, tuple[Mode, ...]] = {
    "learning_rate": ("embeddings", "lora", "full"),
    "weight_decay": ("lora", "full"),
    "warmup": ("embeddings", "lora", "full"),
    "schedule": ("embeddings", "lora", "full"),
    "layer_decay": ("lora", "full"),
    "lora": ("lora",),
    "embeddings": ("lora",),
    "new_rows": ("embeddings", "lora"),
    "embeddings_learning_rate": ("full", "lora"),
    "base": ("frozen", "embeddings", "lora"),
}
# Settings that only a language model has.
OF_LANGUAGE = ("embeddings", "new_rows", "embeddings_learning_rate")


def check_modules(modules: Mapping[ModuleName, ModulePolicy]) -> None:
    """Refuse what a module cannot do, whatever the model is.

    Raises:
        ValueError: naming the key.
    """
    for name, policy in modules.items():
        if name != "language":
            if policy.mode == "embeddings":
                raise ValueError(f"modules.{name}.mode: only the language model has embeddings; choose full")
            for key in OF_LANGUAGE:
                if getattr(policy, key) != ModulePolicy.model_fields[key].default:
                    raise ValueError(f"modules.{name}.{key}: only the language model has token embeddings; remove it")
        if name == "connector" and policy.layer_decay is not None:
            raise ValueError("modules.connector.layer_decay: a connector's layers are trained alike; remove it")
        if policy.gradient_checkpointing and not _passed_by_gradients(name, modules):
            raise ValueError(
                f"modules.{name}.gradient_checkpointing has no effect, no gradient passes through it; remove it"
            )


def _passed_by_gradients(name: ModuleName, modules: Mapping[ModuleName, ModulePolicy]) -> bool:
    """Whether it or a module in front of it is trained."""
    before = MODULES[: MODULES.index(name) + 1]
    return any(modules[other].mode != "frozen" for other in before if other in modules)


class Optimizer(StrictConfig):
    """The optimiser of a stage.

    Attributes:
        type: ``adamw`` (arXiv 1711.05101), ``adamw_8bit`` with its moments in 8 bits (arXiv 2110.02861), or ``muon``
            (Jordan et al. 2024) for hidden matrices and AdamW for the rest.
        betas: of AdamW.
        eps: of AdamW.
        matrix_scale: Muon's learning rate as a multiple of the module's; 6 unless said.
        momentum: of Muon; 0.95 unless said.
    """

    type: Literal["adamw", "adamw_8bit", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    matrix_scale: float = Field(default=6.0, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)

    @model_validator(mode="after")
    def _has_an_effect(self) -> Optimizer:
        for name in ("matrix_scale", "momentum"):
            if self.type != "muon" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with type {self.type}; remove it, or set type to muon")
        return self
