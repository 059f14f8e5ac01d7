"""Which tensors are trained, by which rule, at which rate: every one in exactly one group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.modules import new_rows
from tuwen.train.policies import MODULES, Lora, ModuleName, ModulePolicy, Schedule
from tuwen.train.stage import Stage


@dataclass(slots=True, kw_only=True)
class Group:
    """Tensors that are trained alike.

    Attributes:
        module: the module they belong to.
        part: what of it: ``lora``, ``embeddings``, ``new rows``, or ``full`` for all of it or anything else.
        rule: ``adamw``, ``adamw_8bit`` or ``muon``.
        names: of the tensors.
        tensors: the tensors.
        learning_rate: at its highest.
        weight_decay: of this group.
        warmup: steps over which the rate rises, or below 1 this part of the stage.
        schedule: of the rate afterwards.
    """

    module: ModuleName
    part: str
    rule: str
    names: list[str]
    tensors: list[nn.Parameter]
    learning_rate: float
    weight_decay: float
    warmup: int | float
    schedule: Schedule

    def rate(self, step: float, steps: int) -> float:
        """Learning rate in step ``step`` (from 0) of ``steps``."""
        warmup = self.warmup if self.warmup >= 1 else self.warmup * steps
        return self.learning_rate * schedule_factor(self.schedule, warmup, step, steps)


def schedule_factor(schedule: Schedule, warmup: float, step: float, steps: int) -> float:
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
        TuwenError: when a module that is to be trained has nothing to train, or no layers where the recipe wants
            something of them.
    """
    hidden = _hidden_matrices(model)
    embeddings = {id(model.get_input_embeddings().weight), id(model.lm_head.weight)}
    groups: list[Group] = []
    for module, parameters in named_module_parameters(model).items():
        policy = stage.modules.get(module, ModulePolicy(mode="frozen"))
        depths = _depths(model, module, policy, stage.name)
        found: dict[tuple[str, str, float, float], Group] = {}
        for name, tensor in parameters:
            part = _part(name, id(tensor) in embeddings, policy)
            tensor.requires_grad_(_is_trained(part, policy))
            if not tensor.requires_grad:
                continue
            is_matrix = id(tensor) in hidden
            rule = "adamw" if stage.optimizer.type == "muon" and not is_matrix else stage.optimizer.type
            rate = _rate(name, part, policy, depths.get(id(tensor), 0))
            rate *= stage.optimizer.matrix_scale if rule == "muon" else 1.0
            decay = policy.weight_decay if is_matrix else 0.0
            key = (part, rule, rate, decay)
            if key not in found:
                found[key] = _empty(module, policy, stage, key)
            found[key].names.append(name)
            found[key].tensors.append(tensor)
        if policy.mode != "frozen" and not found:
            raise TuwenError(f"stages.{stage.name}.modules.{module}: it has no tensor to train; set it to frozen")
        groups += found.values()
    return groups


def _part(name: str, is_embedding: bool, policy: ModulePolicy) -> str:
    if ".lora_" in name:
        return "lora"
    if name.endswith(f".{new_rows.NAME}"):
        return "new rows"
    apart = policy.mode != "full" or policy.embeddings_learning_rate is not None
    return "embeddings" if is_embedding and apart else "full"


def _is_trained(part: str, policy: ModulePolicy) -> bool:
    if part == "lora":
        return policy.mode == "lora"
    if part == "new rows":
        return policy.new_rows is not None
    if part == "embeddings" and policy.trains_embeddings:
        return policy.new_rows is None
    return policy.mode == "full"


def _rate(name: str, part: str, policy: ModulePolicy, depth: int) -> float:
    """Learning rate of a tensor ``depth`` layers before the last one."""
    assert policy.learning_rate is not None, "a module that is trained has a learning rate"
    if part in ("embeddings", "new rows") and policy.embeddings_learning_rate is not None:
        return policy.embeddings_learning_rate
    rate = policy.learning_rate * (policy.layer_decay or 1.0) ** depth
    return rate * (policy.lora or Lora()).b_scale if ".lora_B." in name else rate


def _empty(module: ModuleName, policy: ModulePolicy, stage: Stage, key: tuple[str, str, float, float]) -> Group:
    part, rule, rate, decay = key
    return Group(
        module=module,
        part=part,
        rule=rule,
        names=[],
        tensors=[],
        learning_rate=rate,
        weight_decay=decay,
        warmup=stage.warmup if policy.warmup is None else policy.warmup,
        schedule=policy.schedule or stage.schedule,
    )


def _hidden_matrices(model: TuwenForConditionalGeneration) -> set[int]:
    """Matrices between hidden layers, which Muon is for: weights of linear layers, but not the output head."""
    return {id(matrix) for module in model.modules() if module is not model.lm_head for matrix in _matrices(module)}


def _matrices(module: nn.Module) -> Iterator[Tensor]:
    if isinstance(module, nn.Linear):
        yield module.weight
    elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        yield module.in_proj_weight


def _depths(
    model: TuwenForConditionalGeneration, module: ModuleName, policy: ModulePolicy, stage: str
) -> dict[int, int]:
    """How many layers there are from each tensor to the last layer, by its id; nothing without a decay of layers."""
    if policy.layer_decay is None:
        return {}
    is_vision = module == "vision"
    part: nn.Module = model.model.vision_tower if is_vision else model.model.language_model
    config = model.config.vision_config if is_vision else model.config.text_config
    count: int = config.num_hidden_layers
    layers = next((one for one in part.modules() if isinstance(one, nn.ModuleList) and len(one) == count), None)
    if layers is None:
        raise TuwenError(
            f"stages.{stage}.modules.{module}.layer_decay: {type(part).__name__} does not keep its {count} layers in "
            "a list; remove it"
        )
    number = {id(tensor): place for place, layer in enumerate(layers, start=1) for tensor in layer.parameters()}
    depths: dict[int, int] = {}
    # What is registered before the first layer comes before it in the forward pass; the rest comes after the last.
    reached = 0
    for tensor in part.parameters():
        reached = max(reached, number.get(id(tensor), 0))
        depths[id(tensor)] = count - number.get(id(tensor), count if reached else 0)
    return depths
