"""Runs of ``tuwen`` in processes of their own, forked from one that has loaded what takes long to load.

    python -m tests.command_line

is that process. It takes a run a line, as JSON, and answers with its exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Loading these runs no code that a run of the command line could see, and starts no thread.
LOADED = (
    "tuwen.cli.app",
    "tuwen.data.synth_source",
    "tuwen.evaluate.run",
    "tuwen.infer.loading",
    "tuwen.train.plan",
    "tuwen.train.run",
    "peft",
)


class CommandLine:
    """Starts the process with the first run, and again after a run that took too long."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, arguments: Sequence[str], *, stdin: str, cwd: Path | None, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` of ``tuwen ARGUMENTS``.

        Args:
            arguments: of the command line.
            stdin: its input.
            cwd: where it runs; here unless said.
            environment: all of it.
            timeout: in seconds.
        """
        with tempfile.TemporaryDirectory() as folder:
            files = {name: str(Path(folder, name)) for name in ("stdin", "stdout", "stderr")}
            Path(files["stdin"]).write_text(stdin, encoding="utf-8")
            request = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "environment": environment, **files}
            code = self._ask(request, timeout)
            out, err = (Path(files[name]).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(["tuwen", *arguments], code, out, err)

    def _ask(self, request: dict[str, Any], timeout: float) -> int:
        if self._server is None or self._server.poll() is not None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.command_line"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            os.killpg(server.pid, 9)
            server.wait()
            raise subprocess.TimeoutExpired(request["arguments"], timeout)
        return int(server.stdout.readline())


def main() -> None:
    """Take runs until the input ends."""
    for name in LOADED:
        __import__(name)
    # Else every child would copy all of this memory to count its references.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


def _run(request: dict[str, Any]) -> None:
    """Become ``tuwen``."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    for number, (name, flags) in enumerate(
        [("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT)]
    ):
        os.dup2(os.open(request[name], flags, 0o600), number)
    # What the parent has read ahead is not this run's input.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["tuwen", *request["arguments"]]
    with contextlib.suppress(ValueError):
        sys.path.remove(str(Path(__file__).parents[1]))
    sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    code: Any = 0
    try:
        runpy.run_module("tuwen", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    # An end as any other, but for taking apart all that was loaded, which takes a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
