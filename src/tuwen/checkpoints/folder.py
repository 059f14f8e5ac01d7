"""A model folder: everything that a model needs, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor

NEEDED = ("config.json", "tokenizer_config.json", "processor_config.json")


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
    if isinstance(error, OSError):
        return error.strerror or str(error)
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


def read_config(path: Path) -> TuwenConfig:
    """The configuration of a model folder; no weight is read.

    Raises:
        TuwenError: when the folder is missing, incomplete, or of another kind.
    """
    if not path.is_dir():
        raise TuwenError(f"{path}: not found; give a model folder, e.g. one that `tuwen build` wrote")
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if missing:
        raise TuwenError(f"{path}: not a Tuwen model folder, it has no {', '.join(missing)}")
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if values.get("model_type") != "tuwen":
            raise TuwenError(f"model_type is {values.get('model_type')!r}, expected 'tuwen'")
        config: TuwenConfig = TuwenConfig.from_dict(values)
        config.check()
    except TuwenError as error:
        raise TuwenError(f"{path}/config.json: {error}") from None
    except Exception as error:
        raise TuwenError(f"{path}/config.json: cannot be read: {error}") from None
    return config


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
    try:
        with quiet():
            model, report = TuwenForConditionalGeneration.from_pretrained(
                path, config=config, dtype=dtype or "auto", output_loading_info=True
            )
            processor = TuwenProcessor.from_pretrained(path)
    except Exception as error:
        # Whatever a library says about files that it cannot read is a fault of those files.
        raise TuwenError(f"{path}: cannot be loaded: {error}") from error
    _check_keys(path, report)
    _check_fit(path, config, processor)
    return ModelFolder(model.to(device).eval(), processor)


def _check_keys(path: Path, report: dict[str, Any]) -> None:
    for word, name in (
        ("missing", "missing_keys"),
        ("unexpected", "unexpected_keys"),
        ("of wrong shape", "mismatched_keys"),
    ):
        keys = sorted(str(key) for key in report.get(name, ()))
        if keys:
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


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and remarks of `transformers`, whose settings come back afterwards."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
