"""From the reference that data holds to a picture's bytes, and back to a reference when data is written."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import lzma
import os
import re
import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import PIL.Image

from tuwen.config import TuwenError, first_line
from tuwen.data.sample import Picture, Stored
from tuwen.data.storage import is_url, open_binary, read_bytes, version_here
from tuwen.data.tar_members import tar_members
from tuwen.vision.pictures import DEFAULT_LIMITS, PictureError, unreadable

ARCHIVES = (".zip", ".tar")
MOST_ARCHIVES = 16
_IN_ARCHIVE = re.compile(r"(.+?\.(?:zip|tar))#(.+)", re.IGNORECASE | re.DOTALL)
_DATA_URL = re.compile(r"data:[a-z0-9.+/-]{0,64}(;[a-z0-9=-]{1,64}){0,4};base64,", re.IGNORECASE)
# What a file's first bytes say about its kind, for the names of pictures that had none.
_SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp"}


class PictureFolder:
    """Where the pictures that some data names are.

    Args:
        place: a folder, an archive (``.zip`` or ``.tar``), or an `fsspec` URL of either.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._archive = place.lower().endswith(ARCHIVES)

    def picture(self, reference: str) -> Picture:
        """What a reference stands for; nothing is opened.

        Args:
            reference: a path (relative to this folder, or absolute), a URL, a ``data:`` URL, or the path or URL of an
                archive with ``#`` and the picture's name in it.

        Raises:
            TuwenError: for a ``data:`` URL that is not base64.
        """
        if reference[:5].lower() == "data:":
            return _decoded(reference)
        if reference.lower().startswith("file://"):
            return Path(reference[len("file://") :])
        if match := _IN_ARCHIVE.fullmatch(reference):
            return self._member(match[1], match[2])
        if is_url(reference):
            return Stored(reference)
        if os.path.isabs(reference):
            return Path(reference)
        if self._archive:
            return Stored(self.place, reference)
        if is_url(self.place):
            return Stored(f"{self.place.rstrip('/')}/{reference}")
        return Path(self.place, reference)

    def _member(self, archive: str, name: str) -> Stored:
        if is_url(archive) or os.path.isabs(archive):
            return Stored(archive, name)
        return Stored(
            f"{self.place.rstrip('/')}/{archive}" if is_url(self.place) else str(Path(self.place, archive)), name
        )


def _decoded(reference: str) -> bytes:
    match = _DATA_URL.match(reference)
    if match is None:
        raise TuwenError(f"picture {reference[:40]!r}…: expected data:image/…;base64,…")
    try:
        return base64.b64decode(reference[match.end() :], validate=True)
    except binascii.Error as error:
        raise TuwenError(f"picture {reference[:40]!r}…: not base64 ({error})") from None


def fetch(picture: Picture | str) -> Path | str | bytes | PIL.Image.Image:
    """A picture as ``tuwen.vision.open_picture`` takes it; a string is a path.

    Raises:
        PictureError: when a member or URL cannot be read, or is larger than any picture may be.
    """
    if not isinstance(picture, Stored):
        return picture
    try:
        if picture.url.startswith("data:"):
            return _decoded(picture.url)
        return _member(picture) if picture.member else read_bytes(picture.url, 0, DEFAULT_LIMITS.max_bytes + 1)
    except PictureError:
        raise
    except TuwenError as error:
        raise PictureError(str(error), "missing_picture") from None


def _member(picture: Stored) -> bytes:
    archive = _archive(picture.url, os.getpid(), version_here(picture.url))
    return archive.read(picture)


# What `zipfile` and the unpackers behind it raise at an archive that is broken, encrypted or of an unknown kind.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError)


