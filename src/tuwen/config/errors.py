"""The one exception that means "the user can fix this"."""

from __future__ import annotations

# Of what a library says; some list everything they know.
LONGEST = 300


class TuwenError(ValueError):
    """A mistake in what the user gave: a file, a recipe key, a sample.

    The message is a single line that names the place, says what was found and what would be
    right. The command line prints it without a traceback and leaves with exit code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class MissingExtraError(TuwenError):
    """An optional dependency is needed and not installed.

    Args:
        package: the module that could not be imported.
        extra: the name of Tuwen's extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run `pip install 'tuwen[{extra}]'`")


def first_line(error: BaseException) -> str:
    """The first line of what a library says, or the kind of error where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()[:LONGEST]
