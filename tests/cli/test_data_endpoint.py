"""``tuwen data translate`` and ``tuwen data caption`` as people run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from tests.data.endpoint_server import Answer, Body, EndpointServer, completion, failure, texts_of

pytest.importorskip("openai")

KEY = "sk-very-secret"


def run(verb: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``tuwen data VERB ARGUMENTS`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tuwen", "data", verb, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": KEY, **environment},
    )


def refused(verb: str, *arguments: str | Path, **environment: str) -> str:
    """The one line with which it refuses."""
    result = run(verb, *arguments, **environment)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("tuwen: error: ").strip()


def translated(request: Body) -> Answer:
    values = json.loads(texts_of(request))
    said = {key: re.sub(r"[A-Za-z]{2,}|\b[aI]\b", "词", value) for key, value in values.items()}
    return completion(json.dumps(said, ensure_ascii=False))


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """Conversations as LLaVA has them, two of them about the same picture."""
    asked = {"from": "human", "value": "<image>\nWhat are the 3 things?"}
    answered = {"from": "gpt", "value": "The first is <b>big</b>."}
    records = [{"id": str(n), "image": f"{n % 2}.jpg", "conversations": [asked, answered]} for n in range(3)]
    path = tmp_path / "llava.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_translated_data_keeps_its_format_and_no_key(llava: Path) -> None:
    out = llava.with_name("zh.json")
    options = ["--to", "zh", "--model", "m", "--parameter", "temperature=0.2", "--price-in", "10"]
    with EndpointServer(translated) as server:
        result = run("translate", llava, out, "--endpoint", server.url, *options)
    assert result.returncode == 0, result.stderr
    records = json.loads(out.read_text(encoding="utf-8"))
    assert [record["image"] for record in records] == ["0.jpg", "1.jpg", "0.jpg"]
    assert records[0]["conversations"] == [
        {"from": "human", "value": "<image>\n词 词 词 3 词?"},
        {"from": "gpt", "value": "词 词 词 <b>词</b>."},
    ]
    assert re.search(r"translate → zh: 3 samples +\S*zh.json\n.*tokens 100 in 10 out  cost 0.0010", result.stdout)
    assert server.requests[0]["temperature"] == 0.2
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    written = [path.read_text(encoding="utf-8") for path in llava.parent.iterdir()]
    assert not [text for text in [*written, result.stdout, result.stderr] if KEY in text]


def test_described_pictures_name_their_model(tmp_path: Path) -> None:
    (tmp_path / "memes").mkdir()
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "memes" / "a.png")
    (tmp_path / "prompt.txt").write_text("使用中文描述图片中的信息\n", encoding="utf-8")
    (tmp_path / "key").write_text("sk-of-file\n")
    out = tmp_path / "captions.jsonl"
    options = ["--model", "one,two", "--prompt", tmp_path / "prompt.txt", "--api-key-file", tmp_path / "key"]
    with EndpointServer(lambda request: completion(f"{request['model']} 说")) as server:
        result = run("caption", tmp_path / "memes", out, "--endpoint", server.url, *options)
    assert result.returncode == 0, result.stderr
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["source"] for record in records] == ["one", "two"]
    assert [record["messages"][1]["content"] for record in records] == ["one 说", "two 说"]
    assert {record["messages"][0]["content"][1]["text"] for record in records} == {"使用中文描述图片中的信息"}
    assert {headers["authorization"] for headers in server.headers} == {"Bearer sk-of-file"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--endpoint", "localhost:8000"], r"endpoint 'localhost:8000': expected http\(s\)://"),
        (["--endpoint", "file:///etc/passwd"], r"expected http\(s\)://"),
        (["--parameter", "temperature"], "--parameter temperature: expected KEY=VALUE"),
        (["--parameter", "stream=true"], "parameters: stream is set by the request itself"),
        (["--requests-per-minute", "0"], "limits.requests_per_minute: Input should be greater than 0"),
        (["--api-key-file", "nowhere"], "nowhere: cannot be read .*; expected an API key"),
        (["--from", "llavva"], "unknown data format 'llavva'.*did you mean 'llava'"),
        (["--format", "nosuch"], "unknown data format 'nosuch'"),
    ],
)
def test_mistakes_are_said_in_one_line(llava: Path, options: list[str], said: str) -> None:
    usual = ["--to", "zh", "--model", "m", "--endpoint", "http://127.0.0.1:9/v1", "--from", "llava"]
    assert re.search(said, refused("translate", llava, llava.with_name("zh.json"), *usual, *options))


def test_a_wrong_key_and_an_unknown_model_are_said_in_one_line(llava: Path) -> None:
    usual = [llava, llava.with_name("zh.json"), "--to", "zh", "--model", "m"]
    for status, said in ((401, "check the API key"), (404, "--model")):
        with EndpointServer(lambda request, status=status: failure(status, f"no {KEY}")) as server:
            message = refused("translate", *usual, "--endpoint", server.url)
        assert f"HTTP {status}: no ***" in message
        assert said in message
        assert len(server.requests) == 1
    assert [path.name for path in llava.parent.iterdir()] == ["llava.json"]


def test_nobody_to_describe_pictures_is_said(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "prompt.txt").write_text("What is it?", encoding="utf-8")
    usual = ["--prompt", tmp_path / "prompt.txt", "--endpoint", "http://127.0.0.1:9/v1", "--model", " , "]
    said = refused("caption", tmp_path, tmp_path / "out.jsonl", *usual)
    assert said == "model: name at least one that describes the pictures"
    assert not (tmp_path / "out.jsonl").exists()


def test_without_the_openai_package_the_extra_is_named(llava: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "openai.py").write_text("raise ImportError('not here')")
    usual = ["--to", "zh", "--model", "m", "--endpoint", "http://127.0.0.1:9/v1"]
    message = refused("translate", llava, llava.with_name("zh.json"), *usual, PYTHONPATH=str(tmp_path / "empty"))
    assert message == "openai is not installed: run `pip install 'tuwen[openai]'`"


@pytest.mark.parametrize("verb", ["translate", "caption"])
def test_help_loads_nothing_heavy(verb: str) -> None:
    heavy = "('torch', 'transformers', 'numpy', 'PIL', 'openai')"
    code = (
        f"import atexit, sys; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules], file=sys.stderr))"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom tuwen.cli.app import main; main()", "data", verb, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert (result.returncode, result.stderr) == (0, "[]\n")
    for option in ("--endpoint", "--concurrency", "--requests-per-minute", "--retry-rejected", "--price-in"):
        assert option in result.stdout
