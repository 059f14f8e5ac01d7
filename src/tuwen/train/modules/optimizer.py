"""The optimisers of a stage: AdamW, AdamW with moments in 8 bits, Muon; driven together, kept and taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon
from torch.optim import Optimizer as TorchOptimizer

from tuwen.config import MissingExtraError, TuwenError
from tuwen.train.modules.groups import Group, make_groups, named_module_parameters, schedule_factor
from tuwen.train.stage import Stage

__all__ = ["Group", "GroupedOptimizer", "make_groups", "named_module_parameters", "schedule_factor"]

# Devices on which torch updates many tensors by one kernel.
FUSED = ("cpu", "cuda", "mps", "xpu")


class GroupedOptimizer:
    """The optimisers of a stage, driven together.

    Args:
        groups: from ``make_groups``.
        stage: the stage they belong to.

    Raises:
        TuwenError: when an optimiser cannot work with tensors that are split over processes.
        MissingExtraError: when one is not installed.
    """

    def __init__(self, groups: list[Group], stage: Stage) -> None:
        self.groups = groups
        assert stage.steps is not None, "a stage that is run has its steps counted"
        self.steps = stage.steps
        self._parts: list[tuple[TorchOptimizer, list[Group]]] = []
        for rule, make in RULES.items():
            if members := [group for group in groups if group.rule == rule]:
                self._parts.append((make(members, stage), members))

    @property
    def torch_optimizers(self) -> list[TorchOptimizer]:
        """The optimisers underneath."""
        return [optimizer for optimizer, _ in self._parts]

    def replace(self, by: Callable[[TorchOptimizer], TorchOptimizer]) -> None:
        """Put another optimiser in the place of each, e.g. an engine's that drives it."""
        self._parts = [(by(optimizer), groups) for optimizer, groups in self._parts]

    def step(self, step: float) -> dict[str, float]:
        """Update all tensors in step ``step`` (from 0); returns the highest rate of each module by the first rule."""
        rates: dict[str, float] = {}
        for optimizer, groups in self._parts:
            highest: dict[str, float] = {}
            for settings, group in zip(optimizer.param_groups, groups, strict=True):
                settings["lr"] = group.rate(step, self.steps)
                highest[group.module] = max(settings["lr"], highest.get(group.module, 0.0))
            for module, rate in highest.items():
                # Muon's, which come last, are of another scale.
                rates.setdefault(module, rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return rates

    def state_tensors(self, whole: Callable[[Tensor, Tensor], Tensor] = lambda held, tensor: held) -> dict[str, Tensor]:
        """All that the optimisers keep, by the tensor's name and theirs: ``NAME/exp_avg``, ``NAME/step`` ….

        Tensors that were never updated have nothing. What is given is what the next step changes, not a copy.

        Args:
            whole: (what this process holds, the trained tensor that it belongs to and is held like) → one tensor of the
                parts of all processes; they all call this method together.
        """
        found: dict[str, Tensor] = {}
        for optimizer, groups in self._parts:
            for name, tensor in _named(groups):
                for key, value in optimizer.state.get(tensor, {}).items():
                    if not isinstance(value, Tensor):
                        # Some count their steps in plain numbers.
                        value = torch.tensor(value)
                    value = whole(value, tensor) if value.ndim else value
                    # Beside moments there are small tables that all of them share, which a file cannot.
                    found[f"{name}/{key}"] = value if value.shape == tensor.shape else value.clone()
        return found

    def load_state_tensors(
        self,
        tensors: Mapping[str, Tensor],
        as_held: Callable[[Tensor, Tensor], Tensor] = lambda whole, tensor: whole.to(tensor.device, copy=True),
    ) -> None:
        """Take up what ``state_tensors`` gave; the next step is then what it would have been.

        Args:
            tensors: from ``state_tensors``, whole.
            as_held: (a whole tensor, the trained tensor that it belongs to and has the shape of) → the part of it that
                this process holds.

        Raises:
            TuwenError: when one belongs to no tensor that is trained.
        """
        by_name: dict[str, dict[str, Tensor]] = {}
        for full_name, value in tensors.items():
            name, _, key = full_name.rpartition("/")
            by_name.setdefault(name, {})[key] = value
        for optimizer, groups in self._parts:
            # Where the run goes back to its beginning, what was gathered since is forgotten. All of it comes first:
            # engines may keep the state of a group as one.
            for _, tensor in _named(groups):
                optimizer.state.pop(tensor, None)
            for name, tensor in _named(groups):
                if kept := by_name.pop(name, {}):
                    optimizer.state[tensor] = {key: _restored(value, tensor, as_held) for key, value in kept.items()}
        if by_name:
            raise TuwenError(f"optimizer: {min(by_name)} is not among the tensors that are trained")


def _named(groups: list[Group]) -> list[tuple[str, nn.Parameter]]:
    return [pair for group in groups for pair in zip(group.names, group.tensors, strict=True)]


def _restored(value: Tensor, tensor: Tensor, as_held: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if value.ndim:
        return as_held(value, tensor)
    return value.to(tensor.device) if value.is_floating_point() else int(value)


def _adamw(groups: list[Group], stage: Stage) -> TorchOptimizer:
    devices = {tensor.device.type for group in groups for tensor in group.tensors}
    fused = devices <= set(FUSED)
    settings = stage.optimizer
    return AdamW(_as_torch(groups), betas=settings.betas, eps=settings.eps, fused=fused, foreach=not fused)


def _adamw_8bit(groups: list[Group], stage: Stage) -> TorchOptimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise MissingExtraError("bitsandbytes", "qlora") from None
    if any(isinstance(tensor, DTensor) for group in groups for tensor in group.tensors):
        raise TuwenError(
            f"stages.{stage.name}.optimizer.type: adamw_8bit cannot work with tensors that are split over processes; "
            "choose adamw, or distribution.type ddp"
        )
    settings = stage.optimizer
    optimizer: TorchOptimizer = AdamW8bit(_as_torch(groups), betas=settings.betas, eps=settings.eps)
    return optimizer


def _muon(groups: list[Group], stage: Stage) -> TorchOptimizer:
    return Muon(_as_torch(groups), momentum=stage.optimizer.momentum)


RULES: dict[str, Callable[[list[Group], Stage], TorchOptimizer]] = {
    "adamw": _adamw,
    "adamw_8bit": _adamw_8bit,
    "muon": _muon,
}


def _as_torch(groups: list[Group]) -> list[dict[str, Any]]:
    return [
        {"params": group.tensors, "lr": group.learning_rate, "weight_decay": group.weight_decay} for group in groups
    ]
