"""How the processes of a run hold the model and meet in each step; one file for each way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tuwen.config import Registry
from tuwen.data.collator import Batch
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.optimizer import Group, GroupedOptimizer
from tuwen.train.settings import Distribution
from tuwen.train.stage import SumName

_HERE = "tuwen.train.engines"
ENGINES = Registry(
    "distribution",
    {
        "ddp": f"{_HERE}.ddp",
        "fsdp": f"{_HERE}.fsdp",
        "zero2": f"{_HERE}.deepspeed",
        "zero3": f"{_HERE}.zero3",
    },
)


class Engine:
    """One process with the whole model; others build on it.

    Args:
        trained: the model with its losses; which of its tensors are trained is settled.
        settings: from the recipe.
        accelerator: knows the processes.

    Attributes:
        splits: whether processes hold tensors in parts, and the model cannot be used without this engine again.
    """

    splits = False

    def __init__(self, trained: TrainedModel, settings: Distribution, accelerator: Accelerator) -> None:
        self.trained, self.settings, self.accelerator = trained, settings, accelerator
        self.module: nn.Module = trained

    def bind(self, optimizer: GroupedOptimizer) -> None:
        """Take over the optimiser of the stage, made after this engine, since engines may replace tensors."""
        self.optimizer = optimizer

    def losses(self, batch: Batch) -> dict[SumName, Tensor]:
        """Sums of each objective, see ``TrainedModel``."""
        with self.accelerator.autocast():
            found: dict[SumName, Tensor] = self.module(batch)
        return found

    def backward(self, loss: Tensor) -> None:
        """Gradients of a part of the step's loss, added to those that are there.

        Gradients of all processes together are those of the sum over processes of what each of them gives.
        """
        # Engines average over processes.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def accumulating(self, last: bool) -> AbstractContextManager[object]:
        """Around the passes of a batch; only after the ``last`` of a step processes need to meet."""
        return nullcontext()

    def reached(self, tensor: Tensor) -> bool:
        """Whether a tensor has a gradient from this process."""
        return tensor.grad is not None

    def clip(self, groups: Sequence[Group], limit: float) -> float:
        """Scale all gradients to a norm of at most ``limit`` (0: no limit); returns the norm before."""
        tensors = [tensor for group in groups for tensor in group.tensors]
        norm = torch.nn.utils.clip_grad_norm_(tensors, limit or math.inf)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def update(self, place: float) -> dict[str, float]:
        """Change all tensors by their gradients and forget those; returns each module's learning rate."""
        return self.optimizer.step(place)

    def forget(self) -> None:
        """Drop the gradients."""
        for optimizer in self.optimizer.torch_optimizers:
            optimizer.zero_grad(set_to_none=True)

    def shape(self, tensor: Tensor) -> torch.Size:
        """Of a tensor of the model as a whole."""
        return tensor.shape

    def held(self, tensor: Tensor) -> Tensor:
        """What this process holds of a tensor of the model; who changes the one changes the other."""
        return tensor

    def whole(self, held: Tensor, tensor: Tensor) -> Tensor:
        """What processes may hold in parts, as one tensor without a gradient; all of them must ask for it.

        Args:
            held: what this process has: of ``tensor`` itself, or of something of its shape.
            tensor: of the model.
        """
        held = held.detach()
        return held.full_tensor() if isinstance(held, DTensor) else held

    def as_held(self, whole: Tensor, tensor: Tensor) -> Tensor:
        """A whole tensor that every process has, in the parts in which they hold ``tensor``."""
        whole = whole.to(tensor.device)
        if isinstance(tensor, DTensor):
            return distribute_tensor(whole, tensor.device_mesh, tensor.placements)
        return whole

    @torch.no_grad()
    def assign(self, tensor: Tensor, value: Tensor) -> None:
        """Give a tensor new values from a whole one that every process has."""
        tensor.copy_(self.as_held(value, tensor))

    def give_back(self) -> None:
        """Keep nothing of the weights that a pass without gradients has gathered: they may change before the next."""

    def release(self) -> None:
        """Let go of the model at the end of a stage."""


def start_engine(trained: TrainedModel, settings: Distribution, accelerator: Accelerator) -> Engine:
    """The engine that a recipe asks for.

    Raises:
        TuwenError: when it cannot work with this model or these processes.
    """
    kind = ENGINES.get(settings.type)
    engine: Engine = kind(trained, settings, accelerator)
    return engine
