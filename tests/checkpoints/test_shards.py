"""Weights in several files: none too large, none lost, in the names that `transformers` looks for."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tuwen.checkpoints.shards import INDEX, in_shards, index_file


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_files_are_filled_in_order_up_to_the_limit(numbers: list[int], limit: int) -> None:
    sizes = {f"weight {place}": size for place, size in enumerate(numbers)}
    weight_map = in_shards(sizes, limit)
    assert list(weight_map) == list(sizes)
    files = list(dict.fromkeys(weight_map.values()))
    assert list(weight_map.values()) == sorted(weight_map.values())
    held = [[size for name, size in sizes.items() if weight_map[name] == file] for file in files]
    for file in held:
        assert sum(file) <= limit or sum(size > 0 for size in file) == 1
    for file, following in pairwise(held):
        assert sum(file) + following[0] > limit
    if len(files) == 1:
        assert files == ["model.safetensors"]
        assert index_file(weight_map) == {}
    else:
        count = len(files)
        assert files == [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        written = json.loads(index_file(weight_map, total_size=sum(numbers))[INDEX])
        assert written == {"metadata": {"total_size": sum(numbers)}, "weight_map": weight_map}
