"""The one place where pictures are opened: checked by their header first, decoded second, always RGB in the end."""

from __future__ import annotations

import io
import re
import stat
import struct
import warnings
from pathlib import Path
from typing import IO, Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
from PIL.PngImagePlugin import PngImageFile
from pydantic import Field

from tuwen.config import StrictConfig, TuwenError, first_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112
TURNED = range(2, 9)
SIDEWAYS = range(5, 9)
Source = Path | str | bytes | PIL.Image.Image
Transparency = Literal["white", "drop"]
Reason = Literal[
    "missing_picture", "not_a_file", "empty_picture", "not_a_picture", "broken_picture", "oversized_picture"
]


class PictureError(TuwenError):
    """A picture that cannot be used: one line with its name, what was found and what would be right.

    Args:
        message: the line.
        reason: what is wrong, for whoever counts.
    """

    def __init__(self, message: str, reason: Reason = "broken_picture") -> None:
        super().__init__(message)
        self.reason: Reason = reason


def unreadable(label: str, error: OSError) -> PictureError:
    """The refusal of a picture whose file cannot be read."""
    return PictureError(f"{label}: cannot be read ({error.strerror}); expected a picture's file", "missing_picture")


class PictureLimits(StrictConfig):
    """What is refused by its size alone, before anything is decoded.

    Attributes:
        max_bytes: of the file.
        max_pixels: width times height.
        max_side: width or height, in pixels.
    """

    max_bytes: int = Field(default=64 * 2**20, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1)
    max_side: int = Field(default=32_768, ge=1)


DEFAULT_LIMITS = PictureLimits()


def open_picture(
    source: Source,
    limits: PictureLimits = DEFAULT_LIMITS,
    name: str | None = None,
    *,
    transparency: Transparency = "white",
) -> PIL.Image.Image:
    """A picture as people see it: first frame, upright, on white where it is transparent, 8-bit RGB.

    Args:
        source: a file's path, a file's bytes, or a picture that is open already (taken at the frame where it stands).
            A string is a path, never a URL.
        limits: what is refused by size.
        name: what to call it in a message; the path unless said.
        transparency: ``drop`` gives the colours behind what is transparent, as older systems see them.

    Raises:
        PictureError: when it is missing, not a picture, broken, or larger than the limits.
    """
    label = name or _label(source)
    picture = _header(source, limits, label)
    try:
        picture.load()
        return _as_rgb(_upright(picture), transparency)
    except Exception as error:
        # Decoders raise whatever their format's reader happens to meet in a broken file.
        raise PictureError(f"{label}: broken or cut off ({first_line(error)}); expected a whole picture") from None


def picture_size(source: Source, limits: PictureLimits = DEFAULT_LIMITS, name: str | None = None) -> tuple[int, int]:
    """Width and height in pixels of the upright picture; of its file only the header is read, and nothing decoded.

    Raises:
        PictureError: as ``open_picture``, for what a header shows.
    """
    label = name or _label(source)
    if not isinstance(source, str | Path):
        return _upright_size(_header(source, limits, label))
    with _opened(source, limits, label) as file:
        return _upright_size(_identified(file, limits, label))


def _upright_size(picture: PIL.Image.Image) -> tuple[int, int]:
    width, height = picture.size
    return (height, width) if _orientation(picture) in SIDEWAYS else (width, height)


def _label(source: Source) -> str:
    if isinstance(source, PIL.Image.Image):
        return "picture"
    return f"picture of {len(source)} bytes" if isinstance(source, bytes) else str(source)


def _header(source: Source, limits: PictureLimits, label: str) -> PIL.Image.Image:
    """The picture with nothing decoded yet, its sizes checked."""
    if isinstance(source, PIL.Image.Image):
        _check_size(source.size, limits, label)
        return source
    if not isinstance(source, bytes | str | Path):
        raise PictureError(
            f"{label}: expected a path, bytes or an open picture, found {type(source).__name__}", "not_a_picture"
        )
    data = source if isinstance(source, bytes) else _read(source, limits, label)
    if not data:
        raise PictureError(f"{label}: the file is empty; expected a picture", "empty_picture")
    _check_bytes(len(data), limits, label)
    return _identified(io.BytesIO(data), limits, label)


