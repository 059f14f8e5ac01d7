"""Changes on the disk that a checkpoint is made of, and the bytes of its tensor files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tuwen.checkpoints.weights import SAFETENSORS_TYPES

TYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_TYPES.items()}
# Hashed and written while it is in the processor's cache.
CHUNK = 1 << 20


class FileLayer:
    """Every way in which the disk is changed, one method each, so that a test can let each of them fail."""

    def make_folder(self, path: Path) -> None:
        """Make a folder in one that exists."""
        path.mkdir()

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        """Write a new file; it is on the disk when this returns."""
        with path.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def flush_folder(self, path: Path) -> None:
        """Bring the names in a folder to the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a folder a name that is free."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(path)


def check_plain(name: str, tensor: Tensor) -> None:
    """Make sure that a tensor is nothing but its numbers.

    Raises:
        TypeError: for a shard, a quantised or sparse tensor, or numbers that safetensors files do not hold.
    """
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.layout != torch.strided or tensor.is_meta:
        raise TypeError(f"{name}: a {type(tensor).__name__} ({tensor.layout}, {tensor.device}) is not a plain tensor")
    if tensor.dtype not in TYPE_NAMES:
        raise TypeError(f"{name}: numbers of type {tensor.dtype} are not kept")


def tensor_chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, piece by piece; a tensor on a device is copied when its turn comes.

    The library writes a file at once and says afterwards what went wrong with it. Here the digest is taken of what is
    to be written, before the disk has had a chance to change it, and no second copy is made.
    """
    # Larger numbers first, so that each tensor begins at a multiple of its numbers' size.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        dtype = TYPE_NAMES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        plain = tensors[name].detach().cpu().contiguous().reshape(-1)
        data = plain.view(torch.uint8).numpy().data
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]


class Counted:
    """Chunks, with their length and digest once they have been gone through."""

    def __init__(self, chunks: Iterable[bytes | memoryview]) -> None:
        self._chunks, self.bytes, self.sha256 = chunks, 0, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for chunk in self._chunks:
            self.bytes += len(chunk)
            self.sha256.update(chunk)
            yield chunk
