"""``--engine vllm``: what vLLM would be called with, and the refusal where it is not installed."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import KEY
from tuwen.config import TuwenError
from tuwen.serve import by_vllm
from tuwen.serve.limits import Limits
from tuwen.serve.settings import SERVERS, ServeSettings

MODEL = Path("models/mine")


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_one_line_says_so() -> None:
    with pytest.raises(TuwenError, match="vllm is not installed: run `pip install vllm`"):
        SERVERS.get("vllm")(ServeSettings(model=MODEL))


def test_this_process_becomes_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[Any] = []
    monkeypatch.setattr(by_vllm, "find_spec", lambda name: object())
    monkeypatch.setattr(os, "execvpe", lambda *arguments: became.append(arguments))
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="ascii")
    limits = Limits(pictures=3, shutdown_seconds=5)
    SERVERS.get("vllm")(ServeSettings(model=MODEL, api_key_file=keys, limits=limits, dtype="bfloat16", port=1234))
    ((_, arguments, environment),) = became
    options = dict(zip(arguments[5::2], arguments[6::2], strict=True))
    assert arguments[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "models/mine"]
    assert options["--served-model-name"] == "mine"
    assert (options["--host"], options["--port"], options["--dtype"]) == ("127.0.0.1", "1234", "bfloat16")
    assert json.loads(options["--limit-mm-per-prompt"]) == {"image": 3}
    # A key on the command line would be seen by everybody on the machine.
    assert KEY not in " ".join(arguments)
    assert environment["VLLM_API_KEY"] == KEY
    # vLLM fetches from everywhere unless it is told from where.
    assert options["--allowed-media-domains"] == by_vllm.NOWHERE
    assert environment["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"


def test_media_hosts_are_passed_on() -> None:
    arguments = by_vllm.arguments(ServeSettings(model=MODEL, remote_media=("a.example", "b.example")))
    place = arguments.index("--allowed-media-domains")
    assert arguments[place + 1 : place + 3] == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"quantize": "int8"}, "--quantize"),
        ({"device": "cpu"}, "--device"),
        ({"engine": {"max_waiting": 3}}, "max_waiting"),
        ({"origins": ("https://a.example",)}, "--allow-origin"),
        ({"limits": Limits(picture_pixels=5)}, "picture_pixels"),
    ],
)
def test_what_vllm_is_not_told_is_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(TuwenError, match=f"--engine vllm: {name}: only with --engine builtin"):
        by_vllm.arguments(ServeSettings(model=MODEL, **settings))


def test_only_one_key_can_be_given_in_secret(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{KEY}-2\n", encoding="ascii")
    with pytest.raises(TuwenError, match="2 keys"):
        by_vllm.environment_of(ServeSettings(model=MODEL, api_key_file=keys))
