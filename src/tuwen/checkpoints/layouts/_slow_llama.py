"""Tokenizer files of LLaMA's slow tokenizer, as `transformers` up to 4.33 wrote and read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from tuwen.checkpoints.weights import read_json
from tuwen.config import TuwenError
from tuwen.models.language.sentencepiece import MODEL_FILE, TuwenSentencePieceTokenizer

FILES = (MODEL_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
EXTRA = "additional_special_tokens"


def read_slow_llama(folder: Path, pad_token: str | None = None) -> TuwenSentencePieceTokenizer:
    """The tokenizer of a folder with ``tokenizer.model``.

    Tokens that are written as plain strings take all white space beside them away, newlines too; tokens with flags of
    their own do as these say.

    Args:
        folder: with ``tokenizer.model`` and the JSON files beside it.
        pad_token: used in place of the one in the files where the vocabulary has it.

    Raises:
        TuwenError: naming the file and key that is missing or of another kind of tokenizer.
    """
    settings, special = read_json(folder / "tokenizer_config.json"), _optional(folder / "special_tokens_map.json")
    where = folder / "tokenizer_config.json"
    kind = settings.get("tokenizer_class", "LlamaTokenizer")
    if kind != "LlamaTokenizer":
        raise TuwenError(f"{where}: tokenizer_class: found {kind!r}, expected 'LlamaTokenizer'")
    if settings.get("legacy") is False:
        raise TuwenError(f"{where}: legacy: found false, a newer way to encode text; expected true or nothing")
    # The map has the last word, as it had then.
    named = {role: special.get(role) or settings.get(role) for role in ROLES}
    roles = {role: _token(value, folder) for role, value in named.items() if value}
    extra = [_token(value, folder) for value in special.get(EXTRA, ())]
    beyond = _optional(folder / "added_tokens.json")
    added = {token: _token(token, folder, special=False) for token in beyond}
    added |= {token.content: token for token in [*roles.values(), *extra]}
    if pad_token in added:
        given = roles.get("pad_token")
        if given is not None and given.content not in [pad_token, *(token.content for token in extra)]:
            # Text is still parted at it, but it is no longer left out of what is read back.
            added[given.content].special = False
        roles["pad_token"] = added[pad_token]
    path = str(folder / MODEL_FILE)
    pieces = TuwenSentencePieceTokenizer(path)
    ids = {token: _id(token, beyond, pieces, folder) for token in added}
    return TuwenSentencePieceTokenizer(
        path,
        begins_with_bos=bool(settings.get("add_bos_token", True)),
        added_tokens_decoder={ids[content]: token for content, token in added.items()},
        additional_special_tokens=extra,
        padding_side="left",
        **roles,
    )


def _id(token: str, beyond: Mapping[str, Any], tokenizer: TuwenSentencePieceTokenizer, folder: Path) -> int:
    index = beyond.get(token)
    if index is None:
        index = int(tokenizer.pieces.piece_to_id(token))
        if tokenizer.pieces.id_to_piece(index) != token:
            raise TuwenError(f"{folder / 'added_tokens.json'}: {token!r}: this key is missing, {MODEL_FILE} has it not")
    elif not isinstance(index, int) or index < tokenizer.vocab_size:
        raise TuwenError(
            f"{folder / 'added_tokens.json'}: {token!r}: found {index!r}, expected an id from {tokenizer.vocab_size}"
        )
    return index


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _token(value: Any, folder: Path, special: bool = True) -> AddedToken:
    """A token that is written as a string or with its flags."""
    if isinstance(value, str):
        return AddedToken(value, lstrip=True, rstrip=True, normalized=False, special=special)
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
        raise TuwenError(f"{folder / 'special_tokens_map.json'}: found {value!r}, expected a token")
    flags = {key: bool(value.get(key, False)) for key in ("lstrip", "rstrip", "single_word", "normalized")}
    return AddedToken(value["content"], special=special, **flags)


def slow_llama_files(tokenizer: Any) -> dict[str, bytes]:
    """The files that ``read_slow_llama`` reads back as the same tokenizer.

    Raises:
        TuwenError: for a tokenizer that is not SentencePiece's, and for tokens whose flags these files cannot say.
    """
    if not isinstance(tokenizer, TuwenSentencePieceTokenizer):
        raise TuwenError(
            f"tokenizer {type(tokenizer).__name__}: only a SentencePiece one can be written as LLaMA's slow one"
        )
    decoder = tokenizer.added_tokens_decoder
    by_text = {token.content: token for token in decoder.values()}
    roles = {role: by_text[token] for role in ROLES if (token := getattr(tokenizer, role)) is not None}
    extra = [by_text[str(token)] for token in tokenizer.extra_special_tokens]
    special = {**{role: _written(token) for role, token in roles.items()}, EXTRA: [_written(token) for token in extra]}
    # Roles whose tokens strip nothing have flags of their own; only these can be in the tokenizer's settings too.
    settings = {role: _written(token) for role, token in roles.items() if role != "pad_token"}
    contents: dict[str, Any] = {
        "tokenizer_config.json": {
            "add_bos_token": tokenizer.begins_with_bos,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(tokenizer.model_max_length),
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
            **{
                role: {"__type": "AddedToken", **value} if isinstance(value, dict) else value
                for role, value in settings.items()
            },
        },
        "special_tokens_map.json": special,
        "added_tokens.json": {
            token.content: index for index, token in decoder.items() if index >= tokenizer.vocab_size
        },
    }
    files = {
        name: (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode() for name, value in contents.items()
    }
    return {MODEL_FILE: tokenizer.model_bytes, **files}


def _written(token: AddedToken) -> str | dict[str, Any]:
    if token.lstrip and token.rstrip:
        return str(token.content)
    flags = {key: getattr(token, key) for key in ("lstrip", "normalized", "rstrip", "single_word")}
    return {"content": token.content, **flags}
