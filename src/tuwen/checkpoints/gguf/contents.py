"""What a GGUF file holds, and how it is written: settings first, then a tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from torch import Tensor

from tuwen.checkpoints.renames import Rule, published_shapes
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError

# Of tensors with two dimensions and more; llama.cpp wants float32 of all others.
TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
# Python's numbers → GGUF's. Lists take theirs from their first entry.
VALUE_TYPES = {
    bool: gguf.GGUFValueType.BOOL,
    int: gguf.GGUFValueType.UINT32,
    float: gguf.GGUFValueType.FLOAT32,
    str: gguf.GGUFValueType.STRING,
    list: gguf.GGUFValueType.ARRAY,
}
LARGEST_FLOAT16 = 65504.0
Value = bool | int | float | str | list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """One GGUF file.

    Attributes:
        architecture: llama.cpp's name of the kind of model.
        values: GGUF key → value.
        rules: tensors of the file (``theirs``) ↔ ours.
        exact: tensors with two dimensions that are kept in float32.
        notes: where llama.cpp does otherwise than we do; for people, a sentence each.
    """

    architecture: str
    values: Mapping[str, Value]
    rules: Sequence[Rule]
    exact: frozenset[str] = frozenset()
    notes: Sequence[str] = field(default_factory=tuple)


def write_gguf(path: Path, contents: Contents, weights: WeightFiles, ours: Mapping[str, Tensor], kind: str) -> None:
    """Write a file; the memory needed is that of its largest tensor.

    Args:
        path: the file.
        contents: what it holds.
        weights: the model's, under our names.
        ours: our tensors or their likes on ``meta``.
        kind: a type of ``TYPES``.

    Raises:
        TuwenError: for a number that float16 does not have.
    """
    order = {name: place for place, name in enumerate(weights)}
    # In the order of the weight files, so that each of them is opened once.
    rules = sorted(contents.rules, key=lambda rule: min((order[name] for name in rule.ours), default=-1))
    shapes = published_shapes(rules, ours)
    types = {name: _type(name, shape, contents.exact, kind) for name, shape in shapes.items()}
    writer = gguf.GGUFWriter(path, contents.architecture)
    try:
        for key, value in contents.values.items():
            writer.add_key_value(key, value, VALUE_TYPES[type(value)])
        writer.add_file_type(FILE_TYPES[kind])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for name, shape in shapes.items():
            _announce(writer, name, shape, types[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for rule in rules:
            tensors = rule.backward([weights[name] for name in rule.ours])
            for name, tensor in zip(rule.theirs, tensors, strict=True):
                writer.write_tensor_data(_numbers(name, tensor, types[name]))
    finally:
        writer.close()


def _type(name: str, shape: tuple[int, ...], exact: frozenset[str], kind: str) -> Any:
    """Of a tensor's numbers; float16 where its rows cannot be cut into the blocks of a quantised type."""
    if len(shape) < 2 or name in exact:
        return TYPES["f32"]
    block, _ = gguf.GGML_QUANT_SIZES[TYPES[kind]]
    return TYPES[kind] if shape[-1] % block == 0 else TYPES["f16"]


def _announce(writer: Any, name: str, shape: tuple[int, ...], kind: Any) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    total = int(np.prod(shape)) // block * size
    if kind in (TYPES["f32"], TYPES["f16"]):
        dtype = np.dtype(np.float32 if kind == TYPES["f32"] else np.float16)
        writer.add_tensor_info(name, shape, dtype, total)
        return
    # Of other types the library is told the bytes of a row.
    writer.add_tensor_info(name, (*shape[:-1], shape[-1] // block * size), np.dtype(np.uint8), total, raw_dtype=kind)


def _numbers(name: str, tensor: Tensor, kind: Any) -> np.ndarray:
    numbers = tensor.detach().float().contiguous().numpy()
    if kind == TYPES["f16"] and numbers.size and float(np.abs(numbers).max()) > LARGEST_FLOAT16:
        raise TuwenError(f"{name}: holds numbers beyond ±65504, the largest that float16 has; choose --type f32")
    stored: np.ndarray = gguf.quants.quantize(numbers, kind)
    return stored
