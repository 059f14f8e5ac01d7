"""Which tensors are trained, by which rule, at which rate: every one in exactly one group."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.policies import MODULES, ModuleName, ModulePolicy, Schedule
from tuwen.train.stage import Stage


@dataclass(slots=True, kw_only=True)
class Group:
    """Tensors that are trained alike.

    Attributes:
        module: the module they belong to.
        rule: ``adamw`` or ``muon``.
        names: of the tensors.
        tensors: the tensors.
        learning_rate: at its highest.
        weight_decay: of this group.
        warmup: steps over which the rate rises.
        schedule: of the rate afterwards.
    """

    module: ModuleName
    rule: str
    names: list[str]
    tensors: list[nn.Parameter]
    learning_rate: float
    weight_decay: float
    warmup: int
    schedule: Schedule

    def rate(self, step: float, steps: int) -> float:
        """Learning rate in step ``step`` (from 0) of ``steps``."""
        return self.learning_rate * schedule_factor(self.schedule, self.warmup, step, steps)


def schedule_factor(schedule: Schedule, warmup: int, step: float, steps: int) -> float:
    """Part of the highest rate that holds in step ``step`` (from 0, also between two) of ``steps``."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    start = max(schedule.decay_from * steps, float(warmup))
    progress = min(1.0, max(0.0, (step - start) / max(1e-9, steps - start)))
    if schedule.type == "linear":
        fall = 1 - progress
    elif schedule.type == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        fall = 1.0
    return rise * (schedule.floor + (1 - schedule.floor) * fall)


def named_module_parameters(
    model: TuwenForConditionalGeneration,
) -> dict[ModuleName, list[tuple[str, nn.Parameter]]]:
    """Every tensor of the model under the module it belongs to; the output head counts as language."""
    owners: tuple[tuple[str, ModuleName], ...] = (
        ("model.vision_tower.", "vision"),
        ("model.connector.", "connector"),
        ("model.language_model.", "language"),
        ("lm_head.", "language"),
    )
    found: dict[ModuleName, list[tuple[str, nn.Parameter]]] = {name: [] for name in MODULES}
    for name, tensor in model.named_parameters():
        owner = next(module for prefix, module in owners if name.startswith(prefix))
        found[owner].append((name, tensor))
    return found


def make_groups(model: TuwenForConditionalGeneration, stage: Stage) -> list[Group]:
    """Set what is trained in this stage and sort it into groups.

    Raises:
        TuwenError: when a module that is to be trained has nothing to train.
    """
    hidden = _hidden_matrices(model)
    embeddings = {id(model.get_input_embeddings().weight), id(model.lm_head.weight)}
    groups: list[Group] = []
    for module, parameters in named_module_parameters(model).items():
        policy = stage.modules.get(module, ModulePolicy(mode="frozen"))
        chosen = [(name, tensor) for name, tensor in parameters if _is_trained(name, tensor, policy, embeddings)]
        picked = {id(tensor) for _, tensor in chosen}
        for _, tensor in parameters:
            tensor.requires_grad_(id(tensor) in picked)
        if policy.mode != "frozen" and not chosen:
            raise TuwenError(f"stages.{stage.name}.modules.{module}: it has no tensor to train; set it to frozen")
        groups += _split(module, policy, chosen, hidden, stage)
    return groups


def _is_trained(name: str, tensor: nn.Parameter, policy: ModulePolicy, embeddings: set[int]) -> bool:
    if policy.mode == "lora":
        return ".lora_" in name
    if policy.mode == "embeddings":
        return id(tensor) in embeddings
    return policy.mode == "full" and ".lora_" not in name


def _hidden_matrices(model: TuwenForConditionalGeneration) -> set[int]:
    """Matrices between hidden layers, which Muon is for: weights of linear layers, but not the output head."""
    return {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear) and module is not model.lm_head
    }


def _split(
    module: ModuleName,
    policy: ModulePolicy,
    parameters: Iterable[tuple[str, nn.Parameter]],
    hidden: set[int],
    stage: Stage,
) -> list[Group]:
    kinds: dict[tuple[str, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, tensor in parameters:
        rule = "muon" if stage.optimizer.type == "muon" and id(tensor) in hidden else "adamw"
        kinds.setdefault((rule, id(tensor) in hidden), []).append((name, tensor))
    groups = []
    for (rule, is_matrix), members in kinds.items():
        assert policy.learning_rate is not None
        scale = stage.optimizer.matrix_scale if rule == "muon" else 1.0
        groups.append(
            Group(
                module=module,
                rule=rule,
                names=[name for name, _ in members],
                tensors=[tensor for _, tensor in members],
                learning_rate=policy.learning_rate * scale,
                weight_decay=policy.weight_decay if is_matrix else 0.0,
                warmup=stage.warmup if policy.warmup is None else policy.warmup,
                schedule=policy.schedule or stage.schedule,
            )
        )
    return groups


class GroupedOptimizer:
    """The optimisers of a stage, driven together.

    Args:
        groups: from ``make_groups``.
        stage: the stage they belong to.
    """

    def __init__(self, groups: list[Group], stage: Stage) -> None:
        self.groups = groups
        assert stage.steps is not None, "a stage that is run has its steps counted"
        self.steps = stage.steps
        settings = stage.optimizer
        self._parts: list[tuple[Optimizer, list[Group]]] = []
        by_rule = {rule: [group for group in groups if group.rule == rule] for rule in ("adamw", "muon")}
        if by_rule["adamw"]:
            adamw = AdamW(_as_torch(by_rule["adamw"]), betas=settings.betas, eps=settings.eps, foreach=True)
            self._parts.append((adamw, by_rule["adamw"]))
        if by_rule["muon"]:
            muon = Muon(_as_torch(by_rule["muon"]), momentum=settings.momentum)
            self._parts.append((muon, by_rule["muon"]))

    @property
    def torch_optimizers(self) -> list[Optimizer]:
        """The optimisers underneath."""
        return [optimizer for optimizer, _ in self._parts]

    def step(self, step: float) -> dict[str, float]:
        """Update all tensors in step ``step`` (from 0); returns the highest rate of each module."""
        rates: dict[str, float] = {}
        for optimizer, groups in self._parts:
            for settings, group in zip(optimizer.param_groups, groups, strict=True):
                settings["lr"] = group.rate(step, self.steps)
                if group.rule == "adamw" or group.module not in rates:
                    rates[group.module] = settings["lr"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return rates


def _as_torch(groups: list[Group]) -> list[dict[str, object]]:
    return [
        {"params": group.tensors, "lr": group.learning_rate, "weight_decay": group.weight_decay} for group in groups
    ]


def clip_gradients(groups: list[Group], limit: float) -> float:
    """Scale all gradients to a norm of at most ``limit`` (0: no limit); returns the norm before."""
    tensors = [tensor for group in groups for tensor in group.tensors]
    return float(torch.nn.utils.clip_grad_norm_(tensors, limit or math.inf))
