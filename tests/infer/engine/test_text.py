"""Pieces of text are the text: no character is cut, nothing of a stop text is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.checkpoints.opening import open_model
from tuwen.infer import VLM
from tuwen.infer.engine.text import GrowingText

HERE = Path(__file__).parents[3] / "../shared/fixtures"
WORDS = st.text(st.sampled_from("图文 Tuwen🙂é\n好"), max_size=30)


def grown(tokenizer: object, ids: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    text, pieces = GrowingText(tokenizer, stops), []
    for token in ids:
        pieces.append(text.add(token))
        if text.stopped:
            return pieces
    return [*pieces, text.end()]


@given(WORDS)
def test_pieces_add_up_and_cut_no_character(vlm: VLM, words: str) -> None:
    tokenizer = vlm.processor.tokenizer
    ids = tokenizer.encode(words, add_special_tokens=False)
    pieces = grown(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, 599), max_size=40))
def test_whatever_tokens_come(vlm: VLM, ids: list[int]) -> None:
    tokenizer = vlm.processor.tokenizer
    ids = [token for token in ids if token < len(tokenizer)]
    assert "".join(grown(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.skipif(not HERE.is_dir(), reason="no ../shared/fixtures beside the repository")
@pytest.mark.parametrize("folder", ["qwen_vl/belle_vl_tiny", "visualcla_llava/visualcla_tiny/merged"])
def test_published_tokenizers(folder: str) -> None:
    tokenizer = open_model(HERE / folder).processor.tokenizer

    @given(WORDS)
    def holds(words: str) -> None:
        ids = tokenizer.encode(words, add_special_tokens=False)
        pieces = grown(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
        assert not any("\ufffd" in piece for piece in pieces)

    holds()


@given(WORDS, st.lists(st.text(st.sampled_from("图文 Tuwen🙂好"), min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_answer_ends_before_the_first_stop_text(vlm: VLM, words: str, stops: list[str]) -> None:
    tokenizer = vlm.processor.tokenizer
    ids = tokenizer.encode(words, add_special_tokens=False)
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    text = "".join(grown(tokenizer, ids, tuple(stops)))
    if not ends:
        assert text == whole
    else:
        # The first that is complete ends the answer; one that begins sooner may end later.
        assert whole.startswith(text)
        assert not any(stop in text for stop in stops)
        assert any(whole[len(text) :].startswith(stop) for stop in stops)
