"""The picture padded to a square, as LLaVA-1.5 does (arXiv 2310.03744)."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, ImagePolicy

# Pixels of the square that are held at once (24 MiB).
LARGEST_BAND = 8 * 2**20


@POLICIES.register("pad_square")
class PadSquare(ImagePolicy):
    """Pad the short side with the mean colour on both sides, then resize to ``size`` × ``size`` pixels.

    Attributes:
        size: side of the tile, in pixels.
    """

    size: int = Field(default=336, ge=1)

    type_name: ClassVar[str] = "pad_square"

    def plan(self, width: int, height: int) -> Grid:
        """Always one square tile."""
        return Grid(tiles=1, height=self.size, width=self.size)

    @property
    def most_tiles(self) -> int:
        """One."""
        return 1

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The padded picture.

        Pillow resizes rows first and columns second, each row by itself. So the rows are padded and resized a band at
        a time, which gives the same pixels and never holds the whole square: that of a long picture would not fit.
        """
        width, height = image.size
        if width == height:
            return [self.resize(image, self.size, self.size)]
        side = max(width, height)
        left, top = (side - width) // 2, (side - height) // 2
        colour = tuple(int(value * 255) for value in self.mean)
        narrow = PIL.Image.new("RGB", (self.size, side), colour)
        band = max(1, LARGEST_BAND // side)
        for first in range(0, height, band):
            last = min(first + band, height)
            rows = image.crop((0, first, width, last))
            if width < side:
                padded = PIL.Image.new("RGB", (side, last - first), colour)
                padded.paste(rows, (left, 0))
                rows = padded
            narrow.paste(self.resize(rows, self.size, last - first), (0, top + first))
        return [self.resize(narrow, self.size, self.size)]
