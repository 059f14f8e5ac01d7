"""The answer of one request as it grows: its tokens, its text, and when it ends."""

from __future__ import annotations

from typing import Any

from tuwen.infer.engine.interface import Finish, FinishReason, Piece, Request, TokenScore
from tuwen.infer.engine.sampling import Choice, Sampler
from tuwen.infer.engine.text import GrowingText
from tuwen.infer.engine.ticket import Follower


class GrowingAnswer:
    """What an engine keeps of a request's answer.

    Args:
        request: that is answered.
        ticket: that is told.
        sampler: of the request.
        tokenizer: decodes.
        ends: tokens that end an answer.
        image_tokens: of the prompt.
        room: tokens that the context leaves for the answer.
    """

    def __init__(
        self,
        request: Request,
        ticket: Follower,
        sampler: Sampler,
        *,
        tokenizer: Any,
        ends: frozenset[int],
        image_tokens: int,
        room: int,
    ) -> None:
        self.request, self.ticket, self.sampler = request, ticket, sampler
        self.image_tokens, self.room = image_tokens, room
        self.tokens: list[int] = []
        self.cached_tokens = 0
        self._ends = ends
        self._text = GrowingText(tokenizer, request.sampling.stop)
        self._waiting: list[Choice] = []

    @property
    def name(self) -> str:
        """What to call the request in a message."""
        return self.request.name

    def add(self, choice: Choice) -> FinishReason | None:
        """One more token; tells the reader what can be shown.

        Returns:
            How the answer ends with it, if it does.
        """
        self.tokens.append(choice.token)
        self._waiting.append(choice)
        grammar = self.sampler.grammar
        if choice.token in self._ends and not self.request.sampling.ignore_eos:
            return "stop"
        self._tell(self._text.add(choice.token))
        if self._text.stopped or (grammar is not None and grammar.complete):
            return "stop"
        return "length" if len(self.tokens) >= self.room else None

    def end(self, reason: FinishReason, error: str | None = None) -> None:
        """No more tokens; what was held back is told first."""
        if self._waiting:
            text = "" if self._text.stopped else self._text.end()
            if self._text.stopped and reason == "length":
                reason = "stop"
            self._tell(text, last=True)
        self.ticket.end(
            Finish(
                reason=reason,
                prompt_tokens=len(self.request.prompt.rendered.input_ids),
                image_tokens=self.image_tokens,
                cached_tokens=self.cached_tokens,
                completion_tokens=len(self.tokens),
                error=error,
            )
        )

    def _tell(self, text: str, last: bool = False) -> None:
        if not text and not last:
            return
        scores: tuple[TokenScore, ...] = ()
        alternatives: tuple[tuple[TokenScore, ...], ...] = ()
        if self.request.sampling.logprobs is not None:
            scores = tuple(choice.score for choice in self._waiting if choice.score is not None)
            alternatives = tuple(choice.alternatives for choice in self._waiting)
        tokens = tuple(choice.token for choice in self._waiting)
        self._waiting = []
        self.ticket.put(Piece(text, tokens, scores, alternatives))
