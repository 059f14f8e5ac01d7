"""Data of one format written in another: to one file, or to shards."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS
from tuwen.data.dataset import OWN, Dataset, container_for, write_data
from tuwen.data.formats.base import FORMATS
from tuwen.data.sample import Sample

# Samples written and files read so far.
Progress = Callable[[int, int], None]


def usual_format(out: Path) -> str:
    """Tuwen's own format where it is kept in such files, else the one that most often is."""
    for name in (OWN, *FORMATS.names()):
        containers = FORMATS.get(name).containers
        kept_in = containers if name == OWN else containers[:1]
        if any(out.name.lower().endswith(CONTAINERS.get(container).suffixes) for container in kept_in):
            return name
    return OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is written.

    Attributes:
        out: the file; with ``shard_size`` it is ``OUT-00000-of-00003`` and so on.
        format: its name.
        pack: put pictures into the data.
        shard_size: samples of a shard; all in one file without.
        force: replace what is there.
        options: settings of the format.
    """

    out: Path
    format: str
    pack: bool = False
    shard_size: int | None = None
    force: bool = False
    options: Mapping[str, Any] | None = None

    def existing(self) -> list[Path]:
        """Files that would be replaced: ``out``, or all shards of an earlier run."""
        if self.shard_size is None:
            return [self.out] if self.out.exists() else []
        number = "[0-9]" * 5
        name = f"{glob.escape(self.out.stem)}-{number}-of-{number}{glob.escape(self.out.suffix)}"
        return sorted(self.out.parent.glob(name))

    def check(self, dataset: Dataset) -> None:
        """Refuse what cannot be written, or would destroy something.

        Raises:
            TuwenError: when ``out`` is what is read, is there already, or is no file of the format's.
        """
        container_for(self.out, FORMATS.get(self.format))
        read = {Path(file).resolve() for file in dataset.files}
        for file in self.existing():
            if file.resolve() in read:
                raise TuwenError(f"{file}: is what is read; choose another OUT")
            if file.is_dir():
                raise TuwenError(f"{file}: is a folder; name the file to write")
            if not self.force:
                raise TuwenError(f"{file}: is there already; choose another OUT, or replace it with --force")


def convert(
    dataset: Dataset, target: Target, *, limit: int | None = None, progress: Progress | None = None
) -> tuple[int, list[Path]]:
    """Write a data set in another format or another kind of file.

    Args:
        dataset: what is read.
        target: what is written.
        limit: samples to write at most.
        progress: called after every sample.

    Returns:
        How many samples were written, and the files.

    Raises:
        TuwenError: at the first record that cannot be read or written, naming it; nothing is left then.
    """
    target.check(dataset)
    rest = islice(_samples(dataset, progress), limit)
    first = next(rest, None)
    if first is None:
        raise TuwenError(f"{dataset.files[0] if dataset.files else 'the data'}: holds no sample")
    samples = chain([first], rest)
    if target.shard_size is None:
        return _write(samples, target.out, target), [target.out]
    return _write_shards(samples, target, target.shard_size)


def _samples(dataset: Dataset, progress: Progress | None) -> Iterator[Sample]:
    for count, entry in enumerate(dataset.scan(), start=1):
        if isinstance(entry.found, TuwenError):
            raise TuwenError(f"{entry.found}; tuwen data check --fix OUT writes the data without what is broken")
        yield entry.found
        if progress is not None:
            progress(count, entry.place.file)


def _write(samples: Iterator[Sample], out: Path, target: Target) -> int:
    return write_data(samples, out, format=target.format, pack=target.pack, options=target.options, final=target.out)


def _write_shards(samples: Iterator[Sample], target: Target, size: int) -> tuple[int, list[Path]]:
    """Shards under other names first, for only in the end it is known how many there are."""
    out, before = target.out, target.existing()
    parts: list[Path] = []
    count = 0
    try:
        for first in samples:
            parts.append(out.with_name(f".{out.stem}-{len(parts):05d}.{os.getpid()}{out.suffix}"))
            count += _write(chain([first], islice(samples, size - 1)), parts[-1], target)
        names = [
            out.with_name(f"{out.stem}-{number:05d}-of-{len(parts):05d}{out.suffix}") for number in range(len(parts))
        ]
        for part, name in zip(parts, names, strict=True):
            part.replace(name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for file in before:
        if file not in names:
            file.unlink()
    return count, names
