"""The command line: one verb a file; mistakes end in one line and exit code 2."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated

import typer

from tuwen import __version__
from tuwen.cli import (
    bench,
    build,
    chat,
    compare,
    convert,
    data,
    delta,
    demo,
    describe,
    eval,
    export,
    generate,
    merge,
    parity,
    plot,
    quickstart,
    rate,
    runs,
    score,
    serve,
    train,
)
from tuwen.config import TuwenError

app = typer.Typer(
    name="tuwen",
    help="图文 Tuwen: build, train, measure and talk to Chinese/English vision-language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, verb in {
    "quickstart": quickstart,
    "build": build,
    "train": train,
    "runs": runs,
    "plot": plot,
    "chat": chat,
    "generate": generate,
    "serve": serve,
    "demo": demo,
    "describe": describe,
    "convert": convert,
    "merge": merge,
    "export": export,
    "delta": delta,
    "parity": parity,
    "eval": eval,
    "score": score,
    "compare": compare,
    "rate": rate,
}.items():
    app.command(name)(verb.command)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")

# On import `torchao`, which others import where it is installed, lists the GPU kernels that it cannot use here.
NOISY = ("torchao", "torch.utils._pytree")
FULL = {errno.ENOSPC, errno.EDQUOT}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version 版本.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TUWEN_DEBUG", help="Show a traceback for every mistake 显示完整错误.")
    ] = False,
) -> None:
    """Options that come before the verb."""
    if debug:
        os.environ["TUWEN_DEBUG"] = "1"


def main() -> None:
    """Entry point of ``tuwen``: 0 for success, 2 for a user's mistake, 130 for an interruption."""
    # A tokenizer's own threads and the worker processes of a loader do not get on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        app()
    except TuwenError as error:
        if os.environ.get("TUWEN_DEBUG") == "1":
            raise
        leave(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if os.environ.get("TUWEN_DEBUG") == "1" or error.errno not in FULL:
            raise
        leave(f"{error.filename or 'output'}: cannot be written ({error.strerror})")


def leave(message: str) -> None:
    """Say what is wrong in one line and leave with exit code 2."""
    print(f"tuwen: error: {message}", file=sys.stderr)
    sys.exit(2)
