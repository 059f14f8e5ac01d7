"""API keys: kept as digests, compared in a time that does not depend on them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuwen.config import TuwenError

SHORTEST_KEY = 16
_LONGEST_FILE = 2**20


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that open a server.

    Attributes:
        digests: SHA-256 of each; empty for a server that is open to all who reach it.
    """

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> Keys:
        """From the keys themselves."""
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys))

    def salt(self, authorization: Sequence[bytes]) -> bytes | None:
        """The digest of the key in a request, under which alone its prompts and pictures are kept.

        Args:
            authorization: all values of the header of that name.

        Returns:
            Nothing for a request without a key that opens; empty bytes where no key is needed.
        """
        if not self.digests:
            return b""
        scheme, _, key = authorization[0].partition(b" ") if len(authorization) == 1 else (b"", b"", b"")
        found = hashlib.sha256(key.strip()).digest()
        # All are compared, whichever fits: the time taken tells nothing about any.
        fits = sum([hmac.compare_digest(found, digest) for digest in self.digests])
        return found if fits and scheme.lower() == b"bearer" else None


def read_keys(path: Path) -> list[str]:
    """The keys in a file, one a line; empty lines and those with ``#`` in front are left out.

    Raises:
        TuwenError: when it cannot be read, holds no key, or one that is too short or not in ASCII.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_FILE).decode("ascii")
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror}); expected API keys, one a line") from None
    except UnicodeDecodeError:
        raise TuwenError(f"{path}: not ASCII; expected API keys, one a line") from None
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < SHORTEST_KEY or not key.isprintable() or " " in key:
            raise TuwenError(
                f"{path}, line {number}: a key of {len(key)} characters; expected at least {SHORTEST_KEY}, no blanks "
                "(`openssl rand -hex 24` makes one)"
            )
        keys.append(key)
    if not keys:
        raise TuwenError(f"{path}: no API key in it; expected one a line (`openssl rand -hex 24` makes one)")
    return keys
