"""What a request, and all requests together, may take up. All of it is checked before the work that it bounds."""

from __future__ import annotations

from pydantic import Field

from tuwen.config import StrictConfig
from tuwen.vision.pictures import PictureLimits

MEBIBYTE = 2**20


class Limits(StrictConfig):
    """Bounds of a server.

    Attributes:
        body_bytes: of a request's body, checked while it is read.
        body_seconds: that a client may take to send it.
        waiting_bytes: of all bodies that are held at a time.
        requests: that are worked on at a time, those whose bodies are still coming among them.
        messages: of a conversation.
        characters: of its text.
        pictures: of a conversation.
        picture_bytes: of one picture's file.
        request_bytes: of all pictures' files.
        picture_pixels: of one picture, as its header says.
        request_pixels: of all pictures.
        picture_side: in pixels.
        prompt_tokens: of text and pictures; what fits the context unless said.
        answer_tokens: of one answer; what is left of the context unless said.
        choices: answers to one request.
        schema_characters: of a JSON schema that an answer shall fit.
        fetch_seconds: for all pictures of a request that are fetched from elsewhere.
        send_seconds: that a client may take to accept a part of its answer.
        keep_alive_seconds: of silence in a stream before a comment is sent.
        shutdown_seconds: that requests have to finish in after SIGTERM.
        workers: threads that open pictures.
    """

    body_bytes: int = Field(default=48 * MEBIBYTE, ge=1)
    body_seconds: float = Field(default=60, gt=0)
    waiting_bytes: int = Field(default=512 * MEBIBYTE, ge=1)
    requests: int = Field(default=256, ge=1)
    messages: int = Field(default=512, ge=1)
    characters: int = Field(default=400_000, ge=1)
    pictures: int = Field(default=16, ge=0)
    picture_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
    request_bytes: int = Field(default=32 * MEBIBYTE, ge=1)
    picture_pixels: int = Field(default=40_000_000, ge=1)
    request_pixels: int = Field(default=100_000_000, ge=1)
    picture_side: int = Field(default=16_384, ge=1)
    prompt_tokens: int | None = Field(default=None, ge=1)
    answer_tokens: int | None = Field(default=None, ge=1)
    choices: int = Field(default=8, ge=1, le=128)
    schema_characters: int = Field(default=32_768, ge=1)
    fetch_seconds: float = Field(default=10, gt=0)
    send_seconds: float = Field(default=60, gt=0)
    keep_alive_seconds: float = Field(default=15, gt=0)
    shutdown_seconds: float = Field(default=60, ge=0)
    workers: int = Field(default=2, ge=1)

    def of_picture(self) -> PictureLimits:
        """Those of one picture, as the guarded opener takes them."""
        return PictureLimits(max_bytes=self.picture_bytes, max_pixels=self.picture_pixels, max_side=self.picture_side)
