"""The folder of a trained model, and the check that it holds what was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from torch import Tensor

from tuwen.checkpoints.folder import written_whole
from tuwen.checkpoints.refusal import quiet
from tuwen.checkpoints.weights import STEMS, WeightFiles
from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor
from tuwen.train.engines.base import Engine
from tuwen.train.modules.lora import add_lora, merged_state_dict, save_adapter
from tuwen.train.stage import Stage


def save_trained(
    model: TuwenForConditionalGeneration,
    processor: TuwenProcessor,
    adapter: LoraConfig | None,
    place: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a whole model, adapters folded in; the adapters alone go beside it, in PEFT's format.

    What was written is read again before it takes its place: names, shapes and norms must be those of the model.

    Args:
        model: with its adapters, every tensor whole.
        processor: of the model.
        adapter: what the adapters are; None for none.
        place: the folder.
        dtype: of the weights on disk.

    Raises:
        TuwenError: when it cannot be written, or is not what was to be written.
    """
    state = merged_state_dict(model, dtype)
    with written_whole(place) as partial, quiet():
        # `save_pretrained` empties what it is given.
        model.save_pretrained(partial, state_dict=dict(state))
        _declare(partial / "config.json", dtype)
        processor.save_pretrained(partial)
        _check_written(partial, {name: value for name, value in state.items() if not _is_tied(name, model)})
        if adapter is not None:
            save_adapter(model, adapter, partial / "adapter")
            _check_written(partial / "adapter", None)


def _declare(config: Path, dtype: torch.dtype) -> None:
    """Let a configuration say what the weights are stored in, which `transformers` takes from the model in memory."""
    name = str(dtype).removeprefix("torch.")
    values = json.loads(config.read_text(encoding="utf-8"))
    for part in (values, values["text_config"], values["vision_config"]):
        part["dtype"] = name
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _is_tied(name: str, model: TuwenForConditionalGeneration) -> bool:
    return name == "lm_head.weight" and bool(model.config.tie_word_embeddings)


@torch.no_grad()
def _check_written(folder: Path, expected: Mapping[str, Tensor] | None) -> None:
    """Read weights that were just written, and compare them with those that were to be."""
    found = WeightFiles.find(folder, stems=(*STEMS, "adapter_model.safetensors"))
    if expected is not None and (missing := expected.keys() ^ set(found)):
        raise TuwenError(f"{folder}: {sorted(missing)[0]}: is not in both the model and what was written of it")
    for name in found:
        value = found[name]
        norm = float(value.float().norm())
        if value.numel() == 0 or norm != norm:
            raise TuwenError(f"{folder}: {name}: was written with shape {tuple(value.shape)} and norm {norm:g}")
        if expected is not None:
            wanted = float(expected[name].float().norm())
            if value.shape != expected[name].shape or norm != wanted:
                raise TuwenError(
                    f"{folder}: {name}: was written with shape {tuple(value.shape)} and norm {norm:g}, "
                    f"the model has {tuple(expected[name].shape)} and {wanted:g}"
                )


def gathered_model(
    engine: Engine, model: TuwenForConditionalGeneration, stage: Stage, wanted: bool
) -> TuwenForConditionalGeneration | None:
    """The model with all of its tensors in this process, adapters as they are; every process must call it.

    Args:
        engine: that holds the model.
        model: as the engine holds it.
        stage: says where adapters are.
        wanted: whether this process is the one that needs it; the others get None.
    """
    if not engine.splits:
        return model if wanted else None
    state = {}
    # Engines may know the model's own tensors alone.
    for name, tensor in model.state_dict(keep_vars=True).items():
        whole = engine.whole(engine.held(tensor), tensor)
        if wanted:
            state[name] = whole.cpu()
    if not wanted:
        return None
    with torch.device("meta"):
        copy = TuwenForConditionalGeneration(model.config)
        add_lora(copy, stage)
    copy.load_state_dict(state, assign=True)
    copy.tie_weights()
    copy.generation_config = model.generation_config
    return copy
