"""A model folder: everything that a model needs, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from tuwen.checkpoints.refusal import LONGEST, blamed_on, check_sizes, quiet
from tuwen.checkpoints.renames import Rule, check_published, same
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError, first_line
from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

NEEDED = ("config.json", "tokenizer_config.json", "processor_config.json")
# What `transformers` reports of weights that it has loaded.
REPORTED = (("missing", "missing_keys"), ("unexpected", "unexpected_keys"), ("of wrong shape", "mismatched_keys"))


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model with all that belongs to it.

    Attributes:
        model: the weights, with generation defaults.
        processor: tokenizer, chat template and image policy.
    """

    model: TuwenForConditionalGeneration
    processor: TuwenProcessor


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A fresh folder beside ``out`` that takes its place when the block ends well, and is removed otherwise.

    Files and folders are flushed to the disk before the one rename; an older ``out`` is removed after it.

    Raises:
        TuwenError: when the disk is full or the place cannot be written.
    """
    out = out.absolute()
    partial = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in [*partial.rglob("*"), partial]:
            _flush(path)
        if out.exists():
            old = out.parent / f".{out.name}.old-{uuid.uuid4().hex[:8]}"
            out.rename(old)
            partial.rename(out)
            shutil.rmtree(old)
        else:
            partial.rename(out)
        _flush(out.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = _write_failure(error)
        if reason:
            raise TuwenError(f"{out}: cannot be written ({reason}); nothing was left behind") from error
        raise


def _write_failure(error: BaseException) -> str | None:
    # torch ends a file that could not be written with an error of its own, in front of the system's.
    cause = error.__context__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    # safetensors reports a full disk as an error of its own, with the system's words inside.
    if type(error).__name__ == "SafetensorError":
        return str(error)
    return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_model(model: TuwenForConditionalGeneration, processor: TuwenProcessor, out: Path) -> None:
    """Write a model folder: config, safetensors, tokenizer, template, image policy, generation defaults.

    Raises:
        TuwenError: when it cannot be written; an older folder in its place is then untouched.
    """
    with written_whole(out) as folder, quiet():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


def read_config(path: Path, weights: int | None = None) -> TuwenConfig:
    """The configuration of a model folder; no weight is read.

    Args:
        path: the folder.
        weights: how many weights the model has, where not all of them lie in the folder.

    Raises:
        TuwenError: when the folder is missing, incomplete, or of another kind, or a size in it is absurd.
    """
    if not path.is_dir():
        raise TuwenError(f"{path}: not found; give a model folder, e.g. one that `tuwen build` wrote")
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if missing:
        raise TuwenError(f"{path}: not a Tuwen model folder, it has no {', '.join(missing)}")
    where = path / "config.json"
    values = read_json(where)
    if values.get("model_type") != "tuwen":
        raise TuwenError(f"{where}: model_type is {values.get('model_type')!r}, expected 'tuwen'")
    with blamed_on(where):
        check_sizes(values, len(WeightFiles.find(path)) if weights is None else weights, where)
        try:
            config: TuwenConfig = TuwenConfig.from_dict(values)
            config.check()
        except TuwenError as error:
            raise TuwenError(f"{where}: {str(error)[:LONGEST]}") from None
    return config


def stored_state(config: TuwenConfig) -> dict[str, Tensor]:
    """Names, shapes and nothing else of all weights that a folder holds; a tied output head is not among them."""
    return _stored(_imagined(config))


def own_rules(config: TuwenConfig, files: Iterable[str]) -> tuple[list[Rule], dict[str, Tensor]]:
    """Which of a folder's weights is which of ours.

    `transformers` writes weights of some encoders under the names that they had when they were published, and reads
    them under those of any of its versions.

    Args:
        config: of the folder.
        files: names of its weights.

    Returns:
        a rule for each weight, and ``stored_state``.
    """
    model = _imagined(config)
    renamings = [one for one in get_model_conversion_mapping(model) if isinstance(one, WeightRenaming)]
    theirs = {rename_source_key(name, renamings, [])[0]: name for name in files}
    state = _stored(model)
    return [same(theirs.get(name, name), name) for name in state], state


def _stored(model: TuwenForConditionalGeneration) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def _imagined(config: TuwenConfig) -> TuwenForConditionalGeneration:
    with torch.device("meta"):
        return TuwenForConditionalGeneration(config)


def load_model(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> ModelFolder:
    """Open a model folder that ``save_model`` wrote.

    Args:
        path: the folder.
        device: where the weights go.
        dtype: of the weights; as stored unless said.

    Raises:
        TuwenError: when a file is missing or broken, or weights and configuration do not fit.
    """
    config = read_config(path)
    with blamed_on(path / "config.json"):
        # `transformers` would make what is missing or of another shape before it says so.
        files = WeightFiles.find(path)
        check_published(files, *own_rules(config, files))
    try:
        with quiet():
            model, report = TuwenForConditionalGeneration.from_pretrained(
                path, config=config, dtype=dtype or "auto", output_loading_info=True
            )
            processor = TuwenProcessor.from_pretrained(path)
    except Exception as error:
        # Whatever a library says about files that it cannot read is a fault of those files.
        raise TuwenError(f"{path}: cannot be loaded: {first_line(error)}") from error
    check_report(path, report)
    _check_fit(path, config, processor)
    return ModelFolder(model.to(device).eval(), processor)


def check_report(path: Path, report: Mapping[str, Any]) -> None:
    """Make sure that `transformers` has loaded all weights of a folder, and no others.

    Raises:
        TuwenError: naming the first of those that are missing, unexpected or of another shape.
    """
    for word, name in REPORTED:
        if keys := sorted(map(str, report.get(name, ()))):
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise TuwenError(f"{path}: {len(keys)} weights are {word}: {', '.join(keys[:3])}{more}")


def _check_fit(path: Path, config: TuwenConfig, processor: TuwenProcessor) -> None:
    expected = config.connector.num_tokens(config.patch_grid(processor.policy.plan(1, 1)))
    if processor.tokens_per_tile != expected:
        raise TuwenError(
            f"{path}/processor_config.json: tokens_per_tile is {processor.tokens_per_tile}, "
            f"but the connector gives {expected}"
        )
    if processor.image_token_id != config.image_token_id:
        raise TuwenError(
            f"{path}/tokenizer_config.json: {processor.image_token} has id {processor.image_token_id}, "
            f"but config.json says {config.image_token_id}"
        )
