"""Fonts for Chinese: found, checked for every character that is to be drawn, and kept open."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from PIL import ImageFont

from tuwen.config import TuwenError

ADVICE = "install one (Debian: apt install fonts-noto-cjk) or set TUWEN_FONT to a .ttf, .otf or .ttc file"
# Noto's collections hold JP, KR, SC, TC, HK in this order; 2 is Simplified Chinese.
KNOWN: tuple[tuple[str, int], ...] = (
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc", 2),
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", 0),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    ("/System/Library/Fonts/PingFang.ttc", 0),
    ("/System/Library/Fonts/STHeiti Medium.ttc", 0),
    ("C:/Windows/Fonts/msyh.ttc", 0),
    ("C:/Windows/Fonts/simhei.ttf", 0),
)
# No font has this one; what is drawn for it is what a missing character looks like.
ABSENT = "\U000eff00"


def find_font(path: str | None = None) -> tuple[str, int]:
    """File and face of a Chinese font: the given one, ``TUWEN_FONT``, or the first known one that is there.

    Raises:
        TuwenError: when there is none, or the given file is not there.
    """
    chosen = path or os.environ.get("TUWEN_FONT")
    if chosen:
        if not Path(chosen).is_file():
            raise TuwenError(f"font {chosen}: not found; {ADVICE}")
        faces = dict(KNOWN)
        return chosen, faces.get(chosen, 2 if "CJK" in Path(chosen).name and chosen.endswith(".ttc") else 0)
    for known, face in KNOWN:
        if Path(known).is_file():
            return known, face
    raise TuwenError(f"no Chinese font was found: {ADVICE}")


@cache
def open_font(size: int, path: str | None = None) -> ImageFont.FreeTypeFont:
    """The font that ``find_font`` finds, at a size in pixels.

    Raises:
        TuwenError: when there is none or it cannot be read.
    """
    name, face = find_font(path)
    try:
        return ImageFont.truetype(name, size, index=face)
    except OSError as error:
        raise TuwenError(f"font {name}: cannot be read ({error}); {ADVICE}") from None


def require_glyphs(text: str, path: str | None = None) -> None:
    """Make sure that every character of ``text`` would be drawn as itself, never as an empty box.

    Raises:
        TuwenError: naming the font and the characters that it lacks.
    """
    font = open_font(24, path)
    missing = sorted({character for character in text if not character.isspace() and not _has(font, character)})
    if missing:
        shown = "".join(missing[:20])
        raise TuwenError(f"font {find_font(path)[0]}: has no glyph for {shown!r} ({len(missing)} characters); {ADVICE}")


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return bytes(font.getmask(character)) != bytes(font.getmask(ABSENT))
