"""Chat completions: what is asked reaches the engine, what it says reaches the client, in OpenAI's form."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.serve.conftest import MODEL, Running, Serving, body, data_url, events, image_part, png, text_part
from tests.serve.engines import ANSWER, ScriptedEngine
from tuwen.chat.messages import Image, Message
from tuwen.infer.vlm import Chatter

TEXT = "".join(ANSWER)


def test_an_answer_has_openais_form(running: Running) -> None:
    found = running.chat([text_part("这是什么?"), image_part(data_url(png()))]).json()
    assert found["object"] == "chat.completion"
    assert found["model"] == MODEL
    assert found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    assert choice == {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = found["usage"]
    prompt = running.engine.seen[0].prompt
    assert usage["prompt_tokens"] == len(prompt.rendered.input_ids)
    assert usage["completion_tokens"] == len(ANSWER)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2, "image_tokens": 16}


def test_pictures_stand_in_any_turn_where_they_were_put(running: Running, chatter: Chatter) -> None:
    red, blue = png(colour="red"), png(40, 40, "blue", "JPEG")
    messages = [
        {"role": "system", "content": "用中文回答。"},
        {"role": "user", "content": [text_part("先看"), image_part(data_url(red)), text_part("是什么?")]},
        {"role": "assistant", "content": "红色。", "refusal": None, "annotations": [], "tool_calls": None},
        {"role": "user", "content": [{"type": "image_url", "image_url": data_url(blue, "jpeg")}, text_part("这张呢?")]},
    ]
    reply = running.client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages})
    assert reply.status_code == 200, reply.text
    expected = chatter.encode(
        [
            Message.of("system", "用中文回答。"),
            Message.of("user", "先看", Image(), "是什么?"),
            Message.of("assistant", "红色。"),
            Message.of("user", Image(), "这张呢?"),
        ],
        [chatter.open(red), chatter.open(blue)],
    )
    found: Any = running.engine.seen[0].prompt
    assert found.rendered == expected.rendered
    assert np.array_equal(found.pixel_values, expected.pixel_values)  # type: ignore[attr-defined]


def test_a_stream_has_openais_form(running: Running) -> None:
    reply = running.chat(stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, last, done = events(reply.text)
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in [*chunks, last]} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in [*chunks, last]}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[1:-1]] == list(ANSWER[:-1])
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(ANSWER)
    plain = events(running.chat(stream=True).text)
    assert all("usage" not in chunk for chunk in plain[:-1])


def test_a_stream_is_sent_while_it_is_made(serving: Serving) -> None:
    engine = ScriptedEngine()
    engine.hold.set()
    with (
        serving(engine) as running,
        running.client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as reply,
    ):
        lines = reply.iter_lines()
        assert '"role":"assistant"' in next(lines)
        engine.hold.clear()
        assert any("图里" in line for line in lines)


def test_silence_is_filled_with_comments(serving: Serving) -> None:
    from tuwen.serve.limits import Limits

    with serving(ScriptedEngine(step_seconds=0.3), limits=Limits(keep_alive_seconds=0.05)) as running:
        text = running.chat(stream=True).text
    assert ": keep-alive\n\n" in text
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in events(text)[1:-2]]
    assert "".join(contents) == TEXT


def test_several_answers(running: Running) -> None:
    found = running.chat(n=3, seed=7).json()
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    assert [request.sampling.seed for request in running.engine.seen] == [7, 8, 9]
    assert found["usage"]["completion_tokens"] == 3 * len(ANSWER)
    assert found["usage"]["prompt_tokens"] == len(running.engine.seen[0].prompt.rendered.input_ids)
    chunks = events(running.chat(n=2, stream=True).text)[:-1]
    for index in range(2):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == TEXT
        assert own[-1]["finish_reason"] == "stop"


def test_logprobs_tell_every_token(running: Running) -> None:
    found = running.chat(logprobs=True, top_logprobs=2).json()
    tokens = found["choices"][0]["logprobs"]["content"]
    assert len(tokens) == found["usage"]["completion_tokens"]
    assert [token["logprob"] for token in tokens] == [-0.5 * place for place in range(1, len(ANSWER) + 1)]
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    assert all(bytes(token["bytes"]).decode("utf-8", "replace") == token["token"] for token in tokens)
    assert running.chat(logprobs=True, top_logprobs=None).json()["choices"][0]["logprobs"]["content"]
    streamed = events(running.chat(logprobs=True, stream=True).text)[1:-2]
    assert sum(len(chunk["choices"][0]["logprobs"]["content"]) for chunk in streamed) == len(ANSWER)


HONOURED: list[tuple[str, Any, str, Any]] = [
    ("max_tokens", 3, "max_tokens", 3),
    ("max_completion_tokens", 3, "max_tokens", 3),
    ("temperature", 0.5, "temperature", 0.5),
    ("temperature", 0, "temperature", 0),
    ("top_p", 0.5, "top_p", 0.5),
    ("top_k", 5, "top_k", 5),
    ("min_p", 0.1, "min_p", 0.1),
    ("seed", -5, "seed", -5),
    ("stop", "。", "stop", ("。",)),
    ("stop", ["。", "\n"], "stop", ("。", "\n")),
    ("logprobs", True, "logprobs", 0),
    ("logit_bias", {"5": -100}, "logit_bias", {5: -100}),
    ("presence_penalty", 0.5, "presence_penalty", 0.5),
    ("frequency_penalty", -0.5, "frequency_penalty", -0.5),
    ("repetition_penalty", 1.2, "repetition_penalty", 1.2),
    ("ignore_eos", True, "ignore_eos", True),
    ("response_format", {"type": "text"}, "json_schema", None),
    ("response_format", {"type": "json_object"}, "json_schema", {}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "cat", "schema": {"type": "object"}, "strict": True}},
        "json_schema",
        {"type": "object"},
    ),
]


@pytest.mark.parametrize(("name", "value", "field", "expected"), HONOURED)
def test_a_parameter_is_honoured(running: Running, name: str, value: Any, field: str, expected: Any) -> None:
    reply = running.chat(**{name: value})
    assert reply.status_code == 200, reply.text
    assert getattr(running.engine.seen[0].sampling, field) == expected
    assert running.chat(**{name: None}).status_code == 200
    assert running.engine.seen[1].sampling == type(running.engine.seen[1].sampling)()


def test_length_is_told(running: Running) -> None:
    found = running.chat(max_tokens=2).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["choices"][0]["message"]["content"] == "图里有"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []), ("tool_choice", "none"), ("store", False), ("metadata", {}), ("modalities", ["text"]),
        ("service_tier", "auto"), ("user", "me"), ("skip_special_tokens", True), ("n", 1), ("top_logprobs", 0),
    ],
)  # fmt: skip
def test_a_neutral_value_is_taken(running: Running, name: str, value: Any) -> None:
    assert running.chat(**{name: value}).status_code == 200


def test_every_declared_parameter_is_in_one_of_these_tests() -> None:
    from tuwen.serve.protocol import ChatRequest

    neutral = {"tools", "tool_choice", "store", "metadata", "modalities", "service_tier", "user", "skip_special_tokens"}
    elsewhere = {"model", "messages", "n", "stream", "stream_options", "top_logprobs"}
    assert set(ChatRequest.model_fields) == {name for name, *_ in HONOURED} | neutral | elsewhere


def test_models_and_version(running: Running) -> None:
    listed = running.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [MODEL]
    assert running.client.get(f"/v1/models/{MODEL}").json() == listed["data"][0]
    assert running.client.get("/v1/models/another").json()["error"]["code"] == "model_not_found"
    assert running.client.get("/version").json()["version"]
    assert running.client.get("/health").status_code == running.client.get("/ready").status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3, 2), (2000, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_pictures_of_any_size_and_kind_that_is_taken(running: Running, size: tuple[int, int], kind: str) -> None:
    reply = running.chat([image_part(data_url(png(*size, format=kind), kind.lower()))])
    assert reply.status_code == 200, reply.text


def test_pictures_are_seen_as_rgb(running: Running, chatter: Chatter) -> None:
    import io

    buffer = io.BytesIO()
    PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    running.chat([image_part(data_url(buffer.getvalue()))])
    white: Any = chatter.encode([Message.of("user", Image())], [chatter.open(png(8, 8, "white"))])
    found: Any = running.engine.seen[0].prompt
    assert np.array_equal(found.pixel_values, white.pixel_values)
