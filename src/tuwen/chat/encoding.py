"""Plain text → token ids, among which no control token can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import uuid4

from tokenizers import AddedToken, Tokenizer

from tuwen.config import TuwenError

Place = Literal["start", "after_token", "after_text"]

# What templates write between messages comes again and again.
LONGEST_KEPT, MOST_KEPT = 32, 4096

_EMPTY = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}


class TextEncoder(Protocol):
    """Encodes stretches of text, among which no control token can be."""

    def encode(self, text: str, place: Place) -> Sequence[int]:
        """Token ids of ``text``, see ``PlainTextEncoder.encode``."""


@dataclass(frozen=True, slots=True)
class TextVocabulary:
    """What the renderer asks of a tokenizer.

    Attributes:
        added: its added tokens by their text.
        token_to_id: the id of an entry; None for what is no entry.
        encoder: control tokens, which text must not become → the encoder of text between them.
    """

    added: Mapping[str, AddedToken]
    token_to_id: Callable[[str], int | None]
    encoder: Callable[[Collection[str]], TextEncoder]


def text_vocabulary(tokenizer: Any) -> TextVocabulary:
    """Of a tokenizer that says it itself by a method of this name, or of any fast tokenizer.

    Raises:
        TuwenError: for another.
    """
    if hasattr(tokenizer, "text_vocabulary"):
        own: TextVocabulary = tokenizer.text_vocabulary()
        return own
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TuwenError(f"tokenizer {type(tokenizer).__name__}: a fast one (tokenizer.json) is needed")
    added = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    return TextVocabulary(added, backend.token_to_id, lambda control: PlainTextEncoder(backend, control))


class PlainTextEncoder:
    """Encodes stretches of text as a tokenizer would between its control tokens.

    It is a tokenizer of its own, without added tokens and with the control tokens' entries out of reach, so
    that the given one's state is never touched.

    Args:
        backend: the tokenizer whose normaliser, pre-tokeniser and vocabulary are used.
        control_tokens: tokens that text must not become.
    """

    def __init__(self, backend: Tokenizer, control_tokens: Collection[str]) -> None:
        model = _model_without(backend, control_tokens)
        spec = _text_steps(backend)
        whole = _assemble(model, spec)
        bare = _without_prefix(spec)
        continued = whole if bare == spec else _assemble(model, bare)
        first_only = any(step.get("prepend_scheme") == "first" for step in _steps(spec["pre_tokenizer"]))
        self._known: dict[tuple[str, Place], Sequence[int]] = {}
        self._tokenizers = {
            "start": whole,
            "after_token": continued if first_only else whole,
            "after_text": continued,
        }

    def encode(self, text: str, place: Place) -> Sequence[int]:
        """Token ids of ``text``.

        Args:
            text: taken literally.
            place: where it stands. A tokenizer that puts a blank before text (SentencePiece) does so at the
                start and, as its files say, after control tokens; never where text goes on.

        Raises:
            UnicodeEncodeError: for text with half of a surrogate pair.
        """
        known = self._known.get((text, place))
        if known is not None:
            return known
        try:
            ids: Sequence[int] = self._tokenizers[place].encode(text, add_special_tokens=False).ids
        except TypeError:
            # The library says only that such text is no string; this says what is wrong with it.
            text.encode("utf-8")
            raise
        if len(text) <= LONGEST_KEPT and len(self._known) < MOST_KEPT:
            self._known[text, place] = ids
        return ids


def _assemble(model: Any, spec: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps({**_EMPTY, **spec}))
    tokenizer.model = model
    return tokenizer


def _text_steps(backend: Tokenizer) -> dict[str, Any]:
    """Normaliser and pre-tokeniser as JSON; only the JSON of a whole tokenizer tells their settings."""
    shell = Tokenizer.from_str(json.dumps(_EMPTY))
    if backend.normalizer is not None:
        shell.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        shell.pre_tokenizer = backend.pre_tokenizer
    spec = json.loads(shell.to_str())
    return {key: spec[key] for key in ("normalizer", "pre_tokenizer")}


def _model_without(backend: Tokenizer, control_tokens: Collection[str]) -> Any:
    """The model of ``backend``, in which no text leads to a control token's entry."""
    vocabulary = backend.get_vocab(with_added_tokens=False)
    inside = [token for token in control_tokens if token in vocabulary]
    if not inside:
        return backend.model
    spec = json.loads(backend.to_str())
    model = spec["model"]
    # Nobody can type these names: they differ in every process.
    hidden = {token: f"{uuid4().hex}{index}" for index, token in enumerate(inside)}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {hidden.get(token, token): index for token, index in model["vocab"].items()}
    else:
        model["vocab"] = [[hidden.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        pairs = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not hidden.keys() & {*pair, "".join(pair)}]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    return Tokenizer.from_str(
        json.dumps({**spec, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None})
    ).model


def _steps(spec: Any) -> list[dict[str, Any]]:
    """All steps of a normaliser or pre-tokeniser, those inside a sequence too."""
    if not isinstance(spec, dict):
        return []
    inner = [*spec.get("normalizers", []), *spec.get("pretokenizers", [])]
    return [spec, *(step for part in inner for step in _steps(part))]


def _without_prefix(spec: dict[str, Any]) -> dict[str, Any]:
    """The same steps, none of which puts anything before the text."""
    bare: dict[str, Any] = json.loads(json.dumps(spec))
    for step in [*_steps(bare["normalizer"]), *_steps(bare["pre_tokenizer"])]:
        if step.get("type") == "Prepend":
            step["prepend"] = ""
        if "prepend_scheme" in step:
            step["prepend_scheme"] = "never"
        if "add_prefix_space" in step:
            step["add_prefix_space"] = False
    return bare
