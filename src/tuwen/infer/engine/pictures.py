"""Features of pictures, found again by what the pictures are; pictures of several requests are encoded in one batch.

Shape legend: P tiles, T connector tokens of a tile, F = tiles · T tokens of a picture, H width of the language model.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tuwen.infer.engine.blocks import PicturePlace
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import Encoded


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a prompt.

    Attributes:
        place: where its features stand.
        pixels: of its tiles, float32 [tiles, 3, height, width].
    """

    place: PicturePlace
    pixels: np.ndarray

    @property
    def digest(self) -> bytes:
        """What it is found by."""
        return self.place.digest


def picture_digest(pixels: np.ndarray, salt: bytes, policy: str) -> bytes:
    """A name for pixels that no other pixels, shape or type of them, salt or policy have (SHA-256).

    Args:
        pixels: as the model takes them.
        salt: of the request.
        policy: how they were made, in words.
    """
    digest = hashlib.sha256()
    for part in (salt, policy.encode(), str((pixels.dtype.str, pixels.shape)).encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def pictures_of(prompt: Encoded, salt: bytes, policy: str) -> list[Picture]:
    """The pictures of a prompt, in order of appearance."""
    pictures, first = [], 0
    for (start, stop), tiles in zip(prompt.rendered.image_spans, prompt.image_tiles, strict=True):
        pixels = prompt.pixel_values[first : first + tiles]
        first += tiles
        pictures.append(Picture(PicturePlace(start, stop, picture_digest(pixels, salt, policy)), pixels))
    return pictures


class FeatureCache:
    """Features of pictures, what was not used for the longest time goes first.

    Args:
        limit: bytes of all features together; one step may hold more for the requests that it computes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self.bytes = 0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._kept

    def get(self, digest: bytes) -> Tensor | None:
        """Features [F, H], which count as used now."""
        if digest in self._kept:
            self._kept.move_to_end(digest)
        return self._kept.get(digest)

    def put(self, digest: bytes, features_FH: Tensor) -> None:
        """Keep features."""
        if digest in self._kept:
            return
        self._kept[digest] = features_FH
        self.bytes += features_FH.nbytes
        while self.bytes > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= dropped.nbytes


def encode_pictures(model: TuwenForConditionalGeneration, pictures: Mapping[bytes, np.ndarray]) -> dict[bytes, Tensor]:
    """Features [F, H] of pictures, those of one size in one batch.

    Args:
        model: encodes.
        pictures: pixels [tiles, 3, height, width] by digest.
    """
    sizes: dict[tuple[int, ...], list[bytes]] = {}
    for digest, pixels in pictures.items():
        sizes.setdefault(pixels.shape[1:], []).append(digest)
    found: dict[bytes, Tensor] = {}
    for digests in sizes.values():
        pixels_P3HW = torch.from_numpy(np.concatenate([pictures[digest] for digest in digests])).to(model.device)
        tiles = [len(pictures[digest]) for digest in digests]
        features = model.get_image_features(pixels_P3HW, tiles).pooler_output
        # Each on its own, so that one that is kept does not keep its neighbours in memory.
        found.update(zip(digests, (part.clone() for part in features), strict=True))
    return found
