"""What a chat endpoint answered, and whether it can be used at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

THINKING = ("<think>", "</think>")
# Reasons that endpoints give for an end that the model did not choose.
CUT_OFF = {"length", "max_tokens"}
REFUSED = {"content_filter", "safety", "recitation"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that were counted by the endpoint; zeros where it counts none.

    Attributes:
        prompt: tokens that were read, those of pictures among them.
        completion: tokens that were written.
    """

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion)

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """What it costs at prices for a million tokens each."""
        return (self.prompt * prompt_price + self.completion * completion_price) / 1e6


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        raw: what was written, as it came.
        finish_reason: why it ends there: ``stop``, ``length`` (also in the middle of thoughts), ``content_filter``, …
        usage: tokens.
        model: who answered, as the endpoint calls it.
        refusal: words of a refusal, where the endpoint keeps them apart from the text.
    """

    raw: str
    finish_reason: str
    usage: Usage
    model: str
    refusal: str = ""

    @property
    def text(self) -> str:
        """The answer, without the thoughts that some models write before it in ``<think>``, and space around it."""
        return _without_thoughts(self.raw)[0]

    @property
    def problem(self) -> str:
        """Why the reply must not be taken for a whole answer, as ``KIND: DETAILS``; empty where it may be."""
        if self.finish_reason in CUT_OFF:
            return f"cut off: after {self.usage.completion} tokens (finish_reason {self.finish_reason})"
        if self.refusal or self.finish_reason in REFUSED:
            return f"refused: {(self.refusal or self.finish_reason)[:100]}"
        if not self.text:
            return "empty"
        return ""


class MalformedReplyError(Exception):
    """The body of a reply is not what the protocol says.

    Args:
        message: what it is.
        status: the HTTP status that the body itself claims, where it holds an error in place of an answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def parse_reply(body: bytes, model: str) -> Reply:
    """The reply in the body of an HTTP response.

    Args:
        body: JSON of a ``chat.completion``.
        model: who was asked.

    Raises:
        MalformedReplyError: when it is not JSON, an error, or without an answer.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedReplyError(f"the reply is not JSON ({body[:60]!r})") from None
    error = value.get("error") if isinstance(value, dict) else None
    if error:
        # OpenRouter passes on what happened behind it as an error in a reply that is in order.
        code = error.get("code") if isinstance(error, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        raise MalformedReplyError(" ".join(str(said).split())[:300], status)
    try:
        choice = value["choices"][0]
        message = choice["message"]
        raw, refusal = _text(message.get("content")), str(message.get("refusal") or "")
        finish_reason = str(choice.get("finish_reason") or "stop").lower()
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedReplyError(f"the reply holds no answer ({body[:60]!r})") from None
    if finish_reason == "error":
        raise MalformedReplyError("the endpoint broke off with finish_reason error", 502)
    usage = value.get("usage")
    tokens = Usage(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    if not _without_thoughts(raw)[1]:
        finish_reason = "length"
    return Reply(raw, finish_reason, tokens, str(value.get("model") or model), refusal)


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    if not isinstance(content, str):
        raise TypeError(content)
    return content


def _count(usage: Any, name: str) -> int:
    number = usage.get(name) if isinstance(usage, dict) else None
    return number if isinstance(number, int) and number >= 0 else 0


def _without_thoughts(text: str) -> tuple[str, bool]:
    """The answer alone, and whether the thoughts before it came to an end."""
    opening, closing = THINKING
    text = text.strip()
    if not text.startswith(opening):
        return text, True
    _, closed, answer = text.partition(closing)
    return answer.strip(), bool(closed)
