"""A file of questions answered into a file of answers; run again, it goes on where it stopped.

A line of questions is a JSON object in OpenAI's chat form or in Tuwen's own sample form, pictures as paths relative to
the file; where it ends with an answer, that one is left out and given anew. A line of answers has the question's ``id``
(``line N`` where it has none), and ``text``, ``finish_reason`` and counts of tokens, or ``error``.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuwen.config import MissingExtraError, Registry, TuwenError
from tuwen.data.formats.base import FORMATS, Reading
from tuwen.data.media import PictureFolder
from tuwen.data.storage import written_whole
from tuwen.infer.engine.interface import Engine, Request, Sampling, Ticket
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.engine.settings import EngineSettings
from tuwen.infer.loading import load
from tuwen.infer.prompts import EncodedPrompt
from tuwen.infer.vlm import Chatter

ENGINES: Registry = Registry("engine", {})
FORMS = ("tuwen", "openai")
# Answers are on the disk at the latest after so many seconds.
SYNC_SECONDS = 2.0
# Lines that one call of a Ray worker answers.
RAY_LINES = 256

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A line of the file.

    Attributes:
        id: of its answer.
        number: of the line, from 1.
        line: as it stands there.
    """

    id: str
    number: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How questions are answered.

    Attributes:
        model: the model's folder.
        loading: keyword arguments of ``tuwen.load``.
        settings: of the engine.
        sampling: of every question.
        source: the file of questions.
    """

    model: Path
    loading: Mapping[str, Any]
    settings: Mapping[str, Any]
    sampling: Sampling
    source: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done.

    Attributes:
        before: questions that had an answer already.
        answered: in this run.
        failed: that have an error in place of an answer.
    """

    before: int
    answered: int
    failed: int


