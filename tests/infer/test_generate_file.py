"""A file of questions becomes a file of answers, whatever stops it on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import refused, run_cli
from tests.infer.engine.conftest import folder, picture, vlm  # noqa: F401
from tuwen.chat.messages import Image, Message
from tuwen.infer import VLM, Prompt

OPTIONS = ("--greedy", "--max-tokens", "6", "--device", "cpu")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two questions in OpenAI's form, one in Tuwen's with an answer, and three wrong lines."""
    (tmp_path / "pictures").mkdir()
    picture(3).save(tmp_path / "pictures/a.png")
    image = {"type": "image_url", "image_url": {"url": "pictures/a.png"}}
    ask = [{"type": "text", "text": "什么?"}]
    lines: list[Any] = [
        {"id": "a", "messages": [{"role": "user", "content": [image, *ask]}]},
        {"messages": [{"role": "system", "content": "简短。"}, {"role": "user", "content": "红?"}]},
        {
            "id": "own",
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "几个?"}]},
                {"role": "assistant", "content": "三个。"},
            ],
            "images": ["pictures/a.png"],
        },
        {"id": "gone", "messages": [{"role": "user", "content": [{**image, "image_url": {"url": "b.png"}}]}]},
        {"id": "none", "question": "什么?"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text(
        "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n{broken\n", encoding="utf-8"
    )
    return path


def test_answers_equal_those_one_by_one(vlm: VLM, folder: Path, source: Path) -> None:  # noqa: F811
    out = source.parent / "out.jsonl"
    result = run_cli("generate", folder, source, out, *OPTIONS)
    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith("3 已回答 answered, 0 早已有 before, 3 失败 failed")
    found = {row["id"]: row for row in rows(out)}
    assert list(found) == ["a", "line 2", "own", "gone", "none", "line 7"]
    prompts = [
        Prompt((Message.of("user", Image(), "什么?"),), (picture(3),)),
        Prompt((Message.of("system", "简短。"), Message.of("user", "红?"))),
        Prompt((Message.of("user", Image(), "几个?"),), (picture(3),)),
    ]
    for name, alone in zip(found, vlm.generate(prompts, greedy=True, max_new_tokens=6), strict=False):
        assert (found[name]["text"], found[name]["finish_reason"]) == (alone.text, alone.finish_reason)
        assert found[name]["prompt_tokens"] == len(alone.prompt_ids)
    assert "b.png" in found["gone"]["error"]
    assert "line 5: expected messages" in found["none"]["error"]
    assert "line 7: not JSON" in found["line 7"]["error"]


def test_it_goes_on_where_it_stopped(folder: Path, source: Path) -> None:  # noqa: F811
    whole, out = source.parent / "whole.jsonl", source.parent / "out.jsonl"
    run_cli("generate", folder, source, whole, *OPTIONS)
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    # One answer, an error, and an answer that a kill has cut off.
    out.write_text(lines[0] + lines[4] + lines[1][:9], encoding="utf-8")
    picture(4).save(source.parent / "b.png")
    result = run_cli("generate", folder, source, out, *OPTIONS)
    assert result.stdout.startswith("3 已回答 answered, 1 早已有 before, 2 失败 failed"), result.stdout + result.stderr
    found = {row["id"]: row for row in rows(out)}
    assert len(rows(out)) == len(found) == 6
    assert [found[row["id"]] for row in rows(whole) if "text" in row] == [row for row in rows(whole) if "text" in row]
    assert "text" in found["gone"]


def test_mistakes_are_one_line(folder: Path, source: Path) -> None:  # noqa: F811
    out = source.parent / "out.jsonl"
    assert "missing.jsonl: cannot be read" in refused("generate", folder, source.parent / "missing.jsonl", out)
    assert "choose one of builtin, ray" in refused("generate", folder, source, out, "--engine", "rays")
    assert "top_p" in refused("generate", folder, source, out, "--top-p", "2")
    out.write_text("{}\n", encoding="utf-8")
    assert "out.jsonl: line 1: not an answer" in refused("generate", folder, source, out)
    source.write_text('{"id": 1}\n{"id": "1"}\n', encoding="utf-8")
    assert "lines 1 and 2 have the id '1'" in refused("generate", folder, source, source.parent / "new.jsonl")


@pytest.mark.slow
def test_ray_gives_the_same(folder: Path, source: Path) -> None:  # noqa: F811
    pytest.importorskip("ray")
    here, there = source.parent / "here.jsonl", source.parent / "there.jsonl"
    run_cli("generate", folder, source, here, *OPTIONS)
    result = run_cli("generate", folder, source, there, *OPTIONS, "--engine", "ray", "--workers", "2")
    assert result.returncode == 1, result.stderr
    assert sorted(map(str, rows(there))) == sorted(map(str, rows(here)))


def test_processes_of_a_cluster_are_refused_without_one(toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"messages": []}\n', encoding="utf-8")
    message = refused("generate", toy_run / "model", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--workers", 4)
    assert message == "--workers: has an effect with --engine ray only"
