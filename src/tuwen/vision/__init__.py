"""Opening pictures safely and cutting them for the vision encoder; needs neither torch nor weights."""

from tuwen.vision.grid import Grid, PatchGrid
from tuwen.vision.pictures import PictureError, PictureLimits, open_picture, picture_size
from tuwen.vision.policy import POLICIES, ImagePolicy, parse_policy

__all__ = [
    "POLICIES",
    "Grid",
    "ImagePolicy",
    "PatchGrid",
    "PictureError",
    "PictureLimits",
    "open_picture",
    "parse_policy",
    "picture_size",
]
