"""The picture padded to a square, as LLaVA-1.5 does (arXiv 2310.03744)."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, ImagePolicy


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

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The padded picture.

        A side more than sixteen times the other is brought down first, so that padding does not square its length.
        """
        width, height = image.size
        side = max(width, height)
        if side > 16 * self.size:
            scale = 16 * self.size / side
            image = self.resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
            width, height = image.size
            side = max(width, height)
        colour = tuple(int(value * 255) for value in self.mean)
        square = PIL.Image.new("RGB", (side, side), colour)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        return [self.resize(square, self.size, self.size)]
