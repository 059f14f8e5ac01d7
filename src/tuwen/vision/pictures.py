"""The one place where pictures are opened: checked by their header first, decoded second, always RGB in the end."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from pydantic import Field

from tuwen.config import StrictConfig, TuwenError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
Source = Path | str | bytes | PIL.Image.Image


class PictureError(TuwenError):
    """A picture that cannot be used: one line with its name, what was found and what would be right."""


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


def open_picture(source: Source, limits: PictureLimits = DEFAULT_LIMITS, name: str | None = None) -> PIL.Image.Image:
    """A picture as people see it: first frame, upright, on white where it is transparent, 8-bit RGB.

    Args:
        source: a file's path, a file's bytes, or a picture that is open already. A string is a path, never a URL.
        limits: what is refused by size.
        name: what to call it in a message; the path unless said.

    Raises:
        PictureError: when it is missing, not a picture, broken, or larger than the limits.
    """
    if isinstance(source, PIL.Image.Image):
        _check_size(source.size, limits, name or "picture")
        return source if source.mode == "RGB" else _as_rgb(source)
    label = name or (str(source) if not isinstance(source, bytes) else f"picture of {len(source)} bytes")
    with _header(source, limits, label) as picture:
        try:
            picture.seek(0)
            picture.load()
            upright = PIL.ImageOps.exif_transpose(picture)
        except Exception as error:
            # Decoders raise whatever their format's reader happens to meet in a broken file.
            raise PictureError(f"{label}: broken or cut off ({_first_line(error)}); expected a whole picture") from None
        return _as_rgb(upright)


def picture_size(source: Source, limits: PictureLimits = DEFAULT_LIMITS, name: str | None = None) -> tuple[int, int]:
    """Width and height in pixels of the upright picture, from its header; nothing is decoded.

    Raises:
        PictureError: as ``open_picture``, for what a header shows.
    """
    if isinstance(source, PIL.Image.Image):
        return source.size
    label = name or (str(source) if not isinstance(source, bytes) else f"picture of {len(source)} bytes")
    with _header(source, limits, label) as picture:
        width, height = picture.size
        try:
            sideways = picture.getexif().get(ORIENTATION) in SIDEWAYS
        except Exception:
            # What cannot be read as EXIF turns nothing; open_picture says whether the picture itself is broken.
            sideways = False
        return (height, width) if sideways else (width, height)


def _header(source: Path | str | bytes, limits: PictureLimits, label: str) -> PIL.Image.Image:
    """The picture with nothing decoded yet, its sizes checked."""
    data = source if isinstance(source, bytes) else _read(Path(source), limits, label)
    if not data:
        raise PictureError(f"{label}: the file is empty; expected a picture")
    if len(data) > limits.max_bytes:
        raise PictureError(f"{label}: {len(data):,} bytes; at most {limits.max_bytes:,} are taken")
    try:
        with warnings.catch_warnings():
            # Pillow warns about large pictures by its own measure; ours is checked right below.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        count = f"{int(found.group()):,}" if found else "far too many"
        raise PictureError(f"{label}: {count} pixels; at most {limits.max_pixels:,} are taken") from None
    except PIL.UnidentifiedImageError:
        raise PictureError(f"{label}: not a picture; expected one of {', '.join(FORMATS)}") from None
    except Exception as error:
        raise PictureError(f"{label}: its header is broken ({_first_line(error)}); expected a whole picture") from None
    _check_size(picture.size, limits, label)
    return picture


def _read(path: Path, limits: PictureLimits, label: str) -> bytes:
    try:
        if path.is_dir():
            raise PictureError(f"{label}: is a folder; expected a picture's file")
        if path.stat().st_size > limits.max_bytes:
            raise PictureError(f"{label}: {path.stat().st_size:,} bytes; at most {limits.max_bytes:,} are taken")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{label}: cannot be read ({error.strerror}); expected a picture's file") from None
    except ValueError as error:
        raise PictureError(f"{label!r}: not a file's name ({error})") from None


def _check_size(size: tuple[int, int], limits: PictureLimits, label: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{label}: {width}x{height} pixels; expected at least 1x1")
    if max(size) > limits.max_side:
        raise PictureError(f"{label}: {width}x{height} pixels; a side may have at most {limits.max_side:,}")
    if width * height > limits.max_pixels:
        raise PictureError(
            f"{label}: {width}x{height} are {width * height:,} pixels; at most {limits.max_pixels:,} are taken"
        )


def _as_rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_deep_grey(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", opaque.size, "white")
        return PIL.Image.alpha_composite(white, opaque).convert("RGB")
    return picture.convert("RGB")


def _from_deep_grey(picture: PIL.Image.Image) -> PIL.Image.Image:
    """16-bit grey scaled to 8 bits, where Pillow's own conversion would cut it off at 255."""
    values = np.asarray(picture).astype(np.float64)
    scale = 257.0 if picture.mode != "F" or values.max(initial=0.0) > 255 else 1.0
    return PIL.Image.fromarray(np.clip(np.rint(values / scale), 0, 255).astype(np.uint8)).convert("RGB")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
