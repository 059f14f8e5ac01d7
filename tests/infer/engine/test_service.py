"""An engine refuses, cancels, drains, survives what goes wrong, and shares nothing across salts."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.infer.engine.conftest import GREEDY, answer, ask
from tuwen.config import TuwenError
from tuwen.infer import VLM
from tuwen.infer.engine.interface import Engine, EngineStopped, QueueFull, Request, Sampling
from tuwen.infer.engine.opening import open_engine

LONG = Sampling(temperature=0, max_tokens=1500, ignore_eos=True)


@pytest.fixture(params=[True, False], ids=["batching", "one by one"])
def small(request: pytest.FixtureRequest, vlm: VLM) -> Iterator[Engine]:
    """An engine with room for two in the queue."""
    engine = open_engine(
        vlm, batching=request.param, max_running=1, max_waiting=2, cache_tokens=2048, context=2048, block_tokens=4
    )
    yield engine
    engine.close()


def until(condition: Any, seconds: float = 30) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_queue_cancel_and_drain(vlm: VLM, small: Engine) -> None:
    prompt = ask(vlm, "什么?", 1)
    running = small.submit(Request(prompt=prompt, sampling=LONG))
    next(iter(running))
    waiting = [small.submit(Request(prompt=prompt, sampling=GREEDY)) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests wait already") as refused:
        small.submit(Request(prompt=prompt, sampling=GREEDY))
    assert 0 < refused.value.retry_after <= 120
    assert (small.status().running, small.status().waiting) == (1, 2)
    waiting[0].cancel()
    waiting[0].cancel()
    assert list(waiting[0]) == []
    assert waiting[0].finish is not None
    assert waiting[0].finish.reason == "cancelled"
    assert small.status().waiting == 1
    running.cancel()
    for _ in running:
        pass
    assert running.finish is not None
    assert running.finish.reason == "cancelled"
    assert running.finish.completion_tokens >= 1
    assert small.drain(60)
    assert waiting[1].finish is not None
    assert waiting[1].finish.reason in ("stop", "length")
    with pytest.raises(EngineStopped):
        small.submit(Request(prompt=prompt, sampling=GREEDY))
    assert small.status().cache_usage == 0


def test_drain_gives_up_in_the_end(vlm: VLM, small: Engine) -> None:
    tickets = [small.submit(Request(prompt=ask(vlm, "什么?"), sampling=LONG)) for _ in range(2)]
    assert not small.drain(0.05)
    assert [ticket.finish.reason for ticket in tickets if ticket.finish] == ["cancelled"] * 2


def test_close_ends_everything(vlm: VLM, small: Engine) -> None:
    tickets = [small.submit(Request(prompt=ask(vlm, "什么?"), sampling=LONG)) for _ in range(2)]
    small.close()
    for ticket in tickets:
        list(ticket)
        assert ticket.finish is not None
        assert ticket.finish.reason == "cancelled"
    assert not small.status().alive
    with pytest.raises(EngineStopped):
        small.submit(Request(prompt=ask(vlm, "什么?")))
    small.close()


def test_asyncio_readers_get_the_same(vlm: VLM, small: Engine) -> None:
    requests = [Request(prompt=ask(vlm, "什么?", 1), sampling=GREEDY), Request(prompt=ask(vlm, "红?"), sampling=GREEDY)]
    expected = [found[:2] for found in answer(small, *requests)]

    async def read(request: Request) -> tuple[list[int], str]:
        pieces = [piece async for piece in small.submit(request)]
        return [token for piece in pieces for token in piece.token_ids], "".join(piece.text for piece in pieces)

    async def both() -> list[tuple[list[int], str]]:
        return await asyncio.gather(*map(read, requests))

    assert asyncio.run(both()) == expected


def test_a_reader_that_goes_away_does_no_harm(vlm: VLM, small: Engine) -> None:
    async def leave() -> None:
        async for _ in small.submit(Request(prompt=ask(vlm, "什么?"), sampling=LONG.model_copy())):
            return

    asyncio.run(leave())
    small.drain(0)
    assert not small.status().running


def test_what_does_not_fit_is_refused(vlm: VLM, small: Engine) -> None:
    with pytest.raises(TuwenError, match=r"mine: the prompt has \d+ tokens, 1 to 2047 are possible"):
        small.submit(Request(prompt=ask(vlm, "什么? " * 2000), name="mine"))


def test_an_error_of_one_request_ends_that_one(vlm: VLM, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = ask(vlm, "什么?", 7), ask(vlm, "什么?", 8)
    expected = answer(engine, Request(prompt=good, sampling=GREEDY, salt=b"before"))[0][:2]
    encode, wrong = vlm.model.get_image_features, torch.from_numpy(bad.pixel_values[:1])  # type: ignore[attr-defined]

    def failing(pixels: torch.Tensor, *rest: Any, **named: Any) -> Any:
        if any(torch.equal(tile, wrong[0]) for tile in pixels):
            raise torch.OutOfMemoryError("at 0xdeadbeef in /home/secret")
        return encode(pixels, *rest, **named)

    monkeypatch.setattr(vlm.model, "get_image_features", failing)
    requests = [Request(prompt=prompt, sampling=GREEDY, name=name) for prompt, name in ((bad, "bad"), (good, "good"))]
    failed, other = answer(engine, *requests)
    assert failed[2].reason == "error"
    assert failed[2].error == "bad: out of memory"
    assert other[:2] == expected
    assert engine.status().alive


def test_an_error_of_a_step_ends_those_in_it(vlm: VLM, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = ask(vlm, "什么?", 7)
    with monkeypatch.context() as patch:
        patch.setattr(vlm.model.lm_head, "forward", lambda states: 1 / 0)
        (_, _, finish) = answer(engine, Request(prompt=prompt, sampling=GREEDY))[0]
    assert finish.error == "request: internal error (ZeroDivisionError)"
    assert answer(engine, Request(prompt=prompt, sampling=GREEDY))[0][2].error is None
    assert engine.status().cache_usage == 0


def test_numbers_that_are_none_do_not_spread(vlm: VLM) -> None:
    engine = open_engine(vlm, cache_tokens=128, block_tokens=4)
    bad, good = ask(vlm, "什么?"), ask(vlm, "图里有几个?", 1)
    expected = answer(engine, Request(prompt=good, sampling=GREEDY))[0][:2]
    embed = vlm.model.get_input_embeddings()
    with torch.no_grad():
        kept = embed.weight[0].clone()
        embed.weight[bad.rendered.input_ids[-1]], spoilt = torch.nan, embed.weight[bad.rendered.input_ids[-1]].clone()
    found = answer(engine, Request(prompt=bad, sampling=GREEDY))[0]
    with torch.no_grad():
        embed.weight[bad.rendered.input_ids[-1]] = spoilt
    assert torch.equal(kept, embed.weight[0])
    assert found[2].error == "request: the model gave scores that are no numbers"
    assert answer(engine, Request(prompt=good, sampling=GREEDY))[0][:2] == expected
    assert answer(engine, Request(prompt=bad, sampling=GREEDY))[0][2].error is None
    engine.close()


def test_a_dead_thread_is_noticed(vlm: VLM, small: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> bool:
        raise SystemExit

    monkeypatch.setattr(small, "_step", die)
    ticket = None
    with contextlib.suppress(EngineStopped):
        ticket = small.submit(Request(prompt=ask(vlm, "什么?")))
    until(lambda: not small.status().alive)
    with pytest.raises(EngineStopped, match="has died"):
        small.submit(Request(prompt=ask(vlm, "什么?")))
    assert ticket is None or (list(ticket) == [] and ticket.finish is not None and ticket.finish.reason == "error")


def test_nothing_is_shared_across_salts(vlm: VLM, engine: Engine) -> None:
    prompt = ask(vlm, "图里有什么?", 1)
    cached = [
        answer(engine, Request(prompt=prompt, sampling=GREEDY, salt=salt))[0][2].cached_tokens
        for salt in (b"a", b"b", b"a", b"b")
    ]
    assert cached[0] == cached[1] == 0
    assert cached[2] == cached[3] > vlm.processor.tokens_per_tile
    counts = engine.status().counts
    assert (counts["picture_queries"], counts["picture_hits"]) == (4, 2)


def test_an_equal_prompt_beside_it_is_computed_once(vlm: VLM, engine: Engine) -> None:
    request = Request(prompt=ask(vlm, "什么? " * 30, 1, 2), sampling=GREEDY)
    found = answer(engine, *[request] * 5)
    assert len({(tuple(tokens), text) for tokens, text, _ in found}) == 1
    assert sum(finish.cached_tokens > 0 for _, _, finish in found) == 4


def test_many_clients_that_come_and_go(vlm: VLM) -> None:
    engine = open_engine(vlm, cache_tokens=512, block_tokens=4, step_tokens=32, max_running=6, picture_cache_bytes=4096)
    prompts = [ask(vlm, "什么? " * place, *range(place % 3)) for place in range(6)]
    expected = [answer(engine, Request(prompt=prompt, sampling=GREEDY))[0][:2] for prompt in prompts]
    wrong: list[Any] = []

    def client(number: int) -> None:
        for turn in range(6):
            place = (number + turn) % len(prompts)
            ticket = engine.submit(Request(prompt=prompts[place], sampling=GREEDY, salt=bytes([turn % 2])))
            if (number + turn) % 4 == 0:
                ticket.cancel()
            pieces = list(ticket)
            if ticket.finish is not None and ticket.finish.reason != "cancelled":
                text = "".join(piece.text for piece in pieces)
                if text != expected[place][1]:
                    wrong.append((place, text))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    until(lambda: engine.status().running == 0)
    assert engine.status().cache_usage == 0
    engine.close()
