"""A client for chat endpoints that speak OpenAI's protocol: vLLM, Ollama, DashScope, OpenRouter, OpenAI.

The `openai` package carries the protocol. Its own retries are off: they take a reply whose body is not JSON for a good
one, let every request find out by itself that the endpoint asked all of them to wait, and cannot be counted or shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from tuwen.config import MissingExtraError, StrictConfig, TuwenError, first_line
from tuwen.data.endpoint.pace import Pace, asked_wait
from tuwen.data.endpoint.reply import MalformedReplyError, Reply, parse_reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY_VARIABLE = "OPENAI_API_KEY"
LONGEST_BACK_OFF_SECONDS = 60.0
# Who is told to wait for longer than this is better told so.
LONGEST_WAIT_SECONDS = 900.0
# Without any answer so far, the address is more likely wrong than the network broken.
TRIES_TO_REACH = 3
PASSING = {408, 409, 425, 429}
FOR_GOOD = {401, 402, 404, 405}

Item = TypeVar("Item")
Result = TypeVar("Result")
Chat = Sequence[Mapping[str, Any]]


class EndpointError(TuwenError):
    """What no request to this endpoint will get past: a wrong key, an unknown model, no credit left."""


class RequestError(TuwenError):
    """One request failed, for itself or in spite of all retries; others may do better."""


class _PassingError(Exception):
    """What may be gone at the next try.

    Args:
        message: what happened.
        wait: seconds that the endpoint asked for; None where it did not.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class EndpointLimits(StrictConfig):
    """How an endpoint is treated.

    Attributes:
        concurrency: requests at the same time.
        requests_per_minute: at most, evenly spread; retries count too.
        retries: of one request, after errors that may pass.
        timeout: of one try in seconds, from sending to the last byte.
        first_wait: seconds before the first retry; doubled for each further one, up to a minute, and shortened at
            random by up to a half so that requests that failed together do not come back together.
    """

    concurrency: int = Field(default=8, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    retries: int = Field(default=6, ge=0)
    timeout: float = Field(default=300.0, gt=0)
    first_wait: float = Field(default=1.0, gt=0)


class Endpoint:
    """Asks models behind one URL. Use as ``async with Endpoint(url, model) as endpoint``.

    Args:
        url: its base, e.g. ``http://localhost:8000/v1``.
        model: who is asked where a request does not say it.
        api_key: sent as a bearer token to this URL only; no redirect is followed.
        limits: concurrency, rate, retries, timeout.

    Attributes:
        retried: tries so far that were not the first of their request.
        last_problem: why the last of them was needed; empty before.

    Raises:
        MissingExtraError: without the `openai` package.
        EndpointError: for a URL that is not the base of an HTTP endpoint.
    """

    def __init__(
        self, url: str, model: str = "", *, api_key: str | None = None, limits: EndpointLimits | None = None
    ) -> None:
        self.url, self.model = check_url(url), model
        self.limits = limits or EndpointLimits()
        self.retried = 0
        self.last_problem = ""
        self._api_key = api_key or ""
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        self._pace = Pace(self.limits.requests_per_minute)
        self._answered = self._succeeded = False
        self._client = self._make_client()

    def _make_client(self) -> AsyncOpenAI:
        try:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient
        except ImportError:
            raise MissingExtraError("openai", "openai") from None
        # With redirects followed, an endpoint could send the pictures and texts elsewhere.
        transport = DefaultAsyncHttpxClient(follow_redirects=False, timeout=self.limits.timeout)
        # Servers without keys take any; the package insists on one.
        return AsyncOpenAI(
            base_url=self.url,
            api_key=self._api_key or "none",
            max_retries=0,
            timeout=self.limits.timeout,
            http_client=transport,
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def chat(self, messages: Chat, *, model: str | None = None, **parameters: Any) -> Reply:
        """The model's reply, whatever it is worth: see ``Reply.problem``.

        Args:
            messages: as the protocol has them, ``{"role": …, "content": …}``.
            model: who is asked; the endpoint's own unless said.
            **parameters: go into the request as they are: ``temperature``, ``max_tokens``, or what only this
                endpoint knows.

        Raises:
            EndpointError: for an error that every request would meet.
            RequestError: for one that only this request met, or that did not pass in all retries.
        """
        async with self._slots:
            for tries in range(1, self.limits.retries + 2):
                await self._turn()
                try:
                    reply = await self._try(messages, model or self.model, parameters)
                except _PassingError as problem:
                    await self._before_retry(problem, tries)
                else:
                    self._succeeded = True
                    return reply
        raise AssertionError("the last try returns or raises")

    async def _turn(self) -> None:
        """Wait until a request may start."""
        await asyncio.sleep(self._pace.wait(time.monotonic()))
        while (left := self._pace.pause_left(time.monotonic())) > 0:
            await asyncio.sleep(left)

    async def _before_retry(self, problem: _PassingError, tries: int) -> None:
        """Wait as long as the endpoint says, else longer from try to try."""
        if not self._answered and tries >= min(TRIES_TO_REACH, self.limits.retries + 1):
            raise EndpointError(
                f"{self.url}: {problem}; check that it is the endpoint's URL and that it runs"
            ) from None
        if tries > self.limits.retries:
            raise RequestError(f"{problem} ({tries} tries)") from None
        if problem.wait is not None and problem.wait > LONGEST_WAIT_SECONDS:
            raise EndpointError(
                f"{self.url}: asks to wait {problem.wait:,.0f} s ({problem}); run again later"
            ) from None
        self.retried += 1
        self.last_problem = str(problem)
        back_off = min(LONGEST_BACK_OFF_SECONDS, self.limits.first_wait * 2.0 ** (tries - 1))
        if problem.wait is None:
            await asyncio.sleep(back_off * random.uniform(0.5, 1.0))
            return
        # The limit that was met is one of the key: all wait, and come back one after the other.
        self._pace.pause(time.monotonic() + problem.wait)
        await asyncio.sleep(problem.wait + back_off * random.random())

    async def _try(self, messages: Chat, model: str, parameters: Mapping[str, Any]) -> Reply:
        """One request.

        Raises:
            _PassingError: for what a retry may get past.
            EndpointError, RequestError: for what none will.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        completions: Any = self._client.chat.completions.with_raw_response
        try:
            # The transport's timeout starts anew with every byte; a server that dribbles must not hold on for ever.
            async with asyncio.timeout(self.limits.timeout):
                raw = await completions.create(model=model, messages=list(messages), extra_body=dict(parameters))
                body: bytes = raw.http_response.content
        except APIStatusError as error:
            self._answered = True
            raise self._refusal(error.status_code, _said(error.body), dict(error.response.headers)) from None
        except (TimeoutError, APITimeoutError):
            raise _PassingError(f"timeout: no reply in {self.limits.timeout:g} s") from None
        except APIConnectionError as error:
            raise _PassingError(f"connection: {first_line(error.__cause__ or error)}") from None
        self._answered = True
        try:
            return parse_reply(body, model)
        except MalformedReplyError as error:
            if error.status is not None:
                raise self._refusal(error.status, str(error), {}) from None
            raise _PassingError(str(error)) from None

    def _refusal(self, status: int, said: str, headers: Mapping[str, str]) -> Exception:
        """What an HTTP status means for this request and for the others."""
        message = self._without_key(f"HTTP {status}{': ' if said else ''}{said}")
        if status in PASSING or status >= 500:
            if "insufficient_quota" in said:
                return EndpointError(f"{self.url}: {message}")
            return _PassingError(message, asked_wait(headers, time.time()))
        # Some answer 403 for one picture or text that they take offence at, others for a key without rights.
        if status in FOR_GOOD or 300 <= status < 400 or (status == 403 and not self._succeeded):
            hints = {401: "; check the API key", 404: "; check --endpoint (its base, often …/v1) and --model"}
            moved = "; it leads elsewhere, which is not followed: give that URL" if status < 400 else ""
            return EndpointError(f"{self.url}: {message}{hints.get(status, moved)}")
        return RequestError(message)

    def _without_key(self, message: str) -> str:
        return message.replace(self._api_key, "***") if self._api_key else message


async def bounded_map(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item], *, limit: int, ordered: bool = True
) -> AsyncGenerator[tuple[Item, Result], None]:
    """``function`` of every item, several at a time; leaving the loop cancels what is under way.

    Args:
        function: called once for each item; its first error ends the loop.
        items: taken as there is room for them, so they may be far more than fit into memory.
        limit: how many are under way or waiting to be given out.
        ordered: give results in the order of ``items``, else as they come. In order, a slow one holds up those behind
            it: give a limit above the endpoint's concurrency.

    Yields:
        Items with their results.
    """

    async def with_item(item: Item) -> tuple[Item, Result]:
        return item, await function(item)

    tasks: deque[asyncio.Task[tuple[Item, Result]]] = deque()
    try:
        for item in items:
            tasks.append(asyncio.create_task(with_item(item)))
            if len(tasks) >= limit:
                yield await _next(tasks, ordered)
        while tasks:
            yield await _next(tasks, ordered)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _next(tasks: deque[asyncio.Task[Result]], ordered: bool) -> Result:
    """The result of the first task, or of the first that is ready, which leaves ``tasks``."""
    if not ordered:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    task = tasks[0] if ordered else next(task for task in tasks if task.done())
    result = await task
    tasks.remove(task)
    return result


def read_api_key(file: Path | None = None) -> str | None:
    """The key in a file, or that of ``OPENAI_API_KEY``; None where there is none.

    Raises:
        TuwenError: when the file cannot be read or does not hold one word.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE, "").strip() or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise TuwenError(f"{file}: cannot be read ({reason}); expected an API key") from None
    if not key.isascii() or not key.isprintable() or len(key.split()) != 1:
        raise TuwenError(f"{file}: expected an API key, one word of ASCII, and nothing else")
    return key


def check_url(url: str) -> str:
    """An endpoint's base URL as it is used.

    Raises:
        EndpointError: when it is not one.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise EndpointError(
            f"endpoint {url!r:.200}: expected http(s)://HOST[:PORT]/PATH, e.g. http://localhost:8000/v1"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise EndpointError(
            f"endpoint on {parts.hostname}: its URL must hold neither a password nor a query; the key goes into "
            f"{KEY_VARIABLE} or --api-key-file"
        )
    if parts.path.rstrip("/").endswith("/completions"):
        raise EndpointError(f"endpoint {url!r}: give the base, without /chat/completions")
    return url.rstrip("/")


def _said(body: object) -> str:
    """What the body of an error says, in one line."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        parts = [error.get("message") or error.get("detail"), error.get("code")]
        text = " ".join(f"({part})" if number else str(part) for number, part in enumerate(parts) if part)
    else:
        text = error if isinstance(error, str) else json.dumps(error) if error else ""
    return " ".join(text.split())[:300]
