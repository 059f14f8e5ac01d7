"""Adapters on the modules that ask for them, by `peft`, and models with the adapters folded in."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.nf4 import dequantised, is_plain_linear, is_quantised
from tuwen.train.modules import new_rows
from tuwen.train.modules.new_rows import (
    EmbeddingWithNewRows,
    LinearWithNewRows,
    add_new_rows,
    remove_new_rows,
    whole_table,
)
from tuwen.train.policies import Lora, ModuleName, ModulePolicy
from tuwen.train.stage import Stage

ADAPTER = "default"
PREFIX: dict[ModuleName, str] = {
    "vision": "model.vision_tower.",
    "connector": "model.connector.",
    "language": "model.language_model.",
}
EMBEDDINGS, HEAD = "model.language_model.embed_tokens", "lm_head"
INITIALISATIONS: dict[str, bool | str] = {"uniform": True, "gaussian": "gaussian", "orthogonal": "orthogonal"}


def add_lora(model: TuwenForConditionalGeneration, stage: Stage) -> LoraConfig | None:
    """Put adapters, and rows of new tokens, where the stage's modules ask for them.

    Returns:
        What `peft` has to know of everything that the stage trains; None where there is no adapter.

    Raises:
        TuwenError: when a target names no linear layer of its module, or new rows are not there.
    """
    wanted: dict[ModuleName, tuple[Lora, list[str]]] = {}
    for module, policy in stage.modules.items():
        if policy.mode == "lora":
            settings = policy.lora or Lora()
            wanted[module] = settings, _targets(model, module, settings, stage.name)
    for settings, names in wanted.values():
        inject_adapter_in_model(_configuration(settings, names), model, adapter_name=ADAPTER)
        # Kept by `peft` for each injection; all of them together are one adapter.
        del model.peft_config
    language = stage.modules.get("language", ModulePolicy(mode="frozen"))
    if language.new_rows is not None:
        add_new_rows(model, language.new_rows, f"stages.{stage.name}.modules.language.new_rows")
    if not wanted:
        return None
    config = _as_one(model, stage, wanted)
    model.peft_config = {ADAPTER: config}
    return config


def _configuration(settings: Lora, names: list[str]) -> LoraConfig:
    return LoraConfig(
        target_modules=names,
        r=settings.rank,
        lora_alpha=_number(settings.alpha),
        use_rslora=settings.rank_stabilised,
        use_dora=settings.type == "dora",
        lora_dropout=settings.dropout,
        init_lora_weights=INITIALISATIONS[settings.initialisation],
    )


def _targets(model: TuwenForConditionalGeneration, module: ModuleName, settings: Lora, stage: str) -> list[str]:
    linear = [name for name, part in model.named_modules() if is_plain_linear(part) and name.startswith(PREFIX[module])]
    known = sorted({name.rpartition(".")[2] for name in linear})
    for target in settings.targets or ():
        if target not in known:
            raise TuwenError(
                f"stages.{stage}.modules.{module}.lora.targets: no linear layer is called {target!r}; "
                f"there are {', '.join(known)}"
            )
    if not linear:
        raise TuwenError(f"stages.{stage}.modules.{module}.lora: it has no linear layer; set its mode to full")
    return [name for name in linear if settings.targets is None or name.rpartition(".")[2] in settings.targets]


def _as_one(
    model: TuwenForConditionalGeneration, stage: Stage, wanted: dict[ModuleName, tuple[Lora, list[str]]]
) -> LoraConfig:
    """One configuration for the adapters of all modules, and for what is trained in full beside them.

    Where modules differ, rank and alpha have patterns, α/√r is said as α·√r/r, and LoRA as DoRA (see ``_magnitude``).
    """
    all_settings = [settings for settings, _ in wanted.values()]
    stabilised = all(settings.rank_stabilised for settings in all_settings)

    def alpha(settings: Lora) -> float:
        said_otherwise = settings.rank_stabilised and not stabilised
        return settings.alpha * math.sqrt(settings.rank) if said_otherwise else settings.alpha

    rank = Counter(settings.rank for settings in all_settings).most_common(1)[0][0]
    usual = Counter(alpha(settings) for settings in all_settings).most_common(1)[0][0]
    patterns = {module: re.escape(PREFIX[module]) + ".*" for module in wanted}
    language = stage.modules.get("language", ModulePolicy(mode="frozen"))
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    rows: list[int] = []
    if language.new_rows is not None:
        rows = list(range(language.new_rows, model.lm_head.out_features))
    return LoraConfig(
        target_modules=[name for _, names in wanted.values() for name in names],
        r=rank,
        lora_alpha=_number(usual),
        rank_pattern={
            patterns[module]: settings.rank for module, (settings, _) in wanted.items() if settings.rank != rank
        },
        alpha_pattern={
            patterns[module]: _number(alpha(settings))
            for module, (settings, _) in wanted.items()
            if alpha(settings) != usual
        },
        use_rslora=stabilised,
        use_dora=any(settings.type == "dora" for settings in all_settings),
        # No longer of account when a model is used; of those that were trained with, the one that forgets most.
        lora_dropout=max(settings.dropout for settings in all_settings),
        modules_to_save=_in_full(stage) or None,
        trainable_token_indices=dict.fromkeys([EMBEDDINGS] if tied else [EMBEDDINGS, HEAD], rows) if rows else None,
    )


def _in_full(stage: Stage) -> list[str]:
    """Parts of the model that a stage trains without adapters; `peft` wants a tied output head as well."""
    found = [PREFIX[module].rstrip(".") for module, policy in stage.modules.items() if policy.mode == "full"]
    language = stage.modules.get("language", ModulePolicy(mode="frozen"))
    if language.mode == "full":
        found.append(HEAD)
    elif language.trains_embeddings and language.new_rows is None:
        found += [EMBEDDINGS, HEAD]
    return found


def _number(value: float) -> int | float:
    """A whole number as one, as `peft` writes them."""
    return int(value) if value == int(value) else value


@torch.no_grad()
def plain_weight(module: nn.Module) -> Tensor | None:
    """The weight that a layer of an unadapted model would need to compute the same, float32; None for other layers.

    An adapter is added to the weight that it was trained on: in 4 bits to the rounded one.
    """
    if isinstance(module, LoraLayer):
        base = module.get_base_layer()
        weight = dequantised(base) if is_quantised(base) else base.weight.float()
        weight = weight + module.get_delta_weight(ADAPTER).float()
        if ADAPTER in module.lora_magnitude_vector:
            magnitude = module.lora_magnitude_vector[ADAPTER].weight.float()
            weight = weight * (magnitude / torch.linalg.norm(weight, dim=1))[:, None]
        return weight
    if isinstance(module, EmbeddingWithNewRows | LinearWithNewRows):
        return whole_table(module)
    return dequantised(module) if is_quantised(module) else None


@torch.no_grad()
def merged_state_dict(model: TuwenForConditionalGeneration, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The weights with every adapter folded in, under the names of the model without adapters.

    Each sum is formed in fp32 and rounded once, if at all.

    Args:
        model: with its adapters.
        dtype: of all weights.
    """
    merged: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        weight = plain_weight(module)
        if weight is not None:
            # Of a layer and the layer inside it, the outer one comes first and counts.
            merged.setdefault(f"{name}.weight".replace(".base_layer.", "."), weight.to(dtype))
    for name, value in model.state_dict().items():
        plain = name.replace(".base_layer.", ".")
        packed_of = plain.partition(".weight.")[0] + ".weight"
        if ".lora_" in name or name.endswith(f".{new_rows.NAME}") or packed_of in merged or plain in merged:
            continue
        merged[plain] = value.to(dtype) if value.is_floating_point() else value
    if model.config.tie_word_embeddings:
        merged[f"{HEAD}.weight"] = merged[f"{EMBEDDINGS}.weight"]
    return merged


