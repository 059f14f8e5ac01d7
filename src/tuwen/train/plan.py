"""What a recipe would train, said before it is trained."""

from __future__ import annotations

from rich.table import Table

from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.optimizer import Group, named_module_parameters
from tuwen.train.recipe import Stage


def describe_groups(model: TuwenForConditionalGeneration, groups: list[Group], stage: Stage) -> Table:
    """A table of every module: tensors, parameters, what is trained, at which rate, by which rule."""
    table = Table(title=f"stage {stage.name}: {stage.steps} steps, {stage.groups} groups a batch", title_justify="left")
    for heading in ("module", "mode", "parameters", "trained", "rule", "learning rate", "decay", "dtype"):
        table.add_column(heading, justify="right" if heading in ("parameters", "trained") else "left")
    for module, parameters in named_module_parameters(model).items():
        policy = stage.modules.get(module)
        total = sum(tensor.numel() for _, tensor in parameters)
        here = [group for group in groups if group.module == module]
        table.add_row(
            module,
            policy.mode if policy else "frozen",
            f"{total:,}",
            f"{sum(tensor.numel() for group in here for tensor in group.tensors):,}",
            ", ".join(dict.fromkeys(group.rule for group in here)) or "-",
            ", ".join(dict.fromkeys(f"{group.learning_rate:.1e}" for group in here)) or "-",
            ", ".join(dict.fromkeys(f"{group.weight_decay:g}" for group in here)) or "-",
            ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for _, tensor in parameters})),
        )
    return table
