"""How a picture is cut, known from its size alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixels that the vision encoder gets for one picture: equal tiles.

    Attributes:
        tiles: how many tiles, the thumbnail included.
        height: of each tile, in pixels.
        width: of each tile, in pixels.
        rows: rows of tiles that the picture is cut into (without the thumbnail).
        columns: columns of tiles that the picture is cut into (without the thumbnail).
        thumbnail: whether a tile with the whole picture is added (``tiles == rows * columns + 1``).
    """

    tiles: int
    height: int
    width: int
    rows: int = 1
    columns: int = 1
    thumbnail: bool = False


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The features that a vision encoder gives for one tile.

    Attributes:
        rows: rows of patches.
        columns: columns of patches.
        prefix: class or register tokens that stand before the patches.
    """

    rows: int
    columns: int
    prefix: int = 0

    @property
    def length(self) -> int:
        """All features of the tile: the prefix, then the patches row by row."""
        return self.prefix + self.rows * self.columns