@torch.no_grad()
def fold_lora(model: TuwenForConditionalGeneration) -> None:
    """Fold every adapter into its layer and take the adapters out, so that the next stage starts clean.

    All weights are in fp32 then, as if read from the folder that the stage has left. Those that were not before are put
    into the processor's memory, where there is room; the next stage puts each where it belongs.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer) or (is_quantised(module) and not name.endswith(".base_layer")):
            owner, _, child = name.rpartition(".")
            setattr(model.get_submodule(owner), child, _plain_linear(module))
    remove_new_rows(model)
    for tensor in model.parameters():
        tensor.data = _precise(tensor.data)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _plain_linear(module: Any) -> nn.Linear:
    weight = plain_weight(module)
    assert weight is not None, "an adapted or quantised layer has a weight"
    base = module.get_base_layer() if isinstance(module, LoraLayer) else module
    if base.weight.dtype != torch.float32 and not weight.is_meta:
        weight = weight.cpu()
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight, linear.bias = nn.Parameter(weight), base.bias
    return linear.train(module.training)


def _precise(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.float32 or tensor.is_meta:
        return tensor.float()
    return tensor.cpu().float()


def save_adapter(model: TuwenForConditionalGeneration, config: LoraConfig, folder: Path) -> None:
    """Write the adapters and what was trained beside them in PEFT's format: ``PeftModel.from_pretrained`` on the model
    that the stage began with gives the trained model.

    Args:
        model: with its adapters.
        config: from ``add_lora``.
        folder: is made.
    """
    folder.mkdir(parents=True)
    everything = model.state_dict()
    state: dict[str, Tensor] = get_peft_model_state_dict(model, state_dict=everything, adapter_name=ADAPTER)
    state = {name.removeprefix("base_model.model."): value for name, value in state.items()}
    if config.use_dora:
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                state.setdefault(f"{name}.lora_magnitude_vector", _magnitude(module))
    for part in config.modules_to_save or ():
        state.update({name: value for name, value in everything.items() if name.startswith(f"{part}.")})
    for part in config.trainable_token_indices or ():
        state[f"{part}.{new_rows.PEFT_NAME}"] = everything[f"{part}.{new_rows.NAME}"]
    if model.config.tie_word_embeddings and f"{HEAD}.weight" in state:
        # A file cannot hold one tensor under two names.
        state[f"{HEAD}.weight"] = state[f"{HEAD}.weight"].clone()
    prefixed = {f"base_model.model.{name}": value.contiguous() for name, value in state.items()}
    save_file(prefixed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def _magnitude(module: nn.Module) -> Tensor:
    """The magnitudes [outputs] with which DoRA computes what LoRA does: the lengths of the changed weight itself."""
    weight = plain_weight(module)
    assert weight is not None, "an adapted layer has a weight"
    return torch.linalg.norm(weight, dim=1)
