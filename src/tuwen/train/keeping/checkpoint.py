"""A checkpoint: what is in it, how its folder is read and verified, and what it lies on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tuwen.checkpoints.weights import read_json
from tuwen.config import TuwenError, first_line

FORMAT = 1
MANIFEST, STATE = "manifest.json", "state.json"
# Numbers of each tensor in the digest of a base.
SAMPLED = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        stage: name of the stage.
        step: how many of its steps are done.
        tensors: by the name of a file (without its ending) and their own; plain ones, whole and not in shards.
        state: everything else, of JSON's types alone: keys are strings, numbers are finite, no tuples.
    """

    stage: str
    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint on disk whose files are all there.

    Attributes:
        path: its folder.
        stage: see ``Checkpoint``.
        step: see ``Checkpoint``.
        state: see ``Checkpoint``.
        files: which files of tensors it has, without their ending.
    """

    path: Path
    stage: str
    step: int
    state: dict[str, Any]
    files: tuple[str, ...]

    def load(self, file: str, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Read the tensors of a file into memory of their own, so that the folder may go afterwards.

        Raises:
            TuwenError: when there is no such file, or it is broken.
        """
        path = self.path / f"{file}.safetensors"
        if file not in self.files:
            raise TuwenError(f"{path}: this checkpoint has no such file; it has {', '.join(self.files)}")
        try:
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name).to(device, copy=True) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise TuwenError(f"{path}: cannot be read: {first_line(error)}") from None


def open_checkpoint(path: Path, *, verify: bool = True) -> SavedCheckpoint:
    """Open a checkpoint; nothing on the disk is changed, so that any process may do it.

    Args:
        path: its folder.
        verify: read every file and compare its SHA-256; otherwise sizes alone, where another process has verified.

    Raises:
        TuwenError: naming the first file that is missing or not as it was written.
    """
    if not path.is_dir():
        raise TuwenError(f"{path}: no such checkpoint; give the folder of one, or leave its choice to `auto`")
    files = _read_manifest(path / MANIFEST)
    for name, (size, digest) in files.items():
        _verify(path / name, size, digest if verify else None)
    stems = tuple(name.removesuffix(".safetensors") for name in files if name != STATE)
    match read_json(path / STATE):
        case {"stage": str(stage), "step": int(step), "state": dict(state)}:
            return SavedCheckpoint(path, stage, step, state, stems)
    raise TuwenError(f"{path / STATE}: expected stage, step and state")


def _read_manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file."""
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise TuwenError(f"{path}: format is {manifest.get('format')!r}, this version of Tuwen reads {FORMAT}")
    try:
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise TuwenError(f"{path}: files: expected names with bytes and sha256") from None
    for name in files:
        if name != STATE and (Path(name).name != name or not name.endswith(".safetensors")):
            raise TuwenError(f"{path}: files: {name!r} is not the name of a file of a checkpoint")
    if STATE not in files:
        raise TuwenError(f"{path}: files: {STATE} is not among them")
    return files


def _verify(path: Path, size: int, digest: str | None) -> None:
    try:
        found = path.stat().st_size
        if found != size:
            raise TuwenError(f"{path}: has {found} bytes, {size} were written")
        if digest is not None:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise TuwenError(f"{path}: is not what was written, its SHA-256 differs from the manifest's")
    except FileNotFoundError:
        raise TuwenError(f"{path}: this file is missing") from None
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None


def state_text(checkpoint: Checkpoint) -> bytes:
    """The state as JSON, made sure that the same comes back."""
    for key, value in checkpoint.state.items():
        try:
            same = json.loads(json.dumps({key: value}, allow_nan=False)) == {key: value}
        except (TypeError, ValueError) as error:
            raise ValueError(f"state: {key}: {error}") from None
        if not same:
            raise ValueError(f"state: {key}: {value!r} does not come back from JSON as it is")
    values = {"stage": checkpoint.stage, "step": checkpoint.step, "state": checkpoint.state}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


@torch.no_grad()
def base_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of the weights that checkpoints leave out, so that a run goes on with the same base alone.

    Of each tensor it has the name, shape, type, and 64 numbers spread over it: enough to tell two trainings of one
    architecture apart, at a cost that does not grow with the model.

    Args:
        weights: names and whole tensors, in any order, on any device.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights, key=lambda pair: pair[0]):
        digest.update(f"{name}\0{list(tensor.shape)}\0{tensor.dtype}\0".encode())
        count = tensor.numel()
        if count:
            taken = min(count, SAMPLED)
            places = torch.arange(taken, device=tensor.device) * (count - 1) // max(1, taken - 1)
            # Indexed in all dimensions, so that a tensor with strides of its own is not copied as a whole.
            sample = tensor.detach()[torch.unravel_index(places, tensor.shape)] if tensor.ndim else tensor.detach()
            digest.update(sample.reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()
