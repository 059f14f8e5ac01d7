"""Fonts for Chinese: found, checked for every character that is to be drawn, and kept open."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import PIL.Image
from PIL import ImageDraw, ImageFont

from tuwen.config import TuwenError
from tuwen.data.synth.font_names import font_version

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
# Where systems keep their fonts, and the files among them that suites with much text choose from.
ROOTS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
CHINESE_FILES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJK-Bold.ttc",
    "NotoSerifCJK-Regular.ttc",
    "NotoSerifCJK-Bold.ttc",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "STHeiti Medium.ttc",
    "Songti.ttc",
    "msyh.ttc",
    "simsun.ttc",
    "simkai.ttf",
    "simhei.ttf",
)
LATIN_FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "LiberationSans-Regular.ttf",
    "LiberationSansNarrow-Bold.ttf",
    "LiberationSerif-Regular.ttf",
    "LiberationSerif-Italic.ttf",
    "LiberationMono-Regular.ttf",
)
Script = Literal["simplified", "traditional", "latin"]
# The word with which a family of a collection says for which script its forms are.
FAMILY: dict[Script, str] = {"simplified": "SC", "traditional": "TC", "latin": "SC"}
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
    return _open_face(file, size, _face(file))


def _open_face(file: str, size: int, index: int) -> ImageFont.FreeTypeFont:
    try:
        # Always the basic layout: pixels must not depend on whether Raqm is installed.
        return ImageFont.truetype(file, size, index=index, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise TuwenError(f"font {file}: cannot be read ({error}); {ADVICE}") from None


@cache
def _face(file: str, script: Script = "simplified") -> int:
    """The face of a collection whose family is for the script (… SC, … TC), else the first."""
    for index in range(MOST_FACES):
        try:
            family = ImageFont.truetype(file, 16, index=index).getname()[0] or ""
        except OSError:
            break
        if family.split()[-1:] == [FAMILY[script]]:
            return index
    return 0


@dataclass(frozen=True, slots=True)
class Typeface:
    """One face of one font file.

    Attributes:
        file: .ttf, .otf or .ttc.
        index: of the face in a collection.
    """

    file: str
    index: int

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The face at a size in pixels."""
        return _kept_face(self.file, size, self.index)

    @property
    def name(self) -> str:
        """Family and style, as the file says them."""
        return " ".join(part for part in self.at(16).getname() if part)


@lru_cache(maxsize=512)
def _kept_face(file: str, size: int, index: int) -> ImageFont.FreeTypeFont:
    return _open_face(file, size, index)


def typefaces(script: Script, text: str, path: str | None = None) -> tuple[Typeface, ...]:
    """The faces on this machine that draw every character of ``text`` as itself, always in the same order.

    Args:
        script: whose forms of the characters are wanted; ``latin`` adds faces that have no Chinese.
        text: all that may be drawn.
        path: the only font file to take, as ``TUWEN_FONT`` is.

    Raises:
        TuwenError: when there is no such face.
    """
    chosen = path or os.environ.get("TUWEN_FONT")
    files = (find_font(path),) if chosen else _installed(script)
    faces = [Typeface(file, _face(file, script)) for file in files]
    found = tuple(face for face in faces if not _missing(face, text))
    if not found:
        # The message names the face that lacks least; without any, that no font was found.
        find_font(path)
        best = min(faces, key=lambda face: len(_missing(face, text)), default=Typeface(find_font(path), 0))
        raise TuwenError(_lacking(best.file, _missing(best, text)))
    return found


@cache
def _installed(script: Script) -> tuple[str, ...]:
    wanted = (*CHINESE_FILES, *LATIN_FILES) if script == "latin" else CHINESE_FILES
    places: dict[str, str] = {}
    for root in ROOTS:
        for path in sorted(Path(root).rglob("*.tt[cf]")):
            places.setdefault(path.name, str(path))
    return tuple(places[name] for name in wanted if name in places)


@lru_cache(maxsize=256)
def _missing(face: Typeface, text: str) -> str:
    font = face.at(24)
    absent = font.getmask(ABSENT)
    return "".join(sorted({c for c in text if not c.isspace() and _lacks(font, c, (absent.size, bytes(absent)))}))


def font_versions() -> dict[str, str]:
    """Name of each face that suites may draw with on this machine → the version that its file states."""
    scripts: tuple[Script, ...] = ("simplified", "traditional", "latin")
    faces = [face for script in scripts for face in typefaces(script, "Aa1")]
    faces.append(Typeface(find_font(), _face(find_font())))
    return {face.name: font_version(face.file, face.index) for face in faces}


def require_glyphs(text: str, path: str | None = None) -> None:
    """Make sure that every character of ``text`` would be drawn as itself, never as an empty box.

    Raises:
        TuwenError: naming the font and the characters that it lacks.
    """
    file = find_font(path)
    missing = _missing(Typeface(file, _face(file)), text)
    if missing:
        raise TuwenError(_lacking(file, missing))


def _lacking(file: str, missing: str) -> str:
    shown = missing[:20] + ("…" if len(missing) > 20 else "")
    return f"font {file}: has no glyph for {shown!r} ({len(missing)} characters); {ADVICE}"


def _lacks(font: ImageFont.FreeTypeFont, character: str, absent: tuple[tuple[int, int], bytes]) -> bool:
    found = font.getmask(character)
    # Sizes are compared first: to read the pixels takes far longer.
    return found.getbbox() is None or (found.size == absent[0] and bytes(found) == absent[1])


def ink_of(text: str, font: ImageFont.FreeTypeFont) -> tuple[PIL.Image.Image, tuple[int, int]]:
    """A line's ink: a font's own box has the space behind the last character in it, too.

    Returns:
        The ink as a mask (mode L), and where its top left corner is, seen from the start of the baseline.
    """
    left, top, right, bottom = (round(side) for side in font.getbbox(text, anchor="ls"))
    mask = PIL.Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(mask).text((2 - left, 2 - top), text, font=font, fill=255, anchor="ls")
    box = mask.getbbox() or (0, 0, 1, 1)
    return mask.crop(box), (left - 2 + box[0], top - 2 + box[1])


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
