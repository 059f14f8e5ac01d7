"""Questions to models behind an endpoint: each asked until its reply can be used, every reply kept, none paid twice.

What is written in the end is a function of the questions and the kept replies alone. So a run may be killed at any
moment, and better checks later need no new replies.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from pydantic import Field, field_validator

from tuwen.config import StrictConfig, TuwenError
from tuwen.data.endpoint.client import Chat, Endpoint, EndpointLimits, RequestError, bounded_map, read_api_key
from tuwen.data.endpoint.reply import Reply, Usage
from tuwen.data.endpoint.reply_cache import ReplyCache, reply_key
from tuwen.data.storage import written_whole
from tuwen.vision.pictures import PictureError

# Only say how much may be written: a reply that was whole with one bound is whole with another.
BOUNDS = ("max_tokens", "max_completion_tokens")
# Would make another request of it, or one whose reply is not read.
RESERVED = {"model", "messages", "stream", "n"}
WATCH_EVERY_SECONDS = 0.25

Result = TypeVar("Result")


class UnfitError(Exception):
    """A reply that cannot be used. Its message is ``KIND: DETAILS``, of which the kinds are counted."""


class RejectedError(Exception):
    """A question that got no usable reply.

    Args:
        reason: what was wrong with the last.
        asked: replies that this run asked for.
    """

    def __init__(self, reason: str, asked: int) -> None:
        super().__init__(reason)
        self.asked = asked


class Question(ABC, Generic[Result]):
    """Something to ask a model.

    Attributes:
        name: the sample or picture that it is about, for people.
        model: who is asked.
    """

    name: str
    model: str

    @abstractmethod
    def content(self) -> Sequence[str]:
        """All that decides what is asked, except the model; pictures by a digest of their bytes.

        Raises:
            PictureError: when a picture cannot be read.
        """

    @abstractmethod
    def messages(self, problem: str) -> Chat:
        """What is sent.

        Args:
            problem: what was wrong with the last reply; empty at the first try.

        Raises:
            PictureError: when a picture is broken.
        """

    @abstractmethod
    def accept(self, reply: Reply) -> Result:
        """What the reply says.

        Raises:
            UnfitError: when it cannot be used.
        """


class AskingOptions(StrictConfig):
    """How questions are asked.

    Attributes:
        endpoint: its base URL.
        api_key_file: holds the key; ``OPENAI_API_KEY`` does unless said.
        limits: concurrency, rate, retries after errors, timeout.
        parameters: go into every request, e.g. ``temperature``.
        tries: replies that may be asked for one question.
        retry_rejected: ask as often again for what an earlier run rejected.
        stop_after: so many rejections in a row end the run.
        price_in: of a million tokens that are read.
        price_out: of a million tokens that are written.
    """

    endpoint: str
    api_key_file: Path | None = None
    limits: EndpointLimits = EndpointLimits()
    parameters: dict[str, Any] = {}
    tries: int = Field(default=3, ge=1)
    retry_rejected: bool = False
    stop_after: int = Field(default=25, ge=1)
    price_in: float = Field(default=0.0, ge=0)
    price_out: float = Field(default=0.0, ge=0)

    @field_validator("parameters")
    @classmethod
    def _leaves_the_request_alone(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(RESERVED & set(parameters)):
            raise ValueError(f"{name} is set by the request itself; give parameters such as temperature")
        return parameters


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Attributes:
        total: questions that there are.
        done: usable replies, kept ones among them.
        rejected: questions without one.
        replies: replies that this run asked for.
        repeated: of these, those that were asked because the one before could not be used.
        retried: requests that were repeated after an error.
        problem: the latest error that a request was repeated for.
        usage: tokens of this run.
    """

    total: int
    done: int = 0
    rejected: int = 0
    replies: int = 0
    repeated: int = 0
    retried: int = 0
    problem: str = ""
    usage: Usage = field(default_factory=Usage)


