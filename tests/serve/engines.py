"""An engine that says what it is told, token by token, in a thread of its own, with a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tuwen.config import TuwenError
from tuwen.infer.engine.interface import (
    Engine,
    EngineStatus,
    EngineStopped,
    Finish,
    FinishReason,
    Piece,
    QueueFull,
    Request,
    TokenScore,
)
from tuwen.infer.engine.ticket import Follower

ANSWER = ("图里", "有", "一只", "猫", "。", "")


@dataclass(eq=False)
class _Job:
    request: Request
    ticket: Follower
    pieces: list[str]
    said: int = 0


@dataclass
class ScriptedEngine(Engine):
    """Answers side by side, a token of each a step.

    Attributes:
        script: what it says to a request: texts of tokens, the last that of the end of turn.
        step_seconds: that a step takes.
        slots: requests that are answered at a time.
        max_queue: that may wait besides.
        fails_after: steps of an answer after which it fails.
        hold: while it is set, no step is made.
        seen: all requests, in order.
    """

    script: Callable[[Request], Sequence[str]] = lambda request: ANSWER
    step_seconds: float = 0.0
    slots: int = 4
    max_queue: int = 8
    fails_after: int | None = None
    refuses: str | None = None
    hold: threading.Event = field(default_factory=threading.Event)
    seen: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._lock = threading.RLock()
        self._stopped = self._dead = False
        self._generated = 0
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, request: Request) -> Follower:
        with self._lock:
            if self._stopped or self._dead:
                raise EngineStopped("the engine has stopped")
            if self.refuses:
                raise TuwenError(self.refuses)
            if len(self._waiting) >= self.max_queue:
                raise QueueFull("the queue is full", retry_after=3)
            self.seen.append(request)
            job = _Job(request, Follower(lambda: None), list(self.script(request)))
            self._waiting.append(job)
            return job.ticket

    def status(self) -> EngineStatus:
        with self._lock:
            return EngineStatus(
                alive=not self._dead,
                running=len(self._running),
                waiting=len(self._waiting),
                cache_usage=len(self._running) / self.slots,
                counts={"generated_tokens": self._generated, "picture_queries": 5, "picture_hits": 3},
            )

    def drain(self, timeout: float) -> bool:
        self._stopped = True
        end = time.monotonic() + timeout
        while (self._waiting or self._running) and time.monotonic() < end:
            time.sleep(0.01)
        left = [*self._waiting, *self._running]
        for job in left:
            job.ticket.cancel()
        while self._waiting or self._running:
            time.sleep(0.005)
        return not left

    def close(self) -> None:
        self._dead = True

    def _work(self) -> None:
        while not self._dead:
            with self._lock:
                for job in [*self._running, *self._waiting]:
                    if job.ticket.cancelled:
                        self._end(job, "cancelled")
                if not self.hold.is_set():
                    while self._waiting and len(self._running) < self.slots:
                        self._running.append(self._waiting.pop(0))
                    for job in list(self._running):
                        self._step(job)
            time.sleep(max(self.step_seconds, 0.001))

    def _step(self, job: _Job) -> None:
        sampling = job.request.sampling
        if self.fails_after is not None and job.said >= self.fails_after:
            self._end(job, "error")
            return
        text = job.pieces[job.said]
        job.said += 1
        self._generated += 1
        scores = () if sampling.logprobs is None else (TokenScore(100 + job.said, -0.5 * job.said),)
        others = tuple(TokenScore(200 + place, -1.0 - place) for place in range(sampling.logprobs or 0))
        job.ticket.put(Piece(text, (100 + job.said,), scores, (others,) if scores else ()))
        if job.said == len(job.pieces):
            self._end(job, "stop")
        elif job.said == sampling.max_tokens:
            self._end(job, "length")

    def _end(self, job: _Job, reason: FinishReason) -> None:
        (self._running if job in self._running else self._waiting).remove(job)
        job.ticket.end(
            Finish(
                reason=reason,
                prompt_tokens=len(job.request.prompt.rendered.input_ids),
                image_tokens=sum(stop - start for start, stop in job.request.prompt.rendered.image_spans),
                cached_tokens=2,
                completion_tokens=job.said,
                error="RuntimeError at 0x7f00dead in /srv/secret/model.py" if reason == "error" else None,
            )
        )
