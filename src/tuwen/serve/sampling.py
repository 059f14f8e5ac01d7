"""From the parameters of a request to the engine's ``Sampling``; what cannot be honoured is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tuwen.infer.engine.interface import Sampling
from tuwen.serve.errors import bad_request
from tuwen.serve.limits import Limits
from tuwen.serve.protocol import ChatRequest, JsonFormat, SchemaFormat


def read_sampling(body: ChatRequest, limits: Limits, vocabulary: int) -> list[Sampling]:
    """How each of the ``n`` answers is sampled.

    Args:
        body: the request.
        limits: on answers.
        vocabulary: tokens that the model has.

    Raises:
        ApiError: naming the parameter, for what contradicts another or a limit.
    """
    count = body.n or 1
    if count > limits.choices:
        raise bad_request(f"n: {count} answers; at most {limits.choices} are given.", "n")
    if body.stream_options is not None and not body.stream:
        raise bad_request("stream_options: only for `stream: true`.", "stream_options")
    if body.top_logprobs and not body.logprobs:
        raise bad_request("top_logprobs: only with `logprobs: true`.", "top_logprobs")
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    schema = _schema(body, limits)
    common = {
        "max_tokens": _most_tokens(body, limits),
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "stop": tuple(stop),
        "ignore_eos": bool(body.ignore_eos),
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
        "logit_bias": _biases(body, vocabulary),
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "repetition_penalty": body.repetition_penalty,
        "json_schema": schema,
    }
    # Answers to one request differ by their seeds.
    seeds = [None if body.seed is None else body.seed + place for place in range(count)]
    return [Sampling.model_validate({**common, "seed": seed}) for seed in seeds]


def _most_tokens(body: ChatRequest, limits: Limits) -> int | None:
    names = ("max_completion_tokens", "max_tokens")
    said = {name: value for name in names if (value := getattr(body, name)) is not None}
    if len(set(said.values())) > 1:
        raise bad_request("max_tokens: contradicts max_completion_tokens; give one of them.", "max_tokens")
    for name, value in said.items():
        if limits.answer_tokens is not None and value > limits.answer_tokens:
            raise bad_request(f"{name}: {value:,}; answers have at most {limits.answer_tokens:,} tokens.", name)
    return next(iter(said.values()), limits.answer_tokens)


def _biases(body: ChatRequest, vocabulary: int) -> dict[int, float]:
    biases = {int(token): bias for token, bias in (body.logit_bias or {}).items()}
    if unknown := [token for token in biases if token >= vocabulary]:
        raise bad_request(f"logit_bias: {unknown[0]} is no token; there are {vocabulary:,}.", "logit_bias")
    return biases


def _schema(body: ChatRequest, limits: Limits) -> Mapping[str, object] | None:
    if isinstance(body.response_format, JsonFormat):
        return {}
    if not isinstance(body.response_format, SchemaFormat):
        return None
    schema = body.response_format.json_schema.schema_
    if len(json.dumps(schema)) > limits.schema_characters:
        raise bad_request(
            f"response_format: the schema has more than {limits.schema_characters:,} characters.", "response_format"
        )
    return schema
