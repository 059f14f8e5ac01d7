"""The members of a tar archive one after the other, in memory that does not grow with their number.

`tarfile` itself remembers each, which takes half a gigabyte for a million pictures.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO

from tuwen.config import TuwenError, first_line

# What a header that lies makes `tarfile` meet, beside its own errors.
_BROKEN = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, MemoryError)


def tar_members(source: IO[bytes], name: str) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The members, and where the next one's header begins.

    Args:
        source: the archive from its beginning; between two members its position is the caller's to change. At the
            end it stands behind the first block of zeros, or at the end of the file.
        name: what to call it in a message.

    Raises:
        TuwenError: when it is broken; what was whole before has been given then.
    """
    end = 0
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            while (member := _member_at(end, archive, source)) is not None:
                # A size below 0 would lead back to where we were.
                if member.size < 0 or archive.offset <= end:
                    raise TuwenError(f"{name}: byte {end}: not a tar header")
                end = archive.offset
                yield member, end
        source.seek(end)
        block = source.read(tarfile.BLOCKSIZE)
    except TuwenError:
        raise
    except _BROKEN as error:
        raise TuwenError(f"{name}: broken or cut off ({first_line(error)}); expected a whole tar archive") from None
    # An archive ends with blocks of zeros; any other block that is no header is a broken one.
    if block.strip(b"\0"):
        raise TuwenError(f"{name}: byte {end}: broken or cut off; expected a whole tar archive")


def _member_at(start: int, archive: tarfile.TarFile, source: IO[bytes]) -> tarfile.TarInfo | None:
    """The member whose header begins at ``start``; None where none does."""
    source.seek(max(0, start - 1))
    if start and not source.read(1):
        raise tarfile.ReadError("unexpected end of data")
    try:
        return tarfile.TarInfo.fromtarfile(archive)
    except tarfile.HeaderError:
        return None
