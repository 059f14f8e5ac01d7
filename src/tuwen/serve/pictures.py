"""Pictures of a request: read from ``data:`` URLs, looked at by their headers, opened under guard.

Nothing here is ever taken for a path: strings end in bytes or in a refusal.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuwen.data.media import suffix_of
from tuwen.serve.errors import ApiError, bad_request
from tuwen.serve.limits import Limits
from tuwen.vision.pictures import PictureError, Reason, picture_size

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_LONGEST_HEAD = 64
UNKNOWN = ".bin"
_NOT_ONE = "not a picture; expected PNG, JPEG, WebP, GIF or BMP"
# Decoders' own words may tell of the server's memory.
_WORDS: Mapping[Reason, str] = {
    "empty_picture": "the picture is empty",
    "not_a_picture": _NOT_ONE,
    "broken_picture": "the picture is broken or cut off",
}


@dataclass(frozen=True, slots=True)
class WantedPicture:
    """A picture that a request names.

    Attributes:
        url: as given.
        param: where it stands in the request.
    """

    url: str
    param: str

    @property
    def is_data(self) -> bool:
        """Whether the picture itself is in the URL."""
        return self.url[:5].lower() == "data:"

    @property
    def most_bytes(self) -> int:
        """Of a ``data:`` URL: bytes that it may hold, by its length alone."""
        return len(self.url) * 3 // 4

    def decoded(self) -> bytes:
        """The bytes in a ``data:`` URL.

        Raises:
            ApiError: for anything but base64 of a picture.
        """
        head = _DATA_URL.match(self.url[:_LONGEST_HEAD])
        if head is None:
            raise self.refusal("expected `data:image/…;base64,…`")
        try:
            return base64.b64decode(self.url[head.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise self.refusal("not base64") from None

    def refusal(self, words: str) -> ApiError:
        """A 400 that names this picture."""
        return bad_request(f"{self.param}: {words}.", self.param, "invalid_image")

    def in_words(self, error: PictureError, limits: Limits) -> ApiError:
        """A 400 in words of our own for what an opener says."""
        sizes = f"at most {limits.picture_pixels:,} pixels and {limits.picture_side:,} a side"
        large = f"the picture is too large; {sizes}, in {limits.picture_bytes:,} bytes, are taken"
        return self.refusal(large if error.reason == "oversized_picture" else _WORDS.get(error.reason, _NOT_ONE))


def check_counts(wanted: Sequence[WantedPicture], limits: Limits) -> None:
    """What can be said of pictures before any is fetched or decoded.

    Raises:
        ApiError: for too many pictures or bytes.
    """
    if len(wanted) > limits.pictures:
        raise bad_request(
            f"{len(wanted)} pictures; at most {limits.pictures} are taken.", "messages", "too_many_images"
        )
    sizes = [picture.most_bytes if picture.is_data else 0 for picture in wanted]
    for picture, size in zip(wanted, sizes, strict=True):
        if size > limits.picture_bytes + _LONGEST_HEAD:
            raise picture.refusal(f"the picture is larger than the {limits.picture_bytes:,} bytes that are taken")
    if sum(sizes) > limits.request_bytes + _LONGEST_HEAD * len(sizes):
        raise bad_request(
            f"the pictures together are larger than the {limits.request_bytes:,} bytes that are taken.",
            "messages", "images_too_large",
        )  # fmt: skip


def sizes_of(wanted: Sequence[WantedPicture], files: Sequence[bytes], limits: Limits) -> list[tuple[int, int]]:
    """Width and height of each picture, by its header; nothing is decoded.

    Raises:
        ApiError: for what is no picture of a kind that is taken, and for too many pixels.
    """
    sizes = []
    for picture, file in zip(wanted, files, strict=True):
        if file and suffix_of(file) == UNKNOWN:
            raise picture.refusal(_NOT_ONE)
        try:
            sizes.append(picture_size(file, limits.of_picture()))
        except PictureError as error:
            raise picture.in_words(error, limits) from None
    if (pixels := sum(width * height for width, height in sizes)) > limits.request_pixels:
        raise bad_request(
            f"the pictures have {pixels:,} pixels together; at most {limits.request_pixels:,} are taken.",
            "messages", "images_too_large",
        )  # fmt: skip
    return sizes
