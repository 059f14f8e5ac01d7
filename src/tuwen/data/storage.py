"""Files of data: on this machine, or anywhere that `fsspec` reaches (S3, OSS, HDFS, …)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs

from tuwen.config import TuwenError

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]{1,30}://", re.IGNORECASE)
# Nothing is fetched from the web because a file of data names it.
WEB = ("http://", "https://", "ftp://")
MOST_OPEN = 64
WORKING = (".cache.jsonl", ".rejected.jsonl")


def is_url(name: str) -> bool:
    """Whether ``name`` is a URL and not a path."""
    return _SCHEME.match(name) is not None


def is_web(name: str) -> bool:
    """Whether ``name`` is the address of something on the web."""
    return name.lower().startswith(WEB)


def _filesystem(url: str) -> tuple[Any, str]:
    if is_web(url):
        raise TuwenError(f"{url}: nothing is fetched from the web; download it first and give its path")
    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise TuwenError(f"{url}: cannot be opened ({error})") from None


def find_files(place: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files with one of these suffixes at ``place``: itself, in the folder, or as its pattern says; sorted.

    Args:
        place: a path or URL; ``*`` and ``?`` in its name make it a pattern.
        suffixes: lower case, with their dot.
    """
    if is_url(place):
        files, path = _filesystem(place)
        try:
            inside = files.glob(path) if "*" in path else files.ls(path, detail=False) if files.isdir(path) else [path]
        except (OSError, ImportError) as error:
            raise TuwenError(f"{place}: cannot be listed ({error})") from None
        found = [str(files.unstrip_protocol(name)) for name in inside]
    elif any(sign in place for sign in "*?") and not Path(place).exists():
        found = [str(name) for name in Path(place).parent.glob(Path(place).name)]
    elif Path(place).is_dir():
        found = [str(name) for name in Path(place).iterdir() if name.is_file()]
    else:
        found = [place]
    # Beside what `tuwen data translate` writes lie its replies and rejections.
    own = [name for name in found if name == place or not name.lower().endswith(WORKING)]
    return sorted(name for name in own if name.lower().endswith(suffixes))


def open_binary(place: str) -> IO[bytes]:
    """A file at a path or URL, for reading from any position.

    Raises:
        TuwenError: when it cannot be opened, naming it.
    """
    try:
        if not is_url(place):
            return open(place, "rb")
        files, path = _filesystem(place)
        opened: IO[bytes] = files.open(path, "rb")
        return opened
    except OSError as error:
        raise TuwenError(f"{place}: cannot be read ({error.strerror or error})") from None


def read_bytes(place: str, offset: int = 0, length: int | None = None) -> bytes:
    """``length`` bytes from ``offset``, or all that follow it.

    Raises:
        TuwenError: when they cannot be read, naming the file.
    """
    try:
        if not is_url(place):
            # Opened files are kept, so that a sample costs one read; a position of our own suits threads.
            if length is not None:
                # Held while it is read: what another thread opened at the same time is closed when nobody has it.
                opened = _descriptor(place, os.getpid(), version_here(place))
                return os.pread(opened.fileno(), length, offset)
            with open(place, "rb") as file:
                file.seek(offset)
                return file.read()
        files, path = _filesystem(place)
        data: bytes = files.cat_file(path, start=offset, end=None if length is None else offset + length)
        return data
    except OSError as error:
        raise TuwenError(f"{place}: cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=MOST_OPEN)
def _descriptor(place: str, process: int, version: str) -> IO[bytes]:
    return open(place, "rb")


def version_here(place: str) -> str:
    """``version_of`` a file on this machine, so that what is kept of it is not taken for that of a later one.

    Empty for a URL: its store would have to be asked at every sample.
    """
    return "" if is_url(place) else version_of(place)


def version_of(place: str) -> str:
    """Size and time of change, or what the store says in their place: the same as long as the file is."""
    if not is_url(place):
        try:
            found = os.stat(place)
        except OSError as error:
            raise TuwenError(f"{place}: cannot be read ({error.strerror})") from None
        return f"{found.st_size}-{found.st_mtime_ns}"
    files, path = _filesystem(place)
    try:
        details = files.info(path)
    except OSError as error:
        raise TuwenError(f"{place}: cannot be read ({error.strerror or error})") from None
    mark = next((details[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if key in details), "")
    return f"{details.get('size')}-{mark}"


def exists(place: str) -> bool:
    """Whether there is a file or folder at a path or URL."""
    if not is_url(place):
        return Path(place).exists()
    files, path = _filesystem(place)
    return bool(files.exists(path))


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A file beside ``out`` to write to, which takes its place when all is written; nothing is left of a failure.

    Raises:
        TuwenError: when it cannot be written.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        place = out if error.filename in (None, str(partial)) else error.filename
        raise TuwenError(f"{place}: cannot be written ({error.strerror or error})") from None
