"""Tokenizers as `transformers` publishes them, taken from ``tokenizer.json`` to the letter.

The classes that such folders name build some tokenizers anew from other files, and not always the same one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from tuwen.checkpoints.refusal import quiet
from tuwen.checkpoints.weights import read_json
from tuwen.config import TuwenError

ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")


def read_settings(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json`` over ``special_tokens_map.json``; nothing of a file that is not there."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings.update(read_json(folder / name))
    return settings


def read_tokenizer(folder: Path, settings: Mapping[str, Any], ids: Mapping[str, int | None]) -> PreTrainedTokenizerFast:
    """The tokenizer in ``tokenizer.json``.

    Args:
        folder: where it lies.
        settings: of ``read_settings``.
        ids: ids of special tokens by their roles, for roles that the settings do not name.

    Raises:
        TuwenError: when there is no such file, or it is broken.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TuwenError(f"{path}: this file is missing; save the tokenizer as a fast one, which writes it")
    tokens = {role: _content(settings[role]) for role in ROLES if settings.get(role)}
    listed: list[Any] = next((settings[key] for key in EXTRA if isinstance(settings.get(key), list)), [])
    try:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(path),
            additional_special_tokens=[_content(token) for token in listed],
            model_max_length=settings.get("model_max_length"),
            clean_up_tokenization_spaces=False,
            padding_side="left",
            **tokens,
        )
    except Exception as error:
        # The library raises a bare Exception for a file that it cannot read.
        raise TuwenError(f"{path}: cannot be read as a tokenizer: {error}") from None
    for role in ROLES:
        known = ids.get(role)
        if role not in tokens and isinstance(known, int) and known < len(tokenizer):
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(known))
    return tokenizer


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, Mapping) else token)


def adds_bos(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether ``tokenizer`` puts its ``bos_token`` before any text by itself."""
    first = tokenizer.backend_tokenizer.encode("", add_special_tokens=True).ids[:1]
    return bool(first) and first[0] == tokenizer.bos_token_id


def tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    """The files that `transformers` saves a tokenizer in; its chat template is none of them."""
    with tempfile.TemporaryDirectory() as name, quiet():
        tokenizer.save_pretrained(name)
        return {path.name: path.read_bytes() for path in sorted(Path(name).iterdir()) if path.suffix != ".jinja"}
