"""How an answer is generated: options with one meaning everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers import NoRepeatNGramLogitsProcessor as NoRepeatNGram
from transformers import RepetitionPenaltyLogitsProcessor as RepetitionPenalty

from tuwen.config import StrictConfig, parse_config

MAX_NEW_TOKENS = 256


class GenerationOptions(StrictConfig):
    """Options of ``chat``, ``stream`` and ``generate``; the model folder's defaults hold for what is not said.

    Attributes:
        max_new_tokens: tokens of the answer at most; as the folder says, or 256.
        greedy: always take the likeliest token, without the folder's penalties; naming a temperature, top_p or top_k
            means sampling.
        temperature: above 1 flattens, below 1 sharpens the distribution.
        top_p: sample from the likeliest tokens that together have this probability.
        top_k: sample from so many likeliest tokens.
        repetition_penalty: above 1 makes tokens that were there before less likely.
        no_repeat_ngram_size: so many tokens in a row never come twice; 0 for no such limit.
        seed: of sampling.
    """

    max_new_tokens: int | None = Field(default=None, ge=1)
    greedy: bool | None = None
    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    no_repeat_ngram_size: int | None = Field(default=None, ge=0)
    seed: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> GenerationOptions:
        """The options in keyword arguments; None stands for the default.

        Raises:
            TuwenError: for an unknown option or a value out of range.
        """
        return parse_config(cls, {k: v for k, v in options.items() if v is not None}, "generation options")

    def arguments(self, defaults: GenerationConfig, device: torch.device, prompt_length: int) -> dict[str, Any]:
        """Keyword arguments of ``generate`` of `transformers`.

        Args:
            defaults: the folder's. ``penalise_prompt: false`` in them lets penalties look at the answer alone.
            device: where the scores are.
            prompt_length: tokens before the answer.
        """
        sampling = {
            name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(self, name)) is not None
        }
        sample = bool(sampling) or bool(defaults.do_sample)
        if self.greedy is not None:
            sample = not self.greedy
        longest = self.max_new_tokens or defaults.max_new_tokens or MAX_NEW_TOKENS
        arguments: dict[str, Any] = {"max_new_tokens": longest, "do_sample": sample}
        if sample:
            arguments.update(sampling)
        else:
            # `transformers` warns about sampling defaults that greedy decoding does not use.
            arguments.update(temperature=None, top_p=None, top_k=None)
        if self.seed is not None and sample:
            torch.manual_seed(self.seed)
        return {**arguments, **self._penalties(defaults, device, prompt_length)}

    def _penalties(self, defaults: GenerationConfig, device: torch.device, prompt_length: int) -> dict[str, Any]:
        penalty = self._chosen("repetition_penalty", defaults, 1.0)
        ngram = int(self._chosen("no_repeat_ngram_size", defaults, 0))
        if getattr(defaults, "penalise_prompt", True):
            return {"repetition_penalty": penalty, "no_repeat_ngram_size": ngram}
        processors: list[LogitsProcessor] = []
        if penalty != 1.0:
            processors.append(OnAnswer(RepetitionPenalty(penalty), prompt_length))
        if ngram:
            processors.append(OnAnswer(NoRepeatNGram(ngram), prompt_length))
        off = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
        return {**off, "logits_processor": LogitsProcessorList(processors)} if processors else off

    def _chosen(self, name: str, defaults: GenerationConfig, off: float) -> float:
        """What is said, or the folder's default; greedy decoding is plain unless more is said."""
        said = getattr(self, name)
        if said is not None:
            return float(said)
        return off if self.greedy else float(getattr(defaults, name, None) or off)


class OnAnswer(LogitsProcessor):  # type: ignore[misc]
    """A rule about tokens that were there before, which is shown the answer alone.

    Args:
        rule: the rule.
        prompt_length: tokens before the answer.
    """

    def __init__(self, rule: LogitsProcessor, prompt_length: int) -> None:
        self.rule, self.prompt_length = rule, prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores [B, V] of the next token behind ids [B, L]."""
        changed: torch.FloatTensor = self.rule(input_ids[:, self.prompt_length :], scores)
        return changed
