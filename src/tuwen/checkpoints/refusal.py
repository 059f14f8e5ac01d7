"""What is wrong with somebody else's files, said in one line, and before anything of a size that they claim is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError

# Settings of which every one more is a layer, and so at least a weight.
DEPTHS = ("num_hidden_layers", "num_layers", "layers", "depth")
# Some configurations make a list of all labels; no vision-language model has that many.
MOST_LABELS = 2**16
LONGEST = 300


@contextmanager
def blamed_on(where: str | Path) -> Iterator[None]:
    """Whatever goes wrong in the block is a fault of a file or folder, in one line.

    Args:
        where: the file or folder; put before what a library says, but not before our own messages, which name it.

    Raises:
        TuwenError: in place of any error.
    """
    try:
        yield
    except TuwenError as error:
        raise TuwenError(one_line(error)) from error.__cause__
    except Exception as error:
        # Libraries raise anything for values that they were not written for.
        kind = type(error).__name__
        raise TuwenError(f"{where}: cannot be used: {kind}: {one_line(error)[:LONGEST]}") from error


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks."""
    return " ".join(str(error).split())


def check_depths(values: Mapping[str, Any], weights: int, where: str | Path) -> None:
    """Make sure that a configuration asks for no more layers than there are weights, before any list of them is made.

    Args:
        values: content of a ``config.json``; sections in it are looked at too.
        weights: how many tensors there are.
        where: the file, and inside it the section; for messages.

    Raises:
        TuwenError: naming the key.
    """
    limits = {**dict.fromkeys(DEPTHS, weights), "num_labels": MOST_LABELS}
    for key, value in values.items():
        if isinstance(value, Mapping):
            check_depths(value, weights, f"{where}: {key}")
        elif key in limits and isinstance(value, int | float) and value > limits[key]:
            there = f"the weight files hold {weights} weights" if key in DEPTHS else f"{MOST_LABELS} at most"
            raise TuwenError(f"{where}: {key}: found {value}, but {there}")
