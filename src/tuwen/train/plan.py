"""What a recipe would train, said before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table

from tuwen.checkpoints.build import plan_model
from tuwen.checkpoints.folder import read_config
from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.recipe import ModelRecipe
from tuwen.train.lora import add_lora, fold_lora
from tuwen.train.optimizer import Group, make_groups, named_module_parameters
from tuwen.train.recipe import Recipe, find_recipe, read_recipe
from tuwen.train.stage import Stage

# Bytes that the optimiser keeps for a trained number: two moments for AdamW, one for Muon, all in fp32.
STATE_BYTES = {"adamw": 8, "muon": 4}


def plan(recipe: str | Path, overrides: Sequence[str] = ()) -> RenderableType:
    """What a recipe trains, stage by stage, and the memory that weights and optimiser need (`tuwen train --plan`).

    No weight is read and none is made.

    Raises:
        TuwenError: as ``train`` would, for what can be seen without data and weights.
    """
    chosen = read_recipe(find_recipe(recipe), list(overrides))
    return Lines(*(part for stage in chosen.stages for part in _plan_stage(chosen, stage)))


def _plan_stage(recipe: Recipe, stage: Stage) -> list[RenderableType]:
    model = _model(recipe)
    adapter = add_lora(model, stage)
    groups = make_groups(model, stage)
    table = describe_groups(model, groups, stage)
    weights = 4 * sum(tensor.numel() for tensor in model.parameters())
    gradients = 4 * sum(tensor.numel() for group in groups for tensor in group.tensors)
    states = sum(STATE_BYTES[group.rule] * tensor.numel() for group in groups for tensor in group.tensors)
    if adapter is not None:
        fold_lora(model)
    return [
        table,
        f"memory besides activations: weights {_size(weights)}, gradients {_size(gradients)}, "
        f"optimiser {_size(states)}, together {_size(weights + gradients + states)}",
        f"data: {stage.duration} of {stage.batch} for each process\n",
    ]


def _model(recipe: Recipe) -> TuwenForConditionalGeneration:
    if isinstance(recipe.model, ModelRecipe):
        return plan_model(recipe.model)
    config: TuwenConfig = read_config(recipe.model)
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(config)
    model.tie_weights()
    return model


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def describe_groups(model: TuwenForConditionalGeneration, groups: Sequence[Group], stage: Stage) -> Table:
    """A table of what is trained: a row for every module and rule, with parameters, rate, decay and dtype."""
    title = f"stage {stage.name}: {stage.duration}, {stage.batch} a step"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("module", "mode", "parameters", "trained", "rule", "rate", "decay", "dtype"):
        table.add_column(heading, justify="right" if heading in ("parameters", "trained") else "left", no_wrap=True)
    for module, parameters in named_module_parameters(model).items():
        policy = stage.modules.get(module)
        total = f"{sum(tensor.numel() for _, tensor in parameters):,}"
        dtype = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for _, tensor in parameters}))
        first = [module, policy.mode if policy else "frozen", total]
        rows = [
            (
                f"{sum(tensor.numel() for tensor in group.tensors):,}",
                group.rule,
                f"{group.learning_rate:.1e}",
                f"{group.weight_decay:g}",
            )
            for group in groups
            if group.module == module
        ]
        for place, row in enumerate(rows or [("0", "-", "-", "-")]):
            table.add_row(*(first if place == 0 else [""] * 3), *row, dtype if place == 0 else "")
    return table
