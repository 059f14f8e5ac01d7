"""The next token of each answer: rules about scores, limits of sampling, a grammar, and one draw a request.

Rules and limits are those that ``generate`` of `transformers` would apply for the same folder and settings. Each
request draws from numbers of its own, by the inverse of the distribution function: neighbours change nothing.

Shape legend: R rows, V vocabulary, L tokens of a conversation.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from tuwen.config import TuwenError
from tuwen.infer.engine.grammar import Grammar, GrammarTokens
from tuwen.infer.engine.interface import Sampling, TokenScore
from tuwen.infer.options import GenerationOptions, OnAnswer

# Defaults of folders that mean another way to search than token by token.
OTHER_WAYS = ("guidance_scale", "watermarking_config", "penalty_alpha", "prompt_lookup_num_tokens", "dola_layers")


LONGEST = "max_new_tokens"
# Below it scores divided by it may be too large for a number.
COLDEST = 1e-6


class Choice(NamedTuple):
    """A token that was chosen, and what was asked for about it."""

    token: int
    score: TokenScore | None = None
    alternatives: tuple[TokenScore, ...] = ()


class Repeats(LogitsProcessor):  # type: ignore[misc]
    """OpenAI's penalties of tokens that are there already.

    Args:
        presence: taken from a token's score if it is there.
        frequency: taken for each time that it is.
    """

    def __init__(self, presence: float, frequency: float) -> None:
        self.presence, self.frequency = presence, frequency

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores [1, V] of the next token behind ids [1, L]."""
        counts_V = torch.bincount(input_ids[0], minlength=scores.shape[1])
        changed: Any = scores - self.presence * (counts_V > 0) - self.frequency * counts_V
        return changed


class Sampler:
    """How one request's tokens are chosen.

    Attributes:
        settings: as given.
        longest: tokens of the answer at most, as far as settings and folder say; None for no such limit.
        arguments: that let ``generate`` follow the folder's rules, greedily.
    """

    def __init__(
        self,
        settings: Sampling,
        generation: GenerationConfig,
        rules: LogitsProcessorList,
        limits: LogitsProcessorList,
        grammar: Grammar | None,
        arguments: dict[str, Any],
    ) -> None:
        self.settings, self.rules, self.limits, self.grammar = settings, rules, limits, grammar
        self.arguments = arguments
        self.greedy = not generation.do_sample
        self.longest: int | None = arguments.pop(LONGEST)
        self.key: Hashable = (
            generation.temperature, generation.top_k, generation.top_p, generation.min_p,
        )  # fmt: skip
        self._numbers = torch.Generator()
        if settings.seed is None:
            self._numbers.seed()
        else:
            self._numbers.manual_seed(settings.seed)

    def scores(self, ids: Sequence[int], scores_V: Tensor) -> Tensor:
        """Scores [V] behind bias and penalties."""
        if not self.rules:
            return scores_V
        ids_1L: Any = torch.tensor([ids], device=scores_V.device)
        changed: Tensor = self.rules(ids_1L, scores_V[None])[0]
        return changed

    def draw(self) -> float:
        """The next number of this request, in [0, 1)."""
        return float(torch.rand((), generator=self._numbers, dtype=torch.double))


class Samplers:
    """Makes the samplers of a model's requests.

    Args:
        model: with the folder's generation defaults.
        tokenizer: of the folder.
        by_generate: whether ``generate`` applies the folder's rules before a sampler gets the scores.

    Attributes:
        ends: tokens that end an answer.

    Raises:
        TuwenError: when the folder's defaults ask for another way to search.
    """

    def __init__(self, model: Any, tokenizer: Any, by_generate: bool = False) -> None:
        self._model, self._tokenizer, self._by_generate = model, tokenizer, by_generate
        defaults = model.generation_config
        if (defaults.num_beams or 1) > 1:
            raise TuwenError(f"generation_config.json: num_beams {defaults.num_beams}: the engine searches no beams")
        for name in OTHER_WAYS:
            if getattr(defaults, name, None) is not None:
                raise TuwenError(f"generation_config.json: {name}: the engine cannot honour it; take it out")
        ends = defaults.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    @cached_property
    def _grammar_tokens(self) -> GrammarTokens:
        return GrammarTokens(self._tokenizer, self.ends)

    def sampler(self, settings: Sampling, prompt_length: int) -> Sampler:
        """The sampler of a request.

        Raises:
            TuwenError: when a setting cannot be honoured.
        """
        options = GenerationOptions.of(
            {
                "greedy": True if settings.temperature == 0 else None,
                "temperature": max(settings.temperature, COLDEST) if settings.temperature else None,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
                "repetition_penalty": settings.repetition_penalty,
            }
        )
        model, defaults = self._model, self._model.generation_config
        arguments = options.arguments(defaults, model.device, prompt_length)
        own = LogitsProcessorList(arguments.pop("logits_processor", []))
        if settings.presence_penalty or settings.frequency_penalty:
            own.append(OnAnswer(Repeats(settings.presence_penalty, settings.frequency_penalty), prompt_length))
        if settings.logit_bias:
            arguments["sequence_bias"] = self._bias(settings.logit_bias)
        if settings.min_p is not None and options.greedy is None:
            arguments.update(min_p=settings.min_p, do_sample=True)
        generation, _ = model._prepare_generation_config(None, **arguments)
        model._prepare_special_tokens(generation, True, device=model.device)
        rules, both = (
            model._get_logits_processor(
                _with_sampling(generation, sample),
                input_ids_seq_length=prompt_length,
                logits_processor=own,
                device=model.device,
            )
            for sample in (False, True)
        )
        limits = LogitsProcessorList(both[len(rules) :])
        grammar = None
        if settings.json_schema is not None:
            grammar = Grammar(settings.json_schema, self._grammar_tokens)
        arguments = {**arguments, "do_sample": False, LONGEST: settings.max_tokens or defaults.max_new_tokens}
        return Sampler(settings, generation, own if self._by_generate else rules, limits, grammar, arguments)

    def _bias(self, asked: Mapping[int, float]) -> dict[tuple[int, ...], float]:
        size = self._model.config.get_text_config().vocab_size
        if unknown := [token for token in asked if not 0 <= token < size]:
            raise TuwenError(f"logit_bias: token {unknown[0]} is not among the model's {size}")
        return {(int(token),): float(value) for token, value in asked.items()}


