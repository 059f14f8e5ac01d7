"""Qwen-1's tokenizer out of its ranks: the original's ids, and the file again."""

from __future__ import annotations

import base64
import json
import random
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tuwen.chat.messages import Message
from tuwen.chat.renderer import Renderer
from tuwen.config import TuwenError
from tuwen.models.language.tiktoken import (
    GROUNDING_TOKENS,
    SPECIAL_TOKENS,
    read_ranks,
    tiktoken_tokenizer,
    tokenizer_ranks,
    write_ranks,
)

HERE = Path(__file__).parents[2] / "../shared/fixtures/qwen_vl"
RANKS = HERE / "belle_vl_tiny" / "qwen.tiktoken"
needs_fixtures = pytest.mark.skipif(not HERE.is_dir(), reason="no ../shared/fixtures beside the repository")
BYTES = [bytes([value]) for value in range(256)]


def file_of(path: Path, ranks: list[bytes]) -> Path:
    path.write_bytes(write_ranks(ranks))
    return path


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiktoken_tokenizer(read_ranks(RANKS))


def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "tokenizer_vectors.json").read_text(encoding="utf-8"))["vectors"]
    return {name: vector for name, vector in found.items() if isinstance(vector["ids"], list)}


def ids_with_pictures(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Text with ``<img>PATH</img>`` in it: bytes of the path, filled up to 256 places."""
    ids: list[int] = []
    for piece in re.split(r"(<img>.*?</img>)", text, flags=re.DOTALL):
        path = re.fullmatch(r"<img>(.*)</img>", piece, flags=re.DOTALL)
        if path is None:
            ids += tokenizer(piece).input_ids
            continue
        name = unicodedata.normalize("NFC", path[1]).encode()
        start, end, pad = tokenizer.convert_tokens_to_ids(["<img>", "</img>", "<imgpad>"])
        ids += [start, *name, *[pad] * (256 - len(name)), end]
    return ids


@needs_fixtures
def test_ids_are_those_of_the_original(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(vectors()) >= 60
    for name, vector in vectors().items():
        assert ids_with_pictures(tokenizer, vector["text"]) == vector["ids"], name


@needs_fixtures
def test_text_of_a_user_becomes_no_control_token(tokenizer: PreTrainedTokenizerFast) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    renderer = Renderer(tokenizer, template, "<imgpad>", text_tokens=GROUNDING_TOKENS)
    for name, vector in vectors().items():
        if "<img" in vector["text"] or "</img" in vector["text"]:
            continue
        rendered = renderer.render([Message.of("user", vector["text"])])
        assert rendered.input_ids == vector["ids_image_st_only"], name


@needs_fixtures
def test_text_is_read_back(tokenizer: PreTrainedTokenizerFast) -> None:
    for name, vector in vectors().items():
        if "<img>" not in vector["text"]:
            assert tokenizer.decode(vector["ids"]) == vector["decoded"], name
    expected = json.loads((HERE / "belle_expected.json").read_text(encoding="utf-8"))["decode_cases"]
    for case in expected:
        # The original turns a picture's bytes into its path again; those are no text to us.
        if tokenizer.convert_tokens_to_ids("<img>") not in case["ids"]:
            assert tokenizer.decode(case["ids"]) == case["decoded"]
    boxes = tokenizer("<ref>x</ref><box>(1,2),(3,4)</box><|im_end|>").input_ids
    assert tokenizer.decode(boxes, skip_special_tokens=True) == "<ref>x</ref><box>(1,2),(3,4)</box>"


@needs_fixtures
def test_special_tokens_follow_the_ranks_by_number(tokenizer: PreTrainedTokenizerFast) -> None:
    wanted = json.loads((HERE / "belle_expected.json").read_text(encoding="utf-8"))["token_ids"]
    names = {"eod_id": "<|endoftext|>", "im_end_id": "<|im_end|>", "ref_start_id": "<ref>", "img_pad_id": "<imgpad>"}
    for key, token in names.items():
        assert tokenizer.convert_tokens_to_ids(token) == wanted[key]
    assert len(tokenizer) == wanted["n_vocab"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|endoftext|>")


@needs_fixtures
def test_saved_and_opened_it_is_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for vector in vectors().values():
        assert ids_with_pictures(again, vector["text"]) == vector["ids"]
    assert write_ranks(tokenizer_ranks(again)) == RANKS.read_bytes()


def by_hand(ranks: dict[bytes, int], piece: bytes) -> list[int]:
    """tiktoken's way: of all neighbours, those merge whose union has the lowest rank, the first of equal ones."""
    if piece in ranks:
        return [ranks[piece]]
    parts = [bytes([value]) for value in piece]
    while True:
        unions = [(ranks[a + b], place) for place, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not unions:
            return [ranks[part] for part in parts]
        place = min(unions)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@needs_fixtures
def test_any_word_is_cut_as_by_the_original() -> None:
    ranks = read_ranks(RANKS)
    known = {token: rank for rank, token in enumerate(ranks)}
    tokenizer = tiktoken_tokenizer(ranks)
    chance = random.Random(7)
    letters = "aeinorst" * 4 + "bcdhlmpuw" + "一个人机器" + "ab"
    for _ in range(3000):
        word = "".join(chance.choices(letters, k=chance.randint(1, 24)))
        assert tokenizer(word).input_ids == by_hand(known, word.encode()), word


def test_a_vocabulary_of_bytes_alone_is_enough(tmp_path: Path) -> None:
    tokenizer = tiktoken_tokenizer(read_ranks(file_of(tmp_path / "x.tiktoken", BYTES)))
    assert tokenizer("é").input_ids == list("é".encode())
    assert len(tokenizer) == 256 + len(SPECIAL_TOKENS)
    assert tokenizer_ranks(tokenizer) == BYTES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"!!! 0\n", "line 1: expected base64 and a rank"),
        (base64.b64encode(b"a") + b" 1\n", "line 1: rank 1, expected 0"),
        (write_ranks(BYTES[:255]), "all 256 bytes and no token twice; 1 bytes are missing"),
        (write_ranks([*BYTES, b"a"]), "no token twice"),
    ],
)
def test_a_broken_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "qwen.tiktoken"
    path.write_bytes(content)
    with pytest.raises(TuwenError, match=rf"qwen\.tiktoken.*{message}"):
        read_ranks(path)
    with pytest.raises(TuwenError, match="this file is missing"):
        read_ranks(tmp_path / "none")


def test_another_tokenizer_cannot_be_written() -> None:
    tokenizer = tiktoken_tokenizer(BYTES)
    tokenizer.add_tokens(["one more"])
    with pytest.raises(TuwenError, match="218 special tokens; Qwen-VL's code numbers exactly 217"):
        tokenizer_ranks(tokenizer)
