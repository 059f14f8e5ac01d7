"""Every setting of a request is honoured, and neighbours change nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.infer.engine.conftest import GREEDY, answer, ask
from tuwen.checkpoints.opening import open_model
from tuwen.config import TuwenError
from tuwen.infer import VLM
from tuwen.infer.engine.interface import Engine, Request, Sampling
from tuwen.infer.engine.opening import open_engine
from tuwen.infer.engine.sampling import Samplers, choose

HERE = Path(__file__).parents[3] / "../shared/fixtures"
QUESTION = "这是什么?"
WARM: dict[str, Any] = {"temperature": 1.5, "max_tokens": 16}


def tokens(engine: Engine, vlm: VLM, **sampling: Any) -> list[int]:
    return answer(engine, Request(prompt=ask(vlm, QUESTION, 1), sampling=Sampling(**sampling)))[0][0]


def test_a_seed_gives_one_answer_whatever_runs_beside_it(vlm: VLM, engine: Engine) -> None:
    alone = tokens(engine, vlm, seed=3, **WARM)
    noise = [
        Request(prompt=ask(vlm, "红" * place, place), sampling=Sampling(seed=place, temperature=2 + place % 2))
        for place in range(1, 7)
    ]
    mine = Request(prompt=ask(vlm, QUESTION, 1), sampling=Sampling(seed=3, **WARM))
    for number, request in enumerate(noise):
        noise[number] = Request(prompt=request.prompt, sampling=request.sampling.model_copy(update={"max_tokens": 9}))
    assert answer(engine, *noise[:4], mine, *noise[4:])[4][0] == alone
    assert any(tokens(engine, vlm, seed=seed, **WARM) != alone for seed in (4, 5, 6))
    assert len({tuple(tokens(engine, vlm, **WARM)) for _ in range(4)}) > 1


def test_draws_follow_the_probabilities(vlm: VLM) -> None:
    samplers = Samplers(vlm.model, vlm.processor.tokenizer)
    scores = torch.full((1, vlm.model.config.text_config.vocab_size), -torch.inf)
    scores[0, [3, 50, 7]] = torch.tensor([0.5, 0.3, 0.2]).log()
    count = 4000
    one = samplers.sampler(Sampling(temperature=1.0, seed=0), 1)
    drawn = Counter(choose(scores.nan_to_num(neginf=-1e9), [one], [[1]])[0].token for _ in range(count))  # type: ignore[union-attr]
    assert set(drawn) == {3, 50, 7}
    for token, share in ((3, 0.5), (50, 0.3), (7, 0.2)):
        # Five standard deviations.
        assert abs(drawn[token] / count - share) < 5 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("setting", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-9}])
def test_limits_that_leave_one_token_are_greedy(vlm: VLM, engine: Engine, setting: dict[str, Any]) -> None:
    greedy = tokens(engine, vlm, temperature=0, max_tokens=16, repetition_penalty=1.0)
    assert tokens(engine, vlm, **{**WARM, "repetition_penalty": 1.0, **setting}) == greedy


def test_bias_and_penalties(vlm: VLM, engine: Engine) -> None:
    assert tokens(engine, vlm, temperature=0, max_tokens=5, logit_bias={65: 1e4}) == [65] * 5
    both = {"temperature": 0, "max_tokens": 2, "logit_bias": {65: 1e4, 66: 1e4}}
    assert sorted(tokens(engine, vlm, **both, repetition_penalty=2)) == [65, 66]
    assert len(set(tokens(engine, vlm, **both))) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"presence_penalty": 1.5}, [0, -1.5, -1.5]),
        ({"frequency_penalty": -0.5}, [0, 1, 0.5]),
        ({"presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {9: 5.0}}, [5, -3, -2]),
    ],
)
def test_openais_penalties_look_at_the_answer(vlm: VLM, settings: dict[str, Any], expected: list[float]) -> None:
    sampler = Samplers(vlm.model, vlm.processor.tokenizer).sampler(Sampling(temperature=0, **settings), 2)
    scores = sampler.scores([9, 9, 7, 7, 8], torch.zeros(vlm.model.config.text_config.vocab_size))
    assert scores[[9, 7, 8]].tolist() == expected
    assert int((scores.isfinite() & (scores != 0)).sum()) == sum(value != 0 for value in expected)


def test_log_probabilities(vlm: VLM, engine: Engine) -> None:
    prompt = ask(vlm, QUESTION, 1)
    pieces = list(engine.submit(Request(prompt=prompt, sampling=Sampling(temperature=0, max_tokens=6, logprobs=3))))
    scores = [score for piece in pieces for score in piece.scores]
    alternatives = [likeliest for piece in pieces for likeliest in piece.alternatives]
    ids = [token for piece in pieces for token in piece.token_ids]
    assert [score.token_id for score in scores] == ids
    inputs = vlm._inputs([prompt])  # type: ignore[list-item]
    for number, (score, likeliest) in enumerate(zip(scores, alternatives, strict=True)):
        whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], torch.tensor([ids[:number]]).long()], dim=1)}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        with torch.inference_mode():
            expected = vlm.model(**whole).logits[0, -1].log_softmax(dim=-1).topk(3)
        assert likeliest[0] == score
        assert [one.token_id for one in likeliest] == expected.indices.tolist()
        assert [one.logprob for one in likeliest] == pytest.approx(expected.values.tolist(), abs=1e-2)


def test_stop_texts_and_ends(vlm: VLM, engine: Engine) -> None:
    prompt = ask(vlm, QUESTION, 1)
    request = Request(prompt=prompt, sampling=GREEDY)
    _, text, _ = answer(engine, request)[0]
    stop = text[len(text) // 2 :][:2]
    sampling = Sampling(temperature=0, max_tokens=12, stop=(stop,))
    _, shown, finish = answer(engine, Request(prompt=prompt, sampling=sampling))[0]
    assert shown == text[: text.index(stop)]
    assert finish.reason == "stop"
    end = min(Samplers(vlm.model, vlm.processor.tokenizer).ends)
    biased = Sampling(temperature=0, max_tokens=4, logit_bias={end: 1e4})
    assert answer(engine, Request(prompt=prompt, sampling=biased))[0][0] == [end]
    on = biased.model_copy(update={"ignore_eos": True})
    found, shown, finish = answer(engine, Request(prompt=prompt, sampling=on))[0]
    assert (found, shown, finish.reason) == ([end] * 4, "", "length")


SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["红", "blue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("place", [None, "qwen_vl/belle_vl_tiny", "visualcla_llava/visualcla_tiny/merged"])
def test_json_of_a_schema(vlm: VLM, place: str | None) -> None:
    pytest.importorskip("llguidance")
    if place is not None:
        if not (HERE / place).is_dir():
            pytest.skip("no ../shared/fixtures beside the repository")
        vlm = VLM(open_model(HERE / place, dtype=torch.float32))
    engine = open_engine(vlm, cache_tokens=2048)
    try:
        prompt = ask(vlm, QUESTION)
        for sampling in (
            Sampling(temperature=0, max_tokens=200, json_schema=SCHEMA),
            Sampling(temperature=1.0, seed=1, max_tokens=200, json_schema=SCHEMA, ignore_eos=True),
        ):
            _, text, finish = answer(engine, Request(prompt=prompt, sampling=sampling))[0]
            found = json.loads(text)
            assert set(found) == {"colour", "count"}
            assert found["colour"] in ("红", "blue")
            assert 0 <= found["count"] <= 99
            assert finish.reason == "stop"
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"logit_bias": {10**6: 1.0}}, "logit_bias: token 1000000"),
        ({"json_schema": {"type": "colour"}}, "json_schema: "),
        ({"json_schema": {"type": "string", "pattern": "(" * 40000}}, "json_schema: "),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(
    vlm: VLM, engine: Engine, sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(TuwenError, match=message) as refused:
        engine.submit(Request(prompt=ask(vlm, QUESTION), sampling=Sampling(**sampling)))
    assert "\n" not in str(refused.value)


def test_the_folders_length_holds_where_none_is_said(vlm: VLM, engine: Engine) -> None:
    defaults = vlm.model.generation_config
    before = defaults.max_new_tokens
    defaults.max_new_tokens = 3
    try:
        found, _, finish = answer(engine, Request(prompt=ask(vlm, QUESTION), sampling=Sampling(ignore_eos=True)))[0]
    finally:
        defaults.max_new_tokens = before
    assert (len(found), finish.reason) == (3, "length")
