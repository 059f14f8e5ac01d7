"""Whole models from one layout to another, a tensor at a time (`tuwen convert`, `merge`, `export`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from transformers import GenerationConfig

from tuwen.checkpoints.folder import stored_state, written_whole
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.opening import OWN, in_our_names
from tuwen.checkpoints.refusal import blamed_on, quiet
from tuwen.checkpoints.renames import Rule, published_shapes
from tuwen.checkpoints.shards import in_shards, index_file
from tuwen.checkpoints.weights import SAFETENSORS_TYPES, WeightFiles, read_json
from tuwen.config import TuwenError

SHARD_BYTES = 5 * 10**9
# In a Tuwen folder: what came with the published one, so that it can be written back as it was.
KEPT = "published"
KEPT_INDEX = "layout.json"
TYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_TYPES.items()}


def convert(published: Published, out: Path) -> None:
    """Write a Tuwen model folder; the memory needed is that of one published shard.

    Args:
        published: from ``read_folder``; with an adapter folded in, this merges it.
        out: the folder to write; it must not be there yet.

    Raises:
        TuwenError: when a weight cannot be read, or the disk is full; nothing is left then.
    """
    refuse_existing(out)
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
    source = published.files.folder
    with blamed_on(source):
        outgoing = layout.write(published.config, published.processor, kept(published, to))
        _check_outgoing(outgoing, source)
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
    index = read_json(_kept_file(folder, KEPT_INDEX))
    if index.get("layout") != layout:
        return {}
    places = index.get("files")
    if not isinstance(places, dict):
        raise TuwenError(f"{folder / KEPT_INDEX}: files: expected names with their places; found {places!r}")
    return {name: _kept_file(folder, place).read_bytes() for name, place in places.items()}


def _kept_file(folder: Path, place: Any) -> Path:
    """A file in ``folder`` itself; whoever wrote its index may have meant one elsewhere."""
    path = folder / str(place)
    # The model folder may be reached through a link; what lies in it may not be one.
    if path.resolve() != folder.parent.resolve() / folder.name / path.name or path.name != place:
        raise TuwenError(f"{folder / KEPT_INDEX}: {place!r} is not the name of a file that lies in {folder} itself")
    if not path.is_file():
        raise TuwenError(f"{path}: this file is missing; {KEPT_INDEX} names it")
    return path


def _check_outgoing(outgoing: Outgoing, source: Path) -> None:
    """Make sure that names which came from a folder lead nowhere else, and that each weight has a file."""
    for name in (*outgoing.files, *outgoing.weight_map.values()):
        path = Path(name)
        if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise TuwenError(f"{source / KEPT}: {name!r} is not a path inside a folder")
    wanted = {name for rule in outgoing.rules for name in rule.theirs}
    for name in sorted(wanted ^ set(outgoing.weight_map)):
        raise TuwenError(f"{source}: {name}: the model and the folder that it came from do not both have this weight")


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
    entries = {name: (name, weights.shape(name), weights.dtype(name)) for name in weights}
    sizes = {name: _bytes(entry) for name, entry in entries.items()}
    weight_map = in_shards(sizes, SHARD_BYTES)
    for file, group in groupby(weights, key=weight_map.__getitem__):
        names = list(group)
        write_safetensors(folder / file, [entries[name] for name in names], (weights[name] for name in names))
    for file, content in index_file(weight_map, total_size=sum(sizes.values())).items():
        (folder / file).write_bytes(content)


def _bytes(entry: Entry) -> int:
    _, shape, dtype = entry
    return torch.Size(shape).numel() * dtype.itemsize


def write_safetensors(path: Path, entries: Sequence[Entry], tensors: Iterable[Tensor]) -> None:
    """A safetensors file, written as its tensors come: the library's own writer wants all of them at once.

    Args:
        path: the file.
        entries: name, shape and type of its tensors.
        tensors: as many, in the same order.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for entry in entries:
        name, shape, dtype = entry
        header[name] = {
            "dtype": TYPE_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [place, place + _bytes(entry)],
        }
        place += _bytes(entry)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for (name, shape, dtype), tensor in zip(entries, tensors, strict=True):
            assert tuple(tensor.shape) == shape, name
            _write_numbers(file, tensor.to(dtype))


def _write_numbers(file: BinaryIO, tensor: Tensor) -> None:
    flat = tensor.detach().cpu().contiguous().flatten()
    file.write(flat.view(torch.uint8).numpy().data)


def _write_outgoing(published: Published, outgoing: Outgoing, folder: Path) -> None:
    """Published weight files, one after the other; a file's tensors are in memory together."""
    weights, shapes = in_our_names(published).files, published_shapes(outgoing.rules, stored_state(published.config))
    makers = {name: (rule, place) for rule in outgoing.rules for place, name in enumerate(rule.theirs)}
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
            # Into an open file, of whose errors the system's own is kept; of a path torch says nothing of the kind.
            with place.open("wb") as opened:
                torch.save({name: tensor.clone() for name, tensor in zip(names, tensors, strict=True)}, opened)


def _type(rule: Rule, place: int, dtype: torch.dtype) -> torch.dtype:
    """``dtype``, but for a tensor that comes from none of ours: an old table goes back as it was."""
    return dtype if rule.ours else rule.backward([])[place].dtype


def _theirs(weights: WeightFiles, rule: Rule, place: int) -> Tensor:
    return rule.backward([weights[name] for name in rule.ours])[place].contiguous()
