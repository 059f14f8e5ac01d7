"""What `tuwen train --plan` says of memory against what training takes, on the devices of this machine.

    python benchmarks/plan.py RECIPE [key=value …] [--stage 0] [--tokens-per-sample 512]
    torchrun --nproc_per_node 8 benchmarks/plan.py RECIPE distribution.type=fsdp

The model has the sizes that the recipe names and random weights; neither data nor checkpoints are needed. A batch of
the planned shape is trained on for some steps. On GPUs the peak is that of torch's allocator; on processors, for models
of toy size, what the allocator gives out within a step, with weights, optimiser and DDP's buckets, which are there
before it. Prints both sides, and how fast a pass was.
"""

from __future__ import annotations

import argparse
import time

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.profiler import ProfilerActivity, profile

from tuwen.data.collator import Batch
from tuwen.models.attention import prefer_packed
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.engines.base import Engine, start_engine
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.modules.lora import add_lora
from tuwen.train.modules.optimizer import GroupedOptimizer, make_groups
from tuwen.train.modules.placement import place_weights
from tuwen.train.plan import PlanRequest, StagePlan, plan_run
from tuwen.train.planning.amounts import Assumed
from tuwen.train.planning.devices import peak_flops
from tuwen.train.planning.inputs import planned_config
from tuwen.train.planning.rehearsal import BatchShape
from tuwen.train.recipe import Recipe, find_recipe, read_recipe
from tuwen.train.stage import Stage
from tuwen.vision.grid import Grid

GIB = 2**30
STEPS = 3


