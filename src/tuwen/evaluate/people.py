"""People as judges: a small page on this machine that shows answers without saying whose they are.

One answer at a time is graded from A to D, as OwlEval does (Ye et al. 2023, "mPLUG-Owl"), or two stand side by side, in
an order that is drawn. Every click is on the disk before the next question is shown. The page needs no network.
"""

from __future__ import annotations

import fcntl
import json
import random
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jinja2

from tuwen.config import TuwenError
from tuwen.data.endpoint.picture_messages import picture_url
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import Item
from tuwen.evaluate.benchmarks._judged_files import CHOICES
from tuwen.evaluate.files import official_id, read_json_lines
from tuwen.evaluate.scoring.judge_replies import GRADES
from tuwen.vision.pictures import PictureError

HOST = "127.0.0.1"
LONGEST_FORM = 1 << 16
MAX_SIDE = 1024
TEMPLATE = "people.html.jinja"

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """What is on one page.

    Attributes:
        item: the question.
        systems: whose answers are shown, from left to right: one to be graded, or two to choose from.
        answers: of these systems.
    """

    item: Item
    systems: tuple[str, ...]
    answers: tuple[str, ...]


def plan_tasks(
    items: Sequence[Item], systems: Mapping[str, Mapping[str, str]], rater: str, *, pairs: bool
) -> list[Task]:
    """All that a person is asked, in an order of its own; each of two systems stands left in half of the pairs.

    Args:
        items: questions.
        systems: answers by question, by the system's name.
        rater: decides the order, so that a second sitting goes on where the first has stopped.
        pairs: two systems side by side, else each answer alone.

    Raises:
        TuwenError: for pairs of other than two systems, and a question without an answer.
    """
    if pairs and len(systems) != 2:
        raise TuwenError(f"{', '.join(systems) or 'no system'}: expected the answers of two systems to compare")
    for name, answers in systems.items():
        missing = [item.id for item in items if item.id not in answers]
        if missing:
            raise TuwenError(f"{name}: {len(missing)} questions have no answer, the first is {missing[0]}")
    rng = random.Random(rater)
    shown = rng.sample(list(items), len(items))
    names = list(systems)
    rows = (
        [(item, tuple(names if place % 2 else names[::-1])) for place, item in enumerate(shown)]
        if pairs
        else [(item, (name,)) for item in shown for name in names]
    )
    rng.shuffle(rows)
    return [Task(item, order, tuple(systems[name][item.id] for name in order)) for item, order in rows]


