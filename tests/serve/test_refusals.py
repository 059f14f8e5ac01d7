"""Whatever is not honoured is refused, in OpenAI's form, by its name; nothing private is in any refusal."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from tests.serve.conftest import MODEL, Running, Serving, body, data_url, events, image_part, png, text_part
from tests.serve.engines import ScriptedEngine
from tuwen.serve.errors import scrub
from tuwen.serve.limits import Limits

PRIVATE = re.compile(r"0x[0-9a-f]|Traceback|/tmp|/home|/usr|/srv|site-packages|\.py|BytesIO")


def refusal(reply: Any, status: int) -> dict[str, Any]:
    """The error of a reply, which must have OpenAI's shape."""
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert list(reply.json()) == ["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert not PRIVATE.search(error["message"]), error["message"]
    return error


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"n": 0}, "n"),
        ({"n": 100}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"stop": []}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": 5}, "stop"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options.chunk"),
        ({"logprobs": 5}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {}, "description": "b"},
                }
            },
            "response_format.json_schema.description",
        ),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"functions": []}, "functions"),
        ({"store": True}, "store"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"skip_special_tokens": False}, "skip_special_tokens"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"mm_processor_kwargs": {"max_pixels": 10**9}}, "mm_processor_kwargs"),
        ({"prompt_embeds": "gASVAAAA"}, "prompt_embeds"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_a_parameter_is_refused_by_its_name(running: Running, values: dict[str, Any], param: str) -> None:
    error = refusal(running.chat(**values), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert not running.engine.seen


def test_the_nearest_parameter_is_named(running: Running) -> None:
    assert "'temperature'" in refusal(running.chat(temprature=1), 400)["message"]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x", "name": "me"}], "messages[0].name"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls"),
        ([{"role": "assistant", "content": "x"}], "messages"),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:", "detail": "high"}}]}],
            "messages[0].content[0].image_url.detail",
        ),
        ([{"role": "user", "content": "\ud800"}], "messages"),
    ],
)
def test_a_message_is_refused_by_its_place(running: Running, messages: Any, param: str) -> None:
    content = json.dumps({"model": MODEL, "messages": messages})
    reply = running.client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert refusal(reply, 400)["param"] == param


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "picture.png", "../../etc/passwd", "\\\\host\\share",
        "http://127.0.0.1/x.png", "https://example.com/x.png", "ftp://example.com/x.png", "gopher://x", "",
        "data:", "data:text/html;base64,PGI+", "data:image/png,abc", "data:image/png;base64,not base64!",
        "data:image/png;base64,iVBORw0KGgo=\n", "data:image/png;base64," + "A" * 77, "data:image/png;base64,",
        "data:image/tiff;base64,SUkqAAgAAAA=", "data:image/png;base64,iVBORw0KGgo=", "data:image/jpeg;base64,/9j/4AAQ",
        "data:image/x-portable-pixmap;base64,UDYgMSAxIDI1NQoAAAA=", "data:image/png;base64,JSFQUy1BZG9iZQ==",
    ],
)  # fmt: skip
@pytest.mark.parametrize("bare", [True, False])
def test_a_picture_that_is_none_is_refused_by_its_place(running: Running, url: str, bare: bool) -> None:
    part = {"type": "image_url", "image_url": url if bare else {"url": url}}
    error = refusal(running.chat([text_part("看"), part]), 400)
    assert error["param"] == "messages[0].content[1].image_url" + ("" if bare else ".url")
    assert not running.engine.seen


def test_a_broken_picture_is_refused_in_fixed_words(running: Running) -> None:
    whole = png(200, 200)
    messages = set()
    for end in range(8, len(whole) - 12, 23):
        error = refusal(running.chat([image_part(data_url(whole[:end]))]), 400)
        messages.add(error["message"].partition(": ")[2])
    assert messages <= {"the picture is broken or cut off.", "not a picture; expected PNG, JPEG, WebP, GIF or BMP."}
    assert running.chat().status_code == 200