def _identified(file: IO[bytes], limits: PictureLimits, label: str) -> PIL.Image.Image:
    """The picture in a file, by its header."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about large pictures by its own measure; ours is checked right below.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(file, formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        count = f"{int(found.group()):,}" if found else "far too many"
        raise PictureError(
            f"{label}: {count} pixels; at most {limits.max_pixels:,} are taken", "oversized_picture"
        ) from None
    except PIL.UnidentifiedImageError:
        raise PictureError(f"{label}: not a picture; expected one of {', '.join(FORMATS)}", "not_a_picture") from None
    except Exception as error:
        raise PictureError(f"{label}: its header is broken ({first_line(error)}); expected a whole picture") from None
    _check_size(picture.size, limits, label)
    return picture


def _read(path: Path | str, limits: PictureLimits, label: str) -> bytes:
    with _opened(path, limits, label) as file:
        try:
            # One more than is taken shows a file that has grown since.
            return file.read(limits.max_bytes + 1)
        except OSError as error:
            raise unreadable(label, error) from None


def _opened(path: Path | str, limits: PictureLimits, label: str) -> IO[bytes]:
    """A picture's file, which must be one and have a size that is taken."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise unreadable(label, error) from None
    except ValueError as error:
        raise PictureError(f"{label!r}: not a file's name ({error})", "missing_picture") from None
    if stat.S_ISDIR(found.st_mode):
        raise PictureError(f"{label}: is a folder; expected a picture's file", "not_a_file")
    if not stat.S_ISREG(found.st_mode):
        # A device has no end and a pipe no size: reading either may fill the memory or wait for ever.
        raise PictureError(f"{label}: is a device, pipe or socket; expected a picture's file", "not_a_file")
    if not found.st_size:
        raise PictureError(f"{label}: the file is empty; expected a picture", "empty_picture")
    _check_bytes(found.st_size, limits, label)
    try:
        return open(path, "rb")
    except OSError as error:
        raise unreadable(label, error) from None


def _check_bytes(count: int, limits: PictureLimits, label: str) -> None:
    if count > limits.max_bytes:
        raise PictureError(f"{label}: {count:,} bytes; at most {limits.max_bytes:,} are taken", "oversized_picture")


def _check_size(size: tuple[int, int], limits: PictureLimits, label: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{label}: {width}x{height} pixels; expected at least 1x1")
    if max(size) > limits.max_side:
        raise PictureError(
            f"{label}: {width}x{height} pixels; a side may have at most {limits.max_side:,}", "oversized_picture"
        )
    if width * height > limits.max_pixels:
        raise PictureError(
            f"{label}: {width}x{height} are {width * height:,} pixels; at most {limits.max_pixels:,} are taken",
            "oversized_picture",
        )


def _orientation(picture: PIL.Image.Image) -> int:
    try:
        if isinstance(picture, PngImageFile) and "exif" not in picture.info:
            # Pillow would decode the whole picture in search of EXIF behind it.
            return _late_orientation(picture.fp)
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:
        # What cannot be read as EXIF turns nothing; loading says whether the picture itself is broken.
        return 1


def _late_orientation(file: IO[bytes] | None) -> int:
    """The orientation that a PNG file states behind its pixels; its chunks are gone over without reading them."""
    if file is None:
        return 1
    start = file.tell()
    try:
        place = len(PNG_SIGNATURE)
        while True:
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"eXIf":
                exif = PIL.Image.Exif()
                exif.load(file.read(length))
                return int(exif.get(ORIENTATION, 1))
            place += length + 12
    except struct.error:
        return 1
    finally:
        file.seek(start)


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    return PIL.ImageOps.exif_transpose(picture) if _orientation(picture) in TURNED else picture


def _as_rgb(picture: PIL.Image.Image, transparency: Transparency) -> PIL.Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_deep_grey(picture)
    transparent = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    if transparent and transparency == "white":
        opaque = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", opaque.size, "white")
        return PIL.Image.alpha_composite(white, opaque).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_deep_grey(picture: PIL.Image.Image) -> PIL.Image.Image:
    """16-bit grey scaled to 8 bits, where Pillow's own conversion would cut it off at 255."""
    values = np.asarray(picture)
    if picture.mode == "F":
        finite = np.nan_to_num(values, nan=0.0, posinf=65535.0, neginf=0.0)
        scale = 257.0 if finite.max(initial=0.0) > 255 else 1.0
        grey = np.clip(np.rint(finite / scale), 0, 255).astype(np.uint8)
    else:
        # 65535 is 255 times 257; half of 257 is added to round to the nearest.
        grey = ((np.clip(values, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return PIL.Image.fromarray(grey).convert("RGB")
