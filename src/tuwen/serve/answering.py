"""A request that has been read: its answers, as a whole or as a stream of events, in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tuwen.config import TuwenError
from tuwen.infer.engine.interface import Engine, EngineStopped, Finish, Piece, QueueFull, Request, Ticket
from tuwen.serve.errors import ApiError, draining, engine_stopped, from_mistake, internal_error
from tuwen.serve.metrics import AnswerTimes, Metrics
from tuwen.serve.protocol import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    FinishReason,
    Logprobs,
    PromptTokensDetails,
    Usage,
)
from tuwen.serve.tokens import TokenNames

# Pieces that wait for a client that reads slowly, before the engine's own queue of them holds the rest.
WAITING_PIECES = 64


async def submit(engine: Engine, requests: Sequence[Request], retry_after: float) -> list[Ticket]:
    """All of them, or none.

    Args:
        engine: that answers them.
        requests: of one client.
        retry_after: seconds, for a server that is shutting down.

    Raises:
        ApiError: when the queue is full, the engine is stopped, or a setting cannot be honoured.
    """
    # An engine may have to compile a grammar first, while others' answers go on.
    work = asyncio.get_running_loop().run_in_executor(None, _submit, engine, requests, retry_after)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_cancel_result)
        raise


def _cancel_result(work: asyncio.Future[list[Ticket]]) -> None:
    if not work.cancelled() and work.exception() is None:
        cancel(work.result())


def _submit(engine: Engine, requests: Sequence[Request], retry_after: float) -> list[Ticket]:
    tickets: list[Ticket] = []
    try:
        for request in requests:
            tickets.append(engine.submit(request))
    except TuwenError as error:
        cancel(tickets)
        raise _as_refusal(error, engine, retry_after) from None
    except BaseException:
        cancel(tickets)
        raise
    return tickets


def _as_refusal(error: TuwenError, engine: Engine, retry_after: float) -> ApiError:
    if isinstance(error, QueueFull):
        return ApiError(429, "Too many requests wait; try again later.", "queue_full", retry_after=error.retry_after)
    if isinstance(error, EngineStopped):
        return draining(retry_after) if engine.status().alive else engine_stopped()
    return from_mistake(error)


def cancel(tickets: Sequence[Ticket]) -> None:
    """Give all of them up; for those that have ended this does nothing."""
    for ticket in tickets:
        ticket.cancel()


@dataclass(slots=True)
class Answering:
    """Answers to one request.

    Attributes:
        tickets: of the engine, one for each answer.
        model: its name.
        names: what tokens say.
        wants_logprobs: whether their log-probabilities are told.
        metrics: where answers are counted.
        arrival: of the request, by ``time.perf_counter``.
        retry_after: seconds, for a server that is shutting down.
    """

    tickets: Sequence[Ticket]
    model: str
    names: TokenNames
    wants_logprobs: bool
    metrics: Metrics
    arrival: float
    retry_after: float
    _times: list[AnswerTimes] = field(init=False)

    def __post_init__(self) -> None:
        self._times = [self.metrics.answer(self.arrival) for _ in self.tickets]

    def give_up(self) -> None:
        """End all answers that have not ended; it does nothing for the others."""
        cancel(self.tickets)
        for times in self._times:
            times.given_up()

    async def whole(self) -> ChatCompletion:
        """All answers, when they have ended.

        Raises:
            ApiError: when one of them failed.
        """
        pieces: list[list[Piece]] = [[] for _ in self.tickets]
        finishes: dict[int, Finish] = {}
        async with aclosing(self._items()) as items:
            async for index, item in items:
                if isinstance(item, Piece):
                    pieces[index].append(item)
                else:
                    finishes[index] = item
        choices = [
            Choice(
                index=index,
                message=AnswerMessage(content="".join(piece.text for piece in said)),
                logprobs=self._logprobs(said),
                finish_reason=self._reason(finishes[index]),
            )
            for index, said in enumerate(pieces)
        ]
        return ChatCompletion(choices=choices, usage=usage_of(list(finishes.values())), **self._head())

    async def events(self, include_usage: bool) -> AsyncGenerator[str, None]:
        """The data of a stream's events, the last one ``[DONE]``; a failure is an event of its own before it."""
        head = {**self._head(), "object": "chat.completion.chunk"}
        rest = {"usage": None} if include_usage else {}
        finishes: list[Finish] = []

        def chunk(index: int, delta: dict[str, Any], reason: str | None, pieces: Sequence[Piece]) -> str:
            logprobs = self._logprobs(pieces)
            told = logprobs.model_dump() if logprobs is not None and pieces else None
            choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": reason}
            return _json({**head, "choices": [choice], **rest})

        try:
            for index in range(len(self.tickets)):
                yield chunk(index, {"role": "assistant", "content": ""}, None, [])
            async with aclosing(self._items()) as items:
                async for index, item in items:
                    if isinstance(item, Finish):
                        finishes.append(item)
                        yield chunk(index, {}, self._reason(item), [])
                    elif item.text or self.wants_logprobs:
                        yield chunk(index, {"content": item.text}, None, [item])
            if include_usage:
                yield _json({**head, "choices": [], "usage": usage_of(finishes).model_dump()})
        except ApiError as error:
            self.metrics.refused(error.code)
            yield _json(error.body())
        yield "[DONE]"

    def _head(self) -> dict[str, Any]:
        return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": self.model}

    def _logprobs(self, pieces: Sequence[Piece]) -> Logprobs | None:
        if not self.wants_logprobs:
            return None
        return Logprobs(content=[token for piece in pieces for token in self.names.logprobs(piece).content])

    def _reason(self, finish: Finish) -> FinishReason:
        if finish.reason == "stop" or finish.reason == "length":
            return finish.reason
        raise draining(self.retry_after) if finish.reason == "cancelled" else internal_error()

    async def _items(self) -> AsyncGenerator[tuple[int, Piece | Finish], None]:
        """Pieces of all answers as they come, and behind those of each how it ended."""
        queue: asyncio.Queue[tuple[int, Piece | Finish]] = asyncio.Queue(WAITING_PIECES)
        tasks = [asyncio.ensure_future(self._follow(*pair, queue)) for pair in enumerate(self.tickets)]
        try:
            for _ in range(len(tasks)):
                while True:
                    index, item = await queue.get()
                    yield index, item
                    if isinstance(item, Finish):
                        break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            cancel(self.tickets)

    async def _follow(self, index: int, ticket: Ticket, queue: asyncio.Queue[tuple[int, Piece | Finish]]) -> None:
        times = self._times[index]
        failed = Finish(reason="error", prompt_tokens=0, image_tokens=0)
        try:
            async for piece in ticket:
                times.tokens(len(piece.token_ids))
                await queue.put((index, piece))
            finish = ticket.finish or failed
        except asyncio.CancelledError:
            times.given_up()
            raise
        except Exception:
            # Whatever an engine raises here is its own failure, never the client's.
            ticket.cancel()
            finish = failed
        times.finish(finish)
        await queue.put((index, finish))


def usage_of(finishes: Sequence[Finish]) -> Usage:
    """Tokens of a request: its prompt counts once, all its answers count."""
    first, written = finishes[0], sum(finish.completion_tokens for finish in finishes)
    return Usage(
        prompt_tokens=first.prompt_tokens,
        completion_tokens=written,
        total_tokens=first.prompt_tokens + written,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=min(finish.cached_tokens for finish in finishes), image_tokens=first.image_tokens
        ),
    )


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
