"""Data translated through an endpoint: nothing lost, nothing asked twice, nothing bad kept."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.data.endpoint_server import Answer, Body, EndpointServer, completion, failure, texts_of
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.asking.answers import AskingOptions
from tuwen.data.asking.run import Report
from tuwen.data.asking.translate import translate
from tuwen.data.dataset import open_data, write_data
from tuwen.data.endpoint.client import EndpointError, EndpointLimits
from tuwen.data.endpoint.reply_cache import ReplyCache
from tuwen.data.sample import Sample

pytest.importorskip("openai")

MODEL = "translator"


def chinese(text: str) -> str:
    """A translation of sorts: every word becomes one, marks, numbers and letters of options stay."""
    return re.sub(r"[A-Za-z]{2,}|\b[aI]\b", "词", text)


def translated(request: Body) -> Answer:
    """What a good translator answers."""
    values = json.loads(texts_of(request))
    return completion(json.dumps({key: chinese(value) for key, value in values.items()}, ensure_ascii=False))


def conversation(name: str, *turns: str) -> Sample:
    """Turns of user and assistant, the first about a picture."""
    roles = ("user", "assistant")
    messages = [
        Message.of(roles[place % 2], *([Image()] if not place else []), turn) for place, turn in enumerate(turns)
    ]
    return Sample(id=name, messages=tuple(messages), images=(Path(f"{name}.png"),), language="en")


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples, or conversations of one question and answer about so many things."""

    def write(samples: int | list[Sample], name: str = "data.jsonl") -> Path:
        if isinstance(samples, int):
            samples = [conversation(f"s{n}", f"\nWhat is number {n}?", f"It is thing {n}.") for n in range(samples)]
        write_data(samples, tmp_path / name)
        return tmp_path / name

    return write


def run(server: EndpointServer, data: Path, *, console: Console | None = None, **options: Any) -> tuple[Report, Path]:
    """Translate ``data`` into Chinese, beside it."""
    limits = EndpointLimits(first_wait=0.001, timeout=20, concurrency=options.pop("concurrency", 4))
    out = data.with_name("zh.jsonl")
    settings = AskingOptions(endpoint=server.url, limits=limits, **options)
    dataset = open_data(data, format="tuwen")
    quiet = console or Console(quiet=True)
    return translate(dataset, out, target="zh", model=MODEL, options=settings, console=quiet), out


def samples_of(path: Path) -> list[Sample]:
    return list(open_data(path, format="tuwen"))


