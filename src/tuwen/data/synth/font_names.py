"""What a font file says of itself: the version of a face, read from its ``name`` table (OpenType specification)."""

from __future__ import annotations

import mmap
import struct
from functools import cache

COLLECTION = b"ttcf"
VERSION = 5
# A directory or a table of names beyond these sizes is no font that anybody draws with.
MOST_TABLES = 256
MOST_NAMES = 4096


@cache
def font_version(file: str, index: int = 0) -> str:
    """The version string of a face; empty where the file does not say it.

    Args:
        file: .ttf, .otf or .ttc.
        index: of the face in a collection.
    """
    try:
        # Mapped, as collections of Chinese fonts are tens of megabytes.
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = struct.unpack_from(">I", data, 12 + 4 * index)[0] if data[:4] == COLLECTION else 0
            tables = struct.unpack_from(">H", data, start + 4)[0]
            for number in range(min(tables, MOST_TABLES)):
                tag, _, offset, _ = struct.unpack_from(">4s3I", data, start + 12 + 16 * number)
                if tag == b"name":
                    return _name(data, offset, VERSION)
    except (struct.error, ValueError):
        # Cut short, or empty.
        pass
    return ""


def _name(data: mmap.mmap, table: int, wanted: int) -> str:
    """The first name of a kind, which every platform that a font names spells alike."""
    _, count, strings = struct.unpack_from(">3H", data, table)
    for number in range(min(count, MOST_NAMES)):
        platform, _, _, kind, length, offset = struct.unpack_from(">6H", data, table + 6 + 12 * number)
        if kind == wanted:
            first = table + strings + offset
            # Platform 1 is the old Macintosh; the others write UTF-16.
            coding = "latin-1" if platform == 1 else "utf-16-be"
            return data[first : first + length].decode(coding, errors="replace").strip()
    return ""
