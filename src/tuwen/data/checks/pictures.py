"""Pictures: there, whole, of a fair size, and what their names say they are."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO

import PIL.Image

from tuwen.data.checks.base import CHECKS, Check, Finding, PictureLook, Reason, Subject
from tuwen.data.media import fetch, picture_bytes
from tuwen.data.sample import Picture, Stored
from tuwen.vision.pictures import FORMATS, PictureError, Source, open_picture, picture_size

# Image processors have taken sides below 10 pixels for channels.
SMALLEST_SIDE = 10
# A line of text is up to about 40 times as wide as high; tiles and squares show nothing of what is longer.
LONGEST_SHAPE = 50
KEPT = 2**16
SUFFIXES = {
    ".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".png": "PNG", ".ppm": "PPM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip


@CHECKS.register("pictures")
class PicturesCheck(Check):
    """See the module."""

    reasons = (
        Reason("missing_picture", "error", "a picture is not there or cannot be read", "图片不存在或无法读取"),
        Reason("not_a_file", "error", "a picture is a folder or a device", "图片路径不是文件"),
        Reason("empty_picture", "error", "a picture's file is empty", "图片文件为空"),
        Reason("not_a_picture", "error", "a file that is no picture (a web page, text)", "文件不是图片"),
        Reason("broken_picture", "error", "a picture is broken or cut off", "图片损坏或不完整"),
        Reason("oversized_picture", "error", "more bytes or pixels than are taken", "图片过大"),
        Reason("tiny_picture", "warning", f"a side has fewer than {SMALLEST_SIDE} pixels", "图片过小"),
        Reason("extreme_shape", "warning", f"over {LONGEST_SHAPE} times as long as wide", "长宽比过大"),
        Reason("wrong_suffix", "warning", "a picture of another kind than its name says", "扩展名与图片类型不符"),
        Reason("animated_picture", "warning", "several frames, of which the first is used", "动图, 只用第一帧"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """What is known of the pictures."""
        for picture in subject.pictures:
            yield from picture.findings


class PictureLooker:
    """Looks at pictures, at each once as long as it is remembered.

    Args:
        decode: whether they are decoded.
    """

    def __init__(self, decode: bool) -> None:
        self._decode = decode
        self._known = lru_cache(maxsize=KEPT)(self._look)
        self._known_bytes: dict[bytes, PictureLook] = {}

    def __reduce__(self) -> tuple[type[PictureLooker], tuple[bool]]:
        return PictureLooker, (self._decode,)

    def __call__(self, picture: Picture) -> PictureLook:
        """What is known of a picture."""
        if isinstance(picture, Path | Stored):
            return self._known(picture)
        if not isinstance(picture, bytes):
            return self._look(picture)
        # Only their hash is remembered: bytes would fill the memory.
        key = _key(picture)
        if key not in self._known_bytes:
            if len(self._known_bytes) == KEPT:
                self._known_bytes.clear()
            self._known_bytes[key] = self._look(picture)
        return self._known_bytes[key]

    def _look(self, picture: Picture) -> PictureLook:
        name = f"picture of {len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
        named = _key(name.encode(errors="surrogateescape"))
        try:
            found = fetch(picture)
            size = picture_size(found, name=name)
            if self._decode and isinstance(found, str | Path):
                found = picture_bytes(Path(found))
            if self._decode:
                open_picture(found, name=name)
        except PictureError as error:
            return PictureLook(None, named, (Finding(error.reason, str(error)),))
        key = _key(found) if isinstance(found, bytes) else named
        return PictureLook(size, key, tuple(_oddities(found, size, name)))


def _key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _oddities(source: Source, size: tuple[int, int], name: str) -> Iterator[Finding]:
    """What people should look at in a picture that can be used."""
    width, height = size
    if min(size) < SMALLEST_SIDE:
        yield Finding("tiny_picture", f"{name}: {width}x{height} pixels")
    if max(size) > LONGEST_SHAPE * min(size):
        yield Finding("extreme_shape", f"{name}: {width}x{height} pixels")
    if isinstance(source, PIL.Image.Image):
        return
    kind, animated = _kind(io.BytesIO(source) if isinstance(source, bytes) else source)
    said = SUFFIXES.get(os.path.splitext(name)[1].lower())
    if said is not None and kind != said:
        yield Finding("wrong_suffix", f"{name}: its content is {kind}")
    if animated:
        yield Finding("animated_picture", name)


def _kind(source: IO[bytes] | str | Path) -> tuple[str, bool]:
    """What kind of file a picture is, and whether it has more than one frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(source, formats=FORMATS) as picture:
            if picture.format == "MPO":
                # A JPEG of a phone: what stands behind the picture is a depth or brightness map.
                return "JPEG", False
            try:
                animated = bool(getattr(picture, "is_animated", False))
            except Exception:
                # Readers of broken frames behind a good first one raise anything.
                animated = True
            return picture.format or "", animated
