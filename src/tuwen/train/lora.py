"""LoRA on the modules that ask for it, by `peft`, and models with the adapters folded in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.policies import Lora, ModuleName
from tuwen.train.stage import Stage

PREFIX: dict[ModuleName, str] = {
    "vision": "model.vision_tower.",
    "connector": "model.connector.",
    "language": "model.language_model.",
}


def add_lora(model: TuwenForConditionalGeneration, stage: Stage) -> LoraConfig | None:
    """Put adapters where the stage's modules ask for them; returns their configuration, None for none.

    Raises:
        TuwenError: when a target names no linear layer of its module.
    """
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    dropout = 0.0
    for module, policy in stage.modules.items():
        if policy.mode != "lora":
            continue
        settings = policy.lora or Lora()
        for name in _targets(model, module, settings, stage.name):
            ranks[name], alphas[name] = settings.rank, settings.alpha
        dropout = max(dropout, settings.dropout)
    if not ranks:
        return None
    config = LoraConfig(
        target_modules="|".join(re.escape(name) for name in ranks),
        rank_pattern={f"^{re.escape(name)}": rank for name, rank in ranks.items()},
        alpha_pattern={f"^{re.escape(name)}": alpha for name, alpha in alphas.items()},
        lora_dropout=dropout,
    )
    inject_adapter_in_model(config, model)
    return config


def _targets(model: TuwenForConditionalGeneration, module: ModuleName, settings: Lora, stage: str) -> list[str]:
    linear = [
        name for name, part in model.named_modules() if isinstance(part, nn.Linear) and name.startswith(PREFIX[module])
    ]
    if settings.targets is None:
        return linear
    known = sorted({name.rpartition(".")[2] for name in linear})
    for target in settings.targets:
        if target not in known:
            raise TuwenError(
                f"stages.{stage}.modules.{module}.lora.targets: no linear layer is called {target!r}; "
                f"there are {', '.join(known)}"
            )
    return [name for name in linear if name.rpartition(".")[2] in settings.targets]


@torch.no_grad()
def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The weights with every adapter folded in, under the names of the model without adapters.

    The sum is formed in fp32 and rounded once to the base weight's type.
    """
    deltas = {
        f"{name}.weight": layer.get_delta_weight("default")
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }
    merged: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        if plain in deltas:
            value = (value.float() + deltas[plain].float()).to(value.dtype)
        merged[plain] = value
    return merged


@torch.no_grad()
def fold_lora(model: nn.Module) -> None:
    """Fold every adapter into its layer and take the adapters out, so that the next stage starts clean."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            owner, _, child = name.rpartition(".")
            setattr(model.get_submodule(owner), child, layer.get_base_layer())


def save_adapter(model: nn.Module, config: LoraConfig, folder: Path) -> None:
    """Write the adapters in PEFT's format, which ``PeftModel.from_pretrained`` opens."""
    folder.mkdir(parents=True)
    state: dict[str, Any] = get_peft_model_state_dict(model, adapter_name="default")
    prefixed = {
        name if name.startswith("base_model.model.") else f"base_model.model.{name}": value.contiguous()
        for name, value in state.items()
    }
    save_file(prefixed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(folder))
