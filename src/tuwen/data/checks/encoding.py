"""Text whose characters were lost or mistaken for others on its way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject, quoted, turn_name

LOST = "\ufffd"
_HALF = re.compile("[\ud800-\udfff]")
# C0 without tab and line breaks, DEL, and C1.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What the bytes 0x80–0xBF of UTF-8 become in Windows-1252, or in Latin-1.
_CONTINUED = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
# Chinese read as Western: at least two characters of three bytes each; a non-breaking space is often an ordinary one.
_WESTERN = re.compile(f"(?:[\u00e3-\u00e9][{_CONTINUED} ]{{2}}){{2,64}}")
# Accents and quotation marks read as Western: "Ã©" for é, "â€™" for ’.
_ACCENTS = re.compile("Ã[\u00a1-\u00a9\u00ac-\u00ba\u00bc-\u00bf]|â€[\u0153\u009d\u2122\u02dc\u00a6\u201c\u201d]")
_EAST_ASIAN = re.compile("[\u3000-\u9fff\uff00-\uffef]{2,}")
_WESTERN_BYTES = {" ": b"\xa0"} | {
    sign: bytes([byte]) for byte in range(0x80, 0xA0) if (sign := bytes([byte]).decode("cp1252", "replace")) != LOST
}
# Lost characters read as GBK.
_LOST_AS_GBK = "锟斤拷"


@CHECKS.register("encoding")
class EncodingCheck(Check):
    """See the module."""

    reasons = (
        Reason("lost_character", "error", "U+FFFD stands where a character was lost", "含有替换字符 U+FFFD"),
        Reason("mojibake", "error", "text was read in the wrong encoding", "乱码"),
        Reason("half_surrogate", "error", "half of a character, no valid Unicode", "不完整的代理字符"),
        Reason("control_character", "error", "control characters in the text", "含有控制字符"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Every turn."""
        for number, message, text in subject.turns():
            here = turn_name(number, message.role)
            if found := CONTROL.search(text):
                # Mojibake is full of them; it says more.
                if not (wrong := mojibake_in(text)):
                    yield Finding("control_character", f"{here}: {found[0]!r} at character {found.start()}")
            elif text.isascii():
                continue
            else:
                wrong = mojibake_in(text)
            if wrong:
                yield Finding("mojibake", f"{here}: {wrong}")
            if LOST in text:
                place = text.index(LOST)
                yield Finding("lost_character", f"{here}: {quoted(text[max(0, place - 16) : place + 16])}")
            if found := _HALF.search(text):
                yield Finding("half_surrogate", f"{here}: {found[0]!r} at character {found.start()}")


def mojibake_in(text: str) -> str:
    """What of a text was read in the wrong encoding, and how it reads in the right one; empty where nothing was."""
    if text.isascii():
        return ""
    for found in _WESTERN.finditer(text):
        read = _as_utf8(found[0])
        if _EAST_ASIAN.fullmatch(read):
            return f"{quoted(found[0], 24)} is {quoted(read, 24)} read as Windows-1252"
    if accent := _ACCENTS.search(text):
        return f"{accent[0]!r} is {_as_utf8(accent[0])!r} read as Windows-1252"
    if _LOST_AS_GBK in text:
        return f"{_LOST_AS_GBK!r} are lost characters read as GBK"
    return _read_as_gbk(text)


def _as_utf8(text: str) -> str:
    """Text that was read as Windows-1252 or Latin-1, read as UTF-8; empty where it cannot be."""
    try:
        # Windows-1252 has no characters for five bytes, which programs then read as Latin-1.
        return b"".join(_WESTERN_BYTES.get(sign) or sign.encode("latin-1") for sign in text).decode("utf-8")
    except UnicodeError:
        return ""


def _read_as_gbk(text: str) -> str:
    try:
        # Chinese by chance never is UTF-8 as a whole: its bytes come in twos, those of UTF-8 in threes.
        read = text.encode("gbk").decode("utf-8")
    except UnicodeError:
        return ""
    found = _EAST_ASIAN.search(read)
    return f"{quoted(text, 24)} is {quoted(read, 24)} read as GBK" if found else ""
