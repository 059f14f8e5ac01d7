"""WebDataset: tar archives in which the members of a record stand together under one name (github.com/webdataset).

``0001.jpg``, ``0001.json`` and ``0001.txt`` are one record, named ``0001``: up to the first dot behind the folder. A
record's place is where its first member's header begins, and how many bytes there are up to the end of its last.
Nothing is ever unpacked to disk; a member's name is a name, whatever path it looks like.

What members mean together is said in ``tar_record``.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record
from tuwen.data.containers.tar_record import members_of, record_of
from tuwen.data.storage import open_binary, read_bytes
from tuwen.data.tar_members import tar_members
from tuwen.vision.pictures import DEFAULT_LIMITS

LARGEST_MEMBER = DEFAULT_LIMITS.max_bytes
LARGEST_RECORD = 4 * LARGEST_MEMBER
# Archives end with zeros up to a multiple of their blocking factor, 10 KB as a rule.
LONGEST_PADDING = 2**20
_MEMBER = re.compile(r"((?:.{0,4000}/)?[^./][^./]{0,1000})\.([^/]{1,1000})", re.DOTALL)
# WebDataset keeps notes about an archive in members such as __meta__/….
_NOTE = re.compile(r"__[^/]{0,1000}__(?:/|$)")


@CONTAINERS.register("tar")
class Tar(Container):
    """See the module."""

    name: ClassVar[str] = "tar"
    suffixes: ClassVar[tuple[str, ...]] = (".tar",)
    holds_bytes: ClassVar[bool] = True
    packs: ClassVar[bool] = True

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """A record for each run of members with one name."""
        with open_binary(file) as source:
            for group in _groups(source, file, whole=True):
                yield group.start, group.end - group.start, group.record(file)
            if source.read(LONGEST_PADDING).strip(b"\0"):
                problem = "more follows behind tar's end mark; give archives that were joined one by one"
                yield source.tell(), 0, TuwenError(f"{file}: {problem}")

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The record whose members lie there."""
        where = f"{file}: {self.name_place(offset, length)}"
        if length > 2 * LARGEST_RECORD:
            raise TuwenError(f"{where}: a record of {length:,} bytes; at most {LARGEST_RECORD:,} are read")
        with io.BytesIO(read_bytes(file, offset, length)) as source:
            group = next(_groups(source, where, whole=False), None)
        if group is None:
            raise TuwenError(f"{where}: no record begins there; the archive has been changed")
        found = group.record(file)
        if isinstance(found, TuwenError):
            raise found
        return found

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """The pictures of each record and its JSON."""
        count = 0
        with out.open("wb") as archive:
            for count, record in enumerate(records, start=1):
                for name, data in members_of(record, f"{count - 1:09d}"):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.write(member.tobuf() + data + bytes(-len(data) % tarfile.BLOCKSIZE))
            archive.write(bytes(2 * tarfile.BLOCKSIZE))
            archive.write(bytes(-archive.tell() % tarfile.RECORDSIZE))
        return count


class _Group:
    """The members of a record as they come."""

    def __init__(self, key: str, start: int) -> None:
        self.key, self.start, self.end = key, start, start
        self._members: dict[str, bytes] = {}
        self._problem = ""

    def add(self, suffix: str, data: bytes, end: int) -> None:
        """Take a member."""
        if suffix in self._members:
            self._problem = self._problem or f"two members {self.key}.{suffix}"
        self._members[suffix] = data
        self.end = end

    def refuse(self, problem: str, end: int) -> None:
        """Take note of a member that is not read."""
        self._problem, self.end = self._problem or problem, end

    @property
    def room(self) -> int:
        """How many bytes more it may have."""
        return LARGEST_RECORD - sum(map(len, self._members.values()))

    def record(self, file: str) -> Record | TuwenError:
        """The record, or what is wrong with it."""
        where = f"{file}: {self.key[:200]}"
        if self._problem:
            return TuwenError(f"{where}: {self._problem}")
        try:
            return record_of(self.key, self._members, where)
        except TuwenError as error:
            return error
        except RecursionError:
            return TuwenError(f"{where}: its JSON is nested too deeply")


def _groups(source: IO[bytes], name: str, *, whole: bool) -> Iterator[_Group]:
    """The members of an archive, by their names' beginnings.

    Args:
        source: the archive, or some members of it.
        name: what to call it in a message.
        whole: whether it must have an end mark. Without one nobody knows if the last group is all there.

    Raises:
        TuwenError: when it is broken; what was whole before has been given then.
    """
    group: _Group | None = None
    for member, end in tar_members(source, name):
        found = _MEMBER.fullmatch(member.name)
        if not member.isreg() or found is None or _NOTE.match(member.name):
            continue
        if group is None or found[1] != group.key:
            if group is not None:
                yield group
            group = _Group(found[1], member.offset)
        if member.size > min(LARGEST_MEMBER, group.room) or member.issparse():
            size = f"{member.size:,} bytes; at most {LARGEST_MEMBER:,} are read"
            group.refuse(f"its .{found[2][:40]} has {size}", end)
            continue
        source.seek(member.offset_data)
        data = source.read(member.size)
        if len(data) < member.size:
            raise TuwenError(f"{name}: cut off in {member.name[:200]}; expected a whole tar archive")
        group.add(found[2].lower(), data, end)
    if group is None:
        return
    if whole and not source.read(1):
        group.refuse("may have been cut off, for tar's end mark does not follow it", group.end)
    yield group
