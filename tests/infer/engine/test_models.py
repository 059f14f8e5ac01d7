"""Which language models the engine computes, which it refuses, and how it answers with models of `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.infer.engine.conftest import answer, ask, picture
from tests.infer.test_native import FAMILIES, build
from tests.models.compositions import LANGUAGE_CONFIGS, compose
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.infer import VLM
from tuwen.infer.engine.attention import KeyValues, Span, Step, in_order
from tuwen.infer.engine.interface import Request, Sampling
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.engine.paging import conversation_values, joined, language_states, use_paged
from tuwen.infer.native import load_native
from tuwen.infer.options import GenerationOptions


def composed(language: str, **settings: Any) -> Any:
    """A tiny model whose language model has some settings of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LANGUAGE_CONFIGS, language, {**LANGUAGE_CONFIGS.get(language, {}), **settings})
        return compose(language=language)


@torch.inference_mode()
def deviation(model: Any, lengths: tuple[int, ...], cut: int) -> float:
    """How far conversations computed together, ``cut`` places a step, are from those computed alone."""
    language, size = model.get_decoder(), 4
    embed = language.get_input_embeddings()
    ids = [(torch.arange(length) * 7 + number) % 64 for number, length in enumerate(lengths)]
    alone = [language(inputs_embeds=embed(one)[None], use_cache=False).last_hidden_state[0] for one in ids]
    kept, numbers, blocks = KeyValues(64 * len(lengths), size), iter(range(64 * len(lengths))), []
    for length in lengths:
        blocks.append([next(numbers) for _ in range(-(-length // size))])
    paged = [torch.zeros_like(states) for states in alone]
    for start in range(0, max(lengths), cut):
        left = [(n, min(cut, length - start)) for n, length in enumerate(lengths) if length > start]
        spans = [(n, Span(start, count, blocks[n][: -(-(start + count) // size)])) for n, count in left]
        spans.sort(key=lambda item: in_order(item[1].count, len(item[1].blocks)))
        values = joined([conversation_values(language, lengths[n]) for n, _ in spans])
        step = Step([span for _, span in spans], kept, model.device, values)
        inputs = torch.cat([ids[n][span.start : span.start + span.count] for n, span in spans])
        found = language_states(language, embed(inputs)[:, None], step)
        for (n, span), states in zip(spans, found.split([span.count for _, span in spans]), strict=True):
            paged[n][span.start : span.start + span.count] = states
    return max(float((one - other).abs().max()) for one, other in zip(alone, paged, strict=True))


@pytest.mark.parametrize("language", LANGUAGE_CONFIGS)
@pytest.mark.parametrize("cut", [1, 5, 64])
def test_states_are_those_of_each_conversation_alone(language: str, cut: int) -> None:
    model = compose(language=language)
    assert use_paged(model) == "sdpa"
    assert deviation(model, (37, 1, 12, 23), cut) < 1e-4


@pytest.mark.parametrize(
    ("language", "settings"),
    [
        ("mistral", {"sliding_window": 6}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
        (
            "gemma3_text",
            {
                **LANGUAGE_CONFIGS["gemma"],
                "sliding_window": 6,
                "layer_types": ["sliding_attention", "full_attention"],
                "query_pre_attn_scalar": 16,
            },
        ),
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 64])
def test_sliding_windows(language: str, settings: dict[str, Any], cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = composed(language, **settings)
    use_paged(model)
    assert deviation(model, (37, 12, 6, 7), cut) < 1e-4
    blind = Step._mask
    monkeypatch.setattr(Step, "_mask", lambda step, number, group, window: blind(step, number, group, None))
    assert deviation(model, (37, 12), cut) > 1e-2


@pytest.mark.parametrize(
    ("language", "settings", "message"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "type dynamic"),
        ("gemma2", {**LANGUAGE_CONFIGS["gemma"], "query_pre_attn_scalar": 16}, "gemma2: "),
        ("qwen2", {"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
    ],
)
def test_what_it_cannot_compute_is_refused(language: str, settings: dict[str, Any], message: str) -> None:
    try:
        model = composed(language, **settings)
    except Exception as error:
        pytest.skip(f"this version of `transformers` does not build it: {error}")
    before = model.config.text_config._attn_implementation
    with pytest.raises(TuwenError, match=f"{message}.*set batching to false"):
        use_paged(model)
    assert model.config.text_config._attn_implementation == before


def test_others_may_use_the_model_meanwhile(vlm: VLM) -> None:
    prompt = ask(vlm, "什么?", 1)
    options = GenerationOptions(greedy=True, max_new_tokens=5)
    before = vlm._answer([prompt, ask(vlm, "红? " * 9)], options)  # type: ignore[list-item]
    engine = open_engine(vlm, cache_tokens=512)
    try:
        assert vlm._answer([prompt, ask(vlm, "红? " * 9)], options) == before  # type: ignore[list-item]
    finally:
        engine.close()


@pytest.mark.parametrize("batching", [True, False])
def test_settings_are_checked(vlm: VLM, batching: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TuwenError, match="max_runing: unknown key"):
        open_engine(vlm, max_runing=3)
    monkeypatch.setattr(vlm.model.generation_config, "num_beams", 3)
    with pytest.raises(TuwenError, match="num_beams 3"):
        open_engine(vlm, batching=batching)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_models_of_transformers(family: Any, tmp_path: Path) -> None:
    build(family, tmp_path)
    native = load_native(tmp_path)
    prompts = [
        native.encode(
            [Message.of("user", *(Image() for _ in range(pictures)), "图里有什么?")],
            [native.open(picture(1))] * pictures,
        )
        for pictures in (1, 0)
    ]
    engine = open_engine(native, max_waiting=4, context=4096)
    try:
        greedy = Sampling(temperature=0, max_tokens=8)
        found = answer(engine, *(Request(prompt=prompt, sampling=greedy) for prompt in prompts))
        for prompt, (tokens, text, finish) in zip(prompts, found, strict=True):
            alone = native._answer([prompt], GenerationOptions(greedy=True, max_new_tokens=8))[0]
            assert (tokens, text.strip(), finish.reason) == (alone.token_ids, alone.text, alone.finish_reason)
        assert found[0][2].image_tokens > 0
        assert found[1][2].image_tokens == 0
        drawn = Sampling(temperature=1.5, seed=1, max_tokens=8, logprobs=1, ignore_eos=True)
        first, again = answer(engine, *[Request(prompt=prompts[0], sampling=drawn)] * 2)
        assert first[0] == again[0]
        assert len(first[0]) == 8
        biased = Sampling(temperature=0, max_tokens=4, logit_bias={9: 1e4}, ignore_eos=True)
        assert answer(engine, Request(prompt=prompts[1], sampling=biased))[0][0] == [9] * 4
    finally:
        engine.close()


def test_both_engines_answer_alike(vlm: VLM) -> None:
    settings = [
        Sampling(temperature=0, max_tokens=10),
        Sampling(max_tokens=10),
        Sampling(temperature=1.3, top_k=20, top_p=0.9, seed=5, max_tokens=10, stop=("的",)),
        Sampling(temperature=0, max_tokens=10, repetition_penalty=1.5, presence_penalty=1.0),
        Sampling(temperature=0, max_tokens=10, ignore_eos=True, logit_bias={40: 3.0}),
    ]
    requests = [Request(prompt=ask(vlm, "什么? " * n, n), sampling=one) for n, one in enumerate(settings, start=1)]
    found = []
    for batching in (True, False):
        engine = open_engine(vlm, batching=batching, cache_tokens=2048)
        found.append([(*one[:2], one[2].reason) for one in answer(engine, *requests)])
        engine.close()
    assert found[0] == found[1]
