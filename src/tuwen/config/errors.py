"""The one exception that means "the user can fix this"."""

from __future__ import annotations


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
