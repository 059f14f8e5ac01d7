"""What two processes that hold a model in parts must find; started by ``test_optimizer``."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tests.models.compositions import compose
from tests.train.stages import backward, stage_of
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules.ema import MovingAverage
from tuwen.train.modules.groups import make_groups
from tuwen.train.modules.lora import add_lora
from tuwen.train.modules.optimizer import GroupedOptimizer


def whole(held: Tensor, tensor: Tensor | None = None) -> Tensor:
    return held.full_tensor() if isinstance(held, DTensor) else held


def as_held(value: Tensor, tensor: Tensor) -> Tensor:
    return distribute_tensor(value, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else value


class Run:
    """Steps of a model, held whole or in parts."""

    def __init__(self, model: TuwenForConditionalGeneration, kind: str, split: bool) -> None:
        stage = stage_of(
            {"connector": {"mode": "full"}, "language": {"mode": "lora", "embeddings": True}},
            optimizer={"type": kind},
        )
        self.model = copy.deepcopy(model)
        add_lora(self.model, stage)
        make_groups(self.model, stage)
        if split:
            mesh = init_device_mesh("cpu", (dist.get_world_size(),))
            for block in [*self.model.model.language_model.layers, self.model]:
                fully_shard(block, mesh=mesh)
        groups = make_groups(self.model, stage)
        assert all(isinstance(tensor, DTensor) == split for group in groups for tensor in group.tensors)
        self.optimizer, self.average = GroupedOptimizer(groups, stage), MovingAverage(groups, 0.9)
        self.model.train()

    def steps(self, steps: range) -> None:
        for step in steps:
            backward(self.model, seed=step)
            self.optimizer.step(step)
            self.average.update()

    def drawn_steps(self, steps: range) -> None:
        """Steps with gradients that are the same however tensors are held."""
        for step in steps:
            torch.manual_seed(step)
            for group in self.optimizer.groups:
                for tensor in group.tensors:
                    tensor.grad = as_held(torch.randn(tensor.shape), tensor)
            self.optimizer.step(step)
            self.average.update()

    def weights(self) -> dict[str, Tensor]:
        return {name: whole(tensor.detach()).clone() for name, tensor in self.model.named_parameters()}


def check(kind: str) -> None:
    torch.manual_seed(0)
    model = compose(connector={"type": "mlp"})
    torch.manual_seed(1)
    one = Run(model, kind, split=False)
    torch.manual_seed(1)
    two = Run(model, kind, split=True)
    before = two.weights()
    for run in (one, two):
        run.drawn_steps(range(3))
    mine, theirs = one.weights(), two.weights()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        # Muon forms its matrices in bf16.
        near = 0.1 if kind == "muon" and value.ndim == 2 else 1e-4
        moved = float((value - before[name]).abs().max())
        assert float((value - theirs[name]).abs().max()) <= near * moved, name
    optimizer, average = two.optimizer.state_tensors(whole), two.average.state_tensors(whole)
    assert optimizer.keys() == one.optimizer.state_tensors().keys()
    assert average.keys() == one.average.state_tensors().keys()
    assert not any(isinstance(tensor, DTensor) for tensor in [*optimizer.values(), *average.values()])

    torch.manual_seed(1)
    again = Run(model, kind, split=True)
    for name, tensor in again.model.named_parameters():
        tensor.data.copy_(as_held(theirs[name], tensor))
    again.optimizer.load_state_tensors(optimizer, as_held)
    again.average.load_state_tensors(average, as_held)
    for run in (two, again):
        run.steps(range(3, 5))
    two.average.take()
    with again.average.swapped():
        found = again.weights()
    for name, value in two.weights().items():
        assert torch.equal(value, found[name]), name


if __name__ == "__main__":
    dist.init_process_group("gloo")
    check("adamw")
    check("muon")
    dist.destroy_process_group()
