"""Tokens as a client sees them beside their log-probabilities: as text, and as bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tuwen.infer.engine.interface import Piece, TokenScore
from tuwen.serve.protocol import Logprobs, TokenLogprob, TopLogprob

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\ufffd"
MOST_KEPT = 16_384
# JSON has no infinity; OpenAI's API gives this number for what is next to impossible.
LOWEST = -9999.0


def _bytes_of_characters() -> dict[str, int]:
    """The table by which byte-level vocabularies write bytes as printable characters (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _bytes_of_characters()


class TokenNames:
    """What each token of a vocabulary says.

    Args:
        tokenizer: of `transformers`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known = lru_cache(MOST_KEPT)(self._look_up)

    def logprobs(self, piece: Piece) -> Logprobs:
        """The log-probabilities of a piece of an answer."""
        alternatives = piece.alternatives or ((),) * len(piece.scores)
        return Logprobs(
            content=[
                TokenLogprob(**self._fields(score), top_logprobs=self._top(others))
                for score, others in zip(piece.scores, alternatives, strict=True)
            ]
        )

    def _top(self, scores: Sequence[TokenScore]) -> list[TopLogprob]:
        return [TopLogprob(**self._fields(score)) for score in scores]

    def _fields(self, score: TokenScore) -> dict[str, Any]:
        text, data = self._known(score.token_id)
        return {"token": text, "logprob": max(score.logprob, LOWEST), "bytes": None if data is None else list(data)}

    def _look_up(self, token_id: int) -> tuple[str, bytes | None]:
        text = self._tokenizer.decode([token_id], skip_special_tokens=False)
        if _REPLACEMENT not in text:
            return text, text.encode("utf-8", errors="replace")
        # A part of a character: its bytes stand in the vocabulary's own way of writing them.
        entry = self._tokenizer.convert_ids_to_tokens(token_id)
        if isinstance(entry, bytes):
            return text, entry
        if match := _BYTE.fullmatch(str(entry)):
            return text, bytes([int(match[1], 16)])
        if entry and all(character in _BYTES for character in str(entry)):
            return text, bytes(_BYTES[character] for character in str(entry))
        return text, None
