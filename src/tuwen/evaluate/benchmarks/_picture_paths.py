"""Paths of pictures as benchmarks write them, and where the pictures lie on this machine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath

from tuwen.config import TuwenError


class PicturePaths:
    """Finds pictures under paths that begin where somebody else kept the data, such as ``data/refcoco/images/1.jpg``.

    Args:
        data: the benchmark's folder.
        folders: of it, in which pictures may lie, the likeliest first.
    """

    def __init__(self, data: Path, *folders: str) -> None:
        self._data = data
        self._folders = [data / folder for folder in folders if (data / folder).is_dir()]
        self.find = lru_cache(None)(self._find)

    def _find(self, written: str) -> Path:
        """Where a picture lies: the longest end of the path that is there counts.

        Without any of the folders it is not looked for: to score answers takes no pictures.

        Raises:
            TuwenError: when there are folders of pictures and it is in none of them.
        """
        parts = PurePosixPath(written).parts
        if not self._folders:
            return self._data / written
        for folder in (self._data, *self._folders):
            for first in range(len(parts)):
                place = folder.joinpath(*parts[first:])
                if place.is_file():
                    return place
        raise TuwenError(f"{self._folders[0].joinpath(*parts[-1:])}: not found; expected a picture")
