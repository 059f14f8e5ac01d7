"""Weight files on disk, safetensors or pickles, seen as one mapping of names to tensors; no code in them ever runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tuwen.config import TuwenError, first_line

# In this order, as `transformers` looks for them.
STEMS = ("model.safetensors", "pytorch_model.bin")
SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WeightFiles:
    """Tensors of several files by name; read one at a time, kept by nobody.

    Args:
        folder: what file names are relative to.
        files: weight files; all their tensors are known afterwards, none is read.

    Raises:
        TuwenError: naming a file that is missing, truncated, holds code, or repeats a name.
    """

    def __init__(self, folder: Path, files: Iterable[str | Path]) -> None:
        self.folder = folder
        self._readers: dict[str, Callable[[], Tensor]] = {}
        self._files: dict[str, str] = {}
        self._shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for file in dict.fromkeys(map(str, files)):
            self._add(file)

    @classmethod
    def find(cls, folder: Path, stems: Iterable[str] = STEMS) -> WeightFiles:
        """The weights of a folder in the naming of `transformers`: whole or in shards with an index.

        Raises:
            TuwenError: when there are none, the index is broken, or a shard that it names is missing or lacks
                a tensor.
        """
        for stem in stems:
            if (folder / f"{stem}.index.json").is_file():
                return cls._indexed(folder, f"{stem}.index.json")
            if (folder / stem).is_file():
                return cls(folder, [stem])
        raise TuwenError(f"{folder}: no weights; expected {' or '.join(stems)}, whole or with an index")

    @classmethod
    def _indexed(cls, folder: Path, index: str) -> WeightFiles:
        weight_map = read_json(folder / index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise TuwenError(f"{folder / index}: weight_map: expected tensor names with their files")
        files = sorted(set(map(str, weight_map.values())))
        for file in files:
            if Path(file).name != file:
                raise TuwenError(f"{folder / index}: weight_map: {file!r} is not the name of a file beside it")
            if not (folder / file).is_file():
                raise TuwenError(f"{folder / file}: this shard is missing; {index} names it")
        found = cls(folder, files)
        for name, file in weight_map.items():
            if found._files.get(name) != file:
                raise TuwenError(f"{folder / file}: {name} is missing; {index} says that it is there")
        return found

    def __add__(self, other: WeightFiles) -> WeightFiles:
        """Both together; a name must not be in both."""
        both = WeightFiles(self.folder, [])
        for part in (self, other):
            for name in part:
                if name in both._files:
                    raise TuwenError(f"{part.path(name)}: {name} is in {both.path(name)} too")
                both._files[name] = str(part.path(name).absolute())
                both._readers[name], both._shapes[name] = part._readers[name], part._shapes[name]
        return both

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, name: str) -> Tensor:
        """Read a tensor.

        Raises:
            KeyError: when there is none of this name.
            TuwenError: when its file is broken.
        """
        reader = self._readers[name]
        try:
            return reader()
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TuwenError(f"{self.path(name)}: {name} cannot be read: {first_line(error)}") from None

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self.folder / self._files[name]

    def file(self, name: str) -> str:
        """The same, relative to the folder where it lies in it."""
        return self._files[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; nothing is read."""
        return self._shapes[name][0]

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor's numbers; nothing is read."""
        return self._shapes[name][1]

    def _add(self, file: str) -> None:
        path = self.folder / file
        if not path.is_file():
            raise TuwenError(f"{path}: this weight file is missing")
        found = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
        for name, (shape, dtype, reader) in found.items():
            if name in self._files:
                raise TuwenError(f"{path}: {name} is in {self.path(name)} too")
            self._files[name], self._shapes[name], self._readers[name] = file, (shape, dtype), reader


_Entry = tuple[tuple[int, ...], torch.dtype, Callable[[], Tensor]]


def _safetensors(path: Path) -> dict[str, _Entry]:
    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            slices = {name: opened.get_slice(name) for name in names}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = {name: SAFETENSORS_TYPES[part.get_dtype()] for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise TuwenError(f"{path}: cannot be read as safetensors: {first_line(error)}") from None
    except KeyError as error:
        raise TuwenError(f"{path}: numbers of type {error} are not known") from None

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
            return tensor

        return read

    return {name: (shapes[name], dtypes[name], reader(name)) for name in names}


def _pickle(path: Path) -> dict[str, _Entry]:
    """Tensors of a `torch.save` file, mapped into memory where its format allows."""
    stamp = path.stat().st_mtime_ns
    state = _open_pickle(path, stamp)

    def reader(name: str) -> Callable[[], Tensor]:
        return lambda: _open_pickle(path, stamp)[name]

    return {name: (tuple(value.shape), value.dtype, reader(name)) for name, value in state.items()}


# One file alone is kept open, so that going through all tensors in order needs the memory of one shard.
@lru_cache(maxsize=1)
def _open_pickle(path: Path, stamp: int) -> dict[str, Tensor]:
    try:
        state = _load(path, mmap=True)
    except RuntimeError as error:
        # Files of torch before 1.6 cannot be mapped; torch says so in words only.
        if "mmap" not in str(error):
            raise _unreadable(path, error) from None
        try:
            state = _load(path, mmap=False)
        except Exception as reason:
            raise _unreadable(path, reason) from None
    except Exception as error:
        # A broken pickle may raise anything.
        raise _unreadable(path, error) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu
        for name, value in state.items()
    ):
        raise TuwenError(f"{path}: expected a mapping of names to tensors")
    for name, value in state.items():
        # Strides of 0 let a few bytes claim to be a tensor of any size.
        if value.nbytes > value.untyped_storage().nbytes():
            raise TuwenError(f"{path}: {name} has shape {list(value.shape)}, more numbers than are stored for it")
    return {name: value.detach() for name, value in state.items()}


def _load(path: Path, *, mmap: bool) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _unreadable(path: Path, error: Exception) -> TuwenError:
    if "weights_only" in str(error).lower() or "Unsupported" in str(error):
        return TuwenError(f"{path}: holds more than tensors ({_global_named(error)}); refused, nothing in it was run")
    return TuwenError(f"{path}: cannot be read as weights, it may be truncated: {first_line(error)}")


def _global_named(error: Exception) -> str:
    """The thing that a pickle wanted to call, out of torch's long advice."""
    found = re.search(r"(?:GLOBAL|global) (?!torch\.)`?([\w.]+)", str(error))
    return found[1] if found else "code"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        TuwenError: naming the file, when it is missing, broken, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TuwenError(f"{path}: this file is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        # Not all are errors of the decoder: numbers of thousands of digits and thousands of brackets are others.
        raise TuwenError(f"{path}: cannot be read as JSON: {first_line(error)}") from None
    if not isinstance(value, dict):
        raise TuwenError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
