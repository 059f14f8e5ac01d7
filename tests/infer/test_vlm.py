"""Chat, stream, sessions and batches give one and the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tuwen
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.infer import VLM, Prompt


@pytest.fixture(scope="module")
def vlm(toy_run: Path) -> VLM:
    return tuwen.load(toy_run / "model")


def picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8))


QUESTIONS = ["图里有几个图形?", "What color is the circle?", "红?", "Describe the picture. " * 6]


def test_batched_answers_equal_those_one_by_one(vlm: VLM) -> None:
    prompts = [
        Prompt(
            (Message.of("user", *([Image()] if place % 3 else []), question),), (picture(place),) if place % 3 else ()
        )
        for place, question in enumerate(QUESTIONS * 2)
    ]
    together = vlm.generate(prompts, batch_size=3, greedy=True, max_new_tokens=6)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = vlm.generate([prompt], greedy=True, max_new_tokens=6)[0]
        assert answer == alone


def test_streamed_pieces_are_the_answer(vlm: VLM) -> None:
    pieces = list(vlm.stream("描述这张图。", [picture(1)], greedy=True, max_new_tokens=12))
    answer = vlm.chat("描述这张图。", [picture(1)], greedy=True, max_new_tokens=12)
    assert "".join(pieces).strip() == answer.text


def test_a_session_is_its_whole_conversation(vlm: VLM) -> None:
    session = vlm.session(system="用中文回答。")
    first = session.ask("这是什么?", [picture(1)], greedy=True, max_new_tokens=4)
    second = session.ask("那这张呢?", [picture(2), picture(3)], greedy=True, max_new_tokens=4)
    messages = (
        Message.of("system", "用中文回答。"),
        Message.of("user", Image(), "这是什么?"),
        Message.of("assistant", first.text),
        Message.of("user", Image(), Image(), "那这张呢?"),
    )
    whole = vlm.generate([Prompt(messages, (picture(1), picture(2), picture(3)))], greedy=True, max_new_tokens=4)[0]
    assert whole == second
    assert second.prompt_ids.count(vlm.processor.image_token_id) == 3 * vlm.processor.tokens_per_tile
    session.reset()
    assert session.messages == []


def test_sampling_repeats_with_its_seed(vlm: VLM) -> None:
    def sampled(seed: int) -> list[int]:
        return vlm.chat("什么?", temperature=3.0, seed=seed, max_new_tokens=12).token_ids

    assert sampled(1) == sampled(1)
    assert any(sampled(1) != sampled(seed) for seed in (2, 3, 4))


def test_greedy_is_the_default_and_lengths_are_kept(vlm: VLM) -> None:
    answer = vlm.chat("什么?", max_new_tokens=3)
    assert answer == vlm.chat("什么?", greedy=True, max_new_tokens=3)
    assert answer.finish_reason == "stop" or len(answer.token_ids) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "temprature: unknown key.*did you mean 'temperature'"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"top_p": 1.5}, "top_p"),
    ],
)
def test_wrong_options_are_named(vlm: VLM, options: dict[str, float], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        vlm.chat("什么?", **options)


def test_mistakes_are_said_before_the_first_piece(vlm: VLM) -> None:
    with pytest.raises(TuwenError, match="cannot be read"):
        vlm.stream("什么?", ["missing.png"])
    with pytest.raises(TuwenError, match="the question is empty"):
        vlm.chat("")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int3"}, "dtype 'int3': choose one of float32"),
        ({"device": "gpu"}, "device 'gpu': expected cpu"),
    ],
)
def test_wrong_places_are_named(toy_run: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        tuwen.load(toy_run / "model", **options)


def test_half_precision_answers(toy_run: Path) -> None:
    vlm = tuwen.load(toy_run / "model", dtype="bfloat16")
    assert vlm.chat("什么?", [picture(1)], max_new_tokens=3).token_ids
