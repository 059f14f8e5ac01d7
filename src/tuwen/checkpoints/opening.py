"""Any model folder, ours or published, with an adapter on it or not, as one thing: ``Published``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.initialization import no_init_weights

from tuwen.checkpoints.adapters import fold, read_adapter
from tuwen.checkpoints.folder import ModelFolder, load_model, own_rules, read_config, stored_state
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Published, recognise
from tuwen.checkpoints.refusal import blamed_on, quiet
from tuwen.checkpoints.renames import OurWeights, check_published, unchanged
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

OWN = "tuwen"
# In a folder that `tuwen delta` wrote.
DELTA = "delta.json"


def is_own(path: Path) -> bool:
    """Whether a folder says that it is a Tuwen model folder."""
    return (path / "config.json").is_file() and read_json(path / "config.json").get("model_type") == OWN


def is_known(path: Path) -> bool:
    """Whether a folder is a Tuwen model folder, or one in a published layout that is known."""
    return path.is_dir() and (is_own(path) or recognise(path) is not None)


def layout_title(name: str) -> str:
    """What a layout is called, for people."""
    return "Tuwen" if name == OWN else str(LAYOUTS.get(name).title)


def read_folder(path: Path, adapter: Path | None = None) -> Published:
    """A model folder of any known kind, read up to its weights.

    Args:
        path: a Tuwen folder, or one in a published layout.
        adapter: a LoRA adapter in the format of `peft` that was trained on it; its weights are folded in as
            they are read.

    Raises:
        TuwenError: when the folder is of no known kind, incomplete or broken, or the adapter does not fit it.
    """
    if not path.is_dir():
        raise TuwenError(f"{path}: not found; give a model folder")
    if not (path / "config.json").is_file():
        raise TuwenError(f"{path}: not a model folder, it has no config.json")
    if is_own(path):
        with blamed_on(path):
            published, layout = _read_own(path), None
    else:
        layout = recognise(path)
        if layout is None:
            found = read_json(path / "config.json").get("model_type")
            raise TuwenError(
                f"{path}: neither a Tuwen model folder nor a published layout that is known: "
                f"config.json: model_type is {found!r}, expected 'tuwen' or a layout's"
            )
        with blamed_on(path):
            published = layout.read(path)
    if adapter is not None:
        with blamed_on(adapter):
            published = _adapted(published, layout, adapter)
    check(published)
    return published


def read_parts(adapter: Path, language: Path, vision: Path) -> Published:
    """A model that is published as a delta on a language model and a vision encoder, read up to its weights.

    Args:
        adapter: the delta.
        language: folder of the language model.
        vision: folder of the vision encoder.

    Raises:
        TuwenError: when no layout knows such a delta, or the parts do not fit together.
    """
    for folder in (adapter, language, vision):
        if not folder.is_dir():
            raise TuwenError(f"{folder}: not found; give a folder")
    layout = recognise(adapter, delta=True)
    if layout is None:
        raise TuwenError(f"{adapter}: not a delta on a language model and a vision encoder in any known layout")
    with blamed_on(adapter):
        published = layout.read_delta(adapter, language, vision)
    check(published)
    return published


def _adapted(published: Published, layout: Layout | None, adapter: Path) -> Published:
    if layout is None or (adapter / DELTA).is_file():
        check(published)
        return _with_delta(in_our_names(published), adapter)
    return layout.adapt(published, adapter)


def _with_delta(base: Published, delta: Path) -> Published:
    """A base with what `tuwen delta` or `tuwen train` wrote: the adapter, and the settings that changed with it."""
    adapter = read_adapter(delta)
    if base.config.tie_word_embeddings:
        # Written for `peft`, which unties them; here one tensor has both names.
        adapter = replace(adapter, full={name: at for name, at in adapter.full.items() if name != "lm_head.weight"})
    _check_base(base, delta)
    config, processor = base.config, base.processor
    files = fold(base.files, adapter)
    if (delta / "config.json").is_file():
        config = read_config(delta, len(files))
        processor = TuwenProcessor.from_pretrained(delta)
    rules = unchanged(stored_state(config))
    return replace(base, config=config, processor=processor, files=files, rules=rules, keep={})


def _check_base(base: Published, delta: Path) -> None:
    """Refuse a base other than the one that the delta was taken from."""
    if not (delta / DELTA).is_file():
        return
    for name, wanted in read_json(delta / DELTA).get("base", {}).items():
        if name not in base.files or fingerprint(base.files[name]) != wanted:
            raise TuwenError(
                f"{delta / DELTA}: {name} is not the one of {base.files.folder}; this delta belongs to another base"
            )


def fingerprint(tensor: Tensor) -> str:
    """SHA-256 of a tensor's numbers in float32, whatever type they are stored in."""
    return hashlib.sha256(tensor.detach().float().contiguous().numpy().tobytes()).hexdigest()


def in_our_names(published: Published) -> Published:
    """The same folder as if its weights were stored under our names."""
    files = OurWeights(published.files, published.rules, stored_state(published.config))
    return replace(published, layout=OWN, files=files, rules=unchanged(files), keep={})


def _read_own(path: Path) -> Published:
    config = read_config(path)
    processor = TuwenProcessor.from_pretrained(path)
    generation = path / "generation_config.json"
    files = WeightFiles.find(path)
    rules, _ = own_rules(config, files)
    first = rules[0].theirs[0]
    return Published(
        layout=OWN,
        config=config,
        processor=processor,
        generation=read_json(generation) if generation.is_file() else {},
        files=files,
        rules=rules,
        dtype=files.dtype(first) if first in files else torch.float32,
    )


def check(published: Published) -> None:
    """Make sure that all weights are there and of the right shape; none is read.

    Raises:
        TuwenError: naming file and weight.
    """
    files, config = published.files, published.config
    with blamed_on(files.folder / "generation_config.json"):
        GenerationConfig(**published.generation)
    with blamed_on(files.folder / "config.json"):
        check_published(files, published.rules, stored_state(config), published.ignored)
        if len(published.processor.tokenizer) > config.text_config.vocab_size:
            raise TuwenError(
                f"{files.folder}: its tokenizer has {len(published.processor.tokenizer)} entries, "
                f"but vocab_size is {config.text_config.vocab_size}"
            )


def load_published(
    published: Published, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> ModelFolder:
    """Read the weights, one at a time.

    Args:
        published: from ``read_folder``.
        device: where they go.
        dtype: of the weights; as published unless said.

    Raises:
        TuwenError: when a weight cannot be read.
    """
    with no_init_weights(), default_dtype(dtype or published.dtype):
        model = TuwenForConditionalGeneration(published.config)
    places = {name: tensor.detach() for name, tensor in model.state_dict(keep_vars=True).items()}
    weights = OurWeights(published.files, published.rules, places)
    with torch.no_grad():
        for name in weights:
            places[name].copy_(weights[name])
    model.tie_weights()
    with quiet():
        model.generation_config = GenerationConfig(**published.generation)
    return ModelFolder(model.to(device).eval(), published.processor)


def open_model(
    path: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    *,
    adapter: Path | None = None,
) -> ModelFolder:
    """Open a model folder of any known kind, with an adapter on it or not.

    Raises:
        TuwenError: as ``read_folder`` and ``load_published``.
    """
    if adapter is None and path.is_dir() and is_own(path):
        return load_model(path, device, dtype)
    return load_published(read_folder(path, adapter), device, dtype)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """In the block, new tensors of fractions are of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
