"""How an answer is generated: options with one meaning everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from transformers import GenerationConfig

from tuwen.config import StrictConfig, parse_config


class GenerationOptions(StrictConfig):
    """Options of ``chat``, ``stream`` and ``generate``; the model folder's defaults hold for what is not said.

    Attributes:
        max_new_tokens: tokens of the answer at most.
        greedy: always take the likeliest token; naming a temperature, top_p or top_k means sampling.
        temperature: above 1 flattens, below 1 sharpens the distribution.
        top_p: sample from the likeliest tokens that together have this probability.
        top_k: sample from so many likeliest tokens.
        repetition_penalty: above 1 makes tokens that were there before less likely.
        seed: of sampling.
    """

    max_new_tokens: int = Field(default=256, ge=1)
    greedy: bool | None = None
    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    seed: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> GenerationOptions:
        """The options in keyword arguments; None stands for the default.

        Raises:
            TuwenError: for an unknown option or a value out of range.
        """
        return parse_config(cls, {k: v for k, v in options.items() if v is not None}, "generation options")

    def arguments(self, defaults: GenerationConfig, device: torch.device) -> dict[str, Any]:
        """Keyword arguments of ``generate`` of `transformers`."""
        sampling = {
            name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(self, name)) is not None
        }
        sample = bool(sampling) or bool(defaults.do_sample)
        if self.greedy is not None:
            sample = not self.greedy
        arguments: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "do_sample": sample}
        if sample:
            arguments.update(sampling)
        else:
            # `transformers` warns about sampling defaults that greedy decoding does not use.
            arguments.update(temperature=None, top_p=None, top_k=None)
        if self.repetition_penalty is not None:
            arguments["repetition_penalty"] = self.repetition_penalty
        if self.seed is not None and sample:
            torch.manual_seed(self.seed)
        return arguments
