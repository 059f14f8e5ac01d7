"""Several processes of one machine that train together, without a launcher of their own (`tuwen train --nproc`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

# When one process has failed, the others have so many seconds to notice it by themselves.
GRACE = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``tuwen ARGUMENTS`` in several processes and wait for them.

    What they write to stderr is passed on, a line that several of them write once. SIGTERM and Ctrl-C reach all.

    Args:
        arguments: of the command line.
        processes: how many.

    Returns:
        The exit code: 0, or that of the first that failed.
    """
    port = _free_port()
    children = [_start(arguments, rank, processes, port=port) for rank in range(processes)]
    seen: set[str] = set()
    readers = [threading.Thread(target=_relay, args=(child.stderr, seen), daemon=True) for child in children]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {one: signal.signal(one, pass_on) for one in SIGNALS}
    try:
        for reader in readers:
            reader.start()
        return _wait(children)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for child in children:
            child.kill()
        for reader in readers:
            reader.join(timeout=1)


def _start(arguments: Sequence[str], rank: int, processes: int, *, port: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # Each would otherwise take all cores, as `torchrun` knows, too.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return subprocess.Popen(
        [sys.executable, "-m", "tuwen", *arguments],
        env=environment,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A Ctrl-C reaches them through `pass_on` alone, so once.
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _relay(stream: IO[str] | None, seen: set[str]) -> None:
    assert stream is not None, "stderr is piped"
    for line in stream:
        if line not in seen:
            seen.add(line)
            sys.stderr.write(line)
            sys.stderr.flush()


def _wait(children: Sequence[subprocess.Popen[str]]) -> int:
    failed_at: float | None = None
    code = 0
    while any(child.poll() is None for child in children):
        if failed_at is None:
            codes = [child.returncode for child in children if child.returncode]
            if codes:
                failed_at, code = time.monotonic(), codes[0]
        elif time.monotonic() - failed_at > GRACE:
            for child in children:
                child.kill()
        time.sleep(0.1)
    return code or next((child.returncode for child in children if child.returncode), 0)
