"""How weights are spread over files of a limited size, in the naming of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Mapping

INDEX = "model.safetensors.index.json"


def in_shards(sizes: Mapping[str, int], limit: int) -> dict[str, str]:
    """The safetensors file of each weight: the next one where a file would grow beyond the limit.

    Args:
        sizes: of all weights by their names, in their order.
        limit: of a file, in the same unit; a weight that is larger has a file to itself.
    """
    shards: dict[str, int] = {}
    number, filled = 1, 0
    for name, size in sizes.items():
        if filled and filled + size > limit:
            number, filled = number + 1, 0
        shards[name] = number
        filled += size
    if number == 1:
        return dict.fromkeys(sizes, "model.safetensors")
    return {name: f"model-{shard:05d}-of-{number:05d}.safetensors" for name, shard in shards.items()}


def index_file(weight_map: Mapping[str, str], **metadata: int) -> dict[str, bytes]:
    """The index beside several files, by its name; none beside one.

    Args:
        weight_map: of ``in_shards``.
        **metadata: what else is known, such as ``total_size``.
    """
    if len(set(weight_map.values())) == 1:
        return {}
    values = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    return {INDEX: (json.dumps(values, indent=2) + "\n").encode()}
