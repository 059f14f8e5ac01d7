"""Marks that travel through a template inside its text, and text that cannot be taken for a token.

The 32 noncharacters U+FDD0–U+FDEF are kept by Unicode for use inside a program. Some of them mark the
trained parts of a rendered conversation; others spell characters of the user's text that could begin or end
a token. To a template they are ordinary, non-blank characters, so trimming and joining text works as usual.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

ESCAPE_OPEN, ESCAPE_CLOSE = "\ufdd0", "\ufdd1"
TRAINED_BEGIN, TRAINED_END = "\ufdd2", "\ufdd3"
NONCHARACTERS = "\ufdd0-\ufdef"

_HEX = "0123456789abcdef"
_DIGITS = "".join(chr(0xFDE0 + value) for value in range(16))
_TO_DIGITS = str.maketrans(_HEX, _DIGITS)
_TO_HEX = str.maketrans(_DIGITS, _HEX)

ESCAPE_PATTERN = f"{ESCAPE_OPEN}([{_DIGITS[0]}-{_DIGITS[-1]}]+){ESCAPE_CLOSE}"


def escape_character(character: str) -> str:
    """``character`` spelled in noncharacters."""
    return f"{ESCAPE_OPEN}{format(ord(character), 'x').translate(_TO_DIGITS)}{ESCAPE_CLOSE}"


def unescape_digits(digits: str) -> str:
    """The character whose digits ``ESCAPE_PATTERN`` found.

    A template that cuts text apart may leave digits of no character: they are the replacement character.
    """
    value = int(digits.translate(_TO_HEX), 16)
    return chr(value) if value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd"


def longest_first(tokens: Iterable[str]) -> str:
    """A pattern for any of ``tokens``, of which the longest that fits is found; nothing for no token."""
    return "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or r"(?!)"


class Escaper:
    """Spells text so that no token can begin or end inside it, wherever a template puts it.

    Escaping whole occurrences would not do: ``<ima`` and ``ge>`` in two parts of a message make a token
    where a template joins them. So the first and last characters of all control tokens are escaped.

    Args:
        control_tokens: what text must not become.
        text_tokens: tokens that text may write, left as they are.
    """

    def __init__(self, control_tokens: Iterable[str], text_tokens: Iterable[str] = ()) -> None:
        control = sorted(set(control_tokens))
        edges = "".join(sorted({character for token in control for character in (token[0], token[-1])}))
        self._pattern = re.compile(f"({longest_first(text_tokens)})|[{re.escape(edges)}{NONCHARACTERS}]")
        self._joined = "\n".join(control)

    def text(self, text: str) -> str:
        """``text``, escaped."""
        escaped = self._pattern.sub(_replacement, text)
        # The middle of a token: a template may have its first and last characters around the text.
        middle = escaped.strip()
        if middle and middle in self._joined:
            return escaped.replace(middle, escape_character(middle[0]) + middle[1:], 1)
        return escaped

    def value(self, value: Any) -> Any:
        """``value`` with all text in it escaped, inside mappings and lists too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _replacement(match: re.Match[str]) -> str:
    return match[0] if match[1] is not None else escape_character(match[0])
