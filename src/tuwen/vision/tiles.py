"""The picture cut into tiles by its sides' ratio, with a thumbnail, as InternVL 1.5 does (arXiv 2404.16821)."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Self

import PIL.Image
from pydantic import Field, model_validator

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, ImagePolicy


@POLICIES.register("tiles")
class Tiles(ImagePolicy):
    """Resize to the grid of tiles whose ratio is nearest to the picture's, and add the whole as a thumbnail.

    Attributes:
        size: side of a tile, in pixels.
        min_tiles: tiles at least, without the thumbnail.
        max_tiles: tiles at most, without the thumbnail.
        thumbnail: whether a tile with the whole picture is added where there is more than one.
    """

    size: int = Field(default=448, ge=1)
    min_tiles: int = Field(default=1, ge=1)
    max_tiles: int = Field(default=12, ge=1, le=256)
    thumbnail: bool = True

    type_name: ClassVar[str] = "tiles"

    @model_validator(mode="after")
    def _order(self) -> Tiles:
        if self.min_tiles > self.max_tiles:
            raise ValueError(f"min_tiles {self.min_tiles} is more than max_tiles {self.max_tiles}")
        return self

    def plan(self, width: int, height: int) -> Grid:
        """The grid with the nearest ratio; of two that are equally near the larger, if the picture fills half of it."""
        ratio, area = width / height, width * height
        best, best_difference = (1, 1), float("inf")
        for columns, rows in _grids(self.min_tiles, self.max_tiles):
            difference = abs(ratio - columns / rows)
            roomy = area > 0.5 * self.size * self.size * columns * rows
            if difference < best_difference or (difference == best_difference and roomy):
                best, best_difference = (columns, rows), difference
        columns, rows = best
        extra = self.thumbnail and columns * rows > 1
        return Grid(columns * rows + extra, self.size, self.size, rows=rows, columns=columns, thumbnail=extra)

    @property
    def most_tiles(self) -> int:
        """A row of ``max_tiles``, and the thumbnail."""
        return self.max_tiles + (self.thumbnail and self.max_tiles > 1)

    def with_fewer_tiles(self) -> Self | None:
        """One tile fewer at most."""
        if self.max_tiles == 1:
            return None
        most = self.max_tiles - 1
        return self.model_copy(update={"max_tiles": most, "min_tiles": min(self.min_tiles, most)})

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """Tiles row by row, then the thumbnail."""
        grid = self.plan(*image.size)
        resized = self.resize(image, self.size * grid.columns, self.size * grid.rows)
        corners = [(c * self.size, r * self.size) for r in range(grid.rows) for c in range(grid.columns)]
        tiles = [resized.crop((x, y, x + self.size, y + self.size)) for x, y in corners]
        if grid.thumbnail:
            tiles.append(self.resize(image, self.size, self.size))
        return tiles


@lru_cache(maxsize=16)
def _grids(least: int, most: int) -> list[tuple[int, int]]:
    """(columns, rows) with ``least`` to ``most`` tiles; fewer tiles first, then narrower."""
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])
