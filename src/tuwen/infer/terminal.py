"""A conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tuwen.config import TuwenError, unknown_name
from tuwen.infer.history import History
from tuwen.infer.vlm import Chatter, Session
from tuwen.vision import open_picture

HELP = """/image FILE   add a picture to the next question 添加图片
/reset        forget the conversation 重新开始
/save FILE    write the conversation as JSON 保存对话
/help         this list 帮助
/exit         leave 退出"""


class Conversation:
    """Reads questions, answers them as they come, and carries out commands that begin with ``/``.

    Args:
        session: the conversation so far.
        options: of generation.
        console: where everything is shown.
    """

    def __init__(self, session: Session, options: Mapping[str, Any], console: Console) -> None:
        self.session, self.options, self.console = session, options, console
        self.waiting: list[Path] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self.add_image,
            "/reset": self._reset,
            "/save": self._save,
            "/help": lambda rest: self.console.print(HELP, markup=False),
        }

    def add_image(self, name: str) -> None:
        """Open a picture now, so that a wrong one is said now, and ask about it with the next question."""
        path = Path(name.strip().strip("'\"")).expanduser()
        width, height = open_picture(path).size
        self.waiting.append(path)
        self.console.print(f"[dim]{path.name} {width}x{height}[/]")

    def handle(self, line: str) -> bool:
        """Answer or carry out one line; false when the conversation is over."""
        line = line.strip()
        if line in ("/exit", "/quit"):
            return False
        if not line and not self.waiting:
            return True
        if line.startswith("/"):
            name, _, rest = line.partition(" ")
            if name not in self._commands:
                raise TuwenError(unknown_name("command", name, [*self._commands, "/exit"]))
            self._commands[name](rest)
            return True
        self._answer(line)
        return True

    def _answer(self, question: str) -> None:
        images, self.waiting = self.waiting, []
        for piece in self.session.stream(question, images, **self.options):
            self.console.out(piece, end="", highlight=False)
            self.console.file.flush()
        self.console.print()

    def _reset(self, rest: str) -> None:
        self.session.reset()
        self.waiting.clear()
        self.console.print("[dim]forgotten 已清空[/]")

    def _save(self, rest: str) -> None:
        if not rest.strip():
            raise TuwenError("/save: name a file, e.g. /save chat.json")
        path = Path(rest.strip()).expanduser()
        self.session.save(path)
        self.console.print(f"[dim]{path}[/]")


def converse(
    vlm: Chatter,
    images: Sequence[str],
    *,
    system: str | None,
    history: History,
    options: Mapping[str, Any],
    console: Console,
) -> None:
    """Talk until ``/exit`` or the end of input; a mistake is said in one line and the conversation goes on."""
    session, given = vlm.recall(system, history, images)
    conversation = Conversation(session, options, console)
    for path in given:
        conversation.add_image(str(path))
    if sys.stdin.isatty():
        console.print("[dim]/help 帮助 · /exit 退出[/]")
    while True:
        try:
            line = console.input("[bold cyan]› [/]" if sys.stdin.isatty() else "")
        except EOFError:
            return
        try:
            if not conversation.handle(line):
                return
        except TuwenError as error:
            console.print(f"[red]{error}[/]", highlight=False)
