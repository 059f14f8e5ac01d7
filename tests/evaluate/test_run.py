"""An evaluation asks every question once, loses nothing when it is killed, and scores what is on disk."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import refused, run_cli
from tests.data.endpoint_server import Answer, Body, EndpointServer, completion, texts_of
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.campaign import Campaign, evaluate
from tuwen.evaluate.mme_folder import write_mme
from tuwen.evaluate.run import score_records, shuffled_pictures


@pytest.fixture(scope="module")
def mme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MME of drawn pictures."""
    out = tmp_path_factory.mktemp("mme")
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1}, size=64, languages=["en"]))
    write_mme((sample for number in range(12) for sample in synthesiser.draw(3, number).samples), out)
    return out


@pytest.fixture(scope="module")
def whole(mme: Path, toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that was not disturbed."""
    out = tmp_path_factory.mktemp("results") / "whole"
    evaluate(Campaign(model=str(toy_run / "model"), benchmarks=["mme"], data=mme, out=out, batch_size=1, blind=True))
    return out


def asked(folder: Path, kind: str = "records") -> list[str]:
    lines = [line for path in folder.glob(f"mme/{kind}-*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def test_batches_and_processes_give_the_same_predictions(mme: Path, whole: Path, toy_run: Path, tmp_path: Path) -> None:
    settings = ("--bench", "mme", "--data", mme)
    batched = run_cli("eval", toy_run / "model", *settings, "--out", tmp_path / "batched", "--batch-size", "7")
    assert batched.returncode == 0, batched.stderr
    two = run_cli("eval", toy_run / "model", *settings, "--out", tmp_path / "two", "--nproc", "2")
    assert two.returncode == 0, two.stderr
    for out in ("batched", "two"):
        for name in ("predictions.jsonl", "verdicts.jsonl", "official/color.txt"):
            assert (tmp_path / out / "mme" / name).read_bytes() == (whole / "mme" / name).read_bytes()
    assert sorted(asked(tmp_path / "two")) == sorted(asked(whole))
    assert len(list((tmp_path / "two" / "mme").glob("records-*.jsonl"))) == 2


@pytest.mark.slow
def test_a_killed_run_goes_on_with_another_batch_size_and_asks_nothing_twice(
    mme: Path, whole: Path, toy_run: Path, tmp_path: Path
) -> None:
    out, total = tmp_path / "killed", len(asked(whole))
    command = [sys.executable, "-m", "tuwen", "eval", str(toy_run / "model"), "--bench", "mme"]
    command += ["--data", str(mme), "--out", str(out), "--batch-size"]
    rng = random.Random(0)
    for batch_size in (3, 5, 2):
        target = len(asked(out)) + rng.randint(1, total // 5)
        process = subprocess.Popen([*command, str(batch_size)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(asked(out)) < target and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(asked(out)) < total
    subprocess.run([*command, "4"], check=True, stdout=subprocess.DEVNULL)
    assert sorted(asked(out)) == sorted(asked(whole))
    assert (out / "mme" / "predictions.jsonl").read_bytes() == (whole / "mme" / "predictions.jsonl").read_bytes()


def test_eval_and_score_agree_and_scoring_again_gives_the_same_bytes(mme: Path, whole: Path) -> None:
    found = json.loads((whole / "mme" / "score.json").read_text(encoding="utf-8"))
    scored = run_cli("score", "mme", "--data", mme, "--predictions", whole / "mme" / "official", "--json")
    assert json.loads(scored.stdout)["scores"] == found["scores"]
    before = {path.name: path.read_bytes() for path in (whole / "mme").iterdir() if path.is_file()}
    score_records(BENCHMARKS.get("mme")(mme), whole / "mme")
    assert {path.name: path.read_bytes() for path in (whole / "mme").iterdir() if path.is_file()} == before
    again = run_cli("score", "mme", "--data", mme, "--predictions", whole / "mme" / "predictions.jsonl", "--json")
    assert json.loads(again.stdout)["scores"] == found["scores"]


def test_records_say_what_was_asked_and_read(mme: Path, whole: Path) -> None:
    lines = (whole / "mme" / "records-0.jsonl").read_text(encoding="utf-8").splitlines()
    keys = {"id", "images", "prompt", "answer", "parsed", "parser_version", "finish_reason", "tokens", "seconds"}
    for line in lines:
        assert set(json.loads(line)) == keys
    found = json.loads((whole / "mme" / "score.json").read_text(encoding="utf-8"))
    unread = {json.loads(line)["id"] for line in lines if json.loads(line)["parsed"] is None}
    assert set(found["parse_failures"]) == unread


def test_blind_asks_about_pictures_of_others(mme: Path, whole: Path) -> None:
    items = {item.id: item for item in BENCHMARKS.get("mme")(mme).items()}
    for item in shuffled_pictures(list(items.values())):
        assert item.images != items[item.id].images
        assert item.messages == items[item.id].messages
    assert sorted(asked(whole, "blind")) == sorted(items)
    assert json.loads((whole / "mme" / "score.json").read_text())["blind"] is not None


def test_another_model_or_prompt_is_not_mixed_into_results(mme: Path, whole: Path, toy_run: Path) -> None:
    other = refused("eval", toy_run / "stages" / "align", "--bench", "mme", "--data", mme, "--out", whole)
    assert re.search(r"holds results with model .* choose another --out", other)
    style = refused("eval", toy_run / "model", "--bench", "mme", "--data", mme, "--out", whole, "--style", "qwen")
    assert "holds results with style None, not 'qwen'" in style


def test_an_endpoint_answers_as_a_model_does(mme: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")

    def answer(request: Body) -> Answer:
        assert request["messages"][-1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
        return completion("Yes" if "red" in texts_of(request) else "No")

    with EndpointServer(answer) as server:
        model = f"openai:{server.url}#served"
        result = run_cli("eval", model, "--bench", "mme", "--data", mme, "--out", tmp_path / "out")
        assert result.returncode == 0, result.stderr
        count = len(server.requests)
        again = run_cli("eval", model, "--bench", "mme", "--data", mme, "--out", tmp_path / "out")
        assert again.returncode == 0, again.stderr
        assert len(server.requests) == count == len(asked(tmp_path / "out"))
    answers = {json.loads(line)["answer"] for line in (tmp_path / "out/mme/predictions.jsonl").read_text().splitlines()}
    assert answers <= {"Yes", "No"}
    assert "expected openai:URL#MODEL" in refused(
        "eval", "openai:http://localhost", "--bench", "mme", "--data", mme, "--out", tmp_path / "none"
    )


def test_what_is_missing_is_named(mme: Path, toy_run: Path, tmp_path: Path) -> None:
    model = toy_run / "model"
    assert "unknown benchmark 'mm': choose one of" in refused(
        "eval", model, "--bench", "mm", "--data", mme, "--out", tmp_path / "out"
    )
    assert "mme: not found; expected the data of mme, see `tuwen bench show mme`" in refused(
        "eval", model, "--bench", "mme,pope", "--data", tmp_path, "--out", tmp_path / "out"
    )
    assert "holds no results" in refused("compare", tmp_path, tmp_path)


def test_the_report_needs_nothing_else(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert len(data["mme"]) == len(asked(whole))
    assert {card["outcome"] for card in data["mme"]} <= {"right", "wrong", "unread"}
    # Belle-VL's figures of the whole and of a subtask.
    assert "1595.34" in page
    assert "<td>190.00</td>" in page


def test_two_runs_are_compared_item_by_item(whole: Path, tmp_path: Path) -> None:
    import shutil

    better = tmp_path / "better"
    shutil.copytree(whole, better)
    path = better / "mme" / "verdicts.jsonl"
    verdicts = [json.loads(line) | {"credit": 1.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(one) + "\n" for one in verdicts))
    result = run_cli("compare", whole, better)
    assert result.returncode == 0, result.stderr
    assert "100.00" in result.stdout
    assert "0.00 … +0.00" in run_cli("compare", whole, whole).stdout


def test_a_judge_is_asked_once_and_its_replies_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    data = Path(__file__).parents[3] / "shared" / "fixtures" / "eval" / "llava_bench_zh"
    if not data.is_dir():
        pytest.skip(f"no fixtures at {data}")

    def answer(request: Body) -> Answer:
        return completion("8 6\n第一个更详细。" if request["model"] == "judge" else "一个回答")

    with EndpointServer(answer) as server:
        run = ("eval", f"openai:{server.url}#answers", "--bench", "llava_bench_zh", "--data", data, "--out", tmp_path)
        assert "need a judge: give --judge URL#MODEL" in refused(*run)
        judged = run_cli(*run, "--judge", f"{server.url}#judge")
        assert judged.returncode == 0, judged.stderr
        count = len(server.requests)
        asked_of = [request["model"] for request in server.requests]
        assert asked_of.count("answers") == asked_of.count("judge")
        first = (tmp_path / "llava_bench_zh" / "score.json").read_bytes()
        # Scored again without a judge: nothing is asked, and the bytes are the same.
        assert run_cli(*run).returncode == 0
        assert len(server.requests) == count
        assert (tmp_path / "llava_bench_zh" / "score.json").read_bytes() == first
    assert json.loads(first)["parse_failures"] == []


def test_the_figures_that_people_quote_have_intervals_and_so_have_blind_ones(mme: Path, whole: Path) -> None:
    found = json.loads((whole / "mme" / "score.json").read_text(encoding="utf-8"))
    # What is drawn has no subtask of cognition.
    for figures, ends in ((found["headline"], "headline_intervals"), (found["blind"], "blind_intervals")):
        assert set(found[ends]) == set(figures) - {"cognition"}
        assert all(low <= figures[name] <= high for name, (low, high) in found[ends].items())
    tasks = {item.category for item in BENCHMARKS.get("mme")(mme).items()}
    assert set(found["score_intervals"]["per_task"]) == tasks
    page = (whole / "report.html").read_text(encoding="utf-8")
    low, high = found["headline_intervals"]["perception"]
    assert f"<small>{low:.1f}–{high:.1f}</small>" in page
