"""The middle of the picture, as CLIP does: shortest side resized, then cut to a square."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import POLICIES, RESAMPLE, ImagePolicy


@POLICIES.register("center_crop")
class CenterCrop(ImagePolicy):
    """Resize the shortest side to ``size``, then take the ``crop_size`` square in the middle.

    Attributes:
        size: of the shortest side, in pixels.
        crop_size: side of the square; as ``size`` unless said. What lies outside the picture is black.
    """

    size: int = Field(default=224, ge=1)
    crop_size: int | None = Field(default=None, ge=1)

    type_name: ClassVar[str] = "center_crop"

    def plan(self, width: int, height: int) -> Grid:
        """Always one square tile."""
        side = self.crop_size or self.size
        return Grid(tiles=1, height=side, width=side)

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The middle square.

        A very long picture is cut before it is resized where that leaves the same pixels, so that a line of one
        pixel's height does not become an enormous picture.
        """
        width, height = image.size
        short = min(width, height)
        new_width = self.size if width == short else int(self.size * width / height)
        new_height = self.size if height == short else int(self.size * height / width)
        side = self.crop_size or self.size
        left, top = (new_width - side) // 2, (new_height - side) // 2
        if max(new_width, new_height) <= 16 * side:
            resized = self.resize(image, new_width, new_height)
            return [resized.crop((left, top, left + side, top + side))]
        return [self._cut_first(image, (new_width, new_height), (left, top), side)]

    def _cut_first(
        self, image: PIL.Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int
    ) -> PIL.Image.Image:
        across, down = image.width / size[0], image.height / size[1]
        box = (corner[0] * across, corner[1] * down, (corner[0] + side) * across, (corner[1] + side) * down)
        from_inside = (
            max(0.0, box[0]),
            max(0.0, box[1]),
            min(float(image.width), box[2]),
            min(float(image.height), box[3]),
        )
        part = (round((from_inside[2] - from_inside[0]) / across), round((from_inside[3] - from_inside[1]) / down))
        cut = image.resize(part, RESAMPLE[self.resample], box=from_inside)
        tile = PIL.Image.new("RGB", (side, side))
        tile.paste(cut, (max(0, -corner[0]), max(0, -corner[1])))
        return tile
