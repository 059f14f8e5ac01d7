"""Figures for Prometheus, under the names by which vLLM's dashboards know them, with `tuwen` in place of `vllm`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tuwen.infer.engine.interface import EngineStatus, Finish

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABELS = ("model_name",)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
NEXT_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
WHOLE = (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
# The engine's own counts: names there, names here, and what they are.
_COUNTS = {
    "prompt_tokens": ("prefix_cache_queries", "Tokens of prompts that were looked for in the cache."),
    "cached_prompt_tokens": ("prefix_cache_hits", "Tokens of prompts that were found in the cache."),
    "picture_queries": ("mm_cache_queries", "Pictures that were looked for in the cache."),
    "picture_hits": ("mm_cache_hits", "Pictures that were found in the cache."),
    "steps": ("engine_steps", "Steps of the engine."),
}


class Metrics:
    """All figures of one server.

    Args:
        model: its name, the label of every figure.
        status: the engine's, asked when figures are read.
    """

    def __init__(self, model: str, status: Callable[[], EngineStatus]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineFigures(model, status))
        ProcessCollector(registry=self._registry)
        self._refusals = self._counter("admission_rejections", "Requests refused, by reason.", "reason")
        self._finished = self._counter("request_success", "Answers, by how they ended.", "finished_reason")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.").labels(model)
        self._generated = self._counter("generation_tokens", "Tokens of answers.").labels(model)
        self._first = self._histogram("time_to_first_token_seconds", "From request to first token.", FIRST_TOKEN, model)
        self._next = self._histogram("inter_token_latency_seconds", "From one token to the next.", NEXT_TOKEN, model)
        self._whole = self._histogram("e2e_request_latency_seconds", "From request to end of answer.", WHOLE, model)
        self._prompts = self._histogram("request_prompt_tokens", "Tokens of a prompt.", TOKENS, model)
        self._answers = self._histogram("request_generation_tokens", "Tokens of an answer.", TOKENS, model)
        self._model = model

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tuwen:{name}", text, (*LABELS, *labels), registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], model: str) -> Histogram:
        figure = Histogram(f"tuwen:{name}", text, LABELS, buckets=buckets, registry=self._registry)
        return figure.labels(model)

    def refused(self, reason: str) -> None:
        """Count a request that was refused."""
        self._refusals.labels(self._model, reason).inc()

    def left(self, count: int) -> None:
        """Count answers whose client went before they were begun."""
        self._finished.labels(self._model, "cancelled").inc(count)

    def text(self) -> bytes:
        """All figures, in Prometheus' text form."""
        return generate_latest(self._registry)

    def answer(self, arrival: float) -> AnswerTimes:
        """Follows one answer to a request that arrived at ``arrival``, by ``time.perf_counter``."""
        return AnswerTimes(self, arrival)


class AnswerTimes:
    """When the tokens of one answer came."""

    def __init__(self, metrics: Metrics, arrival: float) -> None:
        self._metrics, self._arrival = metrics, arrival
        self._last: float | None = None
        self._ended = False

    def tokens(self, count: int) -> None:
        """So many came now."""
        if not count:
            return
        now = time.perf_counter()
        if self._last is None:
            self._metrics._first.observe(now - self._arrival)
        else:
            for _ in range(count):
                self._metrics._next.observe((now - self._last) / count)
        self._last = now

    def finish(self, finish: Finish) -> None:
        """The answer has ended."""
        metrics, self._ended = self._metrics, True
        metrics._finished.labels(metrics._model, finish.reason).inc()
        metrics._prompt.inc(finish.prompt_tokens)
        metrics._generated.inc(finish.completion_tokens)
        metrics._prompts.observe(finish.prompt_tokens)
        metrics._answers.observe(finish.completion_tokens)
        metrics._whole.observe(time.perf_counter() - self._arrival)

    def given_up(self) -> None:
        """Nobody follows the answer any more."""
        if not self._ended:
            self._ended = True
            self._metrics.left(1)


class _EngineFigures(Collector):
    """What the engine says of itself, asked for when figures are read."""

    def __init__(self, model: str, status: Callable[[], EngineStatus]) -> None:
        self._model, self._status = model, status

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        gauges = {
            "num_requests_running": ("Requests that are being answered.", float(status.running)),
            "num_requests_waiting": ("Requests in the queue.", float(status.waiting)),
            "kv_cache_usage_perc": ("Share of the places for keys and values in use, 0 to 1.", status.cache_usage),
            "engine_alive": ("Whether the engine can answer.", float(status.alive)),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"tuwen:{name}", text, labels=LABELS)
            gauge.add_metric([self._model], value)
            yield gauge
        for key, (name, text) in _COUNTS.items():
            counter = CounterMetricFamily(f"tuwen:{name}", text, labels=LABELS)
            counter.add_metric([self._model], status.counts.get(key, 0))
            yield counter