def test_bodies_that_are_no_json(running: Running) -> None:
    def send(content: bytes, kind: str = "application/json") -> Any:
        return running.client.post("/v1/chat/completions", content=content, headers={"content-type": kind})

    assert refusal(send(b"{"), 400)["code"] == "invalid_json"
    assert refusal(send(b"[" * 100_000), 400)
    assert refusal(send(b"\xff\xfe"), 400)
    assert refusal(send(b""), 400)
    assert refusal(send(b"[]"), 400)
    assert refusal(send(b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":NaN}'), 400)
    assert refusal(send(b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":1e999}'), 400)
    assert refusal(send(b"{}", "text/plain"), 415)["code"] == "unsupported_media_type"
    assert refusal(send(b"a=b", "application/x-www-form-urlencoded"), 415)
    gzipped = {"content-type": "application/json", "content-encoding": "gzip"}
    assert refusal(running.client.post("/v1/chat/completions", content=b"x", headers=gzipped), 415)


def test_pages_and_methods_that_there_are_not(running: Running) -> None:
    assert refusal(running.client.get("/nothing"), 404)["type"] == "not_found_error"
    assert refusal(running.client.get("/v1/chat/completions"), 405)
    assert running.client.get("/v1/chat/completions").headers["allow"] == "POST"
    assert refusal(running.client.delete("/v1/models"), 405)
    assert refusal(running.client.post("/v1/models", json={}), 405)
    assert refusal(running.client.post("/v1/completions", json={}), 404)
    assert refusal(running.client.get("/docs"), 404)
    assert refusal(running.client.post("/v1/chat/completions", json=body() | {"model": "x"}), 404)["param"] == "model"


def test_what_is_no_http_is_refused_in_the_same_form(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    for junk in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(junk)
            reply = connection.makefile("rb").read()
        head, _, content = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(content)["error"]["code"] == "invalid_http"


@pytest.mark.parametrize(
    ("limits", "content", "code"),
    [
        ({"pictures": 1}, [image_part(data_url(png()))] * 2, "too_many_images"),
        ({"picture_bytes": 50}, [image_part(data_url(png(200, 200)))], "invalid_image"),
        ({"request_bytes": 150}, [image_part(data_url(png()))] * 4, "images_too_large"),
        ({"picture_pixels": 599}, [image_part(data_url(png()))], "invalid_image"),
        ({"picture_side": 29}, [image_part(data_url(png()))], "invalid_image"),
        ({"request_pixels": 1000}, [image_part(data_url(png()))] * 2, "images_too_large"),
        ({"prompt_tokens": 20}, [image_part(data_url(png()))] * 2, "prompt_too_long"),
        ({"prompt_tokens": 20}, "很长的问题" * 20, "prompt_too_long"),
        ({"characters": 10}, "很长的问题" * 20, "prompt_too_long"),
        ({"messages": 1}, None, "too_many_messages"),
    ],
)
def test_limits_are_checked_before_anything_is_decoded(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], content: Any, code: str
) -> None:
    with serving(limits=Limits(**limits)) as running:
        opened: list[bytes] = []
        monkeypatch.setattr(running.service.chatter, "open", lambda data: opened.append(data), raising=False)
        messages = [{"role": "user", "content": content}] if content else [{"role": "user", "content": "a"}] * 2
        reply = running.client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages})
        assert refusal(reply, 400)["code"] == code
        assert not opened


def test_a_bomb_is_refused_by_its_header(running: Running) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (7_000, 60_000, 2**31 - 1):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))
        assert "too large" in refusal(running.chat([image_part(data_url(bomb))]), 400)["message"]


def test_answers_and_schemas_have_limits(serving: Serving) -> None:
    with serving(limits=Limits(answer_tokens=4, schema_characters=50, choices=2)) as running:
        assert refusal(running.chat(max_tokens=5), 400)["param"] == "max_tokens"
        assert refusal(running.chat(n=3), 400)["param"] == "n"
        assert running.chat().json()["choices"][0]["finish_reason"] == "length"
        schema = {"name": "a", "schema": {"enum": ["b" * 100]}}
        error = refusal(running.chat(response_format={"type": "json_schema", "json_schema": schema}), 400)
        assert error["param"] == "response_format"


def test_what_the_engine_cannot_honour_is_refused(serving: Serving) -> None:
    with serving(ScriptedEngine(refuses="json_schema: 'pattern' is not supported, see /srv/models/x.py")) as running:
        error = refusal(running.chat(response_format={"type": "json_object"}), 400)
        assert error["message"] == "json_schema: 'pattern' is not supported, see …"


def test_a_failure_is_told_in_fixed_words(serving: Serving) -> None:
    with serving(ScriptedEngine(fails_after=2)) as running:
        error = refusal(running.chat(), 500)
        assert error == {
            "message": "The server met an error while it worked on this request.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
        *chunks, failure, done = events(running.chat(stream=True).text)
        assert done == "[DONE]"
        assert failure == {"error": error}
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "图里有"


def test_a_failure_in_the_server_itself_is_told_in_fixed_words(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as running:
        monkeypatch.setattr(running.engine, "submit", lambda request: 1 / 0)
        assert refusal(running.chat(), 500)["code"] == "internal_error"
        monkeypatch.undo()
        assert running.chat().status_code == 200


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("cannot identify <_io.BytesIO object at 0x7f12ab34>", "cannot identify <_io.BytesIO object at …>"),
        ("/home/me/model/config.json: broken", "…: broken"),
        ("in ~/models/x and C:\\Users\\me\\x", "in … and …"),
        ("either a/b or 3/4, see https://example.com/a/b", "either a/b or 3/4, see https://example.com/a/b"),
        ("two\nlines", "two lines"),
    ],
)
def test_messages_are_scrubbed(message: str, expected: str) -> None:
    assert scrub(message) == expected
