"""Figures under the names that dashboards look for."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.serve.conftest import Running, Serving
from tests.serve.engines import ANSWER, ScriptedEngine


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
