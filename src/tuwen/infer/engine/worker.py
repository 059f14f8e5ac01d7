"""The thread of an engine, and the bounded queue before it."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from abc import abstractmethod
from collections import Counter, deque
from typing import Generic, TypeVar

import torch

from tuwen.config import TuwenError
from tuwen.infer.engine.answer import GrowingAnswer
from tuwen.infer.engine.interface import Engine, EngineStatus, EngineStopped, FinishReason, QueueFull, Request
from tuwen.infer.engine.ticket import Follower

LOG = logging.getLogger(__name__)
# Ends of answers that the expected wait is measured over.
REMEMBERED = 64
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 120.0
COUNTED = ("prompt_tokens", "cached_prompt_tokens", "generated_tokens", "picture_queries", "picture_hits", "steps")
Job = TypeVar("Job")


def told(error: BaseException) -> str:
    """One line about an error that a stranger may read: no paths, no addresses."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "out of memory"
    return str(error) if isinstance(error, TuwenError) else f"internal error ({type(error).__name__})"


class WorkerEngine(Engine, Generic[Job]):
    """An engine in a thread of its own.

    A subclass says how a request becomes a job, and what is done about the jobs step by step.

    Args:
        max_waiting: requests that may wait.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[tuple[GrowingAnswer, Job]] = deque()
        self._running: set[GrowingAnswer] = set()
        self._counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self._ends: deque[float] = deque(maxlen=REMEMBERED)
        self._draining = self._closing = self._dead = False
        self._thread = threading.Thread(target=self._work, name="tuwen-engine", daemon=True)
        # The interpreter must not go away under a thread that computes.
        atexit.register(self.close)

    @abstractmethod
    def _prepare(self, request: Request, ticket: Follower) -> tuple[GrowingAnswer, Job]:
        """What a request becomes, in the thread of whoever submits it; a request that cannot be honoured is refused."""

    @abstractmethod
    def _step(self) -> bool:
        """Do the next piece of work; whether there was any."""

    @abstractmethod
    def _free(self) -> None:
        """Give memory back, when nothing will be computed any more."""

    @abstractmethod
    def _cache_usage(self) -> float:
        """See ``EngineStatus``."""

    def submit(self, request: Request) -> Follower:
        """See ``Engine.submit``."""
        with self._changed:
            self._check_open()
        ticket = Follower(lambda: self._withdraw(ticket))
        answer, job = self._prepare(request, ticket)
        with self._changed:
            self._check_open()
            if len(self._waiting) >= self._max_waiting:
                raise QueueFull(f"{request.name}: {self._max_waiting} requests wait already", self._expected_wait())
            self._waiting.append((answer, job))
            self._changed.notify_all()
        return ticket

    def status(self) -> EngineStatus:
        """See ``Engine.status``."""
        return EngineStatus(
            alive=not (self._dead or self._closing) and self._thread.is_alive(),
            running=len(self._running),
            waiting=len(self._waiting),
            cache_usage=self._cache_usage(),
            counts=dict(self._counts),
        )

    def drain(self, timeout: float) -> bool:
        """See ``Engine.drain``."""
        with self._changed:
            self._draining = True
            done = self._changed.wait_for(self._is_idle, timeout)
            left = [*self._running, *(answer for answer, _ in self._waiting)]
        for answer in left:
            answer.ticket.cancel()
        with self._changed:
            self._changed.wait_for(self._is_idle)
        return done

    def close(self) -> None:
        """See ``Engine.close``."""
        atexit.unregister(self.close)
        with self._changed:
            self._draining = self._closing = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join()

    def _check_open(self) -> None:
        if self._dead:
            raise EngineStopped("the engine has died; start it again")
        if self._draining:
            raise EngineStopped("the engine is being stopped and takes no more requests")

    def _room(self, request: Request, context: int) -> int:
        """Tokens that a context leaves for an answer.

        Raises:
            TuwenError: when there is no prompt, or it leaves none.
        """
        length = len(request.prompt.rendered.input_ids)
        if not 0 < length < context:
            raise TuwenError(
                f"{request.name}: the prompt has {length} tokens, 1 to {context - 1} are possible: the context "
                f"is {context} and the answer needs one"
            )
        return context - length

    def _is_idle(self) -> bool:
        return self._dead or not (self._waiting or self._running)

    def _expected_wait(self) -> float:
        """Seconds in which, lately, one answer ended."""
        if len(self._ends) < 2:
            return SHORTEST_WAIT
        # Up to now: where nothing has ended for long, nothing will soon.
        seconds = (time.monotonic() - self._ends[0]) / len(self._ends)
        return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)

    def _withdraw(self, ticket: Follower) -> None:
        """A request was given up: it leaves the queue at once, or the step after this one."""
        with self._changed:
            for entry in self._waiting:
                if entry[0].ticket is ticket:
                    self._waiting.remove(entry)
                    entry[0].end("cancelled")
                    break
            self._changed.notify_all()

    def _finish(self, answer: GrowingAnswer, reason: FinishReason, error: BaseException | None = None) -> None:
        """An answer has ended; the last to be done about it."""
        line = None if error is None else f"{answer.name}: {told(error).removeprefix(f'{answer.name}: ')}"
        if error is not None and not isinstance(error, TuwenError):
            LOG.error("%s", line, exc_info=error)
        with self._changed:
            self._running.discard(answer)
            self._ends.append(time.monotonic())
            self._counts["generated_tokens"] += len(answer.tokens)
            answer.end(reason, line)
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while not self._closing:
                    if self._step():
                        continue
                    with self._changed:
                        self._changed.wait_for(lambda: self._closing or bool(self._waiting))
        except BaseException as error:
            LOG.critical("the engine has died", exc_info=error)
            self._abandon("error", error)
        else:
            self._abandon("cancelled", None)
        finally:
            self._free()

    def _abandon(self, reason: FinishReason, error: BaseException | None) -> None:
        with self._changed:
            self._dead = error is not None
            self._draining = True
            left = [*self._running, *(answer for answer, _ in self._waiting)]
            self._waiting.clear()
        for answer in left:
            self._finish(answer, reason, TuwenError("the engine has died") if error is not None else None)
        with self._changed:
            self._changed.notify_all()
