"""A drawn corpus is the same bytes whoever draws it, goes on where it was stopped, and says what it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import refused, run_cli
from tuwen.data.dataset import open_data
from tuwen.data.media import fetch
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.data.synth.run import Plan, draw_shard, synthesise
from tuwen.vision import open_picture

CONFIG = SynthConfig(suites={"shapes": 1, "text": 1}, size=64)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_what_is_read_is_what_was_drawn(tmp_path: Path) -> None:
    synthesise(Plan(CONFIG, 12, 5, 5, tmp_path / "drawn"), workers=1)
    read = list(open_data(tmp_path / "drawn"))
    synthesiser = Synthesiser(CONFIG)
    drawn = [sample for number in range(12) for sample in synthesiser.draw(5, number).samples]
    assert [(one.id, one.messages, one.regions, one.pair, one.task) for one in read] == [
        (one.id, one.messages, one.regions, one.pair, one.task) for one in drawn
    ]
    for ours, theirs in zip(read, drawn, strict=True):
        found = [open_picture(fetch(image)).tobytes() for image in ours.images]
        assert found == [image.tobytes() for image in theirs.images]


@pytest.mark.slow
def test_processes_and_other_runs_draw_the_same_bytes(tmp_path: Path) -> None:
    settings = ("shapes,text=0.5", "--count", "20", "--seed", "3", "--size", "64", "--shard-size", "8")
    for out, workers in (("one", "1"), ("two", "2")):
        result = run_cli("data", "synth", settings[0], tmp_path / out, *settings[1:], "--workers", workers)
        assert result.returncode == 0, result.stderr
        assert "20 图片 pictures" in result.stdout
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = run_cli("data", "synth", settings[0], tmp_path / "other", *settings[1:], "--seed", "4", "--workers", "1")
    assert other.returncode == 0
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    plan = Plan(SynthConfig(suites={"shapes": 1}, size=64), 400, 1, 20, tmp_path / "whole")
    synthesise(plan, workers=1)
    command = [sys.executable, "-m", "tuwen", "data", "synth", "shapes", str(tmp_path / "killed")]
    command += ["--count", "400", "--seed", "1", "--size", "64", "--shard-size", "20", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed" / ".tuwen" / "shards.jsonl"
    while not log.is_file() or not log.read_bytes():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [json.loads(line)["shard"] for line in log.read_text().splitlines() if line.endswith("}")]
    kept = {name: (tmp_path / "killed" / f"{name}.jsonl").stat().st_mtime_ns for name in done}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    # What was there is not drawn again.
    assert all((tmp_path / "killed" / f"{name}.jsonl").stat().st_mtime_ns == mark for name, mark in kept.items())


def test_the_card_counts_what_is_there(tmp_path: Path) -> None:
    shards = synthesise(Plan(CONFIG, 6, 0, 4, tmp_path / "drawn"), workers=1)
    samples = list(open_data(tmp_path / "drawn"))
    card = (tmp_path / "drawn" / "README.md").read_text(encoding="utf-8")
    assert sum(shard["samples"] for shard in shards) == len(samples)
    assert f"samples 样本: {len(samples):,} " in card
    for task in {sample.task for sample in samples}:
        assert f"| {task} | {sum(sample.task == task for sample in samples):,} |" in card
    assert "seed 种子: 0" in card
    assert "Version" in card


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    synthesise(Plan(CONFIG, 2, 0, 2, tmp_path / "drawn"), workers=1)
    assert "was drawn with other settings" in refused("data", "synth", "shapes", tmp_path / "drawn", "--count", "2")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    assert "holds something else" in refused("data", "synth", "shapes", tmp_path / "mine")
    assert "unknown synthesis suite 'shap'" in refused("data", "synth", "shap", tmp_path / "new")
    assert "suite 'shapes=x': expected NAME or NAME=WEIGHT" in refused("data", "synth", "shapes=x", tmp_path / "new")
    assert "unknown engine 'spark': choose one of local, ray" in refused(
        "data", "synth", "shapes", tmp_path / "new", "--engine", "spark"
    )


def test_what_cannot_be_drawn_leaves_no_folder(tmp_path: Path) -> None:
    for settings in (["--font", "/no/such/font.ttf"], ["--tasks", "no_such_task"]):
        refused("data", "synth", "words", tmp_path / "drawn", *settings)
    hidden = "import sys; sys.modules['ray'] = None; from tuwen.cli.app import main; main()"
    command = [sys.executable, "-c", hidden, "data", "synth", "shapes", str(tmp_path / "drawn"), "--engine", "ray"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == "tuwen: error: ray is not installed: run `pip install 'tuwen[ray]'`\n"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert "file: is a file; name the folder to write" in refused("data", "synth", "shapes", tmp_path / "file")


def test_a_list_of_shards_that_a_kill_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    plan = Plan(CONFIG, 9, 2, 3, tmp_path / "drawn")
    whole = synthesise(plan, workers=1)
    log = tmp_path / "drawn" / ".tuwen" / "shards.jsonl"
    lines = log.read_bytes()
    for end in (len(lines) - 1, len(lines) - 20, 5, 0):
        log.write_bytes(lines[:end])
        assert synthesise(plan, workers=1) == whole
        assert log.read_bytes() == lines


def test_a_shard_is_drawn_alone_as_among_the_others(tmp_path: Path) -> None:
    plan = Plan(CONFIG, 9, 2, 3, tmp_path / "drawn")
    together = synthesise(plan, workers=1)
    alone = draw_shard(Plan(CONFIG, 9, 2, 3, tmp_path / "alone"), 1)
    assert alone == together[1]


def test_ray_draws_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    local = synthesise(Plan(CONFIG, 8, 2, 4, tmp_path / "local"), workers=1)
    distributed = synthesise(Plan(CONFIG, 8, 2, 4, tmp_path / "ray"), engine="ray")
    assert [shard["hash"] for shard in local] == [shard["hash"] for shard in distributed]
