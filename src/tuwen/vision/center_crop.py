"""The middle of the picture, as CLIP does: shortest side resized, then cut to a square."""

from __future__ import annotations

import math
from typing import ClassVar

import PIL.Image
from pydantic import Field

from tuwen.vision.grid import Grid
from tuwen.vision.policy import FILTER_REACH, POLICIES, RESAMPLE, ImagePolicy

# Pixels of a resized picture that still fit in any memory (96 MiB).
LARGEST_RESIZED = 32 * 2**20


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

    @property
    def most_tiles(self) -> int:
        """One."""
        return 1

    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The middle square.

        A very long picture, whose resized form would fill the memory, is cut first; Pillow then places the filter up
        to a twentieth of a source pixel elsewhere.
        """
        width, height = image.size
        short = min(width, height)
        new_width = self.size if width == short else int(self.size * width / height)
        new_height = self.size if height == short else int(self.size * height / width)
        side = self.crop_size or self.size
        left, top = (new_width - side) // 2, (new_height - side) // 2
        if new_width * new_height <= LARGEST_RESIZED:
            resized = self.resize(image, new_width, new_height)
            return [resized.crop((left, top, left + side, top + side))]
        return [self._cut_first(image, (new_width, new_height), (left, top), side)]

    def _cut_first(
        self, image: PIL.Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int
    ) -> PIL.Image.Image:
        """The same pixels from the middle part alone, with a margin as wide as any filter reaches."""
        left, top = (
            self._span(image.width, size[0], corner[0], side),
            self._span(image.height, size[1], corner[1], side),
        )
        across, down = image.width / size[0], image.height / size[1]
        box = (left[0] * across, top[0] * down, left[1] * across, top[1] * down)
        part = (left[1] - left[0], top[1] - top[0])
        resized = image.resize(part, RESAMPLE[self.resample], box=box)
        x, y = corner[0] - left[0], corner[1] - top[0]
        return resized.crop((x, y, x + side, y + side))

    @staticmethod
    def _span(before: int, after: int, first: int, side: int) -> tuple[int, int]:
        """First and last pixel, of ``after``, that the middle ``side`` pixels from ``first`` depend on."""
        margin = FILTER_REACH * max(1, math.ceil(after / before))
        return max(0, first - margin), min(after, first + side + margin)
