"""A benchmark that an installed package brings is measured by the command line like those that come with Tuwen."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image

from tests.conftest import run_cli

OUTSIDE = """
import json

from tuwen.chat.messages import Image, Message
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.figures import percent


@BENCHMARKS.register("hues")
class Hues(Benchmark):
    name, title, homepage = "hues", "Hues", "https://example.org"
    summary, summary_zh = "What colour?", "什么颜色?"
    files = {"hues.json": "colours by picture"}

    def items(self):
        truth = json.loads((self.data / "hues.json").read_text())
        ask = (Message.of("user", Image(), "What colour?"),)
        return [
            Item(id=name, messages=ask, images=(self.data / name,), answer=colour, tokens=4)
            for name, colour in truth.items()
        ]

    def parse(self, item, answer):
        return answer.lower() or None

    @property
    def scorers(self):
        return {"exact": self._exact}

    def _exact(self, predictions):
        given = {one.id: one.text for one in predictions}
        right = {item.id: float(given[item.id] == item.answer) for item in self.items()}
        mean = percent(right.items())
        parsed = {name: Parsed(value=given[name], credit=credit) for name, credit in right.items()}
        return Score(scores={"accuracy": mean}, per_item=right, parsed=parsed, headline={"accuracy": mean})

    def read_predictions(self, files):
        return [Prediction(**record) for path in files for record in json.loads(path.read_text())]

    def write_predictions(self, predictions, out):
        out.mkdir(exist_ok=True)
        path = out / "hues.json"
        path.write_text(json.dumps([{"id": one.id, "text": one.text} for one in predictions]))
        return [path]
"""


def test_a_benchmark_of_another_package_is_listed_asked_and_scored(toy_run: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    metadata = package / "outside_hues-1.0.dist-info"
    metadata.mkdir(parents=True)
    (package / "outside_hues.py").write_text(OUTSIDE, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-hues\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tuwen.benchmark]\nhues = outside_hues:Hues\n")
    data = tmp_path / "data"
    data.mkdir()
    for colour in ("red", "blue"):
        PIL.Image.new("RGB", (64, 64), colour).save(data / f"{colour}.png")
    (data / "hues.json").write_text(json.dumps({"red.png": "red", "blue.png": "blue"}))
    here = {"PYTHONPATH": str(package)}
    assert "hues" in run_cli("bench", "list", **here).stdout
    out = tmp_path / "out"
    result = run_cli("eval", toy_run / "model", "--bench", "hues", "--data", data, "--out", out, **here)
    assert result.returncode == 0, result.stderr
    written = out / "hues" / "official" / "hues.json"
    scored = run_cli("score", "hues", "--data", data, "--predictions", written, "--json", **here)
    measured = json.loads((out / "hues" / "score.json").read_text())
    assert json.loads(scored.stdout)["scores"] == measured["scores"]
    assert set(measured["headline_intervals"]) == {"accuracy"}
