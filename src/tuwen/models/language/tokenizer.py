"""New tokenizers for models trained from scratch, and control tokens for those that exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

from tuwen.config import TuwenError

END_OF_TEXT = "<|endoftext|>"
HANZI = Regex("[\u3400-\u4dbf\u4e00-\u9fff]")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (arXiv 1508.07909) in which each hanzi and each digit stands alone.

    Args:
        texts: what it is trained on.
        vocab_size: entries at most; all 256 bytes are always among them, so any text can be written.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(HANZI, "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)


def add_control_tokens(tokenizer: Any, tokens: Sequence[str], *, strip: bool = False) -> int:
    """Make each of ``tokens`` one special token of ``tokenizer``; returns how many were new.

    Args:
        tokenizer: is changed.
        tokens: in the order of the ids that new ones get.
        strip: whether new ones take away the white space beside them.

    Raises:
        TuwenError: when the tokenizer is neither a fast one nor a SentencePiece one of ours.
    """
    if not getattr(tokenizer, "is_fast", False) and not hasattr(tokenizer, "text_vocabulary"):
        raise TuwenError(f"tokenizer {type(tokenizer).__name__}: a fast tokenizer (tokenizer.json) is needed")
    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    special = [
        AddedToken(token, special=True, normalized=False, lstrip=strip and token in new, rstrip=strip and token in new)
        for token in dict.fromkeys(tokens)
    ]
    tokenizer.add_special_tokens({"additional_special_tokens": special}, replace_extra_special_tokens=False)
    return len(new)


def add_text_tokens(tokenizer: Any, tokens: Sequence[str]) -> int:
    """Make each of ``tokens`` one token of ``tokenizer`` that text may become; returns how many were new."""
    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in new])
    return len(new)
