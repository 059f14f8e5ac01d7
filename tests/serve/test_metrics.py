"""Figures under the names that dashboards look for."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.conftest import Running, Serving
from tests.serve.engines import ANSWER, ScriptedEngine
from tuwen.serve.answering import Answering
from tuwen.serve.tokens import TokenNames


def figures(running: Running) -> dict[str, float]:
    reply = running.client.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [sample for family in text_string_to_metric_families(reply.text) for sample in family.samples]
    assert all(sample.labels["model_name"] == "tiny" for sample in samples if sample.name.startswith("tuwen:"))
    return {
        ",".join([sample.name, *(v for k, v in sorted(sample.labels.items()) if k not in ("model_name", "le"))]): value
        for sample in samples
        for value in [sample.value]
    }


def test_answers_and_refusals_are_counted(serving: Serving) -> None:
    with serving(ScriptedEngine(fails_after=None)) as running:
        running.chat()
        running.chat(stream=True, max_tokens=2)
        running.chat(temperature=9)
        running.client.get("/nothing")
        found = figures(running)
        prompt = len(running.engine.seen[0].prompt.rendered.input_ids)
        assert found["tuwen:prompt_tokens_total"] == 2 * prompt
        assert found["tuwen:generation_tokens_total"] == len(ANSWER) + 2
        assert found["tuwen:request_success_total,stop"] == found["tuwen:request_success_total,length"] == 1
        assert found["tuwen:admission_rejections_total,invalid_value"] == 1
        assert found["tuwen:admission_rejections_total,not_found"] == 1
        assert found["tuwen:time_to_first_token_seconds_count"] == 2
        assert found["tuwen:inter_token_latency_seconds_count"] == len(ANSWER) + 2 - 2
        assert found["tuwen:e2e_request_latency_seconds_count"] == 2
        assert found["tuwen:request_prompt_tokens_sum"] == 2 * prompt
        assert found["process_resident_memory_bytes"] > 0


def test_the_engine_is_asked_when_figures_are_read(serving: Serving) -> None:
    engine = ScriptedEngine(slots=1)
    with serving(engine) as running:
        assert figures(running)["tuwen:num_requests_waiting"] == 0
        engine.hold.set()
        engine.submit(_request(running))
        found = figures(running)
        assert (found["tuwen:num_requests_waiting"], found["tuwen:num_requests_running"]) == (1, 0)
        assert (found["tuwen:mm_cache_queries_total"], found["tuwen:mm_cache_hits_total"]) == (5, 3)
        assert found["tuwen:kv_cache_usage_perc"] == 0
        assert found["tuwen:engine_alive"] == 1
        engine.hold.clear()


def _request(running: Running):  # type: ignore[no-untyped-def]
    from tuwen.chat.messages import Message
    from tuwen.infer.engine.interface import Request

    return Request(prompt=running.service.chatter.encode([Message.of("user", "x")], []))


@pytest.mark.parametrize("begun", [True, False])
def test_answers_that_nobody_waits_for_are_counted_once_begun_or_not(serving: Serving, begun: bool) -> None:
    engine = ScriptedEngine()
    with serving(engine) as running:
        engine.hold.set()
        service = running.service
        answering = Answering(
            tickets=[engine.submit(_request(running)) for _ in range(2)],
            model=service.model,
            names=TokenNames(service.chatter.processor.tokenizer),
            wants_logprobs=False,
            metrics=service.metrics,
            arrival=time.perf_counter(),
            retry_after=1,
        )

        async def leave() -> None:
            events = answering.events(False)
            if begun:
                await anext(events)
                await anext(events)
                waiting = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0.01)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await events.aclose()

        asyncio.run(leave())
        answering.give_up()
        answering.give_up()
        assert figures(running)["tuwen:request_success_total,cancelled"] == 2
        engine.hold.clear()
