"""Data on disk as samples: found out by itself what it is, read in order or by place, and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError, parse_config
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record
from tuwen.data.formats.base import FORMATS, Format, Reading, Writing
from tuwen.data.media import PictureFolder, PictureStore
from tuwen.data.sample import Language, Origin, Sample
from tuwen.data.storage import exists, is_url, written_whole

OWN = "tuwen"
LOOKED_AT = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample lies.

    Attributes:
        file: number of its file among those of the data.
        offset: of its record, see the container.
        length: of its record, see the container.
        number: among the samples of that record.
    """

    file: int
    offset: int
    length: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What reading through the data gives, one at a time: a sample, or what is wrong at its place."""

    place: Place
    sample: Sample | None = None
    error: TuwenError | None = None


class Dataset:
    """Samples on disk.

    Args:
        files: paths or URLs, in order.
        container: how records lie in them.
        format: what they mean.
        reading: settings for what they do not say.
    """

    def __init__(self, files: list[str], container: Container, format: Format, reading: Reading) -> None:
        self.files, self.container, self.format, self.reading = files, container, format, reading
        self._last: tuple[tuple[int, int, int], Sequence[Sample | TuwenError]] | None = None

    def scan(self, file: int | None = None) -> Iterator[Entry]:
        """All entries in order, or those of one file; whatever is wrong with a record is an entry too.

        Raises:
            TuwenError: when a file cannot be read any further.
        """
        for number in range(len(self.files)) if file is None else [file]:
            for place, (offset, length, record) in enumerate(self.container.scan(self.files[number])):
                where = f"{self.files[number]}: record {place}"
                yield from self.entries(Place(number, offset, length), record, where)

    def entries(self, place: Place, record: Record | TuwenError, where: str) -> Iterator[Entry]:
        """The entries of a record that the container gave.

        Args:
            place: of the record.
            record: what was read, or what is wrong with it.
            where: to name in a message.
        """
        if isinstance(record, TuwenError):
            yield Entry(place, error=record)
            return
        try:
            samples = self.format.samples(record, where, self._reading(place))
        except TuwenError as error:
            yield Entry(place, error=error)
            return
        except RecursionError:
            yield Entry(place, error=TuwenError(f"{where}: nested too deeply"))
            return
        for number, sample in enumerate(samples):
            here = Place(place.file, place.offset, place.length, number)
            if isinstance(sample, TuwenError):
                yield Entry(here, error=sample)
            else:
                yield Entry(here, self._placed(sample, here))

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order.

        Raises:
            TuwenError: at the first that is broken, naming it.
        """
        for entry in self.scan():
            if entry.sample is None:
                raise entry.error or TuwenError(f"{self.files[entry.place.file]}: no sample")
            yield entry.sample

    def sample(self, place: Place) -> Sample:
        """The sample at a place that ``scan`` gave.

        Raises:
            TuwenError: when it cannot be read.
        """
        here, last = (place.file, place.offset, place.length), self._last
        # Some records hold a hundred samples about one picture, which are asked for one after the other.
        if last is None or last[0] != here:
            file = self.files[place.file]
            record = self.container.fetch(file, place.offset, place.length)
            where = f"{file}: {self.container.name_place(place.offset, place.length)}"
            last = here, self.format.samples(record, where, self._reading(place))
            self._last = last
        found = last[1][place.number]
        if isinstance(found, TuwenError):
            raise found
        return self._placed(found, place)

    def _reading(self, place: Place) -> Reading:
        # The same however the record is found, and wherever the data lies.
        return replace(self.reading, name=f"{self.files[place.file].rsplit('/', 1)[-1]}@{place.offset}")

    def _placed(self, sample: Sample, place: Place) -> Sample:
        return replace(sample, origin=Origin(self.files[place.file], place.offset))


