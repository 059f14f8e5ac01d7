"""Programs that speak OpenAI's API speak to this server as they are; and its own document of itself is true."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import BaseModel

from tests.serve.conftest import KEY, MODEL, Running, Serving, body, data_url, events, image_part, png, text_part
from tests.serve.engines import ANSWER, ScriptedEngine

TEXT = "".join(ANSWER)
PICTURE = data_url(png())


def ask(**values: Any) -> dict[str, Any]:
    return body([text_part("这是什么?"), image_part(PICTURE)], **values)


def test_openais_client(serving: Serving) -> None:
    with serving(keys=[KEY]) as running, openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY) as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "tuwen"
        answer = client.chat.completions.create(**ask(logprobs=True, top_logprobs=1, seed=3, stop=["x"]))
        assert answer.choices[0].message.content == TEXT
        assert answer.choices[0].logprobs is not None
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 2
        # What it got back can be sent again as it is.
        again = [*ask()["messages"], answer.choices[0].message, {"role": "user", "content": "然后呢?"}]
        assert client.chat.completions.create(model=MODEL, messages=again).choices[0].finish_reason == "stop"
        stream = client.chat.completions.create(**ask(stream=True, stream_options={"include_usage": True}))
        chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == len(ANSWER)


def test_openais_client_without_waiting(running: Running) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none") as client:

            async def one() -> str:
                stream = await client.chat.completions.create(**ask(stream=True))
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one() for _ in range(5)))

    assert asyncio.run(run()) == [TEXT] * 5


def test_openais_client_understands_refusals(serving: Serving) -> None:
    engine = ScriptedEngine(max_queue=1)
    engine.hold.set()
    with serving(engine, keys=[KEY]) as running:
        url = f"{running.url}/v1"
        stranger = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(**ask(extra_body={"top_k": 0}))
            assert refused.value.param == "top_k"
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(**{**ask(), "model": "other"})
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**ask(n=2))
            running.engine.max_queue = 5
            stream = client.chat.completions.create(**ask(stream=True))
            running.engine.fails_after = 1
            engine.hold.clear()
            with pytest.raises(openai.APIError, match="The server met an error"):
                list(stream)


def test_openais_client_asks_for_types(serving: Serving) -> None:
    class Cat(BaseModel):
        colour: str
        legs: int

    said = ('{"colour":', ' "black",', ' "legs": 4}', "")
    with serving(ScriptedEngine(lambda request: said)) as running:
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
            parsed = client.chat.completions.parse(**ask(), response_format=Cat)
        assert parsed.choices[0].message.parsed == Cat(colour="black", legs=4)
        assert running.engine.seen[0].sampling.json_schema["required"] == ["colour", "legs"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(running: Running, tmp_path: Path) -> None:
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    page = f"{running.url}/v1/chat/completions"
    (tmp_path / "body.json").write_text(json.dumps(ask()), encoding="utf-8")
    sent = ["--header", "Content-Type: application/json", "--data", f"@{tmp_path / 'body.json'}"]
    assert json.loads(curl(page, *sent))["choices"][0]["message"]["content"] == TEXT
    (tmp_path / "body.json").write_text(json.dumps(ask(stream=True)), encoding="utf-8")
    assert events(curl("--no-buffer", page, *sent))[-1] == "[DONE]"
    # curl waits for leave to send what is large.
    large = [*sent, "--header", "Expect: 100-continue"]
    assert events(curl(page, *large))[-1] == "[DONE]"
    assert json.loads(curl(page, "--data", "{}"))["error"]["code"] == "unsupported_media_type"


def test_langchain(running: Running) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    chat = langchain_openai.ChatOpenAI(model=MODEL, base_url=f"{running.url}/v1", api_key="none", temperature=0)
    messages = [("system", "用中文回答。"), ("user", [text_part("这是什么?"), image_part(PICTURE)])]
    answer = chat.invoke(messages)
    assert answer.content == TEXT
    assert answer.usage_metadata["output_tokens"] == len(ANSWER)
    assert "".join(chunk.content for chunk in chat.stream(messages)) == TEXT


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_document_of_the_api_is_true(serving: Serving, mode: str) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    with serving(ScriptedEngine(max_queue=100)) as running:
        document = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        operations = [operation.ok() for operation in document.get_all_operations()]
        met: dict[str, set[int]] = {operation.path: set() for operation in operations}
        for operation in operations:
            if mode == "negative" and not list(operation.body):
                continue

            @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
            @settings(max_examples=60, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            def holds(case: Any) -> None:
                if mode == "positive" and isinstance(case.body, dict):
                    case.body["model"] = MODEL
                reply = case.call()
                met[case.operation.path].add(reply.status_code)
                # Whether a text is a picture, or two settings contradict each other, no schema can say.
                case.validate_response(reply, excluded_checks=[positive_data_acceptance])

            holds()
    expected = {200} if mode == "positive" else {400}
    assert met["/v1/chat/completions"] & {200, 400} >= expected
    assert len(met) == 7


def test_the_document_tells_every_parameter_and_refusal(running: Running) -> None:
    document = running.client.get("/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {"200", "400", "401", "404", "408", "413", "415", "429", "500", "503"} <= set(chat["responses"])
    assert "422" not in chat["responses"]
    assert "text/event-stream" in chat["responses"]["200"]["content"]
    request = document["components"]["schemas"]["ChatRequest"]
    assert request["additionalProperties"] is False
    assert request["required"] == ["model", "messages"]
