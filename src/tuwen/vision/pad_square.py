"""The picture padded to a square, as LLaVA-1.5 does (arXiv 2310.03744)."""

from __future__ import annotations

import math
from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import FILTER_REACH, POLICIES, RESAMPLE, ImagePolicy

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
        a time, which gives the same pixels up to rounding (1 of 255) and never holds the whole square, which for a long
        picture would not fit.
        """
        width, height = image.size
        if width == height:
            return [self.resize(image, self.size, self.size)]
        side = max(width, height)
        colour = tuple(int(value * 255) for value in self.mean)
        narrow = PIL.Image.new("RGB", (self.size, side), colour)
        window, columns = self._touched(width, side)
        band = max(1, LARGEST_BAND // (window[1] - window[0]))
        scale = side / self.size
        for first in range(0, height, band):
            last = min(first + band, height)
            padded = PIL.Image.new("RGB", (window[1] - window[0], last - first), colour)
            padded.paste(image.crop((0, first, width, last)), ((side - width) // 2 - window[0], 0))
            box = (columns[0] * scale - window[0], 0, columns[1] * scale - window[0], last - first)
            rows = padded.resize((columns[1] - columns[0], last - first), RESAMPLE[self.resample], box=box)
            narrow.paste(rows, (columns[0], (side - height) // 2 + first))
        return [self.resize(narrow, self.size, self.size)]

    def _touched(self, width: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Columns of the square, and of the tile, outside of which there is nothing but the padding's colour.

        The square's are as many as the filter needs for the tile's. Without this a picture of one pixel's width
        would take seconds.
        """
        if self.resample == "nearest" or side <= self.size:
            # Picking pixels takes no time, and must not be off by a rounding of the box.
            return (0, side), (0, self.size)
        scale, left = side / self.size, (side - width) // 2
        first = max(0, math.floor(left / scale) - FILTER_REACH)
        last = min(self.size, math.ceil((left + width) / scale) + FILTER_REACH)
        start = max(0, math.floor((first - FILTER_REACH) * scale))
        return (start, min(side, math.ceil((last + FILTER_REACH) * scale))), (first, last)
