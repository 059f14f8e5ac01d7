"""Sizes of an engine."""

from __future__ import annotations

from pydantic import Field

from tuwen.config import StrictConfig


class EngineSettings(StrictConfig):
    """What an engine may use.

    Attributes:
        batching: answer many requests at a time; without it one after another, whatever the model.
        max_running: requests answered at a time.
        max_waiting: requests in the queue.
        context: tokens of a request with its answer at most; as the model was made for, unless said.
        cache_tokens: places for keys and values of all requests together; as many as fit in a share of the memory that
            is free, unless said.
        memory_share: of the memory that is free, for keys and values.
        block_tokens: places that are given out at a time; beginnings are shared in whole blocks.
        step_tokens: computed in a step at most: a prompt longer than that does not hold up others' answers.
        step_tiles: tiles of pictures encoded in a step, or one picture that has more.
        picture_cache_bytes: features of pictures that are kept.
        share_prefixes: whether requests of one salt share keys and values of equal beginnings.
    """

    batching: bool = True
    max_running: int = Field(default=64, ge=1)
    max_waiting: int = Field(default=256, ge=1)
    context: int | None = Field(default=None, ge=2)
    cache_tokens: int | None = Field(default=None, ge=2)
    memory_share: float = Field(default=0.5, gt=0, le=0.95)
    block_tokens: int = Field(default=16, ge=1)
    step_tokens: int = Field(default=512, ge=1)
    step_tiles: int = Field(default=16, ge=1)
    picture_cache_bytes: int = Field(default=512 * 2**20, ge=0)
    share_prefixes: bool = True
