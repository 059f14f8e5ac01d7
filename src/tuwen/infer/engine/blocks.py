"""A bounded pool of blocks for keys and values, shared by requests whose beginnings are equal (arXiv 2309.06180).

A block holds the keys and values of a fixed number of places. A full one is named by a hash over all that stands before
its end, so that whoever begins alike finds it. Blocks that nobody uses are kept until their place is needed; what was
unused for the longest time goes first. Pure bookkeeping: the tensors are elsewhere.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

# In place of a token id where a picture's features stand, whatever the ids there are.
PICTURE = -1


class PicturePlace(NamedTuple):
    """Where a picture's features stand in a prompt.

    Attributes:
        start: first place.
        stop: behind the last one.
        digest: of the picture, see ``picture_digest``.
    """

    start: int
    stop: int
    digest: bytes


def first_name(salt: bytes, regime: str) -> bytes:
    """What the names of a prompt's blocks begin with.

    Args:
        salt: of the request; blocks are not found under another one.
        regime: what else keys and values depend on beside the tokens.
    """
    digest = hashlib.sha256(len(salt).to_bytes(8, "big") + salt)
    digest.update(regime.encode())
    return digest.digest()


def next_name(before: bytes, token_ids: Sequence[int], start: int, pictures: Iterable[PicturePlace]) -> bytes:
    """The name of a full block.

    Args:
        before: the name of the block before it, or ``first_name``.
        token_ids: that stand in it.
        start: the place of the first of them.
        pictures: of the prompt.
    """
    ids = np.array(token_ids, dtype="<i8")
    digest = hashlib.sha256(before)
    inside: list[bytes] = []
    for picture in pictures:
        first, last = max(picture.start, start), min(picture.stop, start + len(ids))
        if first < last:
            ids[first - start : last - start] = PICTURE
            inside.append(picture.digest + np.array([first - start, first - picture.start], dtype="<i8").tobytes())
    digest.update(len(ids).to_bytes(8, "big") + ids.tobytes() + b"".join(inside))
    return digest.digest()


class BlockPool:
    """Who uses which block.

    Args:
        count: blocks that there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._users = [0] * count
        self._empty = list(range(count - 1, -1, -1))
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._name_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """Blocks that nobody uses."""
        return len(self._empty) + len(self._unused)

    def take(self, count: int) -> list[int] | None:
        """Blocks for one user; None, and nothing is taken, where there are not so many."""
        if count > self.available:
            return None
        taken = []
        for _ in range(count):
            if self._empty:
                block = self._empty.pop()
            else:
                block, _ = self._unused.popitem(last=False)
                self._forget(block)
            self._users[block] = 1
            taken.append(block)
        return taken

    def share(self, name: bytes) -> int | None:
        """The block of this name for one more user; None where there is none."""
        block = self._block_of.get(name)
        if block is None:
            return None
        self._unused.pop(block, None)
        self._users[block] += 1
        return block

    def name(self, block: int, name: bytes) -> None:
        """Let a full block be found; where another one has the name, that one stays the one that is found."""
        if name not in self._block_of and block not in self._name_of:
            self._block_of[name], self._name_of[block] = block, name

    def release(self, blocks: Sequence[int]) -> None:
        """Blocks of a beginning that one user has no more use for; of those, the last go first."""
        for block in reversed(blocks):
            assert self._users[block] > 0, "a block was given back twice"
            self._users[block] -= 1
            if self._users[block] == 0:
                if block in self._name_of:
                    self._unused[block] = None
                else:
                    self._empty.append(block)

    def spoil(self, blocks: Sequence[int]) -> list[int]:
        """Let blocks not be found any more; returns those of them that only one uses."""
        for block in blocks:
            self._forget(block)
        return [block for block in blocks if self._users[block] == 1]

    def _forget(self, block: int) -> None:
        name = self._name_of.pop(block, None)
        if name is not None:
            del self._block_of[name]
