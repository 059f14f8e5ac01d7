"""What answers many requests at once: submit, follow, cancel, drain. Servers and batch jobs know this file alone.

An engine runs in a thread of its own. ``submit`` never waits: a request is taken into a bounded queue or refused. What
comes of it is followed through a ``Ticket`` from any thread, or from `asyncio`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field

from tuwen.config import StrictConfig, TuwenError
from tuwen.infer.prompts import EncodedPrompt

FinishReason = Literal["stop", "length", "cancelled", "error"]


class QueueFull(TuwenError):
    """A request was refused because as many wait as may.

    Attributes:
        retry_after: seconds after which a place is likely to be free.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineStopped(TuwenError):
    """A request was refused because the engine is being drained, or has died."""


class Sampling(StrictConfig):
    """How the next token is chosen; the model folder's defaults hold for what is None.

    Greedy decoding (``temperature`` 0) with nothing else said equals ``VLM.generate(greedy=True)``.

    Attributes:
        max_tokens: of the answer, at most; whatever is left of the context unless said.
        temperature: 0 for the likeliest token always.
        top_p: sample from the likeliest tokens that together have this probability.
        top_k: sample from so many likeliest tokens.
        min_p: sample from tokens at least so likely, as a share of the likeliest one's probability.
        seed: of this request alone; the same request with the same seed gives the same answer, whatever runs beside it.
        stop: the answer ends before the first of these texts, which is not part of it.
        ignore_eos: go on behind an end-of-turn token until ``max_tokens``.
        logprobs: how many of the likeliest tokens to tell beside each chosen one; None for no log-probabilities.
        logit_bias: added to the scores of these token ids.
        presence_penalty: taken from the score of a token that the answer has.
        frequency_penalty: taken from the score of a token for each time that the answer has it.
        repetition_penalty: above 1 makes tokens of prompt and answer less likely (arXiv 1909.05858).
        json_schema: the answer is JSON that fits this schema; ``{}`` for any JSON object.
    """

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: Mapping[int, float] = Field(default_factory=dict)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0)
    json_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A conversation that waits for an answer.

    Attributes:
        prompt: of ``Chatter.encode``.
        sampling: how tokens are chosen.
        salt: what the request may share is found under this name alone, e.g. a digest of an API key: pictures'
            features and keys and values of a prompt that another key sent are never seen, not even by timing.
        name: what to call the request in a message.
    """

    prompt: EncodedPrompt
    sampling: Sampling = field(default_factory=Sampling)
    salt: bytes = b""
    name: str = "request"


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token and its log-probability before temperature and limits, but after bias and penalties."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer; several tokens where one alone is no whole character.

    Attributes:
        text: never cut within a character, never a part of a stop text; empty for tokens that say nothing.
        token_ids: what was generated since the last piece.
        scores: of each of them, where asked for.
        alternatives: the likeliest tokens at each of these places, likeliest first, where asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    scores: tuple[TokenScore, ...] = ()
    alternatives: tuple[tuple[TokenScore, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How an answer ended.

    Attributes:
        reason: ``stop`` at an end-of-turn token or stop text, ``length``, ``cancelled`` or ``error``.
        prompt_tokens: tokens of the prompt, those of pictures among them.
        image_tokens: of these, those that stand for pictures.
        cached_tokens: of these, those whose keys and values were kept from before.
        completion_tokens: tokens generated, the end of turn among them.
        error: in one line, for ``error``.
    """

    reason: FinishReason
    prompt_tokens: int
    image_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None


class Ticket(Protocol):
    """A request that was taken. Its pieces can be read once, by one reader."""

    def __iter__(self) -> Iterator[Piece]:
        """Pieces as they come, blocking; ends with the answer. ``finish`` is set then."""

    def __aiter__(self) -> AsyncIterator[Piece]:
        """The same for `asyncio`, without blocking its loop."""

    def cancel(self) -> None:
        """Give up, queued or running; its memory is free after the step that runs now. More than once is no mistake."""

    @property
    def finish(self) -> Finish | None:
        """How it ended; None while it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Figures of an engine now, and since it began.

    Attributes:
        alive: whether it can answer.
        running: requests being answered.
        waiting: requests in the queue.
        cache_usage: share of the places for keys and values that is in use by running requests.
        counts: what was counted since the start: ``prompt_tokens``, ``cached_prompt_tokens``, ``generated_tokens``,
            ``picture_queries``, ``picture_hits``, ``steps``.
    """

    alive: bool
    running: int
    waiting: int
    cache_usage: float
    counts: Mapping[str, int]


class Engine(ABC):
    """Answers requests of different lengths, pictures and sampling settings side by side."""

    @abstractmethod
    def submit(self, request: Request) -> Ticket:
        """Take a request.

        Raises:
            QueueFull: when the queue is full.
            EngineStopped: when the engine is being drained or has died.
            TuwenError: when the prompt does not fit the context, or a setting cannot be honoured by this engine.
        """

    @abstractmethod
    def status(self) -> EngineStatus:
        """Figures now; never waits for a step."""

    @abstractmethod
    def drain(self, timeout: float) -> bool:
        """Take nothing more, wait until all is answered; what is left after ``timeout`` seconds is cancelled.

        Returns:
            Whether all was answered in time.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop at once and free the memory."""
