"""Tokens become text piece by piece: no character is cut, and no part of a stop text gets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What a decoder writes for bytes that are no character, or not yet one.
UNFINISHED = "\ufffd"


class GrowingText:
    """The text of an answer as it grows.

    Args:
        tokenizer: decodes; special tokens are left out.
        stops: texts before the first of which the answer ends.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        # Tokens since the last border, decoded again and again: how a token reads may depend on the one before it.
        self._recent: list[int] = []
        self._read = 0
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What may be shown after one more token; sets ``stopped`` behind a stop text."""
        self._recent.append(token)
        before, now = self._decode(self._recent[: self._read]), self._decode(self._recent)
        if now.endswith(UNFINISHED) or len(now) <= len(before):
            return ""
        if before:
            del self._recent[: self._read]
        self._read = len(self._recent)
        return self._released(now[len(before) :])

    def end(self) -> str:
        """What was held back, where no stop text came."""
        before, now = self._decode(self._recent[: self._read]), self._decode(self._recent)
        self._recent, self._read = [], 0
        text = self._released(now[len(before) :])
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
        return text

    def _released(self, text: str) -> str:
        """All but what may be the beginning of a stop text."""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if stop.startswith(text[-length:])), 0)
