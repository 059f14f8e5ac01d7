"""The picture at the best of several resolutions, padded and cut into tiles, as LLaVA-NeXT does (arXiv 2407.07895)."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import PIL.Image
from pydantic import Field, field_validator

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, ImagePolicy


@POLICIES.register("anyres")
class AnyRes(ImagePolicy):
    """The whole picture as one tile, then its tiles at the resolution that keeps most and wastes least.

    Attributes:
        size: side of a tile, in pixels.
        resolutions: (rows, columns) of tiles that may be chosen.
    """

    size: int = Field(default=336, ge=1)
    resolutions: list[tuple[int, int]] = Field(default=[(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)], min_length=1)

    type_name: ClassVar[str] = "anyres"

    @field_validator("resolutions")
    @classmethod
    def _positive(cls, value: list[tuple[int, int]]) -> list[tuple[int, int]]:
        for rows, columns in value:
            if rows < 1 or columns < 1 or rows * columns > 256:
                raise ValueError(f"({rows}, {columns}) is not between 1 and 256 tiles")
        return value

    def plan(self, width: int, height: int) -> Grid:
        """The resolution at which most of the picture's pixels are kept, and of those the smallest."""
        best, key = self.resolutions[0], (-1, 0)
        for rows, columns in self.resolutions:
            full_width, full_height = columns * self.size, rows * self.size
            scale = min(full_width / width, full_height / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            if (kept, -rows * columns) > key:
                best, key = (rows, columns), (kept, -rows * columns)
        rows, columns = best
        return Grid(rows * columns + 1, self.size, self.size, rows=rows, columns=columns, thumbnail=True)

    @property
    def most_tiles(self) -> int:
        """The largest resolution's tiles, and the whole picture."""
        return 1 + max(rows * columns for rows, columns in self.resolutions)

    def with_fewer_tiles(self) -> Self | None:
        """Without the largest resolutions."""
        most = max(rows * columns for rows, columns in self.resolutions)
        fewer = [grid for grid in self.resolutions if grid[0] * grid[1] < most]
        return self.model_copy(update={"resolutions": fewer}) if fewer else None

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The whole picture, then the tiles row by row."""
        grid = self.plan(*image.size)
        width, height = grid.columns * self.size, grid.rows * self.size
        across, down = width / image.width, height / image.height
        if across < down:
            inner = (width, min(math.ceil(image.height * across), height))
        else:
            inner = (min(math.ceil(image.width * down), width), height)
        canvas = PIL.Image.new("RGB", (width, height))
        canvas.paste(self.resize(image, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        corners = [(c * self.size, r * self.size) for r in range(grid.rows) for c in range(grid.columns)]
        tiles = [canvas.crop((x, y, x + self.size, y + self.size)) for x, y in corners]
        return [self.resize(image, self.size, self.size), *tiles]
