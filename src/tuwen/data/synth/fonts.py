"""Fonts for Chinese: found, checked for every character that is to be drawn, and kept open."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

import PIL.Image
from PIL import ImageDraw, ImageFont

from tuwen.config import TuwenError

ADVICE = "install one (Debian: apt install fonts-noto-cjk) or set TUWEN_FONT to a .ttf, .otf or .ttc file"
KNOWN = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Medium.ttc",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/simhei.ttf",
)
# No font has this one; what is drawn for it is what a missing character looks like.
ABSENT = "\U000eff00"
MOST_FACES = 16


def find_font(path: str | None = None) -> str:
    """The file of a Chinese font: the given one, ``TUWEN_FONT``, or the first known one that is there.

    Raises:
        TuwenError: when there is none, or the given file is not there.
    """
    chosen = path or os.environ.get("TUWEN_FONT")
    if chosen:
        if not Path(chosen).is_file():
            raise TuwenError(f"font {chosen}: not found; {ADVICE}")
        return chosen
    for known in KNOWN:
        if Path(known).is_file():
            return known
    raise TuwenError(f"no Chinese font was found: {ADVICE}")


def open_font(size: int, path: str | None = None) -> ImageFont.FreeTypeFont:
    """The font that ``find_font`` finds, at a size in pixels.

    Raises:
        TuwenError: when there is none or it cannot be read.
    """
    return _open(find_font(path), size)


@cache
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    try:
        # Always the basic layout: pixels must not depend on whether Raqm is installed.
        return ImageFont.truetype(file, size, index=_face(file), layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise TuwenError(f"font {file}: cannot be read ({error}); {ADVICE}") from None


@cache
def _face(file: str) -> int:
    """The face of a collection whose family is for simplified Chinese (… SC), else the first."""
    for index in range(MOST_FACES):
        try:
            family = ImageFont.truetype(file, 16, index=index).getname()[0] or ""
        except OSError:
            break
        if family.split()[-1:] == ["SC"]:
            return index
    return 0


def require_glyphs(text: str, path: str | None = None) -> None:
    """Make sure that every character of ``text`` would be drawn as itself, never as an empty box.

    Raises:
        TuwenError: naming the font and the characters that it lacks.
    """
    font = open_font(24, path)
    missing = "".join(sorted({character for character in text if not character.isspace() and _lacks(font, character)}))
    if missing:
        shown = missing[:20] + ("…" if len(missing) > 20 else "")
        raise TuwenError(f"font {find_font(path)}: has no glyph for {shown!r} ({len(missing)} characters); {ADVICE}")


def _lacks(font: ImageFont.FreeTypeFont, character: str) -> bool:
    found, absent = font.getmask(character), font.getmask(ABSENT)
    ink = bytes(found)
    return not any(ink) or (found.size, ink) == (absent.size, bytes(absent))


@lru_cache(maxsize=8192)
def glyph(character: str, size: int, path: str | None = None) -> tuple[PIL.Image.Image, tuple[int, int]]:
    """A character's ink, drawn once and then kept: pasting it is many times faster than writing it again.

    Args:
        character: one character.
        size: of the font, in pixels.
        path: of the font.

    Returns:
        The ink as a mask (mode L), and where its top left corner is, seen from the middle of the line.
    """
    mask = PIL.Image.new("L", (3 * size, 3 * size))
    font = open_font(size, path)
    ImageDraw.Draw(mask).text((1.5 * size, 1.5 * size), character, font=font, fill=255, anchor="mm")
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    corner = (left - round(1.5 * size), top - round(1.5 * size))
    return mask.crop((left, top, right, bottom)), corner
