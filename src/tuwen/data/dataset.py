"""Data on disk as samples: found out by itself what it is, read in order or by place, and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError, parse_config
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record
from tuwen.data.formats.base import FORMATS, Format, Reading, Writing, refusal
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
    found: Sample | TuwenError

    @property
    def sample(self) -> Sample | None:
        """The sample, if there is one."""
        return None if isinstance(self.found, TuwenError) else self.found

    @property
    def error(self) -> TuwenError | None:
        """What is wrong, if anything is."""
        return self.found if isinstance(self.found, TuwenError) else None

    def use(self) -> Sample:
        """The sample.

        Raises:
            TuwenError: when there is none, saying what is wrong.
        """
        if isinstance(self.found, TuwenError):
            raise self.found
        return self.found


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
        try:
            if isinstance(record, TuwenError):
                raise record
            samples = self._samples(place, record, where)
        except TuwenError as error:
            yield Entry(place, error)
            return
        for number, sample in enumerate(samples):
            here = Place(place.file, place.offset, place.length, number)
            yield Entry(here, sample if isinstance(sample, TuwenError) else self._placed(sample, here))

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order.

        Raises:
            TuwenError: at the first that is broken, naming it.
        """
        for entry in self.scan():
            yield entry.use()

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
            last = self._last = here, self._samples(place, record, where)
        found = last[1][place.number]
        if isinstance(found, TuwenError):
            raise found
        return self._placed(found, place)

    def _samples(self, place: Place, record: Record, where: str) -> Sequence[Sample | TuwenError]:
        # The same however the record is found, and wherever the data lies.
        reading = replace(self.reading, name=f"{self.files[place.file].rsplit('/', 1)[-1]}@{place.offset}")
        try:
            return self.format.samples(record, where, reading)
        except RecursionError:
            raise TuwenError(f"{where}: nested too deeply") from None

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
    despite_faults: bool = False,
) -> Dataset:
    """Data at a path, URL or pattern, in whatever format it is.

    Args:
        place: a file, a folder of files, a pattern such as ``shards/*.tar``, or an `fsspec` URL of these.
        format: its name; found out by looking at the first records unless said.
        images: folder, archive or URL that pictures' paths are relative to; the data's own folder unless said.
        task: the name under which samples that do not say it are balanced and reported.
        language: of samples that do not say it; judged by their text unless said.
        options: settings of the format, as its ``options_class`` says.
        despite_faults: take a format that more than half of the first records fit; all must fit it unless said.

    Raises:
        TuwenError: when there is nothing, or what there is fits no format or more than one.
    """
    name = str(place)
    if not is_url(name) and not any(sign in name for sign in "*?") and not exists(name):
        raise TuwenError(f"{name}: not found; give a data file, a folder of them, or a pattern")
    kinds = [FORMATS.get(format)] if format else [FORMATS.get(known) for known in FORMATS.names()]
    own = _own_layout(name, kinds)
    files, container, kind = own or _by_first_records(name, kinds, despite_faults)
    reader = _with_options(kind, options)
    files = reader.wanted(files)
    # The pictures of a layout of its own are counted from the place that was given, however deep its files lie.
    home = str(images) if images is not None else _home(name if own else files[0])
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


def _by_first_records(
    place: str, kinds: list[type[Format]], despite_faults: bool
) -> tuple[list[str], Container, type[Format]]:
    """The files at ``place``, their container by their suffix, and the format that the first records fit."""
    container, files = _files_at(place, kinds)
    candidates = [kind for kind in kinds if container.name in kind.containers]
    if len(kinds) == 1:
        return files, container, candidates[0]
    records = _first_records(container, files)
    fit = {kind: sum(map(kind.recognises, records)) for kind in candidates}
    most = max(fit.values())
    enough = most > len(records) / 2 if despite_faults else most == len(records)
    fitting = [kind for kind in candidates if enough and fit[kind] == most]
    # What our own form fits means the same in any other, e.g. text alone.
    fitting = [kind for kind in fitting if kind.name == OWN] or fitting
    if len(fitting) != 1 and not _mean_the_same(fitting, records):
        choices = ", ".join(kind.name for kind in fitting or candidates)
        problem = "fits more than one format" if fitting else "fits no format that is known"
        keys = ", ".join(list(records[0])[:12])
        raise TuwenError(f"{files[0]}: its first records (keys {keys}) {problem}; say which with --from: {choices}")
    return files, container, fitting[0]


def _files_at(place: str, kinds: list[type[Format]]) -> tuple[Container, list[str]]:
    """The files at ``place`` and their container, of which there must be one."""
    names = dict.fromkeys(name for kind in kinds for name in kind.containers)
    containers: list[Container] = [CONTAINERS.get(name)() for name in names]
    containers = [container for container in containers if container.by_suffix]
    containers = [container for container in containers if container.is_layout(place)] or containers
    here = [(container, files) for container in containers if (files := container.files(place))]
    if not here:
        suffixes = sorted({suffix for container in containers for suffix in container.suffixes})
        raise TuwenError(f"{place}: no data in it; expected files with {', '.join(suffixes)}")
    if len(here) > 1:
        found = " and ".join(sorted(container.name for container, _ in here))
        raise TuwenError(f"{place}: holds {found} files; name one file, or a pattern such as *.jsonl")
    return here[0]


def _mean_the_same(kinds: list[type[Format]], records: list[Record]) -> bool:
    """Whether several formats find the same samples in all of these records that fit, so that any of them will do."""
    reading = Reading(PictureFolder(""))
    fitting = [record for record in records if any(kind.recognises(record) for kind in kinds)]
    try:
        found = [[kind().samples(record, "", reading) for record in fitting] for kind in kinds]
    except TuwenError:
        return False
    return bool(found) and all(samples == found[0] for samples in found)


def _first_records(container: Container, files: list[str]) -> list[Record]:
    """The first records that can be read."""
    found: list[Record] = []
    broken: TuwenError | None = None
    for file in files:
        try:
            for _, _, record in container.scan(file):
                if isinstance(record, TuwenError):
                    broken = broken or record
                else:
                    found.append(record)
                if len(found) == LOOKED_AT:
                    return found
        except TuwenError as error:
            broken = broken or error
    if not found:
        raise broken or TuwenError(f"{files[0]}: holds no record")
    return found


def _home(file: str) -> str:
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
        records = (writer.record(_keepable(sample, kind), writing) for sample in samples)
        return container.write(records, partial, Columns(kind.columns, pack, out.name))


def _keepable(sample: Sample, kind: type[Format]) -> Sample:
    if sample.rejected is not None and not kind.keeps_rejected:
        raise refusal(sample, f"its rejected answer has no place in the format {kind.name}")
    return sample


def check_out(out: Path, format: str, sources: Iterable[str]) -> None:
    """Refuse a file to write of which only the end of long work would show that it cannot be.

    Args:
        out: the file.
        format: that is written.
        sources: files that are read meanwhile.

    Raises:
        TuwenError: when it is one of them, or the format is not kept in such files.
    """
    container_for(out, FORMATS.get(format))
    if out.resolve() in {Path(source).resolve() for source in sources}:
        raise TuwenError(f"{out}: is what is read; choose another OUT")


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
