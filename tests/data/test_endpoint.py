"""The client of endpoints: what passes is waited for, what does not ends the run, and no more is asked than allowed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.endpoint_server import Answer, EndpointServer, completion, failure
from tuwen.config import TuwenError
from tuwen.data.endpoint.client import Endpoint, EndpointError, EndpointLimits, RequestError, bounded_map, read_api_key
from tuwen.data.endpoint.pace import Pace, asked_wait
from tuwen.data.endpoint.reply import MalformedReplyError, Reply, parse_reply
from tuwen.data.endpoint.reply_cache import ReplyCache

pytest.importorskip("openai")

QUICK = EndpointLimits(first_wait=0.001, timeout=20)
HELLO = [{"role": "user", "content": "hello"}]
Result = TypeVar("Result")


def talk(
    server: EndpointServer | str,
    ask: Callable[[Endpoint], Awaitable[Result]],
    limits: EndpointLimits = QUICK,
    api_key: str | None = None,
) -> Result:
    """What ``ask`` does with an endpoint."""

    async def run() -> Result:
        url = server if isinstance(server, str) else server.url
        async with Endpoint(url, "asked", api_key=api_key, limits=limits) as endpoint:
            return await ask(endpoint)

    return asyncio.run(run())


def one(server: EndpointServer | str, limits: EndpointLimits = QUICK, **settings: Any) -> Reply:
    """The reply to a single request."""
    return talk(server, lambda endpoint: endpoint.chat(HELLO), limits, **settings)


def always(answer: Answer) -> Callable[[Any], Answer]:
    """The same answer to every request."""
    return lambda request: answer


def test_a_reply_is_text_reason_usage_and_model() -> None:
    with EndpointServer(always(completion("good day"))) as server:
        reply = talk(server, lambda endpoint: endpoint.chat(HELLO, model="other", temperature=0.5, top_k=3))
    assert (reply.text, reply.finish_reason, reply.model, reply.problem) == ("good day", "stop", "served", "")
    assert (reply.usage.prompt, reply.usage.completion) == (100, 10)
    assert reply.usage.cost(2.0, 10.0) == pytest.approx(0.0003)
    assert server.requests == [{"messages": HELLO, "model": "other", "temperature": 0.5, "top_k": 3}]


WHOLE = completion("at last").body


@pytest.mark.parametrize(
    "answer",
    [
        failure(429, "slow down", Retry_After="0"),
        failure(429, "slow down", retry_after_ms="1"),
        failure(500, "broken"),
        failure(503),
        failure(408),
        Answer(b"<html>Bad Gateway</html>", 502, {"Content-Type": "text/html"}),
        Answer(b"{'choices': [}"),
        Answer(WHOLE[:-20]),
        Answer(WHOLE, sent=30),
        Answer(WHOLE, sent=0),
        Answer(b'{"choices": []}'),
        Answer(b'{"choices": [{"message": null}]}'),
        Answer(b'{"error": {"code": 502, "message": "upstream"}}'),
        Answer(b"null"),
        Answer(b"[" * 100_000),
        completion("", "error"),
    ],
    ids=lambda answer: f"{answer.status}-{answer.body[:24]!r}-{answer.sent}",
)
def test_what_passes_is_asked_again(answer: Answer) -> None:
    with EndpointServer(always(completion("at last")), [answer, answer]) as server:

        async def ask(endpoint: Endpoint) -> tuple[str, int]:
            return (await endpoint.chat(HELLO)).text, endpoint.retried

        assert talk(server, ask) == ("at last", 2)
    assert len(server.requests) == 3


@pytest.mark.parametrize("slow", [completion("late", wait=3), Answer(WHOLE, dribble=0.1)], ids=["late", "dribbling"])
def test_a_reply_that_takes_too_long_is_given_up_and_asked_again(slow: Answer) -> None:
    with EndpointServer(always(completion("at last")), [slow]) as server:
        assert one(server, QUICK.model_copy(update={"timeout": 0.5})).text == "at last"
    assert len(server.requests) == 2


def test_the_wait_that_is_asked_for_holds_for_all_requests() -> None:
    async def ask(endpoint: Endpoint) -> None:
        await asyncio.gather(*(endpoint.chat(HELLO) for _ in range(6)))

    script = [failure(429, "wait", Retry_After="0.4"), completion("yes", wait=0.1)]
    with EndpointServer(always(completion("yes")), script) as server:
        talk(server, ask, QUICK.model_copy(update={"concurrency": 2}))
    # Two were under way; the place that the second left was not taken before the wait was over.
    assert len(server.requests) == 7
    assert server.arrivals[2] - server.arrivals[0] >= 0.4


def test_the_wait_holds_for_requests_that_had_their_place_already() -> None:
    async def ask(endpoint: Endpoint) -> None:
        await asyncio.gather(*(endpoint.chat(HELLO) for _ in range(4)))

    limits = QUICK.model_copy(update={"requests_per_minute": 60 / 0.2})
    with EndpointServer(always(completion("yes")), [failure(429, "wait", Retry_After="0.9")]) as server:
        talk(server, ask, limits)
    # The others were due 0.2 s apart.
    assert len(server.requests) == 5
    assert sum(arrival - server.arrivals[0] < 0.9 for arrival in server.arrivals) < 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (failure(401, "Incorrect API key"), "HTTP 401: Incorrect API key; check the API key"),
        (failure(404, "no model asked"), "HTTP 404: no model asked; check --endpoint"),
        (failure(402, "no credit"), "HTTP 402: no credit"),
        (failure(403, "not allowed"), "HTTP 403: not allowed"),
        (failure(429, "insufficient_quota"), "insufficient_quota"),
        (failure(429, "tomorrow", Retry_After="86400"), "asks to wait 86,400 s"),
        (Answer(b"", 308, {"Location": "http://127.0.0.1:9/v1/chat/completions"}), "leads elsewhere"),
    ],
)
def test_what_does_not_pass_ends_the_run_at_once_in_one_line(answer: Answer, said: str) -> None:
    with EndpointServer(always(answer)) as server, pytest.raises(EndpointError) as refusal:
        one(server)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(server.requests) == 1


def test_what_concerns_one_request_is_said_of_that_request() -> None:
    async def ask(endpoint: Endpoint) -> list[str]:
        await endpoint.chat(HELLO)
        said = []
        for _ in range(3):
            with pytest.raises(RequestError) as refusal:
                await endpoint.chat(HELLO)
            said.append(str(refusal.value))
        return said

    script = [completion("first"), failure(400, "picture too large"), failure(403, "flagged"), failure(413)]
    with EndpointServer(always(failure(500)), script) as server:
        said = talk(server, ask)
    assert said == ["HTTP 400: picture too large", "HTTP 403: flagged", "HTTP 413"]


def test_retries_come_to_an_end() -> None:
    with (
        EndpointServer(always(failure(500, "broken"))) as server,
        pytest.raises(RequestError, match=r"broken.*3 tries"),
    ):
        one(server, QUICK.model_copy(update={"retries": 2}))
    assert len(server.requests) == 3


def test_an_address_that_nobody_answers_is_given_up_early() -> None:
    with EndpointServer(always(completion(""))) as server:
        url = server.url
    with pytest.raises(EndpointError, match=r"connection: .*check that it is the endpoint's URL"):
        one(url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "localhost:8000", "http://", "ftp://host/v1", "http://host:x/v1", "http://ho st/v1", "",
     "http://host/v1/chat/completions", "https://host/v1?api-version=1", "https://host/v1#x"],
)  # fmt: skip
def test_only_the_base_of_an_http_endpoint_is_taken(url: str) -> None:
    with pytest.raises(EndpointError):
        Endpoint(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(EndpointError) as refusal:
        Endpoint("https://me:secret-word@host/v1")
    assert "secret-word" not in str(refusal.value)


def test_a_redirect_gets_neither_key_nor_text() -> None:
    with EndpointServer(always(completion("stolen"))) as elsewhere:
        moved = Answer(b"", 307, {"Location": f"{elsewhere.url}/chat/completions"})
        with EndpointServer(always(moved)) as server, pytest.raises(EndpointError):
            one(server, api_key="sk-secret")
    assert elsewhere.requests == []
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


def test_the_key_is_never_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    script = [failure(500, "bad key sk-secret"), failure(401, "bad key sk-secret")]
    with EndpointServer(always(completion("")), script) as server, pytest.raises(EndpointError) as refusal:
        one(server, api_key="sk-secret")
    assert "bad key ***" in str(refusal.value)
    assert "sk-secret" not in caplog.text


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert (read_api_key(file), read_api_key()) == ("from-file", "from-environment")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert read_api_key() is None
    for wrong in ("", "two words", "two\nlines", "clé"):
        file.write_text(wrong)
        with pytest.raises(TuwenError, match="expected an API key") as refusal:
            read_api_key(file)
        assert not wrong or wrong not in str(refusal.value)
    with pytest.raises(TuwenError, match="cannot be read"):
        read_api_key(tmp_path / "missing")


def test_no_more_requests_at_once_than_allowed() -> None:
    async def ask(endpoint: Endpoint) -> None:
        await asyncio.gather(*(endpoint.chat(HELLO) for _ in range(24)))

    with EndpointServer(always(completion("yes", wait=0.03))) as server:
        talk(server, ask, QUICK.model_copy(update={"concurrency": 5}))
    assert len(server.requests) == 24
    assert server.most_parallel == 5


# --- when requests may start ---


@given(
    per_minute=st.floats(1, 10_000),
    steps=st.lists(st.floats(0, 30), min_size=2, max_size=40),
    pause=st.floats(0, 300),
)
def test_no_minute_holds_more_requests_than_allowed(per_minute: float, steps: list[float], pause: float) -> None:
    pace, now, starts = Pace(per_minute), 0.0, []
    for number, step in enumerate(steps):
        now += step
        if number == 1:
            pace.pause(now + pause)
        starts.append(now + pace.wait(now))
        assert number < 1 or starts[-1] >= sum(steps[:2]) + pause - 1e-6
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) >= 60.0 / per_minute - 1e-6


def test_without_a_limit_requests_start_at_once() -> None:
    pace = Pace(None)
    assert [pace.wait(5.0) for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
    ],
)
def test_the_wait_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, now=60.0) == seconds


# --- replies ---


def reply_of(text: Any, finish_reason: str | None = "stop", **message: Any) -> Reply:
    choice = {"message": {"content": text, **message}, "finish_reason": finish_reason}
    return parse_reply(json.dumps({"choices": [choice]}).encode(), "asked")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (reply_of("a cat"), ""),
        (reply_of("a cat", None), ""),
        (reply_of([{"type": "text", "text": "a cat"}]), ""),
        (reply_of("a c", "length"), "cut off"),
        (reply_of(""), "empty"),
        (reply_of(" \n"), "empty"),
        (reply_of(None), "empty"),
        (reply_of(None, refusal="I will not"), "refused: I will not"),
        (reply_of("a", "content_filter"), "refused"),
        (reply_of("<think>hm</think>\n\na cat"), ""),
        (reply_of("<think>hm</think>"), "empty"),
        (reply_of("<think>hm, it could be"), "cut off"),
    ],
)
def test_a_reply_says_what_is_wrong_with_it(reply: Reply, problem: str) -> None:
    assert reply.problem.startswith(problem)
    assert bool(reply.problem) == bool(problem)
    assert problem or reply.text == "a cat"
    assert (reply.usage.prompt, reply.model) == (0, "asked")


def test_a_reply_is_kept_as_it_came(tmp_path: Path) -> None:
    reply = reply_of(" <think>hm</think>\n\na cat \n")
    with ReplyCache(tmp_path / "cache.jsonl") as cache:
        asyncio.run(cache.add("key", reply))
    with ReplyCache(tmp_path / "cache.jsonl") as cache:
        assert cache.get("key") == reply
    assert json.loads((tmp_path / "cache.jsonl").read_bytes())["text"] == reply.raw == " <think>hm</think>\n\na cat \n"
    assert reply.text == "a cat"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "error", "code", "usage", "finish_reason", "prompt_tokens"]),
        inner,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_back_is_a_reply_or_malformed(body: bytes) -> None:
    with suppress(MalformedReplyError):
        reply = parse_reply(body, "asked")
        assert isinstance(reply.text, str)
        assert isinstance(reply.problem, str)


# --- many at a time ---


async def gathered(results: AsyncIterator[tuple[int, int]]) -> list[tuple[int, int]]:
    return [result async for result in results]


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 7), st.booleans())
def test_a_bounded_map_gives_every_result_once(delays: list[int], limit: int, ordered: bool) -> None:
    under_way = most = 0

    async def slow(place: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(delays[place]):
            await asyncio.sleep(0)
        under_way -= 1
        return place * place

    results = asyncio.run(gathered(bounded_map(slow, range(len(delays)), limit=limit, ordered=ordered)))
    assert sorted(results) == [(place, place * place) for place in range(len(delays))]
    assert not ordered or results == sorted(results)
    assert most <= limit


def test_leaving_a_bounded_map_cancels_what_is_under_way_and_takes_no_more() -> None:
    taken, ended = [], []

    def items() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    async def wait(number: int) -> int:
        try:
            if number == 2:
                raise TuwenError("no")
            await asyncio.sleep(30 if number else 0)
        finally:
            ended.append(number)
        return number

    with pytest.raises(TuwenError, match="no"):
        asyncio.run(gathered(bounded_map(wait, items(), limit=4, ordered=False)))
    assert len(taken) <= 8
    assert sorted(ended) == taken