def _with_sampling(generation: GenerationConfig, sample: bool) -> GenerationConfig:
    changed = copy.copy(generation)
    changed.do_sample, changed.renormalize_logits = sample, False
    return changed


def choose(scores_RV: Tensor, samplers: Sequence[Sampler], ids: Sequence[Sequence[int]]) -> list[Choice | TuwenError]:
    """The next token of each row, or why there is none.

    Args:
        scores_RV: of the model.
        samplers: of each row's request.
        ids: tokens so far, of each row.
    """
    scores_RV = scores_RV.float()
    errors: dict[int, TuwenError] = {}
    # Nothing but a token that is ruled out (-inf) may be infinite.
    for row, wrong in enumerate((scores_RV.isnan() | (scores_RV == torch.inf)).any(dim=-1).tolist()):
        if wrong:
            errors[row] = TuwenError("the model gave scores that are no numbers")
    changed = {row: one.scores(ids[row], scores_RV[row]) for row, one in enumerate(samplers) if one.rules}
    if changed:
        scores_RV = scores_RV.clone()
        for row, scores_V in changed.items():
            scores_RV[row] = scores_V
    said = _said(scores_RV, samplers)
    grammars = {row: sampler.grammar for row, sampler in enumerate(samplers) if sampler.grammar is not None}
    if grammars and not changed:
        scores_RV = scores_RV.clone()
    for row, grammar in grammars.items():
        try:
            scores_RV[row] = grammar.limit(scores_RV[row])
        except TuwenError as error:
            errors[row] = error
    tokens = _tokens(scores_RV, samplers, errors)
    choices: list[Choice | TuwenError] = []
    for row, (token, sampler) in enumerate(zip(tokens, samplers, strict=True)):
        if row not in errors and sampler.grammar is not None:
            try:
                sampler.grammar.take(token)
            except TuwenError as error:
                errors[row] = error
        choices.append(errors.get(row) or _choice(token, said.get(row)))
    return choices


def _tokens(scores_RV: Tensor, samplers: Sequence[Sampler], errors: dict[int, TuwenError]) -> list[int]:
    """The likeliest token of rows without sampling, and one draw of the others; those of one kind together."""
    tokens: list[int] = scores_RV.argmax(dim=-1).tolist()
    kinds: dict[Hashable, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not sampler.greedy and row not in errors:
            kinds.setdefault(sampler.key, []).append(row)
    for rows in kinds.values():
        limited_RV = samplers[rows[0]].limits(None, scores_RV[rows])
        # In double precision, which sums a vocabulary without favouring its beginning.
        sums_RV = limited_RV.double().softmax(dim=-1).cumsum(dim=-1)
        draws_R = torch.tensor([samplers[row].draw() for row in rows], dtype=torch.double, device=scores_RV.device)
        wanted_R1 = (draws_R * sums_RV[:, -1])[:, None]
        for row, token in zip(rows, torch.searchsorted(sums_RV, wanted_R1, right=True)[:, 0].tolist(), strict=True):
            tokens[row] = token
    return tokens


def _said(scores_RV: Tensor, samplers: Sequence[Sampler]) -> dict[int, tuple[Tensor, int]]:
    """Log-probabilities [V] of rows that ask for them, and how many of the likeliest."""
    asked = {row: one.settings.logprobs for row, one in enumerate(samplers) if one.settings.logprobs is not None}
    if not asked:
        return {}
    logprobs_RV = scores_RV[list(asked)].log_softmax(dim=-1)
    return {row: (logprobs_RV[place], count) for place, (row, count) in enumerate(asked.items())}


def _choice(token: int, said: tuple[Tensor, int] | None) -> Choice:
    if said is None:
        return Choice(token)
    logprobs_V, count = said
    likeliest: tuple[TokenScore, ...] = ()
    if count:
        found = logprobs_V.topk(min(count, len(logprobs_V)))
        likeliest = tuple(map(TokenScore, found.indices.tolist(), found.values.tolist()))
    return Choice(token, TokenScore(token, float(logprobs_V[token])), likeliest)
