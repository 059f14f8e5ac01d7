"""Data whose first records may be broken, opened as what most of them are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from tuwen.config import TuwenError
from tuwen.data.dataset import LOOKED_AT, OWN, Dataset, open_data
from tuwen.data.formats.base import FORMATS


def open_despite_faults(
    place: str, *, format: str | None = None, images: str | None = None, options: Mapping[str, Any] | None = None
) -> Dataset:
    """As ``open_data``, which wants every one of the first records to fit; here more than half of them are enough.

    Args:
        place: a file, folder, pattern or URL.
        format: its name; found out unless said.
        images: where pictures are.
        options: settings of the format.

    Raises:
        TuwenError: when there is no data, or it fits no format or more than one.
    """
    try:
        return open_data(place, format=format, images=images, options=options)
    except TuwenError as error:
        refusal = error
    if format is not None:
        raise refusal
    shares: dict[str, tuple[float, Dataset]] = {}
    for name in FORMATS.names():
        try:
            dataset = open_data(place, format=name, images=images, options=options)
            shares[name] = _share(dataset), dataset
        except TuwenError:
            continue
    fitting = {name: dataset for name, (share, dataset) in shares.items() if share > 0.5}
    if OWN in fitting:
        return fitting[OWN]
    if len(fitting) != 1:
        raise refusal
    return fitting.popitem()[1]


def _share(dataset: Dataset) -> float:
    """How many of the first records that can be read (0–1) look like the format."""
    found: list[bool] = []
    for file in dataset.files:
        try:
            for _, _, record in islice(dataset.container.scan(file), LOOKED_AT - len(found)):
                if not isinstance(record, TuwenError):
                    found.append(dataset.format.recognises(record))
        except TuwenError:
            continue
        if len(found) >= LOOKED_AT:
            break
    return sum(found) / len(found) if found else 0.0
