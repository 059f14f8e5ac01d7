"""What is wrong with somebody else's files, said in one line, and before anything of a size that they claim is made."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from tuwen.config import TuwenError

# Settings of which every one more is a layer, and so at least a weight.
DEPTHS = ("num_hidden_layers", "num_layers", "layers", "depth")
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
def quiet() -> Iterator[None]:
    """Without the progress bars and remarks of `transformers`, whose settings come back afterwards."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


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
    except TuwenError:
        raise
    except Exception as error:
        # Libraries raise anything for values that they were not written for.
        kind = type(error).__name__
        raise TuwenError(f"{where}: cannot be used: {kind}: {str(error)[:LONGEST]}") from error


def check_sizes(values: Mapping[str, Any], weights: int, where: str | Path) -> None:
    """Make sure that no size in a configuration is absurd, before any list or tensor of that size is made.

    Args:
        values: content of a ``config.json``; sections in it are looked at too.
        weights: how many tensors there are; no part can have more layers.
        where: the file, and inside it the section; for messages.

    Raises:
        TuwenError: naming the key.
    """
    limits = {
        **dict.fromkeys(SIZES, (1, LARGEST)),
        "image_size": (1, LARGEST_PICTURE),
        **dict.fromkeys(DEPTHS, (1, weights)),
        # Of a connector, some of which can do without.
        "depth": (0, weights),
    }
    for key, value in values.items():
        if key not in limits:
            if isinstance(value, Mapping):
                check_sizes(value, weights, f"{where}: {key}")
        elif value is not None and not isinstance(value, list):
            least, most = limits[key]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                there = f", as the weight files hold {weights} weights" if key in DEPTHS else ""
                raise TuwenError(
                    f"{where}: {key}: expected a whole number from {least} to {most}{there}; found {value!r}"
                )
