"""What `tuwen train --plan` says of memory against what training takes, on this machine's device.

    python benchmarks/plan.py RECIPE [key=value …] [--stage 0] [--tokens-per-sample 512] [--steps 3]

The model has the sizes that the recipe names and random weights; no data and no checkpoint is needed. A batch of the
shape that is planned is put through the steps of training: forward, backward, optimiser. On a GPU the peak is that of
torch's allocator, whole; on a processor, for recipes of toy size, that of the steps after the first, weights and
optimiser added. Prints both sides, and the model FLOPs utilisation of the last step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tuwen.data.collator import Batch
from tuwen.models.attention import prefer_packed
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.lora import add_lora
from tuwen.train.losses import TrainedModel
from tuwen.train.optimizer import GroupedOptimizer, make_groups
from tuwen.train.placement import place_weights
from tuwen.train.plan import PlanRequest, StagePlan, plan_run
from tuwen.train.planning.amounts import Assumed
from tuwen.train.planning.devices import peak_flops
from tuwen.train.planning.inputs import planned_config
from tuwen.train.planning.rehearsal import BatchShape
from tuwen.train.recipe import Recipe, find_recipe, read_recipe
from tuwen.vision.grid import Grid

GIB = 2**30


def main() -> None:
    """Plan, train a few steps, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--tokens-per-sample", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    chosen = parser.parse_args()
    recipe = read_recipe(find_recipe(chosen.recipe), chosen.overrides)
    assumed = Assumed(samples=10**6, tokens=chosen.tokens_per_sample)
    stage = plan_run(recipe, PlanRequest(assumed=assumed)).stages[chosen.stage]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    peak, seconds = train(recipe, stage, device, chosen.steps)
    console = Console()
    console.print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'processor'}, {stage.amounts.shape}")
    console.print(f"planned  {stage.memory.peak / GIB:8.3f} GiB")
    console.print(f"measured {peak / GIB:8.3f} GiB   planned / measured {stage.memory.peak / peak:.3f}")
    most = peak_flops(torch.cuda.get_device_name(), torch.bfloat16) if device.type == "cuda" else None
    # One batch of the step that is planned, not packed full with samples: nothing of it is padding.
    rate = operations(stage) / seconds
    console.print(f"{rate / 1e12:.3g} TFLOP/s" + (f", {100 * rate / most:.1f}% of {most / 1e12:.0f}" if most else ""))


def operations(stage: StagePlan) -> float:
    """Of one batch, each row one sample."""
    shape = stage.amounts.shape
    return stage.flops.of(
        shape.rows * shape.length, shape.rows * shape.length**2, shape.tiles, shape.answers + shape.regions
    )


def train(recipe: Recipe, planned: StagePlan, device: torch.device, steps: int) -> tuple[float, float]:
    """Some steps with random weights; the most memory at once in bytes, and the seconds of the last one."""
    stage = planned.stage.model_copy(update={"steps": steps, "epochs": None})
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(planned_config(recipe))
    model.tie_weights()
    with_random_weights(model)
    prefer_packed(model, device)
    add_lora(model, stage)
    groups = make_groups(model, stage)
    place_weights(model, stage, recipe.precision, device)
    set_gradient_checkpointing(model, stage)
    trained = TrainedModel(model.train(), stage.wanted)
    optimizer = GroupedOptimizer(groups, stage)
    batch = random_batch(model, planned.amounts.shape).to(device)
    seconds = 0.0

    def step() -> None:
        for _ in range(stage.accumulate):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                sums = trained(batch)
            torch.stack([value.sum() for value in sums.values()]).sum().backward()

    for number in range(steps):
        if number == 1:
            peak = most_allocated(step, model, device)
        else:
            step()
        optimizer.step(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
    started = time.monotonic()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
        peak = float(torch.cuda.max_memory_allocated())
    else:
        peak += sum(weight.nbytes for weight in model.parameters())
        peak += sum(state.nbytes for state in optimizer.state_tensors().values())
    seconds = (time.monotonic() - started) / stage.accumulate
    return peak, seconds


def most_allocated(step: Callable[[], None], model: nn.Module, device: torch.device) -> float:
    """The most that a step allocates at once on a processor; a GPU's allocator knows it by itself."""
    if device.type == "cuda":
        step()
        return 0.0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    assert profiled.profiler is not None
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return float(most)


def with_random_weights(model: nn.Module) -> None:
    """Numbers for a model on the ``meta`` device, one tensor at a time; published ones are in bf16, so are these."""
    done: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) not in done:
                made = torch.empty(weight.shape, dtype=torch.bfloat16).normal_(std=0.02)
                done[id(weight)] = nn.Parameter(made.to(weight.dtype))
            setattr(module, name, done[id(weight)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            made = torch.arange(buffer.numel()).view(buffer.shape) if "ids" in name else torch.rand(buffer.shape)
            module.register_buffer(name, made.to(buffer.dtype), persistent=name in module.state_dict())


def random_batch(model: TuwenForConditionalGeneration, shape: BatchShape) -> Batch:
    """Rows of one sample each; pictures stand where they come first."""
    rows, length = max(1, shape.rows), max(1, shape.length)
    config, pixels = model.config, torch.randn(shape.tiles, 3, shape.height, shape.width)
    places = config.num_image_tokens(Grid(shape.tiles, shape.height, shape.width))
    ids, labels = torch.full((rows, length), config.image_token_id + 1), torch.full((rows, length), -100)
    ids.view(-1)[:places] = config.image_token_id
    labels.view(-1)[-shape.answers :] = 1
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
        pixel_values=pixels,
        region_places=regions,
        region_tokens=torch.zeros_like(regions),
        region_weights=torch.ones(shape.regions),
        pictures=shape.tiles,
    )


if __name__ == "__main__":
    main()