def main() -> None:
    """Plan, train a few steps, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--tokens-per-sample", type=int, default=512)
    chosen = parser.parse_args()
    recipe = read_recipe(find_recipe(chosen.recipe), chosen.overrides)
    on_gpu = torch.cuda.is_available()
    accelerator = Accelerator(
        cpu=not on_gpu,
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    assumed = Assumed(samples=10**6, tokens=chosen.tokens_per_sample)
    planned = plan_run(recipe, PlanRequest(devices=accelerator.num_processes, assumed=assumed)).stages[chosen.stage]
    training = Training(recipe, planned, accelerator)
    measured, seconds = training.run()
    # Each row is one sample, and nothing of it is padding.
    shape = planned.amounts.shape
    squares, places = shape.rows * shape.length**2, shape.answers + shape.regions
    rate = planned.flops.of(shape.rows * shape.length, squares, shape.tiles, places) / seconds
    name = torch.cuda.get_device_name() if on_gpu else "processor"
    most = peak_flops(name, torch.bfloat16)
    console = Console(quiet=not accelerator.is_main_process, width=120)
    console.print(f"{accelerator.num_processes} × {name}, {recipe.distribution.type}, {recipe.precision}, {shape}")
    console.print(f"planned {planned.memory.peak / GIB:.3f} GiB, measured {measured / GIB:.3f} GiB")
    console.print(f"planned / measured {planned.memory.peak / measured:.3f}")
    console.print(f"{rate / 1e12:.3g} TFLOP/s each" + (f", {100 * rate / most:.1f}% of its peak" if most else ""))
    accelerator.end_training()


class Training:
    """A stage with random weights.

    Args:
        recipe: of the run.
        planned: the stage.
        accelerator: knows devices and processes.
    """

    def __init__(self, recipe: Recipe, planned: StagePlan, accelerator: Accelerator) -> None:
        self.stage: Stage = planned.stage.model_copy(update={"steps": STEPS, "epochs": None})
        self.accelerator, ways = accelerator, recipe.distribution
        with torch.device("meta"):
            self.model = TuwenForConditionalGeneration(planned_config(recipe))
        self.model.tie_weights()
        torch.manual_seed(0)
        give_random_weights(self.model)
        prefer_packed(self.model, accelerator.device)
        add_lora(self.model, self.stage)
        groups = make_groups(self.model, self.stage)
        whole = ways.type == "ddp"
        place_weights(self.model, self.stage, recipe.precision, accelerator.device if whole else None)
        set_gradient_checkpointing(self.model, self.stage)
        trained = TrainedModel(self.model.train(), self.stage.sums)
        self.engine: Engine = start_engine(trained, ways, accelerator)
        groups = make_groups(self.model, self.stage) if self.engine.splits else groups
        self.optimizer = GroupedOptimizer(groups, self.stage)
        self.engine.bind(self.optimizer)
        self.batch = random_batch(self.model, planned.amounts.shape).to(accelerator.device)
        self.buckets = 4 * sum(tensor.numel() for group in groups for tensor in group.tensors)
        self.buckets *= whole and accelerator.num_processes > 1

    def run(self) -> tuple[float, float]:
        """The most bytes at once, and seconds of a pass."""
        self.backward()
        self.engine.update(0)
        if self.accelerator.device.type == "cuda":
            for place in range(1, STEPS):
                seconds = self.timed_backward()
                self.engine.update(place)
            return float(torch.cuda.max_memory_allocated()), seconds
        seconds = self.timed_backward()
        self.engine.forget()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            self.backward()
        assert profiled.profiler is not None
        now = most = 0
        for event in profiled.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                most = max(most, now)
        weights = sum(held(weight) for weight in self.model.parameters())
        states = sum(held(state) for state in self.optimizer.state_tensors().values())
        return most + weights + states + self.buckets, seconds

    def backward(self) -> None:
        """The passes of a step."""
        for place in range(self.stage.accumulate):
            with self.engine.accumulating(last=place == self.stage.accumulate - 1):
                losses = self.engine.losses(self.batch)
                self.engine.backward(torch.stack([loss.sum() for loss in losses.values()]).sum())

    def timed_backward(self) -> float:
        """Seconds of each pass of a step."""
        started = time.monotonic()
        self.backward()
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.monotonic() - started) / self.stage.accumulate


def held(tensor: Tensor) -> int:
    """Bytes that this process holds of a tensor."""
    return tensor.to_local().nbytes if isinstance(tensor, DTensor) else tensor.nbytes


def give_random_weights(model: nn.Module) -> None:
    """Numbers of bf16, as most published models have, for all tensors of a model on the ``meta`` device."""
    done: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) not in done:
                made = torch.empty(weight.shape, dtype=torch.bfloat16).normal_(std=0.02)
                done[id(weight)] = nn.Parameter(made.to(weight.dtype))
            setattr(module, name, done[id(weight)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            counted = torch.arange(buffer.numel(), dtype=torch.float).view(buffer.shape)
            # Places are counted; frequencies of rotary positions are below 1.
            setattr(module, name, (counted / (buffer.numel() if buffer.is_floating_point() else 1)).to(buffer.dtype))


def random_batch(model: TuwenForConditionalGeneration, shape: BatchShape) -> Batch:
    """Rows of one sample each; pictures stand where they come first."""
    rows, length, image = max(1, shape.rows), max(1, shape.length), model.config.image_token_id
    ids, labels = torch.full((rows, length), image + 1), torch.full((rows, length), -100)
    ids.view(-1)[: model.config.num_image_tokens(Grid(shape.tiles, shape.height, shape.width))] = image
    labels.view(-1)[rows * length - shape.answers :] = 1
    regions = torch.arange(shape.regions)
    return Batch(
        input_ids=ids,
        labels=labels,
        owners=torch.where(labels >= 0, torch.arange(rows)[:, None], -1),
        position_ids=torch.arange(length).repeat(rows, 1),
        segments=torch.zeros(rows, length, dtype=torch.long),
        parents=torch.full((rows, length), -1),
        trained=(labels >= 0).sum(dim=1),
        names=["sample"] * rows,
        tasks=["task"] * rows,
        pixel_values=torch.randn(shape.tiles, 3, shape.height, shape.width),
        region_places=regions,
        region_tokens=torch.zeros_like(regions),
        region_weights=torch.ones(shape.regions),
        pictures=shape.tiles,
    )


if __name__ == "__main__":
    main()
