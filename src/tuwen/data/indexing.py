"""Makes the index of a data set, by several processes, and finds it again by what it was made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from tuwen.config import TuwenError
from tuwen.data.bad_samples import BadSample
from tuwen.data.dataset import Dataset, Place
from tuwen.data.index import BATCH, SCHEMA, SampleIndex, write_index
from tuwen.data.media import fetch
from tuwen.data.pack import TokenSequence, packed_length
from tuwen.data.pairs import render_pair
from tuwen.data.sample import Picture, Sample
from tuwen.data.storage import is_url, open_binary, version_of, written_whole
from tuwen.data.walk import Chunk, walk
from tuwen.vision import picture_size

if TYPE_CHECKING:
    from tuwen.models.processing import TuwenProcessor

VERSION = 3
Progress = Callable[[int], None]


def open_index(
    dataset: Dataset,
    processor: TuwenProcessor | None = None,
    *,
    pairs: bool = False,
    cache: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> SampleIndex:
    """The index of a data set, made where it is not there yet.

    Args:
        dataset: what is indexed.
        processor: whose tokens are counted; without one, lengths are 0.
        pairs: whether answers are compared with rejected ones, so that both are counted.
        cache: folder that indices are kept in; ``TUWEN_CACHE`` or ``~/.cache/tuwen`` unless said.
        workers: processes; as many as there are processors unless said.
        progress: called with the number of records that have been looked at since the last call.

    Raises:
        TuwenError: when a file cannot be read or the cache cannot be written.
    """
    home = (cache or default_cache()) / "index"
    path = home / f"{_key(dataset, processor, home, pairs)}.arrow"
    if not path.exists():
        _write(path, _collect(dataset, _Look(dataset, processor, pairs), workers, progress))
    return SampleIndex(path)


def default_cache() -> Path:
    """The folder for what can be made again: ``TUWEN_CACHE``, or ``tuwen`` in the user's cache folder."""
    named = os.environ.get("TUWEN_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuwen"


def _key(dataset: Dataset, processor: TuwenProcessor | None, home: Path, pairs: bool) -> str:
    """A name made of everything that the index depends on: content, reading, processor."""
    digest = hashlib.blake2b(digest_size=16)
    reading = dataset.reading
    for part in (
        VERSION,
        dataset.format.name,
        reading.pictures.place,
        reading.language,
        dataset.format.options,
        pairs,
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


def _collect(dataset: Dataset, look: _Look, workers: int, progress: Progress | None) -> list[_Part]:
    """All parts, in the order of the data."""
    parts = []
    for chunk, part in walk(dataset, look, workers=workers or None):
        if chunk.broken:
            raise TuwenError(chunk.broken)
        parts.append(part)
        if progress is not None:
            progress(len(chunk.records))
    return parts


@dataclass(frozen=True, slots=True)
class _Part:
    """What was found in some records.

    Attributes:
        batch: of ``SCHEMA``.
        bad: what cannot be used.
    """

    batch: pa.RecordBatch
    bad: list[BadSample]


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks at records; sent to other processes once."""

    dataset: Dataset
    processor: TuwenProcessor | None
    pairs: bool

    def __call__(self, chunk: Chunk) -> _Part:
        rows: list[dict[str, Any]] = []
        bad: list[BadSample] = []
        for _, _, entry in chunk.entries(self.dataset):
            try:
                rows.append(self._row(entry.place, entry.use()))
            except TuwenError as error:
                shard, name = self.dataset.files[chunk.file], entry.sample.id if entry.sample is not None else ""
                bad.append(BadSample(sample=name, shard=shard, position=entry.place.offset, reason=str(error)))
        return _Part(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), bad)

    def _row(self, place: Place, sample: Sample) -> dict[str, Any]:
        sizes = [picture_size(fetch(picture), name=str(picture)[:200]) for picture in sample.images]
        return {
            "file": place.file,
            "offset": place.offset,
            "length": place.length,
            "number": place.number,
            **_lengths(sample, self.processor, self.pairs),
            "pictures": pictures_key(sample.images),
            "sizes": [side for size in sizes for side in size],
        }


def _lengths(sample: Sample, processor: TuwenProcessor | None, pairs: bool) -> dict[str, int]:
    """Tokens of a sample without those of its pictures; how many are trained, and how many two answers share."""
    if processor is None:
        return dict.fromkeys(("text_tokens", "trained_tokens", "shared_tokens"), 0)
    pictures = [1] * len(sample.images)
    rendered = (
        render_pair(sample, pictures, processor)
        if pairs
        else [processor.renderer.render(sample.messages, pictures, name=sample.id)]
    )
    trained = sum(label >= 0 for one in rendered for label in one.labels)
    if not trained:
        raise TuwenError(f"{sample.id}: no token of it is trained; its last message must be the assistant's")
    # Pictures are in what is shared.
    whole = packed_length([TokenSequence(input_ids=one.input_ids, labels=one.labels) for one in rendered])
    apart = sum(len(one.input_ids) - len(pictures) for one in rendered)
    text = whole - len(pictures)
    return {"text_tokens": text, "trained_tokens": trained, "shared_tokens": apart - text}


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
    table = pa.Table.from_batches([part.batch for part in parts], schema=SCHEMA).combine_chunks()
    write_index(path, table.to_batches(max_chunksize=BATCH), [one for part in parts for one in part.bad])
