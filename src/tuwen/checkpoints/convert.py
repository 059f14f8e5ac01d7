"""Whole models from one layout to another, a tensor at a time (`tuwen convert`, `merge`, `export`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from transformers import GenerationConfig

from tuwen.checkpoints.folder import quiet, written_whole
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.opening import OWN, check, in_our_names, stored_state
from tuwen.checkpoints.renames import Rule, published_shapes
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError

SHARD_BYTES = 5 * 10**9
# In a Tuwen folder: what came with the published one, so that it can be written back as it was.
KEPT = "published"
KEPT_INDEX = "layout.json"
SAFETENSORS_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def convert(published: Published, out: Path) -> None:
    """Write a Tuwen model folder; the memory needed is that of one published shard.

    Args:
        published: from ``read_folder``; with an adapter folded in, this merges it.
        out: the folder to write; it must not be there yet.

    Raises:
        TuwenError: when a weight does not fit or cannot be read, or the disk is full; nothing is left then.
    """
    refuse_existing(out)
    check(published)
    with written_whole(out) as folder:
        _write_settings(published, folder)
        _write_weights(published, folder)
        _keep(published, folder)


def export(published: Published, out: Path, to: str) -> None:
    """Write a model in a published layout, as its original loader reads it.

    Args:
        published: from ``read_folder``: a Tuwen folder or another layout's.
        out: the folder to write; it must not be there yet.
        to: name of the layout.

    Raises:
        TuwenError: when the layout is unknown or cannot express the model; nothing is left then.
    """
    layout: Layout = LAYOUTS.get(to)()
    refuse_existing(out)
    check(published)
    outgoing = layout.write(published.config, published.processor, kept(published, to))
    for name in (*outgoing.files, *outgoing.weight_map.values()):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise TuwenError(f"{published.files.folder / KEPT}: {name!r} is not a path inside a folder")
    with written_whole(out) as folder:
        for name, content in outgoing.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        _write_outgoing(published, outgoing, folder)


def kept(published: Published, layout: str) -> Mapping[str, bytes]:
    """The small files of the folder of this layout that a model came from; empty for one made elsewhere."""
    if published.layout == layout:
        return published.keep
    folder = published.files.folder / KEPT
    if published.layout != OWN or not (folder / KEPT_INDEX).is_file():
        return {}
    index = read_json(folder / KEPT_INDEX)
    if index.get("layout") != layout:
        return {}
    return {name: (folder / place).read_bytes() for name, place in index["files"].items()}


def refuse_existing(out: Path) -> None:
    """Never write over what is there."""
    if out.exists():
        raise TuwenError(f"{out}: already exists; choose another folder or remove it")


def _write_settings(published: Published, folder: Path) -> None:
    config = published.config
    config.architectures = ["TuwenForConditionalGeneration"]
    config.dtype = published.dtype
    with quiet():
        config.save_pretrained(folder)
        published.processor.save_pretrained(folder)
        if published.generation:
            GenerationConfig(**published.generation).save_pretrained(folder)


def _keep(published: Published, folder: Path) -> None:
    if not published.keep:
        return
    place = folder / KEPT
    place.mkdir()
    # Numbered, so that no path of the published folder can lead out of this one.
    places = {name: f"{number:02d}-{Path(name).name}" for number, name in enumerate(sorted(published.keep))}
    for name, file in places.items():
        (place / file).write_bytes(published.keep[name])
    index = {"layout": published.layout, "files": places}
    (place / KEPT_INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


Entry = tuple[str, tuple[int, ...], torch.dtype]


def _write_weights(published: Published, folder: Path) -> None:
    """Our safetensors, in the order in which the published shards are read."""
    weights = in_our_names(published).files
    entries = [(name, weights.shape(name), weights.dtype(name)) for name in weights]
    shards = _split(entries, SHARD_BYTES)
    names = shard_names("model", len(shards))
    tensors = (weights[name] for name in weights)
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(folder / name, shard, tensors)
    if len(shards) > 1:
        weight_map = {entry[0]: name for name, shard in zip(names, shards, strict=True) for entry in shard}
        write_index(folder / "model.safetensors.index.json", weight_map, sum(map(_bytes, entries)))


def _split(entries: Sequence[Entry], limit: int) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    room = limit
    for entry in entries:
        size = _bytes(entry)
        if shards[-1] and size > room:
            shards.append([])
            room = limit
        shards[-1].append(entry)
        room -= size
    return shards


def _bytes(entry: Entry) -> int:
    _, shape, dtype = entry
    return torch.Size(shape).numel() * dtype.itemsize


def shard_names(stem: str, count: int) -> list[str]:
    """File names of shards as `transformers` numbers them."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def write_index(path: Path, weight_map: Mapping[str, str], total_size: int) -> None:
    """The index of a sharded model."""
    values = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_safetensors(path: Path, entries: Sequence[Entry], tensors: Iterator[Tensor]) -> None:
    """A safetensors file, written as its tensors come: the library's own writer wants all of them at once.

    Args:
        path: the file.
        entries: name, shape and type of its tensors.
        tensors: as many are taken as there are entries, in their order.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for entry in entries:
        name, shape, dtype = entry
        header[name] = {
            "dtype": SAFETENSORS_TYPES[dtype],
            "shape": list(shape),
            "data_offsets": [place, place + _bytes(entry)],
        }
        place += _bytes(entry)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape, dtype in entries:
            tensor = next(tensors)
            assert tuple(tensor.shape) == shape, name
            _write_numbers(file, tensor.to(dtype))


def _write_numbers(file: BinaryIO, tensor: Tensor) -> None:
    flat = tensor.detach().cpu().contiguous().flatten()
    file.write(flat.view(torch.uint8).numpy().data)


def _write_outgoing(published: Published, outgoing: Outgoing, folder: Path) -> None:
    """Published weight files, one after the other; a file's tensors are in memory together."""
    weights, shapes = in_our_names(published).files, published_shapes(outgoing.rules, stored_state(published.config))
    makers = {name: (rule, place) for rule in outgoing.rules for place, name in enumerate(rule.theirs)}
    missing = sorted(set(makers) - set(outgoing.weight_map))
    assert not missing, f"weights without a file: {missing[:3]}"
    for file in sorted(set(outgoing.weight_map.values())):
        names = [name for name, place in outgoing.weight_map.items() if place == file]
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        dtype = outgoing.dtypes.get(file, published.dtype)
        types = {name: _type(*makers[name], dtype) for name in names}
        tensors = (_theirs(weights, *makers[name]).to(types[name]) for name in names)
        if file.endswith(".safetensors"):
            write_safetensors(place, [(name, shapes[name], types[name]) for name in names], tensors)
        else:
            torch.save({name: tensor.clone() for name, tensor in zip(names, tensors, strict=True)}, place)


def _type(rule: Rule, place: int, dtype: torch.dtype) -> torch.dtype:
    """``dtype``, but for a tensor that comes from none of ours: an old table goes back as it was."""
    return dtype if rule.ours else rule.backward([])[place].dtype


def _theirs(weights: WeightFiles, rule: Rule, place: int) -> Tensor:
    return rule.backward([weights[name] for name in rule.ours])[place].contiguous()
