"""What is wrong with somebody else's files, said in one line, and before anything of a size that they claim is made."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuwen.checkpoints.folder import quiet
from tuwen.config import TuwenError

# Settings of which every one more is a layer, and so at least a weight.
DEPTHS = ("num_hidden_layers", "num_layers", "layers")
# Others that must be whole numbers above 0 where they are a number at all.
SIZES = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
    "patch_size", "num_query_tokens", "num_labels", "kv_channels", "width", "heads",
)  # fmt: skip
LARGEST = 2**24
# Pictures of this many pixels on a side are made before any weight is looked at.
LARGEST_PICTURE = 2**14
LONGEST = 300


@contextmanager
def blamed_on(where: str | Path) -> Iterator[None]:
    """Whatever goes wrong in the block is a fault of a file or folder, said in one line and without remarks before it.

    Args:
        where: the file or folder; put before what a library says, but not before our own messages, which name it.

    Raises:
        TuwenError: in place of any error.
    """
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TuwenError as error:
        raise TuwenError(one_line(error)) from error.__cause__
    except Exception as error:
        # Libraries raise anything for values that they were not written for.
        kind = type(error).__name__
        raise TuwenError(f"{where}: cannot be used: {kind}: {one_line(error)[:LONGEST]}") from error


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks."""
    return " ".join(str(error).splitlines())


def check_sizes(values: Mapping[str, Any], weights: int, where: str | Path) -> None:
    """Make sure that no size in a configuration is absurd, before any list or tensor of that size is made.

    Args:
        values: content of a ``config.json``; sections in it are looked at too.
        weights: how many tensors there are; no part can have more layers.
        where: the file, and inside it the section; for messages.

    Raises:
        TuwenError: naming the key.
    """
    limits = {**dict.fromkeys(SIZES, LARGEST), "image_size": LARGEST_PICTURE, **dict.fromkeys(DEPTHS, weights)}
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in limits:
            check_sizes(value, weights, f"{where}: {key}")
        elif key not in limits or value is None or isinstance(value, list):
            continue
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise TuwenError(f"{where}: {key}: expected a whole number above 0; found {value!r}")
        elif value > limits[key]:
            there = f", as the weight files hold {weights} weights" if key in DEPTHS else ""
            raise TuwenError(f"{where}: {key}: expected {limits[key]} at most{there}; found {value}")
