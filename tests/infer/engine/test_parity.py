"""Answers of an engine are those that the model gives one by one, whatever runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.infer.engine.conftest import GREEDY, answer, ask, picture
from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.opening import open_model
from tuwen.infer import VLM
from tuwen.infer.engine.interface import Engine, Request, Sampling
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.options import GenerationOptions
from tuwen.infer.prompts import EncodedPrompt

HERE = Path(__file__).parents[3] / "../shared/fixtures"
FOLDERS = (
    "qwen_vl/belle_vl_tiny",
    "qwen_vl/codefuse_vlm_tiny",
    "visualcla_llava/visualcla_tiny/merged",
    "visualcla_llava/llava_chinese_clip_tiny/merged",
)
needs_fixtures = pytest.mark.skipif(not HERE.is_dir(), reason="no ../shared/fixtures beside the repository")
QUESTIONS = ["图里有几个图形?", "What color is the circle?", "红?", "Describe the picture. " * 6]


def agree(vlm: VLM, engine: Engine, prompts: Sequence[EncodedPrompt], sampling: Sampling = GREEDY) -> None:
    """Answers given together equal those given one by one."""
    found = answer(engine, *(Request(prompt=prompt, sampling=sampling) for prompt in prompts))
    greedy = True if sampling.temperature == 0 else None
    options = GenerationOptions(greedy=greedy, max_new_tokens=sampling.max_tokens)
    for prompt, (tokens, text, finish) in zip(prompts, found, strict=True):
        alone = vlm._answer([prompt], options)[0]  # type: ignore[list-item]
        assert (tokens, text.strip(), finish.reason) == (alone.token_ids, alone.text, alone.finish_reason)
        assert finish.prompt_tokens == len(alone.prompt_ids)
        assert finish.completion_tokens == len(tokens)


def test_greedy_answers_equal_those_one_by_one(vlm: VLM, engine: Engine) -> None:
    agree(vlm, engine, [ask(vlm, text, *range(place, place + place % 3)) for place, text in enumerate(QUESTIONS * 3)])
    assert engine.status().cache_usage == 0


def test_a_pool_too_small_for_all_puts_the_youngest_off(vlm: VLM) -> None:
    prompts = [ask(vlm, "什么? " * place, 1, place) for place in range(1, 7)]
    longest = max(len(prompt.rendered.input_ids) for prompt in prompts)
    engine = open_engine(vlm, cache_tokens=longest + 48, block_tokens=4, step_tokens=16, share_prefixes=False)
    try:
        agree(vlm, engine, prompts, Sampling(temperature=0, max_tokens=40))
        counts = engine.status().counts
    finally:
        engine.close()
    assert counts["steps"] > 40


@pytest.mark.parametrize("step_tokens", [1, 7, 64])
def test_however_a_prompt_is_cut(vlm: VLM, step_tokens: int) -> None:
    engine = open_engine(vlm, step_tokens=step_tokens, block_tokens=3, cache_tokens=2048)
    try:
        agree(vlm, engine, [ask(vlm, text, place) for place, text in enumerate(QUESTIONS)])
    finally:
        engine.close()


def test_a_shared_beginning_changes_no_answer(vlm: VLM, engine: Engine) -> None:
    prompts = [ask(vlm, text, 5, system="用中文回答。") for text in QUESTIONS]
    agree(vlm, engine, prompts[:1])
    before = dict(engine.status().counts)
    agree(vlm, engine, prompts)
    after = engine.status().counts
    assert after["cached_prompt_tokens"] - before["cached_prompt_tokens"] > 4 * vlm.processor.tokens_per_tile
    assert after["picture_hits"] - before["picture_hits"] == len(prompts)


@needs_fixtures
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("temperature", [0, None], ids=["greedy", "the folder's defaults"])
def test_published_models(folder: str, temperature: float | None) -> None:
    vlm = VLM(open_model(HERE / folder, dtype=torch.float32))
    defaults = vlm.model.generation_config
    if temperature is None:
        # Drawn tokens differ from those of `generate`, rules about scores must not.
        defaults.do_sample = False
    # Random weights seldom end: longer answers show more.
    sampling = Sampling(temperature=temperature, max_tokens=24)
    prompts = [
        vlm.encode(
            [Message.of("user", *(Image() for _ in range(pictures)), "图里有什么? " * length)],
            [vlm.open(picture(number)) for number in range(pictures)],
        )
        for pictures, length in ((1, 1), (0, 9), (2, 40), (1, 3))
        if "visualcla" not in folder or pictures < 2
    ]
    engine = open_engine(vlm, step_tokens=40, block_tokens=8, cache_tokens=4096)
    try:
        agree(vlm, engine, prompts, sampling)
        agree(vlm, engine, prompts, sampling)
        assert engine.status().counts["cached_prompt_tokens"] > 0
    finally:
        engine.close()
    assert vlm.model.config.text_config._attn_implementation == "sdpa"


@needs_fixtures
def test_stretched_rotary_tables_stay_with_their_prompt() -> None:
    vlm = VLM(open_model(HERE / FOLDERS[0], dtype=torch.float32))
    # As if it were trained for less, so that short prompts go beyond.
    trained = vlm.model.config.text_config.seq_length = 64
    begin = "圆 " * 10
    prompts = [
        vlm.encode([Message.of("user", begin + "色 " * words)], [])
        for words in (2, trained // 4, trained // 3, trained)
    ]
    lengths = [len(prompt.rendered.input_ids) for prompt in prompts]
    assert lengths[0] < trained
    assert lengths[-1] > 2 * trained
    engine = open_engine(vlm, step_tokens=64, block_tokens=4, cache_tokens=8192)
    try:
        agree(vlm, engine, prompts, Sampling(temperature=0, max_tokens=16))
        # The same beginnings, computed for prompts of other lengths, are not theirs.
        agree(vlm, engine, prompts[::-1], Sampling(temperature=0, max_tokens=16))
    finally:
        engine.close()
