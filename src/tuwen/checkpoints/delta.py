"""Publish only what was trained: the adapter, and in full what it does not explain (`tuwen delta`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tuwen.checkpoints.adapters import CONFIG, PREFIX, Adapter, read_adapter
from tuwen.checkpoints.convert import refuse_existing, write_safetensors
from tuwen.checkpoints.folder import written_whole
from tuwen.checkpoints.layouts.base import Published
from tuwen.checkpoints.opening import DELTA, fingerprint, in_our_names
from tuwen.checkpoints.refusal import quiet
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError

# Merging rounds each weight once; what differs by more was not made by the adapter.
CLOSE = 2.0**-7
FINGERPRINTS = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """What a trained model has that its base has not.

    Attributes:
        full: tensors that are published whole.
        modules: modules whose weights the adapter explains.
        untouched: tensors equal to the base's.
    """

    full: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)


def write_delta(model: Published, base: Published, out: Path, adapter: Path | None = None) -> Changes:
    """Write what was trained, so that ``base`` and this folder together are ``model``.

    The folder is an adapter in the format of `peft`, with whole tensors beside the pairs, the model's settings
    and tokenizer, and fingerprints of the base. Memory for two tensors is needed.

    Args:
        model: the trained model.
        base: what it was trained from.
        out: the folder to write; it must not be there yet.
        adapter: the LoRA adapter that was merged into the model; ``adapter/`` in its folder unless said.

    Returns:
        What was found to have changed.

    Raises:
        TuwenError: when nothing has changed, a folder is broken, or the disk is full.
    """
    refuse_existing(out)
    place = adapter or model.files.folder / "adapter"
    lora = read_adapter(place) if adapter is not None or place.is_dir() else None
    ours, before = in_our_names(model).files, in_our_names(base).files
    changes = _compare(ours, before, lora)
    if not changes.full and not changes.modules:
        raise TuwenError(f"{model.files.folder}: no weight differs from those of {base.files.folder}")
    with written_whole(out) as folder:
        with quiet():
            model.config.save_pretrained(folder)
            model.processor.save_pretrained(folder)
        _write_adapter(folder, ours, changes, lora, place)
        chosen = _spread(changes.modules or changes.untouched)
        names = [f"{module}.weight" for module in chosen] if changes.modules else chosen
        base_prints = {name: fingerprint(before[name]) for name in names}
        text = json.dumps({"base": base_prints}, indent=2) + "\n"
        (folder / DELTA).write_text(text, encoding="utf-8")
    return changes


def _compare(ours: WeightFiles, before: WeightFiles, lora: Adapter | None) -> Changes:
    changes = Changes()
    for name in ours:
        module = name.removesuffix(".weight")
        if name not in before or before.shape(name) != ours.shape(name):
            changes.full.append(name)
            continue
        now, then = ours[name].float(), before[name].float()
        if torch.equal(now, then):
            changes.untouched.append(name)
        elif lora is not None and module in lora.modules and _explained(now, lora.folded(module, then)):
            changes.modules.append(module)
        else:
            changes.full.append(name)
    return changes


def _explained(now: Tensor, folded: Tensor) -> bool:
    error = (folded - now).abs().max()
    return bool(error <= CLOSE * now.abs().max())


def _write_adapter(folder: Path, ours: WeightFiles, changes: Changes, lora: Adapter | None, place: Path) -> None:
    kept = [name for module in changes.modules if lora is not None for name in lora.names(module)]
    entries = [(name, lora.files.shape(name), lora.files.dtype(name)) for name in kept if lora is not None]
    entries += [(PREFIX + name, ours.shape(name), ours.dtype(name)) for name in changes.full]

    def tensors() -> Any:
        if lora is not None:
            yield from (lora.files[name] for name in kept)
        yield from (ours[name] for name in changes.full)

    write_safetensors(folder / "adapter_model.safetensors", entries, tensors())
    # Without pairs the rank means nothing, but a reader asks for one.
    settings = read_json(place / CONFIG) if lora is not None else {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    saved = sorted({name.rsplit(".", 1)[0] for name in changes.full})
    rows = {module: lora.rows[module][1] for module in changes.modules if lora is not None and module in lora.rows}
    settings = {**settings, "modules_to_save": saved, "trainable_token_indices": rows or None}
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def _spread(names: list[str]) -> list[str]:
    """A few names from all over."""
    step = max(1, len(names) // FINGERPRINTS)
    return names[::step][:FINGERPRINTS]
