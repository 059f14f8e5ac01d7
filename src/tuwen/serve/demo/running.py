"""The life of the page's server: an empty folder of its own, a gate before it, and nothing left behind."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from tuwen.config import MissingExtraError, TuwenError
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.loading import load
from tuwen.serve.demo.conversation import Speaker
from tuwen.serve.listening import bind

# Before the page's library is imported: it would tell its makers of every start, and record calls in the browser.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False"}
SHARING = "--share opens a tunnel through gradio.live: whoever has the link can use the page until it is stopped"
# Settings of the library that would open what is closed here.
UNSET = ("GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_ROOT_PATH", "GRADIO_MCP_SERVER", "GRADIO_LOCAL_DEV_MODE")


def demo(
    models: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Show the page until SIGTERM or SIGINT.

    Args:
        models: folder of a model, or of two to be compared.
        host: to listen at.
        port: to listen at; 0 for any that is free.
        share: also through a tunnel, under a public address.
        device: see ``load``.
        dtype: see ``load``.

    Raises:
        TuwenError: when a folder is no model, the port is taken, or a package is missing.
    """
    with private_folder():
        _require_library()
        # Said at once, not after loading.
        bind(host, port).close()
        speakers = list(_speakers(models, device, dtype))
        try:
            serve_page(speakers, host=host, port=port, share=share)
        finally:
            for speaker in speakers:
                speaker.engine.close()


def _require_library() -> None:
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError(error.name or "gradio", "demo") from None
    del gradio


def _speakers(models: Sequence[Path], device: str | None, dtype: str | None) -> Iterator[Speaker]:
    names = [model.name for model in models]
    for model in models:
        # Two folders of one name, such as runs' checkpoints, are told apart by where they lie.
        name = model.name if names.count(model.name) == 1 else f"{model.parent.name}/{model.name}"
        chatter = load(model, device=device, dtype=dtype)
        yield Speaker(name, chatter, open_engine(chatter))


@contextmanager
def private_folder() -> Iterator[Path]:
    """Work in an empty folder that is removed in the end: the library may serve what lies in the working folder."""
    before, here = dict(os.environ), Path.cwd()
    with tempfile.TemporaryDirectory(prefix="tuwen-demo-") as folder:
        empty, kept = Path(folder, "empty"), Path(folder, "kept")
        empty.mkdir()
        kept.mkdir(mode=0o700)
        for name in UNSET:
            os.environ.pop(name, None)
        os.environ.update(QUIET, GRADIO_TEMP_DIR=str(kept))
        os.chdir(empty)
        try:
            yield empty
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)


def serve_page(
    speakers: Sequence[Speaker], *, host: str = "127.0.0.1", port: int = 0, share: bool = False, examples: bool = True
) -> None:
    """Show the page until a signal comes; within a ``private_folder``.

    Args:
        speakers: who answer.
        host: to listen at.
        port: to listen at; 0 for any that is free.
        share: also through a tunnel.
        examples: draw pictures to begin with.

    Raises:
        TuwenError: when the port is taken.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    from tuwen.serve.demo.examples import draw_examples
    from tuwen.serve.demo.gate import Hosts, PageGate
    from tuwen.serve.demo.page import create_page, head

    for noisy in ("httpx", "gradio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    hosts = Hosts(host)
    page = create_page(speakers, draw_examples() if examples else [])
    if share:
        print(f"tuwen: {SHARING}", file=sys.stderr, flush=True)
    stopped = _signalled()
    try:
        # The library has much to say about tunnels.
        with redirect_stdout(io.StringIO()):
            _, local, public = page.launch(
                server_name=host,
                server_port=port or _free_port(host),
                share=share,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                strict_cors=True,
                enable_monitoring=False,
                mcp_server=False,
                max_file_size=1,
                theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                head=head(),
                app_kwargs={"middleware": [Middleware(PageGate, hosts=hosts)], "docs_url": None, "redoc_url": None},
            )
        if share and not public:
            raise TuwenError("--share: no tunnel could be opened, gradio.live is out of reach; leave --share out")
        hosts.add(urlsplit(public or local).hostname or "")
        print(f"tuwen: demo of {' and '.join(one.name for one in speakers)} at {public or local}", flush=True)
        stopped.wait()
    except OSError as error:
        raise TuwenError(f"--host {host} --port {port}: cannot be listened at ({error}); choose another") from None
    finally:
        page.close(verbose=False)


def _signalled() -> threading.Event:
    """Set when this process is told to stop."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return stopped


def _free_port(host: str) -> int:
    with bind(host, 0) as listener:
        port: int = listener.getsockname()[1]
        return port