def generate_file(
    job: Job,
    out: Path,
    *,
    engine: str = "builtin",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Answer all questions of a file that have no answer yet; those that failed before are tried again.

    Args:
        job: what to answer, and how.
        out: the file of answers; is appended to.
        engine: ``builtin``, or ``ray`` for processes on all machines of a Ray cluster.
        workers: processes of a Ray cluster, each with a model of its own.
        progress: told how many are done, and how many there are.

    Raises:
        TuwenError: when a file cannot be read or written, two questions have one id, or the model cannot be opened.
    """
    run = ENGINES.get(engine)
    questions = read_questions(job.source)
    done = _begun(out)
    left = [question for question in questions if question.id not in done]
    before = len(questions) - len(left)
    answered = failed = 0
    if progress is not None:
        progress(before, len(questions))
    if not left:
        return Outcome(before, 0, 0)
    synced = time.monotonic()
    with out.open("ab") as file:
        for row in run(job, left, workers):
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n")
            file.flush()
            answered, failed = answered + ("error" not in row), failed + ("error" in row)
            if time.monotonic() - synced > SYNC_SECONDS:
                os.fsync(file.fileno())
                synced = time.monotonic()
            if progress is not None:
                progress(before + answered + failed, len(questions))
        os.fsync(file.fileno())
    return Outcome(before, answered, failed)


def read_questions(path: Path) -> list[Question]:
    """The lines of a file that are not empty; whether they are questions is found out one by one.

    Raises:
        TuwenError: when the file cannot be read, or an id stands in two lines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    found: dict[str, Question] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        question = Question(_id(line, number), number, line)
        if question.id in found:
            first = found[question.id].number
            raise TuwenError(f"{path}: lines {first} and {number} have the id {question.id!r}; each needs its own")
        found[question.id] = question
    return list(found.values())


def _id(line: str, number: int) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    own = record.get("id") if isinstance(record, dict) else None
    return f"line {number}" if own is None or own == "" else str(own)


def _begun(out: Path) -> set[str]:
    """Ids that have an answer; a line that a kill has cut off, and errors, are taken out of the file.

    Raises:
        TuwenError: when the file is none of answers.
    """
    try:
        lines = out.read_bytes().split(b"\n") if out.exists() else []
    except OSError as error:
        raise TuwenError(f"{out}: cannot be read ({error.strerror})") from None
    kept, done = [], set()
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            if "error" not in row:
                kept.append(line)
                done.add(str(row["id"]))
        except (ValueError, KeyError, TypeError):
            raise TuwenError(f"{out}: line {number}: not an answer of `tuwen generate`; choose another file") from None
    if kept != lines[:-1] or lines[-1:] not in ([], [b""]):
        with written_whole(out) as beside:
            beside.write_bytes(b"".join(line + b"\n" for line in kept))
    return done


def encode_question(chatter: Chatter, source: Path, question: Question) -> EncodedPrompt:
    """A question as the model takes it.

    Raises:
        TuwenError: naming the line, when it is wrong or a picture cannot be opened.
    """
    where = f"{source}: line {question.number}"
    try:
        record = json.loads(question.line)
    except ValueError:
        raise TuwenError(f"{where}: not JSON") from None
    forms = map(FORMATS.get, FORMS if isinstance(record, dict) else ())
    form = next((form for form in forms if form.recognises(record)), None)
    if form is None:
        raise TuwenError(f"{where}: expected messages with role and content, as OpenAI's API or Tuwen's samples")
    sample = form().samples(record, where, Reading(PictureFolder(str(source.parent)), name=question.id))[0]
    if isinstance(sample, TuwenError):
        raise sample
    messages, images = list(sample.messages), list(sample.images)
    if messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages or messages[-1].role != "user":
        raise TuwenError(f"{where}: the last turn must be the user's, or an answer to it")
    return chatter.encode(messages, [chatter.open(image) for image in images])


def answers(chatter: Chatter, engine: Engine, job: Job, questions: Iterable[Question], ahead: int) -> Iterator[Row]:
    """Answers in the order of the questions.

    Args:
        chatter: whose model the engine answers with.
        engine: answers.
        job: how.
        questions: what.
        ahead: questions that are under way at a time.
    """
    waiting: deque[tuple[Question, Ticket | TuwenError]] = deque()
    for question in questions:
        try:
            prompt = encode_question(chatter, job.source, question)
            ticket: Ticket | TuwenError = engine.submit(
                Request(prompt=prompt, sampling=job.sampling, name=f"{job.source}: line {question.number}")
            )
        except TuwenError as error:
            ticket = error
        waiting.append((question, ticket))
        if len(waiting) >= ahead:
            yield _row(*waiting.popleft())
    while waiting:
        yield _row(*waiting.popleft())


def _row(question: Question, ticket: Ticket | TuwenError) -> Row:
    if isinstance(ticket, TuwenError):
        return {"id": question.id, "error": str(ticket)}
    text = "".join(piece.text for piece in ticket)
    finish = ticket.finish
    assert finish is not None
    if finish.reason in ("error", "cancelled"):
        return {"id": question.id, "error": finish.error or "cancelled"}
    return {
        "id": question.id,
        "text": text.strip(),
        "finish_reason": finish.reason,
        "prompt_tokens": finish.prompt_tokens,
        "image_tokens": finish.image_tokens,
        "completion_tokens": finish.completion_tokens,
    }


class Answerer:
    """A model and its engine, for questions in bunches.

    Args:
        job: what to answer, and how.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chatter = load(job.model, **job.loading)
        self._engine = open_engine(self._chatter, **job.settings)
        settings = EngineSettings(**job.settings)
        self._ahead = min(2 * settings.max_running, settings.max_waiting)

    def rows(self, questions: Iterable[Question]) -> Iterator[Row]:
        """See ``answers``."""
        return answers(self._chatter, self._engine, self._job, questions, self._ahead)

    def close(self) -> None:
        """Free the memory."""
        self._engine.close()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Columns of questions to a column of answers, for Ray Data."""
        columns = zip(batch["id"], batch["number"], batch["line"], strict=True)
        questions = (Question(str(name), int(number), str(line)) for name, number, line in columns)
        return {"row": [json.dumps(row) for row in self.rows(questions)]}


@ENGINES.register("builtin")
def run_here(job: Job, questions: list[Question], workers: int) -> Iterator[Row]:
    """Answers of one engine in this process."""
    answerer = Answerer(job)
    try:
        yield from answerer.rows(questions)
    finally:
        answerer.close()


@ENGINES.register("ray")
def run_with_ray(job: Job, questions: list[Question], workers: int) -> Iterator[Row]:
    """Answers of engines in workers of a Ray cluster; model and pictures must be where all machines find them."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    rows = [{"id": one.id, "number": one.number, "line": one.line} for one in questions]
    count = min(workers, len(rows))
    source = ray.data.from_items(rows, override_num_blocks=max(count, -(-len(rows) // RAY_LINES)))
    gpus = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
    found = source.map_batches(Answerer, fn_constructor_args=[job], batch_size=RAY_LINES, concurrency=count, **gpus)
    return (json.loads(row["row"]) for row in found.iter_rows())
