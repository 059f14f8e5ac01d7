"""All records of a data set through one function, in their order, in as many processes as pay."""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import Record
from tuwen.data.dataset import Dataset, Entry, Place

RECORDS = 64
# Starting processes takes as long as looking at so many chunks.
CHUNKS_ALONE = 16
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of a file, one behind the other.

    Attributes:
        file: its number among the files of the data.
        first: number of the first record in the file.
        records: place (offset and length, see the container) and content of each, or what is wrong with it.
        broken: why nothing of the file can be read behind them; empty where it can.
    """

    file: int
    first: int
    records: tuple[tuple[int, int, Record | TuwenError], ...]
    broken: str = ""

    def entries(self, dataset: Dataset) -> Iterator[tuple[int, Record | TuwenError, Entry]]:
        """Every entry of the data set in it, with the number of its record in the file, and that record."""
        for number, (offset, length, record) in enumerate(self.records, start=self.first):
            where = f"{dataset.files[self.file]}: record {number}"
            for entry in dataset.entries(Place(self.file, offset, length), record, where):
                yield number, record, entry


def chunks(dataset: Dataset) -> Iterator[Chunk]:
    """All records of a data set."""
    for file, name in enumerate(dataset.files):
        first, broken, waiting = 0, "", dataset.container.scan(name)
        while not broken:
            records = []
            try:
                for record in islice(waiting, RECORDS):
                    records.append(record)
            except TuwenError as error:
                broken = str(error)
            if not records and not broken:
                break
            yield Chunk(file, first, tuple(records), broken)
            first += len(records)


def walk(
    dataset: Dataset, task: Callable[[Chunk], Result], *, workers: int | None = None
) -> Iterator[tuple[Chunk, Result]]:
    """Every chunk of a data set with what ``task`` makes of it, in order; few are in memory at a time.

    Args:
        dataset: whose records are gone through.
        task: called in other processes, to which it is sent once; small data stays in this one.
        workers: processes; as many as there are processors unless said.

    Raises:
        TuwenError: when a process dies.
    """
    count = workers or os.cpu_count() or 1
    waiting = chunks(dataset)
    head = list(islice(waiting, CHUNKS_ALONE + 1))
    if count == 1 or len(head) <= CHUNKS_ALONE:
        for chunk in chain(head, waiting):
            yield chunk, task(chunk)
        return
    # A process that is forked while others of its threads hold locks may wait for ever.
    pool = ProcessPoolExecutor(
        count,
        mp_context=get_context("spawn"),
        initializer=_prepare,
        initargs=(bytes(ForkingPickler.dumps(task)), _logging_levels()),
    )
    running: deque[tuple[Chunk, Future[Any]]] = deque()
    try:
        for chunk in chain(head, waiting):
            running.append((chunk, pool.submit(_run, chunk)))
            if len(running) > 2 * count:
                done, future = running.popleft()
                yield done, future.result()
        for done, future in running:
            yield done, future.result()
    except BrokenProcessPool:
        raise TuwenError("a process was ended from outside, most often for want of memory; try --workers 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


_task: Callable[[Chunk], Any] | None = None


def _logging_levels() -> dict[str, int]:
    loggers = logging.root.manager.loggerDict.items()
    return {name: logger.level for name, logger in loggers if isinstance(logger, logging.Logger) and logger.level}


def _prepare(task: bytes, levels: dict[str, int]) -> None:
    global _task
    # An interruption is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # What libraries say as they are imported, which is when the task arrives, is as welcome as in the parent.
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    _task = ForkingPickler.loads(task)


def _run(chunk: Chunk) -> Any:
    assert _task is not None
    return _task(chunk)
