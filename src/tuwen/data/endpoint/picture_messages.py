"""Conversations as chat endpoints take them, with pictures as ``data:`` URLs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import PIL.Image
import PIL.ImageOps

from tuwen.chat.messages import Image, Message
from tuwen.data.media import as_data_url, fetch, picture_bytes
from tuwen.data.sample import Picture
from tuwen.vision.pictures import open_picture

MAX_SIDE = 1536
# What is larger is written anew, however few pixels it has.
LARGEST_AS_IT_IS = 4 * 2**20
JPEG_QUALITY = 92
AS_THEY_ARE = {"JPEG": "jpeg", "PNG": "png"}


def endpoint_messages(
    messages: Sequence[Message], images: Sequence[Picture], *, max_side: int = MAX_SIDE
) -> list[dict[str, Any]]:
    """Messages in OpenAI's form.

    Args:
        messages: the conversation.
        images: one picture for every place in it, in order.
        max_side: width or height in pixels that a picture has at most.

    Raises:
        PictureError: when a picture cannot be used.
    """
    pictures = iter(images)
    return [{"role": message.role, "content": _content(message, pictures, max_side)} for message in messages]


def _content(message: Message, pictures: Iterator[Picture], max_side: int) -> str | list[dict[str, Any]]:
    if not any(isinstance(part, Image) for part in message.parts):
        # Some servers take lists of parts from users alone.
        return message.text
    return [
        {"type": "image_url", "image_url": {"url": picture_url(next(pictures), max_side)}}
        if isinstance(part, Image)
        else {"type": "text", "text": part.text}
        for part in message.parts
    ]


def picture_url(picture: Picture, max_side: int = MAX_SIDE) -> str:
    """A picture as a ``data:`` URL, upright and no larger than said.

    JPEG and PNG that need no change are sent byte by byte. All else is written anew, also where it holds more than
    pixels: cameras note who was where and when.

    Args:
        picture: the picture.
        max_side: width or height in pixels that it has at most.

    Raises:
        PictureError: when it is missing, broken or too large to be opened.
    """
    # Opened in any case: what is cut off must be found before it is paid for.
    opened = open_picture(fetch(picture))
    if not isinstance(picture, PIL.Image.Image):
        data = picture_bytes(picture)
        kind = _kind_as_it_is(data, max_side)
        if kind:
            return as_data_url(kind, data)
    if max(opened.size) > max_side:
        opened = PIL.ImageOps.contain(opened, (max_side, max_side), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    opened.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return as_data_url("jpeg", buffer.getvalue())


def _kind_as_it_is(data: bytes, max_side: int) -> str:
    """The media type of a picture that can be sent as it is; empty for one that cannot."""
    if len(data) > LARGEST_AS_IT_IS:
        return ""
    with PIL.Image.open(io.BytesIO(data)) as header:
        plain = header.mode in ("RGB", "L") and "transparency" not in header.info
        small = max(header.size) <= max_side
        return AS_THEY_ARE.get(header.format or "", "") if plain and small and not header.getexif() else ""
