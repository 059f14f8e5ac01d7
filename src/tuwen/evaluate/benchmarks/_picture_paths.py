"""Paths of pictures as benchmarks write them, and where the pictures lie on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from os.path import isfile
from pathlib import Path, PurePosixPath


class PicturePaths:
    """Finds pictures under paths that begin where somebody else kept the data, such as ``data/refcoco/images/1.jpg``.

    Args:
        data: the folder in which paths may begin.
        folders: in which pictures may lie, the likeliest first; those that are not there are left out.
    """

    def __init__(self, data: Path, folders: Iterable[Path]) -> None:
        self._data = data
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self.find = lru_cache(None)(self._find)

    def _find(self, written: str) -> Path:
        """Where a picture lies: the longest end of the path that is there counts.

        Returns:
            The path; that of a picture in the likeliest folder where it is in none.
        """
        parts = PurePosixPath(written).parts
        if not self._folders:
            return self._data / written
        for folder in (self._data, *self._folders):
            for first in range(len(parts)):
                place = folder.joinpath(*parts[first:])
                if isfile(place):
                    return place
        return self._folders[0].joinpath(*parts[-1:])