def rejections(out: Path) -> dict[str, str]:
    """Reasons by name."""
    lines = out.with_name(f"{out.name}.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["id"]: record["reason"] for record in map(json.loads, lines)}


# --- what comes out ---


def test_everything_but_the_words_stays(data: Callable[..., Path]) -> None:
    sample = conversation(
        "grounded",
        "\nWhere is <ref>the cat</ref>? Run `find --cat` and see https://example.com/a.\nA. left\nB. right",
        "<ref>the cat</ref><box>(1,2),(3,4)</box> is 3.5 m away: $\\frac{a}{b}$",
        "Is it B?",
        "Yes.",
    )
    with EndpointServer(translated) as server:
        path = data([sample])
        report, out = run(server, path)
    (found,) = samples_of(out)
    assert [message.text for message in found.messages] == [
        "\n词 词 <ref>词 词</ref>? 词 `find --cat` 词 词 https://example.com/a.\nA. 词\nB. 词",
        "<ref>词 词</ref><box>(1,2),(3,4)</box> 词 3.5 m 词: $\\frac{a}{b}$",
        "词 词 B?",
        "是。",
    ]
    assert [part for message in found.messages for part in message.parts if isinstance(part, Image)] == [Image()]
    assert (found.id, found.images, found.language) == (sample.id, samples_of(path)[0].images, "zh")
    assert found.source == f"translated by {MODEL}"
    # One request for all turns, in which a yes needs no translator.
    (request,) = server.requests
    assert list(json.loads(texts_of(request))) == ["user_1", "assistant_2", "user_3"]
    assert (report.written, report.tally.done, report.tally.replies) == (1, 1, 1)


def test_order_is_kept_and_what_needs_nothing_is_not_asked(data: Callable[..., Path]) -> None:
    samples = [conversation(f"s{n}", f"Number {n}?", f"The {n}") for n in range(20)]
    samples[3:3] = [conversation("zh", "这是什么？", "一只猫"), conversation("letters", "B", "42")]
    with EndpointServer(lambda request: Answer(translated(request).body, wait=len(server.requests) % 3 / 50)) as server:
        report, out = run(server, data(samples))
    assert [sample.id for sample in samples_of(out)] == [sample.id for sample in samples]
    assert samples_of(out)[3].messages == samples[3].messages
    assert samples_of(out)[3].source == ""
    assert len(server.requests) == 20
    assert "22 samples, 2 of them without a request" in report.lines()[0]
    assert server.most_parallel <= 4


def test_the_other_way_round(data: Callable[..., Path]) -> None:
    def answer(request: Body) -> Answer:
        return completion(json.dumps(dict.fromkeys(json.loads(texts_of(request)), "2 cats")))

    with EndpointServer(answer) as server:
        path = data([conversation("s", "几只猫？两只？", "两只猫。"), conversation("en", "What?", "A cat")])
        out = path.with_name("en.jsonl")
        settings = AskingOptions(endpoint=server.url)
        dataset = open_data(path, format="tuwen")
        translate(dataset, out, target="en", model=MODEL, options=settings, console=Console(quiet=True))
    assert [message.text for message in samples_of(out)[0].messages] == ["2 cats", "2 cats"]
    assert {sample.language for sample in samples_of(out)} == {"en"}


# --- replies that cannot be used ---


def values(*texts: str) -> Answer:
    """A reply to a sample of one question and answer."""
    return completion(json.dumps({"user_1": texts[0], "assistant_2": texts[1]}, ensure_ascii=False))


GOOD = ("编号0是什么？见⟦1⟧", "是0号。")
SAMPLE = ("What is number 0? See `a`", "It is thing 0.")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (completion('{"user_1": "编号', "length"), "cut off: after 10 tokens"),
        (completion(""), "empty"),
        (completion(None, refusal="no"), "refused: no"),
        (completion("好的", "content_filter"), "refused: content_filter"),
        (completion("抱歉，我不能翻译。"), "form: not the JSON object"),
        (completion('["a"]'), "form: not a JSON object"),
        (completion('{"user_1": "编号0是什么？见⟦1⟧"}'), "form: keys user_1"),
        (completion('{"user_1": "1", "user_1": "2", "assistant_2": "3"}'), "form: keys"),
        (values(GOOD[0], " "), "form: in assistant_2: expected text"),
        (completion('{"user_1": ["x"], "assistant_2": "y"}'), "form: in user_1: expected text"),
        (values("编号0是什么？", GOOD[1]), "marks: in user_1: ⟦1⟧ is missing"),
        (values(GOOD[0], "是1号。"), "numbers: in assistant_2: 0 missing, 1 invented"),
        (values(GOOD[0], SAMPLE[1]), "language: in assistant_2: not in Chinese"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else None,
)
def test_a_bad_reply_is_asked_again_with_what_was_wrong_then_rejected_by_name(
    data: Callable[..., Path], bad: Answer, reason: str
) -> None:
    path = data([conversation("one", *SAMPLE)])
    with EndpointServer(lambda request: values(*GOOD), [bad]) as server:
        report, out = run(server, path)
        assert samples_of(out)[0].messages[1].text == "是0号。"
        assert samples_of(out)[0].messages[0].text == "编号0是什么？见`a`"
        assert reason.split("(")[0] in server.requests[1]["messages"][0]["content"]
        assert server.requests[0]["messages"][1] == server.requests[1]["messages"][1]
        assert (len(server.requests), report.tally.repeated, report.rejections) == (2, 1, [])
    out.with_name("zh.jsonl.cache.jsonl").unlink()
    out.unlink()
    with EndpointServer(lambda request: bad if "number 0" in texts_of(request) else translated(request)) as server:
        path = data([conversation("one", *SAMPLE), conversation("two", "What?", "A cat")])
        report, out = run(server, path)
        assert [sample.id for sample in samples_of(out)] == ["two"]
        assert reason in rejections(out)["one"]
        assert len(server.requests) == 4
    said = "\n".join(report.lines())
    assert f"1 rejected[/] ({reason.split(':')[0]} 1)" in said
    assert "--retry-rejected" in said


def test_what_is_rejected_is_asked_again_only_on_demand(data: Callable[..., Path]) -> None:
    path = data([conversation("one", *SAMPLE), conversation("two", "What?", "A cat")])
    with EndpointServer(
        lambda request: completion("") if "number 0" in texts_of(request) else translated(request)
    ) as s:
        run(s, path)
        assert s.asked().most_common()[0][1] == 3
        _, out = run(s, path)
        assert len(s.requests) == 4
        assert list(rejections(out)) == ["one"]
        s.answer = lambda request: values(*GOOD)
        report, out = run(s, path, retry_rejected=True, parameters={"max_tokens": 4096})
        assert len(s.requests) == 5
    assert [sample.id for sample in samples_of(out)] == ["one", "two"]
    assert not out.with_name("zh.jsonl.rejected.jsonl").exists()
    assert (report.usage.prompt, report.tally.usage.prompt) == (500, 100)


def test_an_error_of_one_request_rejects_one_sample_until_the_next_run(data: Callable[..., Path]) -> None:
    path = data(4)
    too_long = failure(400, "context length exceeded")
    with EndpointServer(lambda request: too_long if "number 2" in texts_of(request) else translated(request)) as server:
        _, out = run(server, path)
        assert rejections(out) == {"s2": "HTTP 400: context length exceeded"}
        server.answer = translated
        run(server, path)
    assert [sample.id for sample in samples_of(out)] == ["s0", "s1", "s2", "s3"]
    assert len(server.requests) == 5


def test_the_run_stops_when_too_many_in_a_row_are_rejected(data: Callable[..., Path]) -> None:
    with EndpointServer(lambda request: completion("no")) as server:
        with pytest.raises(TuwenError, match="stopped after 5 rejections in a row, the last: form"):
            run(server, data(100), stop_after=5, concurrency=1, tries=2)
        assert len(server.requests) <= 2 * (5 + 2)


def test_nothing_left_is_an_error(data: Callable[..., Path]) -> None:
    refused = pytest.raises(TuwenError, match="all was rejected; the first, s0: form")
    with EndpointServer(lambda request: completion("no")) as server, refused:
        run(server, data(2))


# --- nothing is asked twice ---


def test_a_second_run_asks_nothing_and_writes_the_same(data: Callable[..., Path]) -> None:
    path = data(12)
    with EndpointServer(translated) as server:
        first, out = run(server, path, price_in=2.0, price_out=10.0)
        before = out.read_bytes()
        out.unlink()
        second, _ = run(server, path, price_in=2.0, price_out=10.0)
    assert out.read_bytes() == before
    assert len(server.requests) == 12
    assert (first.usage, second.tally.usage.prompt) == (second.usage, 0)
    assert "tokens [cyan]1,200[/] in [cyan]120[/] out  cost [magenta]0.0036[/]" in first.lines()[1]
    assert "with earlier runs:  tokens [cyan]1,200[/]" in second.lines()[2]


def test_the_same_texts_are_asked_for_once(data: Callable[..., Path]) -> None:
    samples = [conversation(f"s{n}", "What is it?", "A cat") for n in range(9)]
    with EndpointServer(lambda request: Answer(translated(request).body, wait=0.05)) as server:
        _, out = run(server, data(samples))
    assert len(server.requests) == 1
    assert len(samples_of(out)) == 9


def test_other_parameters_and_models_are_other_questions(data: Callable[..., Path]) -> None:
    path = data(1)
    with EndpointServer(translated) as server:
        for parameters in ({}, {"temperature": 0.5}, {"temperature": 0.5, "max_tokens": 9}):
            run(server, path, parameters=parameters)
    assert len(server.requests) == 2


def test_a_killed_run_goes_on_where_it_was(data: Callable[..., Path]) -> None:
    path = data(60)
    out = path.with_name("zh.jsonl")
    arguments = [str(path), str(out), "--to", "zh", "--model", MODEL, "--concurrency", "4", "--from", "tuwen"]
    stop_at = 0

    def answer(request: Body) -> Answer:
        # Killed anywhere between; never so late that all is done.
        late = stop_at and len(server.requests) > stop_at + 10
        return Answer(translated(request).body, wait=60 if late else 0.01)

    with EndpointServer(answer) as server:
        command = [sys.executable, "-m", "tuwen", "data", "translate", *arguments, "--endpoint", server.url]
        environment = {**os.environ, "COLUMNS": "160"}
        for _ in range(2):
            stop_at = len(server.requests) + 15
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(server.requests) < stop_at and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None
            process.kill()
            process.wait()
            assert not out.exists()
        stop_at = 0
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        asked = server.asked()
    assert [sample.id for sample in samples_of(out)] == [f"s{n}" for n in range(60)]
    # What was in flight when it was killed, at most as many as run at once, is all that was asked again.
    assert len(asked) == 60
    assert sum(asked.values()) - 60 <= 2 * 4
    assert "60 samples" in result.stdout


def test_what_was_kept_is_not_asked_again_even_after_a_cut_off_line(data: Callable[..., Path]) -> None:
    path = data(6)
    with EndpointServer(translated) as server:
        _, out = run(server, path)
        cache = out.with_name("zh.jsonl.cache.jsonl")
        cache.write_bytes(cache.read_bytes()[:-7])
        console = Console(width=500, file=io.StringIO())
        with console.capture() as shown:
            run(server, path, console=console)
    assert len(server.requests) == 7
    assert "the last reply was cut off; it is asked for again" in shown.get()


def test_a_broken_line_among_the_replies_is_named(data: Callable[..., Path]) -> None:
    path = data(3)
    with EndpointServer(translated) as server:
        _, out = run(server, path)
        cache = out.with_name("zh.jsonl.cache.jsonl")
        lines = cache.read_text(encoding="utf-8").splitlines(keepends=True)
        cache.write_text(lines[0] + "{}\n" + lines[2], encoding="utf-8")
        with pytest.raises(TuwenError, match="cache.jsonl: line 2: not a kept reply"):
            run(server, path)
    assert len(server.requests) == 3


def test_two_runs_do_not_write_the_same_file(data: Callable[..., Path]) -> None:
    path = data(1)
    refused = pytest.raises(TuwenError, match="another run is writing it")
    with ReplyCache(path.with_name("zh.jsonl.cache.jsonl")), EndpointServer(translated) as server, refused:
        run(server, path)
    assert server.requests == []


# --- what is found out before anything is paid for ---


def test_broken_data_is_found_first(data: Callable[..., Path]) -> None:
    path = data(5)
    path.write_text(path.read_text(encoding="utf-8") + '{"messages": 3}\n', encoding="utf-8")
    with EndpointServer(translated) as server, pytest.raises(TuwenError, match="messages"):
        run(server, path)
    assert server.requests == []


def test_an_output_that_cannot_be_written_is_found_first(data: Callable[..., Path]) -> None:
    path = data(1)
    other = data(1, "other.jsonl")
    settings = AskingOptions(endpoint="http://127.0.0.1:9/v1")
    wrong = {
        path: "is what is read",
        other: "is there already",
        path.with_name("zh.txt"): "tuwen is kept in files with",
    }
    for out, said in wrong.items():
        with pytest.raises(TuwenError, match=said):
            translate(open_data(path, format="tuwen"), out, target="zh", model=MODEL, options=settings)


def test_an_error_for_good_stops_at_once_and_keeps_what_is_there(data: Callable[..., Path]) -> None:
    path = data(30)
    with EndpointServer(translated) as server:
        server.answer = lambda request: translated(request) if len(server.requests) <= 10 else failure(401, "expired")
        with pytest.raises(EndpointError, match="HTTP 401: expired"):
            run(server, path, concurrency=2)
        assert len(server.requests) <= 12
        server.answer = translated
        run(server, path)
        assert len(samples_of(path.with_name("zh.jsonl"))) == 30
    assert sum(server.asked().values()) - 30 <= 2
