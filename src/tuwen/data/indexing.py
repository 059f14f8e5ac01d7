"""Makes the index of a data set, by several processes, and finds it again by what it was made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from io import BufferedReader
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSample
from tuwen.data.dataset import Dataset, Place
from tuwen.data.index import BATCH, SCHEMA, SampleIndex, write_index
from tuwen.data.media import fetch
from tuwen.data.sample import Picture, Sample
from tuwen.data.storage import is_url, open_binary, version_of, written_whole
from tuwen.vision import picture_size

if TYPE_CHECKING:
    from tuwen.models.processing import TuwenProcessor

VERSION = 1
# Records that one process looks at before the next one's turn.
TURN = 256
# Bytes of data that one process reads at once.
SMALL = 4 * 2**20
Progress = Callable[[int], None]


def open_index(
    dataset: Dataset,
    processor: TuwenProcessor | None = None,
    *,
    cache: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> SampleIndex:
    """The index of a data set, made where it is not there yet.

    Args:
        dataset: what is indexed.
        processor: whose tokens are counted; without one, lengths are 0.
        cache: folder that indices are kept in; ``TUWEN_CACHE`` or ``~/.cache/tuwen`` unless said.
        workers: processes; as many as there are processors unless said.
        progress: called with the number of records that have been looked at since the last call.

    Raises:
        TuwenError: when a file cannot be read or the cache cannot be written.
    """
    home = (cache or default_cache()) / "index"
    path = home / f"{_key(dataset, processor, home)}.arrow"
    if not path.exists():
        _write(path, _collect(dataset, processor, workers, progress))
    return SampleIndex(path)


def default_cache() -> Path:
    """The folder for what can be made again: ``TUWEN_CACHE``, or ``tuwen`` in the user's cache folder."""
    named = os.environ.get("TUWEN_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuwen"


def _key(dataset: Dataset, processor: TuwenProcessor | None, home: Path) -> str:
    """A name made of everything that the index depends on: content, reading, processor."""
    digest = hashlib.blake2b(digest_size=16)
    reading = dataset.reading
    for part in (
        VERSION,
        dataset.format.name,
        reading.pictures.place,
        reading.task,
        reading.language,
        dataset.format.options,
    ):
        digest.update(f"{part}\0".encode())
    joined = [other for file in dataset.files for other in dataset.container.besides(file)]
    for file in [*dataset.files, *dict.fromkeys(joined)]:
        digest.update(f"{file}\0{_content_of(file, home)}\0".encode())
    if processor is not None:
        tokenizer = processor.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        for text in (vocabulary, processor.chat_template or "", processor.image_token, str(processor.text_tokens)):
            digest.update(text.encode())
    return digest.hexdigest()


def _content_of(file: str, home: Path) -> str:
    """A hash of a file's content, computed again only when its size or time changes; of a URL, what its store says."""
    version = version_of(file)
    if is_url(file):
        return version
    known = home / "contents" / hashlib.blake2b(os.path.abspath(file).encode(), digest_size=16).hexdigest()
    try:
        before, _, content = known.read_text(encoding="utf-8").partition(" ")
    except OSError:
        before, content = "", ""
    if before != version:
        with open_binary(file) as stream:
            content = hashlib.file_digest(
                cast(BufferedReader, stream), lambda: hashlib.blake2b(digest_size=16)
            ).hexdigest()
        with written_whole(known) as partial:
            partial.write_text(f"{version} {content}", encoding="utf-8")
    return content


def _collect(
    dataset: Dataset, processor: TuwenProcessor | None, workers: int, progress: Progress | None
) -> list[_Part]:
    """All parts, in the order of the data; each is made by a process that takes every so many turns of records."""
    count = workers or (1 if _is_small(dataset) else os.cpu_count() or 1)
    shares = max(1, -(-count // len(dataset.files)))
    jobs = [(file, share) for file in range(len(dataset.files)) for share in range(shares)]
    if count == 1:
        return [_share(dataset, processor, file, share, shares, progress) for file, share in jobs]
    # A process that is forked while others of its threads hold locks may wait for ever.
    with ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_prepare, initargs=(dataset, processor)
    ) as pool:
        running = {pool.submit(_in_worker, file, share, shares): place for place, (file, share) in enumerate(jobs)}
        parts: dict[int, _Part] = {}
        for done in as_completed(running):
            parts[running[done]] = part = done.result()
            if progress is not None:
                progress(len(part.columns["file"]) + len(part.bad))
    return [parts[place] for place in range(len(jobs))]


def _is_small(dataset: Dataset) -> bool:
    """Whether it is read sooner than other processes would have started."""
    return not any(is_url(file) for file in dataset.files) and sum(map(os.path.getsize, dataset.files)) < SMALL


_prepared: tuple[Dataset, TuwenProcessor | None] | None = None


def _prepare(dataset: Dataset, processor: TuwenProcessor | None) -> None:
    global _prepared
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _prepared = (dataset, processor)


def _in_worker(file: int, share: int, shares: int) -> _Part:
    assert _prepared is not None
    return _share(*_prepared, file, share, shares, None)


def _share(
    dataset: Dataset, processor: TuwenProcessor | None, file: int, share: int, shares: int, progress: Progress | None
) -> _Part:
    """The records of a file whose turn belongs to ``share``."""
    part = _Part()
    for number, entry in enumerate(dataset.scan(file)):
        if (number // TURN) % shares != share:
            continue
        try:
            if entry.sample is None:
                raise entry.error or TuwenError("no sample")
            part.add(entry.place, entry.sample, processor)
        except TuwenError as error:
            name = entry.sample.id if entry.sample is not None else ""
            part.bad.append(
                BadSample(sample=name, shard=dataset.files[file], position=entry.place.offset, reason=str(error))
            )
        if progress is not None and number % TURN == 0:
            progress(TURN)
    return part


@dataclass(slots=True)
class _Part:
    """What a process found in its share of a file."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})
    tasks: list[str] = field(default_factory=list)
    bad: list[BadSample] = field(default_factory=list)

    def add(self, place: Place, sample: Sample, processor: TuwenProcessor | None) -> None:
        sizes = [picture_size(fetch(picture), name=str(picture)[:200]) for picture in sample.images]
        text, trained = _lengths(sample, processor)
        if sample.task not in self.tasks:
            self.tasks.append(sample.task)
        row = {
            "file": place.file,
            "offset": place.offset,
            "length": place.length,
            "number": place.number,
            "task": self.tasks.index(sample.task),
            "text_tokens": text,
            "trained_tokens": trained,
            "pictures": pictures_key(sample.images),
            "sizes": [side for size in sizes for side in size],
        }
        for name, value in row.items():
            self.columns[name].append(value)


def _lengths(sample: Sample, processor: TuwenProcessor | None) -> tuple[int, int]:
    """Tokens of a sample without those of its pictures, and how many of them are trained."""
    if processor is None:
        return 0, 0
    rendered = processor.renderer.render(sample.messages, [1] * len(sample.images), name=sample.id)
    trained = sum(label >= 0 for label in rendered.labels)
    if not trained:
        raise TuwenError(f"{sample.id}: no token of it is trained; its last message must be the assistant's")
    return len(rendered.input_ids) - len(sample.images), trained


def pictures_key(images: Sequence[Picture]) -> int:
    """A number that stands for these very pictures, in this order; 0 for none."""
    if not images:
        return 0
    digest = hashlib.blake2b(digest_size=8)
    for image in images:
        digest.update(image if isinstance(image, bytes) else str(image).encode("utf-8", errors="surrogateescape"))
        digest.update(b"\0")
    return int.from_bytes(digest.digest(), "little") or 1


def _write(path: Path, parts: Sequence[_Part]) -> None:
    tasks = sorted({task for part in parts for task in part.tasks})
    number = {task: place for place, task in enumerate(tasks)}
    if len(tasks) > np.iinfo(np.uint16).max:
        raise TuwenError(
            f"{len(tasks)} different tasks in one data set; at most {np.iinfo(np.uint16).max} are counted apart"
        )
    columns: dict[str, list[pa.Array]] = {name: [] for name in SCHEMA.names}
    for part in parts:
        own = np.array([number[task] for task in part.tasks], dtype=np.uint16)
        for name, values in part.columns.items():
            kind = SCHEMA.field(name).type
            columns[name].append(pa.array(own[values] if name == "task" and values else values, type=kind))
    table = pa.table({name: pa.chunked_array(arrays, SCHEMA.field(name).type) for name, arrays in columns.items()})
    table = table.sort_by([("file", "ascending"), ("offset", "ascending"), ("number", "ascending")]).combine_chunks()
    write_index(path, table.to_batches(max_chunksize=BATCH), tasks, [bad for part in parts for bad in part.bad])
