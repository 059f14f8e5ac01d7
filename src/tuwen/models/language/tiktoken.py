"""Qwen-1's tokenizer (arXiv 2309.16609): from ``qwen.tiktoken`` and back.

The file holds byte sequences with their ranks; a token's rank is its id. What else the tokenizer is (normalisation,
the pattern that cuts text apart, special tokens behind the ranks) is in the code that the original is published with.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tuwen.config import TuwenError

END_OF_TEXT = "<|endoftext|>"
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
EXTRA_TOKENS = tuple(f"<|extra_{number}|>" for number in range(205))
# Text, a user's too, may write these, and an answer shows them.
GROUNDING_TOKENS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")
IMAGE_START, IMAGE_END, IMAGE_PAD = IMAGE_TOKENS = ("<img>", "</img>", "<imgpad>")
# In the order of their ids, which follow the ranks.
SPECIAL_TOKENS = (END_OF_TEXT, *CHAT_TOKENS, *EXTRA_TOKENS, *GROUNDING_TOKENS, *IMAGE_TOKENS)
# English contractions, words with what stands before them, single digits, punctuation, blanks.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_characters() -> dict[int, str]:
    """The printable character that a byte-level tokenizer writes for each byte (as GPT-2's does)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}


def read_ranks(path: Path) -> list[bytes]:
    """The byte sequences of a ``.tiktoken`` file in the order of their ranks.

    Raises:
        TuwenError: when the file is missing or broken, or ranks are not 0, 1, 2 …
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise TuwenError(f"{path}: this file is missing") from None
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    ranks: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks.append(base64.b64decode(token, validate=True))
            known = int(rank) == len(ranks) - 1
        except (ValueError, binascii.Error):
            raise TuwenError(f"{path}, line {number}: expected base64 and a rank, found {line[:40]!r}") from None
        if not known:
            raise TuwenError(f"{path}, line {number}: rank {int(rank)}, expected {len(ranks) - 1}")
    missing = 256 - len({token for token in ranks if len(token) == 1})
    if missing or len(set(ranks)) != len(ranks):
        raise TuwenError(f"{path}: expected all 256 bytes and no token twice; {missing} bytes are missing")
    return ranks


def write_ranks(ranks: Sequence[bytes]) -> bytes:
    """The content of a ``.tiktoken`` file."""
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranks)]
    return b"".join(lines)


def tiktoken_tokenizer(ranks: Sequence[bytes], **settings: Any) -> PreTrainedTokenizerFast:
    """The tokenizer of some ranks.

    Args:
        ranks: byte sequences; the place is the id.
        **settings: of ``PreTrainedTokenizerFast``, e.g. ``model_max_length``.
    """
    vocabulary = {_spelt(token): rank for rank, token in enumerate(ranks)}
    # A piece that is a token as a whole is taken as it is, whatever merges lead to, as tiktoken does.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_merges(ranks), ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [AddedToken(token, special=token not in GROUNDING_TOKENS, normalized=False) for token in SPECIAL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT, padding_side="left", **settings
    )


def tokenizer_ranks(tokenizer: Any) -> list[bytes]:
    """The ranks that ``tiktoken_tokenizer`` makes a tokenizer from.

    Raises:
        TuwenError: when it is another kind of tokenizer, which a ``.tiktoken`` file cannot hold.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary: Mapping[str, int] = backend.get_vocab(with_added_tokens=False) if backend is not None else {}
    spelt = sorted(vocabulary, key=vocabulary.__getitem__)
    if not spelt or any(character not in _BYTES for token in spelt for character in token):
        raise TuwenError("tokenizer: qwen.tiktoken can hold a byte-level vocabulary only, without special tokens in it")
    if [vocabulary[token] for token in spelt] != list(range(len(spelt))):
        raise TuwenError("tokenizer: qwen.tiktoken needs ids without gaps")
    assert backend is not None
    added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
    if added != dict(enumerate(SPECIAL_TOKENS, start=len(spelt))):
        raise TuwenError(
            f"tokenizer: {len(added)} special tokens; Qwen-VL's code numbers exactly {len(SPECIAL_TOKENS)}, "
            f"{SPECIAL_TOKENS[0]} to {SPECIAL_TOKENS[-1]}, behind the vocabulary"
        )
    return [bytes(_BYTES[character] for character in token) for token in spelt]


def _spelt(token: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in token)


def _merges(ranks: Sequence[bytes]) -> list[tuple[str, str]]:
    """All ways in which two tokens make a third, the lowest rank of the third first."""
    known = {token: rank for rank, token in enumerate(ranks)}
    merges: list[tuple[str, str]] = []
    for token in ranks:
        cuts = [(token[:place], token[place:]) for place in range(1, len(token))]
        found = [pair for pair in cuts if pair[0] in known and pair[1] in known]
        found.sort(key=lambda pair: (known[pair[0]], known[pair[1]]))
        merges += [(_spelt(first), _spelt(second)) for first, second in found]
    return merges
