"""Replies that were paid for, kept in a file as they come, so that a run that is killed asks nothing twice."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path
from types import TracebackType

from tuwen.config import TuwenError
from tuwen.data.endpoint.reply import Reply, Usage

Record = tuple[str, Reply]


def reply_key(*content: str) -> str:
    """What a reply is kept under: a hash of all that decides what is asked.

    Args:
        *content: model, prompt, digests of pictures, number of the try, …; order and borders count.
    """
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]


class ReplyCache:
    """Replies in a JSONL file, one a line, synced to the disk before ``add`` returns. Use as ``with ReplyCache(path)``.

    Only where each reply lies is kept in memory.

    Args:
        path: of the file; made when the first reply comes.

    Attributes:
        usage: tokens of all replies in the file, earlier runs' too.
        cut_off: whether the file ended in a line that a kill had cut off, which is gone now.

    Raises:
        TuwenError: when another run uses the file, it cannot be opened, or a line in it is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.usage = Usage()
        self.cut_off = False
        self._places: dict[str, tuple[int, int]] = {}
        self._pending: list[Record] = []
        self._writing = asyncio.Lock()
        # A write goes on when the task that waits for it is cancelled.
        self._writer = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TuwenError(f"{path}: cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = self._read_places()
        except BlockingIOError:
            os.close(self._file)
            raise TuwenError(f"{path}: another run is writing it; wait for its end or choose another OUT") from None
        except TuwenError:
            os.close(self._file)
            raise

    def _read_places(self) -> int:
        """Find where every reply lies; returns the end of the last whole line."""
        end = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    # Killed while writing. What is asked again was not yet answered as far as anyone knew.
                    self.cut_off = True
                    os.ftruncate(self._file, end)
                    break
                try:
                    key, reply = _parse(line)
                except (ValueError, KeyError, TypeError):
                    raise TuwenError(
                        f"{self.path}: line {number}: not a kept reply; delete the line to ask for it anew"
                    ) from None
                self._places[key] = (end, len(line))
                self.usage += reply.usage
                end += len(line)
        return end

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Reply | None:
        """The reply that is kept under ``key``, or None."""
        place = self._places.get(key)
        if place is None:
            return None
        _, reply = _parse(os.pread(self._file, place[1], place[0]))
        return reply

    async def add(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is on the disk when this returns.

        Raises:
            TuwenError: when it cannot be written, e.g. because the disk is full.
        """
        self._pending.append((key, reply))
        async with self._writing:
            # Replies that came while others were being synced go to the disk together.
            batch, self._pending = self._pending, []
            if batch:
                await asyncio.shield(asyncio.to_thread(self._write, batch))

    def _write(self, batch: list[Record]) -> None:
        lines = [_line(key, reply) for key, reply in batch]
        data = memoryview(b"".join(lines))
        with self._writer:
            try:
                while data:
                    data = data[os.write(self._file, data) :]
                os.fsync(self._file)
            except OSError as error:
                raise TuwenError(f"{self.path}: cannot be written ({error.strerror})") from None
            for (key, reply), line in zip(batch, lines, strict=True):
                self._places[key] = (self._end, len(line))
                self._end += len(line)
                self.usage += reply.usage

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._pending:
                # Cancelled before their turn to be written came.
                self._write(self._pending)
        finally:
            if not self._places:
                self.path.unlink(missing_ok=True)
            # Closing the file gives up the lock.
            os.close(self._file)


def _line(key: str, reply: Reply) -> bytes:
    record = {
        "key": key,
        "model": reply.model,
        "text": reply.raw,
        "finish_reason": reply.finish_reason,
        "refusal": reply.refusal,
        "prompt_tokens": reply.usage.prompt,
        "completion_tokens": reply.usage.completion,
    }
    # A reply may hold half a surrogate pair, which UTF-8 cannot: then it is kept as an escape.
    text = json.dumps(record, ensure_ascii=False)
    try:
        return (text + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()


def _parse(line: bytes) -> Record:
    record = json.loads(line)
    reply = Reply(
        raw=record["text"],
        finish_reason=record["finish_reason"],
        usage=Usage(record["prompt_tokens"], record["completion_tokens"]),
        model=record["model"],
        refusal=record["refusal"],
    )
    return record["key"], reply