class Ratings:
    """What people said, one JSON object a line; several pages may write to one file.

    Args:
        path: of the file.

    Raises:
        TuwenError: when it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read()

    def read(self) -> dict[Key, dict[str, Any]]:
        """Records by rater, question and what was rated: a system, or two in whatever order."""
        if not self.path.is_file():
            return {}
        found = {}
        for number, record in enumerate(read_json_lines(self.path, "what people said"), start=1):
            if "question_id" not in record or "rater" not in record or not {"grade", "choice"} & set(record):
                raise TuwenError(f"{self.path}: line {number}: expected question_id, rater and grade or choice")
            found[_key(record)] = record
        return found

    def save(self, record: Mapping[str, Any]) -> None:
        """Keep a record in place of an earlier one by the same person about the same; it is on the disk afterwards."""
        with self._alone():
            records = {**self.read(), _key(record): record}
            with written_whole(self.path) as partial:
                lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in records.values())
                partial.write_text("".join(lines), encoding="utf-8")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(f".{self.path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _key(record: Mapping[str, Any]) -> Key:
    rated = [record["model"]] if "model" in record else sorted([str(record.get("first")), str(record.get("second"))])
    return str(record["rater"]), str(record["question_id"]), json.dumps(rated)


class Desk:
    """One person's sitting.

    Args:
        title: of the benchmark.
        tasks: what is asked.
        ratings: where it is kept.
        rater: the person's name.
    """

    def __init__(self, title: str, tasks: Sequence[Task], ratings: Ratings, rater: str) -> None:
        if not tasks:
            raise TuwenError(f"{title}: nothing to rate")
        self.title, self.tasks, self.ratings, self.rater = title, tasks, ratings, rater
        # Another page in the same browser cannot know it, so it cannot click in this person's name.
        self.token = secrets.token_urlsafe(16)
        self._pages = jinja2.Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        self._template = self._pages.from_string(files("tuwen.evaluate").joinpath(TEMPLATE).read_text("utf-8"))

    def next_open(self, after: int = -1) -> int:
        """The next task without an answer, from the front again behind the last; their number where none is left."""
        left = [place for place, one in enumerate(self._said()) if one is None]
        return next((place for place in left if place > after), left[0] if left else len(self.tasks))

    def page(self, number: int) -> str:
        """The page of a task, or the last page behind all tasks.

        Args:
            number: of the task, from 0.
        """
        said = self._said()
        task = self.tasks[number] if number < len(self.tasks) else None
        return self._template.render(
            title=self.title,
            rater=self.rater,
            task=task,
            picture=_picture(task),
            number=number,
            total=len(self.tasks),
            done=sum(one is not None for one in said),
            said=said[number] if task else None,
            token=self.token,
            path=self.ratings.path,
        )

    def click(self, form: Mapping[str, Sequence[str]]) -> int:
        """Keep what was clicked.

        Returns:
            The number of the task.

        Raises:
            ValueError: for a form that is not from the page.
        """
        values = {name: found[0] for name, found in form.items()}
        if not secrets.compare_digest(values.get("token", "").encode(), self.token.encode()):
            raise ValueError("token")
        number, said = int(values.get("number", "")), values.get("said", "")
        if not 0 <= number < len(self.tasks) or said not in _choices(self.tasks[number]):
            raise ValueError("said")
        self.ratings.save(self._record(self.tasks[number], said))
        return number

    def _record(self, task: Task, said: str) -> dict[str, Any]:
        record = {"question_id": official_id(task.item.id), "rater": self.rater}
        if len(task.systems) == 1:
            return {**record, "model": task.systems[0], "grade": said}
        return {**record, "first": task.systems[0], "second": task.systems[1], "choice": said}

    def _said(self) -> list[str | None]:
        """What was said to each task so far."""
        kept = self.ratings.read()
        records = [kept.get(_key(self._record(task, ""))) for task in self.tasks]
        return [None if one is None else str(one.get("grade") or one.get("choice")) for one in records]


def _choices(task: Task) -> tuple[str, ...]:
    return GRADES if len(task.systems) == 1 else CHOICES


def _picture(task: Task | None) -> str | None:
    if task is None or not task.item.images:
        return None
    try:
        return picture_url(task.item.images[0], MAX_SIDE)
    except PictureError:
        return ""


def people_server(desk: Desk, port: int = 0) -> ThreadingHTTPServer:
    """The page's server, for this machine alone; the caller runs it.

    Args:
        desk: what is shown.
        port: 0 takes a free one.

    Raises:
        TuwenError: when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = parse_qs(urlsplit(self.path).query).get("task", [""])[0]
            if not self._from_here() or urlsplit(self.path).path != "/":
                self._send(HTTPStatus.NOT_FOUND, "")
            else:
                chosen = number.isascii() and number.isdigit() and len(number) < 9
                self._send(HTTPStatus.OK, desk.page(int(number) if chosen else desk.next_open()))

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not self._from_here() or not length.isascii() or not length.isdigit() or int(length) > LONGEST_FORM:
                self._send(HTTPStatus.BAD_REQUEST, "")
                return
            try:
                number = desk.click(parse_qs(self.rfile.read(int(length)).decode()))
            except (ValueError, UnicodeDecodeError):
                self._send(HTTPStatus.BAD_REQUEST, "")
                return
            except TuwenError as error:
                # The click is not kept; whoever clicks must see that.
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
            self._send(HTTPStatus.SEE_OTHER, "", Location=f"/?task={desk.next_open(number)}")

        def _from_here(self) -> bool:
            # A site whose name leads to this machine must not read the page.
            return self.headers.get("host", "") in (f"{HOST}:{own_port}", f"localhost:{own_port}")

        def _send(self, status: HTTPStatus, html: str, **headers: str) -> None:
            body = html.encode("utf-8", "replace")
            self.send_response(status)
            for name, value in {**_HEADERS, **headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise TuwenError(f"port {port}: cannot be used ({error.strerror}); choose another") from None
    own_port = server.server_port
    return server


def serve_people(desk: Desk, port: int, announce: Callable[[str], None]) -> None:
    """Show the page until the keyboard interrupts.

    Args:
        desk: what is shown.
        port: 0 takes a free one.
        announce: called with the page's address.

    Raises:
        TuwenError: when the port is taken.
    """
    server = people_server(desk, port)
    announce(f"http://{HOST}:{server.server_port}/")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
