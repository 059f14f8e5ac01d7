"""Answers that are JSON of a given schema, by `llguidance`: which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuwen.config import MissingExtraError, TuwenError, first_line

llguidance: Any
try:
    import llguidance
    import llguidance.numpy
except ImportError:
    llguidance = None

# A schema is a stranger's: what is larger than this takes long to compile and is no answer's form.
LARGEST_SCHEMA = 64 * 1024
# Room for lines and indentation, but no answer that is blanks for ever.
FORM = {"whitespace_pattern": r"\n? {0,16}"}


class GrammarTokens:
    """A model's tokens as `llguidance` takes them: each one's bytes.

    Args:
        tokenizer: of the model.
        ends: tokens that end an answer.

    Raises:
        TuwenError: for a tokenizer of a kind that is not known here.
        MissingExtraError: when `llguidance` is not installed.
    """

    def __init__(self, tokenizer: Any, ends: Collection[int]) -> None:
        if llguidance is None:
            raise MissingExtraError("llguidance", "serve")
        self.ends = sorted(ends)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        try:
            if backend is not None:
                self.tokens = llguidance.LLTokenizer(backend.to_str(), n_vocab=len(tokenizer), eos_token=self.ends)
            elif hasattr(tokenizer, "pieces"):
                wrapper = llguidance.TokenizerWrapper(_Pieces(tokenizer, self.ends[0]))
                self.tokens = llguidance.LLTokenizer(wrapper, n_vocab=len(tokenizer), eos_token=self.ends)
            else:
                raise ValueError(f"{type(tokenizer).__name__} is not known")
        except ValueError as error:
            raise TuwenError(f"json_schema: cannot be honoured with this tokenizer: {first_line(error)}") from None


class Grammar:
    """The state of one answer.

    Args:
        schema: JSON schema; ``{}`` for any object.
        tokens: of the model.

    Raises:
        TuwenError: when the schema cannot be honoured.
    """

    def __init__(self, schema: Mapping[str, Any], tokens: GrammarTokens) -> None:
        text = json.dumps(dict(schema) or {"type": "object"})
        if len(text) > LARGEST_SCHEMA:
            raise TuwenError(f"json_schema: has {len(text)} characters, {LARGEST_SCHEMA} are possible")
        try:
            form = llguidance.LLMatcher.grammar_from_json_schema(text, defaults=FORM)
            self._matcher = llguidance.LLMatcher(tokens.tokens, form, log_level=0)
        except ValueError as error:
            raise TuwenError(f"json_schema: {first_line(error)}") from None
        self._check()
        self._ends = tokens.ends
        self._bits = llguidance.numpy.allocate_token_bitmask(1, tokens.tokens.vocab_size)

    def limit(self, scores_V: Tensor) -> Tensor:
        """Scores [V] with -inf for tokens that cannot come next."""
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        self._check()
        allowed = torch.from_numpy(np.unpackbits(self._bits.view(np.uint8), bitorder="little")).bool()
        allowed_V = torch.zeros(len(scores_V), dtype=torch.bool)
        width = min(len(allowed), len(scores_V))
        allowed_V[:width] = allowed[:width]
        allowed_V[self._ends] = self._matcher.is_accepting()
        return scores_V.masked_fill(~allowed_V.to(scores_V.device), -torch.inf)

    def take(self, token: int) -> None:
        """Go on behind a token; one that ends the answer changes nothing."""
        if token not in self._ends:
            self._matcher.consume_token(token)
            self._check()

    @property
    def complete(self) -> bool:
        """Whether the JSON has ended and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise TuwenError(f"json_schema: {self._matcher.get_error().splitlines()[0]}")


class _Pieces:
    """A SentencePiece vocabulary as `llguidance` asks for one."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        pieces, size = tokenizer.pieces, tokenizer.vocab_size
        self.eos_token_id, self.bos_token_id = end, None
        special = set(tokenizer.all_special_ids)
        special.update(index for index in range(size) if pieces.is_control(index) or pieces.is_unknown(index))
        self.special_token_ids = sorted(special)
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.tokens = [
            bytes([int(name[3:-1], 16)])
            if index < size and pieces.is_byte(index)
            else name.replace("\u2581", " ").encode()
            for index, name in enumerate(names)
        ]

        self._token_of = {content: token for token, content in reversed(list(enumerate(self.tokens)))}

    def __call__(self, text: str) -> list[int]:
        """Some tokens that spell a text, a character or byte each; a model is free to take others."""
        if not isinstance(text, str):
            raise TypeError("text is expected")
        tokens: list[int] = []
        for character in text:
            content = character.encode()
            parts = [content] if content in self._token_of else [bytes([byte]) for byte in content]
            tokens += [self._token_of[part] for part in parts]
        return tokens