def open_data(
    place: str | Path,
    *,
    format: str | None = None,
    images: str | Path | None = None,
    task: str | None = None,
    language: Language | None = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Data at a path, URL or pattern, in whatever format it is.

    Args:
        place: a file, a folder of files, a pattern such as ``shards/*.tar``, or an `fsspec` URL of these.
        format: its name; found out by looking at the first records unless said.
        images: folder, archive or URL that pictures' paths are relative to; the data's own folder unless said.
        task: the name under which samples that do not say it are balanced and reported.
        language: of samples that do not say it; judged by their text unless said.
        options: settings of the format, as its ``options_class`` says.

    Raises:
        TuwenError: when there is nothing, or what there is fits no format or more than one.
    """
    name = str(place)
    if not is_url(name) and not any(sign in name for sign in "*?") and not exists(name):
        raise TuwenError(f"{name}: not found; give a data file, a folder of them, or a pattern")
    kinds = [FORMATS.get(format)] if format else [FORMATS.get(known) for known in FORMATS.names()]
    own = _own_layout(name, kinds)
    files, container, kind = own or _by_first_record(name, kinds)
    reader = _with_options(kind, options)
    files = reader.wanted(files)
    # The pictures of a layout of its own are counted from the place that was given, however deep its files lie.
    home = str(images) if images is not None else _home(name if own else files[0], name)
    return Dataset(files, container, reader, Reading(PictureFolder(home), task or "", language))


def _with_options(kind: type[Format], options: Mapping[str, Any] | None) -> Format:
    if options and not kind.options_class.model_fields:
        raise TuwenError(f"options of {kind.name}: it has none, found {', '.join(options)}")
    return kind(parse_config(kind.options_class, options or {}, f"options of {kind.name}"))


def _own_layout(place: str, kinds: list[type[Format]]) -> tuple[list[str], Container, type[Format]] | None:
    for kind in kinds:
        container = kind.own_container(place)
        if container is not None:
            return container.files(place), container, kind
    return None


def _by_first_record(place: str, kinds: list[type[Format]]) -> tuple[list[str], Container, type[Format]]:
    """The files at ``place``, their container by their suffix, and the format that the first records fit."""
    known = CONTAINERS.names()
    names = [name for name in dict.fromkeys(name for kind in kinds for name in kind.containers) if name in known]
    names = [name for name in names if CONTAINERS.get(name).by_suffix]
    names = [name for name in names if CONTAINERS.get(name)().is_layout(place)] or names
    here: dict[str, list[str]] = {}
    for name in names:
        files = CONTAINERS.get(name)().files(place)
        if files:
            here[name] = files
    if not here:
        suffixes = sorted({suffix for name in names for suffix in CONTAINERS.get(name).suffixes})
        raise TuwenError(f"{place}: no data in it; expected files with {', '.join(suffixes)}")
    if len(here) > 1:
        raise TuwenError(
            f"{place}: holds {' and '.join(sorted(here))} files; name one file, or a pattern such as *.jsonl"
        )
    name, files = here.popitem()
    container: Container = CONTAINERS.get(name)()
    candidates = [kind for kind in kinds if name in kind.containers]
    if len(kinds) == 1:
        return files, container, candidates[0]
    records = _first_records(container, files)
    fitting = [kind for kind in candidates if all(kind.recognises(record) for record in records)]
    # What our own form fits means the same in any other, e.g. text alone.
    fitting = [kind for kind in fitting if kind.name == OWN] or fitting
    if len(fitting) != 1 and not _mean_the_same(fitting, records):
        choices = ", ".join(kind.name for kind in fitting or candidates)
        problem = "fits more than one format" if fitting else "fits no format that is known"
        keys = ", ".join(list(records[0])[:12])
        raise TuwenError(f"{files[0]}: its first records (keys {keys}) {problem}; say which with --from: {choices}")
    return files, container, fitting[0]


def _mean_the_same(kinds: list[type[Format]], records: list[Record]) -> bool:
    """Whether several formats find the same samples in all of these records, so that any of them will do."""
    reading = Reading(PictureFolder(""))
    try:
        found = [[kind().samples(record, "", reading) for record in records] for kind in kinds]
    except TuwenError:
        return False
    return bool(found) and all(samples == found[0] for samples in found)


def _first_records(container: Container, files: list[str]) -> list[Record]:
    """The first records that can be read."""
    broken: TuwenError | None = None
    for file in files:
        found: list[Record] = []
        for _, _, record in container.scan(file):
            if isinstance(record, TuwenError):
                broken = broken or record
            else:
                found.append(record)
            if len(found) == LOOKED_AT:
                break
        if found:
            return found
    raise broken or TuwenError(f"{files[0]}: holds no record")


def _home(file: str, place: str) -> str:
    """The folder that pictures' paths are relative to, unless it is said."""
    if is_url(file):
        return file.rsplit("/", 1)[0]
    return str(Path(file) if Path(file).is_dir() else Path(file).parent)


def write_data(
    samples: Iterable[Sample],
    out: Path,
    *,
    format: str = OWN,
    pack: bool = False,
    options: Mapping[str, Any] | None = None,
    final: Path | None = None,
) -> int:
    """Write samples to one file.

    Args:
        samples: what is written, as it comes.
        out: the file; its suffix says the container.
        format: its name.
        pack: put pictures into the file itself; otherwise they are named, and saved beside it where they are no files.
        options: settings of the format, as its ``options_class`` says.
        final: what ``out`` will be called in the end, where it is a part that gets its name later.

    Returns:
        How many were written.

    Raises:
        TuwenError: when the format or the container cannot keep a sample, naming it; nothing is left then.
    """
    kind: type[Format] = FORMATS.get(format)
    container = container_for(out, kind)
    writer = _with_options(kind, options)
    pack = pack or container.packs
    with written_whole(out) as partial:
        writing = Writing(PictureStore(partial, final=final or out), container, pack)
        records = (writer.record(sample, writing) for sample in samples)
        return container.write(records, partial, Columns(kind.columns, pack, out.name))


def container_for(out: Path, kind: type[Format]) -> Container:
    """The container that a file's suffix stands for.

    Raises:
        TuwenError: when the format is not kept in such files.
    """
    for name in kind.containers:
        container: Container = CONTAINERS.get(name)()
        if out.name.lower().endswith(container.suffixes):
            return container
    suffixes = [suffix for name in kind.containers for suffix in CONTAINERS.get(name).suffixes]
    raise TuwenError(f"{out}: {kind.name} is kept in files with {', '.join(suffixes)}; choose one of these")
