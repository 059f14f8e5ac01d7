"""Small tokenizers of each family, trained here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

CORPUS = [
    "USER: What is in the picture? ASSISTANT: Two cats. [INST] <<SYS>> ### Instruction: ### Response:",
    "You are a helpful assistant. system user 图里有几只猫?两只。请描述图片。",
    "<image> <|im_start|> 1234567890",
] * 4
CONTROL = ["<|im_start|>", "<|im_end|>", "<image>"]


def _byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _finish(tokenizer)


def _sentence_piece(scheme: str) -> PreTrainedTokenizerFast:
    """BPE with byte fallback, as LLaMA's; ``legacy`` puts a blank before every stretch of text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first" if scheme == "legacy" else scheme)
    special = ["<unk>", "<s>", "</s>"]
    written = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special + written, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    spec = json.loads(tokenizer.to_str())
    # Byte entries belong to the model: as added tokens they would be found in text.
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    if scheme == "legacy":
        tokenizer.pre_tokenizer = None  # type: ignore[assignment]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _finish(tokenizer)


def _unigram() -> PreTrainedTokenizerFast:
    """A unigram model whose vocabulary holds the control tokens, at scores that win."""
    pieces = [("<unk>", 0.0), *((token, 0.0) for token in ["<s>", "</s>", *CONTROL])]
    characters = sorted({character for line in CORPUS for character in line} | {"▁", "\n"})
    pieces += [(character, -10.0) for character in characters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Replace("▁", " ")
    return _finish(tokenizer)


def _finish(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.add_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    fast.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return fast


_MAKERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_level": _byte_level,
    "first": lambda: _sentence_piece("first"),
    "legacy": lambda: _sentence_piece("legacy"),
    "unigram": _unigram,
}


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[[str], PreTrainedTokenizerFast]:
    """A tokenizer by the name of its family: byte_level, first, legacy, unigram."""
    return cache(lambda name: _MAKERS[name]())
