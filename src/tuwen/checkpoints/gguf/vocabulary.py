"""Tokenizers as llama.cpp has them: byte-level BPE that cuts text in a way it knows by name, and SentencePiece."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gguf

from tuwen.chat.messages import Image, Message, Text
from tuwen.checkpoints.gguf.contents import Value
from tuwen.config import TuwenError
from tuwen.models.language.sentencepiece import BLANK
from tuwen.models.processing import TuwenProcessor

Keys, Kind = gguf.Keys.Tokenizer, gguf.TokenType
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# How a pre-tokeniser cuts text, a step a tuple.
Steps = tuple[tuple[Any, ...], ...]
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A way of cutting text before byte-level BPE that llama.cpp has.

    Attributes:
        name: llama.cpp's.
        whole_words: whether a piece that is an entry is taken without any merge.
        note: where it differs after all; for people.
    """

    name: str
    whole_words: bool = False
    note: str = ""


CUTS: dict[Steps, Cut] = {
    (("Split", _WORDS.replace("DIGITS", ""), "Isolated"), ("ByteLevel", False)): Cut("qwen2"),
    (("Split", _WORDS.replace("DIGITS", "{1,3}"), "Isolated"), ("ByteLevel", False)): Cut("llama-bpe", True),
    (("ByteLevel", True),): Cut("gpt-2"),
    (("Digits", True), ("ByteLevel", True)): Cut("smollm"),
    # Of our own tokenizers. No entry of theirs reaches across the edge of a hanzi, so uncut ones come out the same.
    (("Split", "[\u3400-\u4dbf\u4e00-\u9fff]", "Isolated"), ("Digits", True), ("ByteLevel", True)): Cut(
        "smollm", note="llama.cpp cuts two and more blanks before a hanzi otherwise than this tokenizer"
    ),
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer in GGUF.

    Attributes:
        values: GGUF key → value.
        notes: where llama.cpp's tokens differ; for people.
    """

    values: Mapping[str, Value]
    notes: Sequence[str] = ()


def vocabulary(processor: TuwenProcessor, rows: int, generation: Mapping[str, Any]) -> Vocabulary:
    """The tokenizer, chat template and stop tokens of a model.

    Args:
        processor: of the model.
        rows: of the language model's embedding; entries beyond the tokenizer's are filled up.
        generation: generation defaults.

    Raises:
        TuwenError: for a tokenizer that llama.cpp does not have.
    """
    tokenizer = processor.tokenizer
    if hasattr(tokenizer, "pieces"):
        found = _sentencepiece(tokenizer)
    else:
        found = _fast(processor, json.loads(tokenizer.backend_tokenizer.to_str()))
    tokens, types = _tokens(tokenizer, rows, found.values.get(Keys.TOKEN_TYPE))
    values: dict[str, Value] = {
        **found.values,
        Keys.LIST: tokens,
        Keys.TOKEN_TYPE: types,
        # The template writes all that stands in a prompt.
        Keys.ADD_BOS: False,
        Keys.ADD_EOS: False,
        Keys.CHAT_TEMPLATE: _template(processor),
    }
    if Keys.SCORES in values:
        scores = values[Keys.SCORES]
        assert isinstance(scores, list)
        values[Keys.SCORES] = [*scores, *[0.0] * (rows - len(scores))]
    roles = {
        Keys.BOS_ID: tokenizer.bos_token_id,
        Keys.PAD_ID: tokenizer.pad_token_id,
        Keys.UNK_ID: tokenizer.unk_token_id,
    }
    stops = _stops(tokenizer, generation)
    roles.update(zip((Keys.EOS_ID, Keys.EOT_ID), stops, strict=False))
    values.update({key: index for key, index in roles.items() if index is not None})
    notes = list(found.notes)
    if stops[2:]:
        words = ", ".join(tokens[index] for index in stops[2:])
        notes.append(f"a GGUF file names two stop tokens; of {words} llama.cpp ends an answer at those that it knows")
    if _breaks_after_picture(processor):
        notes.append(
            "this model has a line break between a picture and the text after it, llama.cpp nothing: write one"
        )
    return Vocabulary(values, notes)


def _template(processor: TuwenProcessor) -> str:
    """The chat template with its tokens in it: llama.cpp tries out a template without giving it any."""
    template = processor.chat_template or ""
    tokens = {name: getattr(processor.tokenizer, name) or "" for name in ("bos_token", "eos_token") if name in template}
    return "".join(f"{{%- set {name} = {json.dumps(str(token))} -%}}\n" for name, token in tokens.items()) + template


def _stops(tokenizer: Any, generation: Mapping[str, Any]) -> list[int]:
    """Tokens that end an answer, the usual one first."""
    stored = generation.get("eos_token_id")
    stops = stored if isinstance(stored, list) else [stored]
    return [index for index in dict.fromkeys([*stops, tokenizer.eos_token_id]) if index is not None]


def _tokens(tokenizer: Any, rows: int, known: Any) -> tuple[list[str], list[int]]:
    """Text and type of each row of the embedding."""
    added = tokenizer.added_tokens_decoder
    words = {index: word for word, index in tokenizer.get_vocab().items()}
    tokens, types = [], []
    for index in range(rows):
        kind = known[index] if known and index < len(known) else Kind.NORMAL
        if index in added:
            token = added[index]
            if token.lstrip or token.rstrip:
                raise TuwenError(
                    f"tokenizer: {token.content!r} takes away the blanks beside it, which llama.cpp's tokens do not"
                )
            # What is no plain piece of text for SentencePiece itself stays what it is.
            plain = kind in (Kind.NORMAL, Kind.USER_DEFINED)
            kind = (Kind.CONTROL if token.special else Kind.USER_DEFINED) if plain else kind
        elif index not in words:
            kind = Kind.UNUSED
        tokens.append(words.get(index, f"[PAD{index}]"))
        types.append(int(kind))
    return tokens, types


def _sentencepiece(tokenizer: Any) -> Vocabulary:
    """LLaMA's slow tokenizer: every stretch of text begins with a blank, in llama.cpp as there."""
    pieces = tokenizer.pieces
    kinds = (
        (pieces.is_control, Kind.CONTROL),
        (pieces.is_unknown, Kind.UNKNOWN),
        (pieces.is_unused, Kind.UNUSED),
        (pieces.is_byte, Kind.BYTE),
    )
    size = pieces.get_piece_size()
    types = [next((int(kind) for test, kind in kinds if test(index)), int(Kind.NORMAL)) for index in range(size)]
    return Vocabulary(
        {
            Keys.MODEL: "llama",
            Keys.PRE: "default",
            Keys.SCORES: [float(pieces.get_score(index)) for index in range(size)],
            Keys.TOKEN_TYPE: types,
            Keys.ADD_PREFIX: True,
        }
    )


def _fast(processor: TuwenProcessor, spec: Mapping[str, Any]) -> Vocabulary:
    model = spec["model"]
    odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if model["type"] != "BPE" or odd:
        raise TuwenError(f"tokenizer: llama.cpp's are of the type BPE; found {model['type']} {' '.join(odd)}")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    if model.get("byte_fallback"):
        return _pieces(processor, spec, merges)
    steps = _steps(spec["pre_tokenizer"])
    cut = CUTS.get(steps)
    if cut is None or bool(model.get("ignore_merges")) != cut.whole_words:
        known = ", ".join(sorted({cut.name for cut in CUTS.values()}))
        raise TuwenError(
            f"tokenizer: GGUF is written for byte-level BPE that cuts text like {known}; found the pre-tokenizer "
            f"{str(steps)[:120]} with ignore_merges {bool(model.get('ignore_merges'))}"
        )
    normalizer = (spec["normalizer"] or {}).get("type", "NFC")
    if normalizer != "NFC":
        raise TuwenError(f"tokenizer: llama.cpp takes text as it is; found the normalizer {normalizer}")
    values: dict[str, Value] = {Keys.MODEL: "gpt2", Keys.PRE: cut.name, Keys.MERGES: merges}
    return Vocabulary(values, [cut.note] if cut.note else [])


def _steps(spec: Mapping[str, Any] | None) -> Steps:
    """A pre-tokeniser's JSON in a form that can be looked up; what is not among the known steps stays as it is."""
    if spec is None:
        return ()
    if spec["type"] == "Sequence":
        return tuple(step for part in spec["pretokenizers"] for step in _steps(part))
    if spec["type"] == "Split" and "Regex" in spec["pattern"] and not spec["invert"]:
        return (("Split", spec["pattern"]["Regex"], spec["behavior"]),)
    if spec["type"] == "ByteLevel" and not spec["add_prefix_space"]:
        return (("ByteLevel", spec["use_regex"]),)
    if spec["type"] == "Digits":
        return (("Digits", spec["individual_digits"]),)
    return ((spec["type"], json.dumps(spec, sort_keys=True)),)


def _pieces(processor: TuwenProcessor, spec: Mapping[str, Any], merges: Sequence[str]) -> Vocabulary:
    """A SentencePiece vocabulary as a fast tokenizer, whose merges stand in the order of the pieces' scores."""
    scores = dict.fromkeys(spec["model"]["vocab"], 0.0)
    for rank, pair in reversed([*enumerate(merges)]):
        scores[pair.replace(" ", "")] = -float(rank + 1)
    size = 1 + max(spec["model"]["vocab"].values())
    words = {index: word for word, index in spec["model"]["vocab"].items()}
    unknown = spec["model"].get("unk_token")
    types = [int(Kind.UNUSED)] * size
    for index, word in words.items():
        special = Kind.BYTE if BYTE.fullmatch(word) else Kind.UNKNOWN if word == unknown else Kind.NORMAL
        types[index] = int(special)
    prefix, notes = _prefix(processor, spec)
    values: dict[str, Value] = {
        Keys.MODEL: "llama",
        Keys.PRE: "default",
        Keys.SCORES: [scores.get(words.get(index, ""), 0.0) for index in range(size)],
        Keys.TOKEN_TYPE: types,
        Keys.ADD_PREFIX: prefix,
    }
    return Vocabulary(values, notes)


def _prefix(processor: TuwenProcessor, spec: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Whether each stretch of text between control tokens begins with a blank."""
    normalizer, cutter = spec["normalizer"], spec["pre_tokenizer"]
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
    parts = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer]
    if cutter is None and parts == [{"type": "Prepend", "prepend": BLANK}, replaced]:
        return True, []
    if cutter is None and parts == [replaced]:
        return False, []
    if normalizer is None and cutter["type"] == "Metaspace" and cutter["replacement"] == BLANK and not cutter["split"]:
        scheme = cutter["prepend_scheme"]
        if scheme == "always":
            return True, ["llama.cpp puts a blank before text that begins with one, this tokenizer does not"]
        if scheme == "never" or _begins_with_control(processor):
            return False, []
        raise TuwenError(
            "tokenizer: puts a blank before the first word of a prompt alone (prepend_scheme 'first'); llama.cpp does "
            "so after every control token or never: use a chat template that begins with bos_token"
        )
    raise TuwenError(
        "tokenizer: llama.cpp's SentencePiece replaces blanks and puts one before text; found the normalizer "
        f"{str(normalizer)[:80]} and the pre-tokenizer {str(cutter)[:80]}"
    )


def _begins_with_control(processor: TuwenProcessor) -> bool:
    ids = processor.renderer.render([Message("user", (Text("A"),))], add_generation_prompt=True).input_ids
    return ids[0] in processor.tokenizer.all_special_ids


def _breaks_after_picture(processor: TuwenProcessor) -> bool:
    """Whether the template begins a line after a picture that leads a message, unless the text does so itself."""
    plain, broken = (
        processor.renderer.render([Message("user", (Image(), Text(text)))], [1], add_generation_prompt=True).input_ids
        for text in ("A", "\nA")
    )
    return list(plain) == list(broken)