class _Zip:
    def __init__(self, url: str) -> None:
        try:
            self._zip = zipfile.ZipFile(open_binary(url))
        except _BROKEN_ZIP as error:
            raise TuwenError(f"{url}: not a whole zip archive ({first_line(error)})") from None
        # Members share one position in the file.
        self._lock = threading.Lock()

    def read(self, picture: Stored) -> bytes:
        try:
            with self._lock, self._zip.open(picture.member) as member:
                # The size that an archive states may be a lie; never more than a picture's limit is unpacked.
                return member.read(DEFAULT_LIMITS.max_bytes + 1)
        except KeyError:
            raise PictureError(f"{picture}: not in the archive", "missing_picture") from None
        except _BROKEN_ZIP as error:
            raise PictureError(f"{picture}: cannot be unpacked ({first_line(error)})", "missing_picture") from None


class _Tar:
    def __init__(self, url: str) -> None:
        self._url = url
        self._places: dict[str, tuple[int, int]] = {}
        with open_binary(url) as file:
            for member, _ in tar_members(file, url):
                if member.isreg():
                    self._places[member.name.removeprefix("./")] = (member.offset_data, member.size)

    def read(self, picture: Stored) -> bytes:
        place = self._places.get(picture.member.removeprefix("./"))
        if place is None:
            raise PictureError(f"{picture}: not in the archive", "missing_picture")
        return read_bytes(self._url, place[0], min(place[1], DEFAULT_LIMITS.max_bytes + 1))


@lru_cache(maxsize=MOST_ARCHIVES)
def _archive(url: str, process: int, version: str) -> _Zip | _Tar:
    # A process that was forked must not share the file's position with its parent.
    return _Zip(url) if url.lower().endswith(".zip") else _Tar(url)


def picture_bytes(picture: Picture) -> bytes:
    """A picture as the bytes of a file: its own, or PNG where it is open already.

    Raises:
        PictureError: when it cannot be read.
    """
    found = fetch(picture)
    if isinstance(found, bytes):
        return found
    if isinstance(found, PIL.Image.Image):
        buffer = io.BytesIO()
        found.save(buffer, "PNG")
        return buffer.getvalue()
    try:
        return Path(found).read_bytes()
    except OSError as error:
        raise unreadable(str(found), error) from None


def suffix_of(data: bytes) -> str:
    """The suffix that fits a picture's bytes, ``.bin`` where none is known."""
    return next((suffix for start, suffix in _SIGNATURES.items() if data.startswith(start)), ".bin")


class PictureStore:
    """Gives the reference under which written data names a picture.

    Pictures that are files or stay where they are stored are named; others are saved once, under a name made of
    their content.

    Args:
        out: the data file that is written; pictures go into a folder beside it.
        final: what ``out`` will be called in the end, where it is written beside first.
    """

    def __init__(self, out: Path, final: Path | None = None) -> None:
        self._home = (final or out).absolute().parent
        self._folder = self._home / f"{(final or out).name.split('.')[0]}_images"

    def reference(self, picture: Picture) -> str:
        """The reference: relative where the picture is beside the data or below, else absolute or a URL."""
        if isinstance(picture, Path):
            return self._named(picture)
        if isinstance(picture, Stored):
            named = picture.url if is_url(picture.url) else self._named(Path(picture.url))
            return f"{named}#{picture.member}" if picture.member else named
        data = picture_bytes(picture)
        name = hashlib.blake2b(data, digest_size=12).hexdigest() + suffix_of(data)
        place = self._folder / name[:2] / name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_suffix(f".{os.getpid()}.partial")
            partial.write_bytes(data)
            partial.replace(place)
        return place.relative_to(self._home).as_posix()

    def _named(self, place: Path) -> str:
        path = Path(os.path.abspath(place))
        return path.relative_to(self._home).as_posix() if path.is_relative_to(self._home) else path.as_posix()


def data_url(picture: Picture) -> str:
    """A picture as a ``data:`` URL."""
    data = picture_bytes(picture)
    return as_data_url({".jpg": "jpeg", ".bin": "png"}.get(suffix_of(data), suffix_of(data)[1:]), data)


def as_data_url(kind: str, data: bytes) -> str:
    """The bytes of a picture's file as a ``data:`` URL, e.g. of the kind ``jpeg``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
