"""``tuwen data check``, ``stats`` and ``show`` as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests.conftest import refused, run_cli
from tuwen.data.dataset import open_data

TURNS = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A red picture."}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six good records in LLaVA's form."""
    PIL.Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    records = [
        {"id": str(number), "image": "red.png", "conversations": [*TURNS, *question(f"And number {number}?", "Yes.")]}
        for number in range(6)
    ]
    return write(tmp_path / "data.jsonl", records)


def question(text: str, answer: str) -> list[dict[str, str]]:
    """A question and its answer."""
    return [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_clean_data_leaves_with_0(data: Path) -> None:
    result = run_cli("data", "check", data)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 samples" in result.stdout
    assert "6 good" in result.stdout


def test_defects_leave_with_1_and_are_named(data: Path, tmp_path: Path) -> None:
    records = read(data)
    # The very first record may be broken, too.
    records[0]["conversations"][1]["from"] = "bot"
    records[3]["image"] = "gone.png"
    write(data, records)
    result = run_cli("data", "check", data, "--json", tmp_path / "found.json", "--fix", tmp_path / "good.jsonl")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "4 good" in result.stdout
    assert "gone.png" in result.stdout
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["reasons"] == {"unknown_role": 1, "missing_picture": 1}
    assert [(one["id"], one["reason"]) for one in found["findings"]] == [
        ("0", "unknown_role"),
        ("3", "missing_picture"),
    ]
    assert found["fixed"] == {"kept": 4, "left_out": 2, "changes": {}}
    # It is written in the form in which it came.
    assert [record["id"] for record in read(tmp_path / "good.jsonl")] == ["1", "2", "4", "5"]
    assert run_cli("data", "check", tmp_path / "good.jsonl").returncode == 0


def test_warnings_leave_with_0_unless_they_count(data: Path) -> None:
    records = read(data)
    records[2]["id"] = "1"
    write(data, records)
    result = run_cli("data", "check", data)
    assert result.returncode == 0
    assert "duplicate_id" in result.stdout
    assert run_cli("data", "check", data, "--strict").returncode == 1


def test_another_form_can_be_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "good.jsonl"
    assert run_cli("data", "check", data, "--fix", out, "--to", "tuwen").returncode == 0
    assert open_data(out).format.name == "tuwen"
    assert list(open_data(out)) == list(open_data(data))


def test_pictures_are_found_where_they_are_said_to_be(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "red.png").rename(tmp_path / "pictures" / "red.png")
    assert run_cli("data", "check", data).returncode == 1
    assert run_cli("data", "check", data, "--images", tmp_path / "pictures").returncode == 0


def test_a_models_limit_is_checked(data: Path, toy_run: Path, tmp_path: Path) -> None:
    result = run_cli("data", "check", data, "--model", toy_run / "model", "--max-tokens", "5", "--json", tmp_path / "f")
    assert result.returncode == 1, result.stderr
    assert json.loads((tmp_path / "f").read_text(encoding="utf-8"))["reasons"] == {"too_long": 6}


def test_mistakes_are_said_in_a_line(data: Path, tmp_path: Path) -> None:
    assert "--model" in refused("data", "check", data, "--max-tokens", "5")
    assert "not found" in refused("data", "check", tmp_path / "none.jsonl")
    assert "is what is read; choose another OUT" in refused("data", "check", data, "--fix", data)
    assert "llava is kept in files with" in refused(
        "data", "check", data, "--fix", tmp_path / "x.zip", "--json", tmp_path / "below"
    )
    assert refused("data", "stats", data, "--option", "split") == "--option split: expected KEY=VALUE"
    assert "cannot be written" in refused("data", "check", data, "--json", data / "below")
    assert "unknown data format" in refused("data", "check", data, "--from", "lava")
    assert "not a model folder" in refused("data", "show", data, "--model", tmp_path)
    assert not (tmp_path / "below").exists()


def test_stats_as_json(data: Path) -> None:
    result = run_cli("data", "stats", data, "--json")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["samples"] == 6
    assert values["pictures"] | {"longer_side": None} == {
        "used": 6, "different": 1, "cannot_be_opened": 0, "per_sample": {"1": 6}, "longer_side": None
    }  # fmt: skip
    assert values["unit"] == "characters"
    assert values["turns"] == {"2": 6}
    assert values["short_answers"] == {"A red picture.": 6, "Yes.": 6}


def test_stats_with_a_page(data: Path, toy_run: Path, tmp_path: Path) -> None:
    result = run_cli("data", "stats", data, "--model", toy_run / "model", "--out", tmp_path / "stats.html")
    assert result.returncode == 0, result.stderr
    assert "6 samples" in result.stdout
    assert "tokens" in result.stdout
    text = (tmp_path / "stats.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in text
    assert "And number" in text


def test_a_sample_is_shown(data: Path, toy_run: Path, tmp_path: Path) -> None:
    arguments = ("data", "show", data, "--model", toy_run / "model", "--index", "4")
    result = run_cli(*arguments, "--html", tmp_path / "s.html", "--pictures", tmp_path / "tiles", "--tokens")
    assert result.returncode == 0, result.stderr
    assert "And number 4?" in result.stdout
    assert "«image 1 ×16»" in result.stdout
    assert [path.name for path in (tmp_path / "tiles").iterdir()] == ["4-1-1.png"]
    assert "And number 4?" in (tmp_path / "s.html").read_text(encoding="utf-8")
    assert "6 samples" in refused("data", "show", data, "--model", toy_run / "model", "--index", "6")
