"""Image policies: what of a picture the vision encoder gets, known from the picture's size alone.

A policy is one file: a configuration with ``plan`` (size → grid, nothing decoded) and ``tiles`` (picture → tiles of
that grid), and one registration. Numerically each equals the `transformers` image processor it is named after.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import PIL.Image

from tuwen.config import Registry, StrictConfig, TuwenError, parse_config
from tuwen.vision.grid import Grid
from tuwen.vision.pictures import Source, Transparency, open_picture

_HERE = "tuwen.vision"
POLICIES = Registry(
    "image policy",
    {
        "anyres": f"{_HERE}.anyres",
        "center_crop": f"{_HERE}.center_crop",
        "pad_square": f"{_HERE}.pad_square",
        "square": f"{_HERE}.square",
        "tiles": f"{_HERE}.tiles",
    },
)
RESAMPLE = {
    "nearest": PIL.Image.Resampling.NEAREST,
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "lanczos": PIL.Image.Resampling.LANCZOS,
}
# Pixels that the widest filter (Lanczos) reaches to each side, of the coarser picture; one is for rounding.
FILTER_REACH = 4
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImagePolicy(StrictConfig):
    """Base of all policies.

    Attributes:
        mean: of each channel, in 0–1; subtracted.
        std: of each channel, in 0–1; divided by.
        resample: filter for resizing.
        transparency: what stands behind transparent places: ``white``, or, with ``drop``, the colour that the file
            has there, as for all systems that convert pictures to RGB and no more.
    """

    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"

    transparency: Transparency = "white"

    type_name: ClassVar[str]
    # Whether a place in the picture, as fractions of its sides, is at the same fractions of the one tile.
    keeps_fractions: ClassVar[bool] = False

    @abstractmethod
    def plan(self, width: int, height: int) -> Grid:
        """The tiles that a picture of this size in pixels is cut into."""

    @property
    @abstractmethod
    def most_tiles(self) -> int:
        """The most tiles that ``plan`` gives for any picture, the thumbnail included."""

    def with_fewer_tiles(self) -> Self | None:
        """The same policy that cuts pictures into at most fewer tiles; None where it cannot."""
        return None

    @abstractmethod
    def tiles(self, image: PIL.Image.Image) -> list[PIL.Image.Image]:
        """The tiles of an RGB picture, in the order in which the model gets them."""

    def pixels(self, image: PIL.Image.Image) -> np.ndarray:
        """Tiles of an RGB picture before normalisation: uint8 [tiles, height, width, 3]."""
        return np.stack([np.asarray(tile) for tile in self.tiles(image)])

    def apply(self, image: PIL.Image.Image) -> np.ndarray:
        """Tiles of an RGB picture, normalised: float32 [tiles, 3, height, width]."""
        std = np.asarray(self.std, dtype=np.float32)
        scale, shift = np.float32(1) / (np.float32(255) * std), np.asarray(self.mean, dtype=np.float32) / std
        # Channels are moved while they are bytes, and the rest is done in place, which takes less than half the time.
        normalised = self.pixels(image).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        normalised *= scale[:, None, None]
        normalised -= shift[:, None, None]
        return normalised

    def open(self, source: Source) -> PIL.Image.Image:
        """Open a picture under guard, as this policy sees it; see ``open_picture``.

        Raises:
            PictureError: when it is missing, not a picture, broken, or too large.
        """
        return open_picture(source, transparency=self.transparency)

    def resize(self, image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
        """``image`` at another size, in pixels."""
        if image.size == (width, height):
            return image
        return image.resize((width, height), RESAMPLE[self.resample])

    def to_dict(self) -> dict[str, Any]:
        """The policy as ``parse_policy`` takes it."""
        return {"type": self.type_name, **self.model_dump(mode="json")}


def parse_policy(values: Mapping[str, Any], where: str = "image_policy") -> ImagePolicy:
    """The policy in ``{"type": NAME, …settings}``.

    Raises:
        TuwenError: for a missing or unknown type, and for settings that the type does not have.
    """
    settings = dict(values)
    name = settings.pop("type", None)
    if not isinstance(name, str):
        raise TuwenError(f"{where}.type: name an image policy, one of {', '.join(POLICIES.names())}")
    policy: ImagePolicy = parse_config(POLICIES.get(name), settings, where)
    return policy
