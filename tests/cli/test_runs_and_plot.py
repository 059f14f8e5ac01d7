"""``tuwen runs`` and ``tuwen plot`` as people and scripts use them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests.conftest import refused, run_cli
from tuwen.data.synth.pages.browser import NAMES
from tuwen.train.looking.run_page import MOST_POINTS, write_run_page
from tuwen.train.run_folder import RunFolder

CHROMIUM = os.environ.get("TUWEN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
EVIL = '</script><!--<script><img id="evil" src="x">'


class Page(HTMLParser):
    """What a browser would find in a page before any script runs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, Any] = {}
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data = self.data or json.loads(data)
        else:
            self.text += data


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with all that a run may have, some of it hostile."""
    path = tmp_path / "runs" / "full"
    (path / "validation").mkdir(parents=True)
    PIL.Image.new("RGB", (900, 600), "red").save(path / "validation" / "red.jpg")
    PIL.Image.new("RGB", (8, 8), "blue").save(tmp_path / "secret.png")
    (path / "recipe.yaml").write_text("model: m\nstages: [{name: align, steps: 9}, {name: sft, steps: 30}]\n")
    lines = [
        {
            "stage": stage,
            "step": step,
            "answers": 3 / step,
            "lr": {"vision": 1e-5 * step, "connector": 1e-3},
            "zh 中": 1,
        }
        for stage, steps in (("align", 9), ("sft", 20))
        for step in range(1, steps + 1)
    ]
    write(path / "metrics.jsonl", lines)
    write(path / "validation.jsonl", [{"stage": "sft", "step": 20, "loss": 0.7, "tasks": {"vqa": 0.6, "ocr": 0.8}}])
    asked = [
        ("red", "validation/red.jpg"),
        ("far", "../../secret.png"),
        ("gone", "validation/gone.jpg"),
        ("none", None),
    ]
    said = [
        {"name": name, "picture": picture, "prompt": EVIL, "expected": "红", "generated": generated}
        for generated in ("蓝", EVIL)
        for name, picture in asked
    ]
    write(
        path / "samples.jsonl",
        [{"stage": "sft", "step": 10, "samples": said[:4]}, {"stage": "sft", "step": 20, "samples": said[4:]}],
    )
    write(path / "bad_samples.jsonl", [{"reason": EVIL, "left_out": True}])
    return path


def test_a_real_run_is_listed(toy_run: Path) -> None:
    result = run_cli("runs", toy_run.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    for word in ("toy", "tuwen_conv_vit × mlp × llama", "done 完成", "instruct 2/2", "3/3", "answers ", "tok/s"):
        assert word in result.stdout
    (found,) = json.loads(run_cli("runs", toy_run.parent, "--json").stdout)
    last = read(toy_run / "metrics.jsonl")[-3:]
    assert (found["stage"], found["step"], found["steps"], found["state"]) == ("instruct", 3, 3, "done")
    assert found["losses"]["answers"] == pytest.approx(sum(line["answers"] for line in last) / 3)
    assert found["tokens_per_second"] == pytest.approx(sum(line["tokens/s"] for line in last) / 3)
    assert found["bytes"] >= (toy_run / "model" / "model.safetensors").stat().st_size
    assert found["problems"] == []


def test_a_real_run_is_drawn_in_the_terminal_and_as_a_page(toy_run: Path, tmp_path: Path) -> None:
    result = run_cli("plot", toy_run, "--metric", "answers", "--metric", "lr", "--smooth", "0")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = read(toy_run / "metrics.jsonl")
    assert "回答损失 loss of answers" in result.stdout
    assert f"answers\xa0{lines[-1]['answers']:.4g}" in result.stdout
    assert "学习率 learning rate, ×1e-" in result.stdout
    assert "align 1–2 │ instruct 3–" in result.stdout
    result = run_cli("plot", toy_run, "--html", tmp_path / "toy.html")
    assert result.returncode == 0, result.stdout + result.stderr
    charts = {chart["name"]: chart for chart in Page(tmp_path / "toy.html").data["charts"]}
    (answers,) = charts["answers"]["curves"]
    assert [value for value in answers["values"] if value is not None] == pytest.approx(
        [line["answers"] for line in lines if "answers" in line], rel=1e-4
    )
    assert len(charts["lr"]["curves"]) == 3
    assert {"tokens/s", "data wait", "grad norm"} <= charts.keys()


def test_a_page_needs_nothing_else_and_shows_pictures_of_the_run_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_run_page([RunFolder(run)], out)
    page = Page(out)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not [one for one in page.elements if one[0] == "img" or {"src", "href"} & one[1].keys()]
    assert EVIL in page.text
    cards = {card["name"]: card for card in page.data["samples"]}
    assert cards["red"]["picture"].startswith("data:image/jpeg;base64,")
    assert len(cards["red"]["picture"]) < 20_000
    assert "lies outside of the run's folder" in cards["far"]["lost"]
    assert "validation/gone.jpg: cannot be read" in cards["gone"]["lost"]
    assert (cards["none"]["picture"], cards["none"]["lost"]) == ("", "")
    assert [(said["at"], said["text"]) for said in cards["red"]["said"]] == [(19, "蓝"), (29, EVIL)]
    names = [chart["name"] for chart in page.data["charts"]]
    assert names == ["answers", "validation/loss", "validation/tasks", "lr", "zh 中"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_what_the_terminal_says(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run_cli("plot", run, "--html", out, "--smooth", "0.8").returncode == 0
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", out.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert drawn.count("<figure>") == 5
    assert drawn.count('d="M') > 5
    assert "NaN" not in drawn
    terminal = run_cli("plot", run, "--metric", "answers", "--smooth", "0.8").stdout
    last = terminal.split("answers\xa0")[1].split()[0]
    assert f"<b>{last}</b>" in drawn
    assert '<img id="evil"' not in drawn
    assert 'class="said"' in drawn


def test_runs_are_compared_in_one_chart_with_what_differs(run: Path, toy_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "full"
    shutil.copytree(run, other)
    (other / "recipe.yaml").write_text("model: m\nstages: [{name: align, steps: 8}, {name: sft, steps: 30}]\n")
    result = run_cli("plot", run, other, "--metric", "answers")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "runs/full" in result.stdout
    assert "other/full" in result.stdout
    assert run_cli("plot", run, other, toy_run, "--html", tmp_path / "all.html").returncode == 0
    page = Page(tmp_path / "all.html")
    charts = {chart["name"]: [curve["label"] for curve in chart["curves"]] for chart in page.data["charts"]}
    assert charts["answers"] == ["runs/full", "other/full", "toy"]
    assert charts["lr/vision"] == charts["answers"]
    assert charts["validation/loss"] == ["runs/full", "other/full"]
    assert "stages.align.steps" in page.text
    assert "stages.sft.steps" in page.text


def test_a_long_run_makes_a_short_page(tmp_path: Path) -> None:
    lines = [{"stage": "sft", "step": step, "answers": 9.0 if step == 7000 else 1.0} for step in range(1, 20_001)]
    write(tmp_path / "metrics.jsonl", lines)
    write_run_page([RunFolder(tmp_path)], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 200_000
    (chart,) = Page(tmp_path / "report.html").data["charts"]
    (curve,) = chart["curves"]
    assert len(curve["values"]) <= MOST_POINTS
    # The one step that is far off is still there.
    assert max(curve["high"]) == 9.0


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "new"
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("stages: [{name: sft, steps: 3}]\n")
    result = run_cli("runs", path.parent)
    assert result.returncode == 0, result.stderr
    assert "running 训练中" in result.stdout
    assert "no step has been written yet" in refused("plot", path)
    assert run_cli("plot", path, "--html", tmp_path / "new.html").returncode == 0
    (path / "metrics.jsonl").write_text('{"stage": "sft", "step": 1, "answers": NaN}\n', encoding="utf-8")
    assert "no finite values" in run_cli("plot", path).stdout
    assert json.loads(run_cli("runs", path.parent, "--json").stdout)[0]["step"] == 1


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    assert refused("runs", tmp_path / "no").endswith("no: not found; give the folder that holds the runs")
    assert "not a run's folder, it has neither recipe.yaml nor metrics.jsonl" in refused("plot", tmp_path)
    assert "not found; give a folder that `tuwen train` wrote" in refused("plot", tmp_path / "no")
    message = refused("plot", run, "--metric", "answer")
    assert message.startswith("unknown metric 'answer': choose one of answers, lr, ")
    assert message.endswith("did you mean 'answers'?")
    assert "cannot be written" in refused("plot", run, "--html", run / "metrics.jsonl" / "page.html")
    (tmp_path / "empty").mkdir()
    assert "没有训练运行 no runs" in run_cli("runs", tmp_path / "empty").stdout


def test_what_cannot_be_read_is_said(run: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("what is this\n")
    problem = "full: metrics.jsonl: lines that cannot be read and are left out: 1"
    assert run_cli("plot", run).stdout.count(problem) == 1
    assert run_cli("plot", run, "--html", run / "page.html").stdout.count(problem) == 1
    assert Page(run / "page.html").text.count(problem) == 1