class Asker:
    """Asks questions through a cache of replies.

    Args:
        endpoint: who answers.
        cache: what was answered.
        options: see there.
        tally: counted up.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, options: AskingOptions, tally: Tally) -> None:
        self.endpoint, self.cache, self.options, self.tally = endpoint, cache, options, tally
        # A reply that is not on the disk yet counts as under way: so much at most is lost with a kill.
        self._unsaved = asyncio.Semaphore(options.limits.concurrency)
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, question: Question[Result]) -> Result:
        """What a usable reply says, kept or new.

        Raises:
            RejectedError: when there is none, with the reason.
            EndpointError: when no question can be asked any more.
        """
        try:
            content = await asyncio.to_thread(question.content)
            # The same question at the same time is asked once; the second finds the first one's reply.
            lock = self._asking.setdefault(reply_key(question.model, *content), asyncio.Lock())
            async with lock:
                kept: Recalled[Result] = recall(self.cache, question, content, self.options)
                if kept.result is not None:
                    return kept.result
                return await self._ask_anew(question, content, kept)
        except PictureError as error:
            raise RejectedError(f"picture: {error}", 0) from None

    def update_tally(self) -> None:
        """Count what the endpoint had to repeat."""
        self.tally.retried = self.endpoint.retried
        self.tally.problem = self.endpoint.last_problem

    async def _ask_anew(self, question: Question[Result], content: Sequence[str], kept: Recalled[Result]) -> Result:
        """Ask on after kept replies that could not be used."""
        problem, tries = kept.problem, self.options.tries
        if not self.options.retry_rejected:
            tries -= kept.useless
        for asked in range(tries):
            messages = await asyncio.to_thread(question.messages, problem)
            key = _key(question, content, self.options, kept.useless + asked)
            try:
                async with self._unsaved:
                    reply = await self.endpoint.chat(messages, model=question.model, **self.options.parameters)
                    await self.cache.add(key, reply)
            except RequestError as error:
                raise RejectedError(str(error), asked + 1) from None
            self.tally.replies += 1
            self.tally.repeated += asked > 0
            self.tally.usage += reply.usage
            try:
                return question.accept(reply)
            except UnfitError as error:
                problem = str(error)
        raise RejectedError(problem, max(0, tries))


@dataclass(frozen=True, slots=True)
class Recalled(Generic[Result]):
    """What the kept replies to a question say.

    Attributes:
        result: of the first that can be used; None where none can.
        problem: of the last that cannot.
        useless: how many cannot.
    """

    result: Result | None
    problem: str
    useless: int


def recall(
    cache: ReplyCache, question: Question[Result], content: Sequence[str], options: AskingOptions
) -> Recalled[Result]:
    """What the kept replies to a question say; nothing is asked."""
    problem, number = "", 0
    while (reply := cache.get(_key(question, content, options, number))) is not None:
        try:
            return Recalled(question.accept(reply), problem, number)
        except UnfitError as error:
            problem, number = str(error), number + 1
    return Recalled(None, problem, number)


def _key(question: Question[Any], content: Sequence[str], options: AskingOptions, number: int) -> str:
    parameters = {name: value for name, value in sorted(options.parameters.items()) if name not in BOUNDS}
    return reply_key(question.model, json.dumps(parameters, sort_keys=True, default=str), *content, str(number))


Watcher = Callable[[Tally], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A question without a usable reply.

    Attributes:
        name: of the question.
        model: who was asked.
        reason: ``KIND: DETAILS``.
    """

    name: str
    model: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without details."""
        return self.reason.partition(":")[0]


class Answers(Generic[Result]):
    """What became of a row of questions.

    Attributes:
        tally: counts.
        rejections: by the question's place in the row.
    """

    def __init__(self, cache: ReplyCache, options: AskingOptions, tally: Tally) -> None:
        self._cache, self._options = cache, options
        self.tally = tally
        self.rejections: dict[int, Rejection] = {}

    def result(self, place: int, question: Question[Result]) -> Result | None:
        """What was answered to the question at a place; None where it was rejected.

        Raises:
            TuwenError: when it is no longer the question that was asked.
        """
        if place in self.rejections:
            return None
        kept: Recalled[Result] = recall(self._cache, question, question.content(), self._options)
        if kept.result is None:
            raise TuwenError(f"{question.name}: changed while its reply was asked for; run again")
        return kept.result


def ask_all(
    questions: Iterable[tuple[int, Question[Result]]],
    total: int,
    options: AskingOptions,
    cache: ReplyCache,
    watch: Watcher,
) -> Answers[Result]:
    """Ask every question that no usable reply is kept for.

    Args:
        questions: each with its place among all, taken as they are needed.
        total: how many there are.
        options: see there.
        cache: of replies, open.
        watch: called with the tally a few times a second and at the end.

    Raises:
        EndpointError: when no question can be asked any more.
        TuwenError: when too many in a row were rejected.
    """
    answers: Answers[Result] = Answers(cache, options, Tally(total))
    key = read_api_key(options.api_key_file)

    async def run() -> None:
        async with Endpoint(options.endpoint, api_key=key, limits=options.limits) as endpoint:
            asker = Asker(endpoint, cache, options, answers.tally)
            watching = asyncio.create_task(_watch(asker, watch))
            try:
                await _ask_all(questions, answers, asker)
            finally:
                watching.cancel()
                asker.update_tally()
                watch(asker.tally)

    asyncio.run(run())
    return answers


async def _watch(asker: Asker, watch: Watcher) -> None:
    while True:
        asker.update_tally()
        watch(asker.tally)
        await asyncio.sleep(WATCH_EVERY_SECONDS)


async def _ask_all(questions: Iterable[tuple[int, Question[Result]]], answers: Answers[Result], asker: Asker) -> None:
    async def settle(numbered: tuple[int, Question[Result]]) -> RejectedError | None:
        try:
            await asker.ask(numbered[1])
        except RejectedError as rejection:
            return rejection
        return None

    tally, options, in_a_row = answers.tally, asker.options, 0
    # Twice as many as may be asked at once, so that reading pictures holds up no request.
    async with aclosing(bounded_map(settle, questions, limit=2 * options.limits.concurrency, ordered=False)) as settled:
        async for (place, question), rejection in settled:
            if rejection is None:
                tally.done, in_a_row = tally.done + 1, 0
                continue
            tally.rejected += 1
            answers.rejections[place] = Rejection(name=question.name, model=question.model, reason=str(rejection))
            # What earlier runs rejected, and pictures that cannot be read, cost nothing.
            in_a_row += rejection.asked > 0
            if in_a_row >= options.stop_after:
                raise TuwenError(f"stopped after {in_a_row} rejections in a row, the last: {rejection}")


def write_rejections(rejections: Iterable[Rejection], out: Path) -> None:
    """Write who was rejected and why, one JSON object a line; without any, an earlier such file is removed."""
    lines = [
        json.dumps({"id": one.name, "model": one.model, "reason": one.reason}, ensure_ascii=False) + "\n"
        for one in rejections
    ]
    if not lines:
        out.unlink(missing_ok=True)
        return
    with written_whole(out) as partial:
        partial.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
