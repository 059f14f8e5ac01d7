"""The whole picture resized to a square, as Qwen-VL and SigLIP do."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, ImagePolicy


@POLICIES.register("square")
class Square(ImagePolicy):
    """Resize to ``size`` × ``size`` pixels, whatever the sides' ratio.

    Attributes:
        size: side of the tile, in pixels.
    """

    size: int = Field(default=448, ge=1)

    type_name: ClassVar[str] = "square"
    keeps_fractions: ClassVar[bool] = True

    def plan(self, width: int, height: int) -> Grid:
        """Always one square tile."""
        return Grid(tiles=1, height=self.size, width=self.size)

    @property
    def most_tiles(self) -> int:
        """One."""
        return 1

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The resized picture."""
        return [self.resize(image, self.size, self.size)]
