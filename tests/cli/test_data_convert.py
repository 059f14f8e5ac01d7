"""``tuwen data convert``: any data in any form, nothing destroyed, nothing left of a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import refused, run_cli
from tests.data.corpora import draw, put, put_lines
from tuwen.data.dataset import open_data
from tuwen.data.media import picture_bytes


def llava(home: Path, count: int = 5) -> Path:
    """LLaVA's data with pictures in a folder beside it."""
    records = [
        {
            "id": f"{number}",
            "image": draw(home / f"pictures/{number % 3}.png").name,
            "conversations": [
                {"from": "human", "value": "<image>\n这是什么?"},
                {"from": "gpt", "value": f"{number}。"},
            ],
        }
        for number in range(count)
    ]
    return put(home / "in.json", records)


def converted(*arguments: str | Path) -> str:
    """The last line of what the command says."""
    result = run_cli("data", "convert", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip().splitlines()[-1]


def test_to_shards_and_back(tmp_path: Path) -> None:
    data = llava(tmp_path)
    images = ("--images", tmp_path / "pictures")
    out = tmp_path / "out/train.tar"
    line = converted(data, out, *images, "--shard-size", "2", "--task", "vqa")
    assert line == f"5 样本 samples  llava → tuwen  {out.parent}/train-00000-of-00003.tar (3 分片 shards)"
    shards = sorted(out.parent.iterdir())
    assert [shard.name for shard in shards] == [f"train-0000{number}-of-00003.tar" for number in range(3)]
    samples = list(open_data(out.parent))
    assert [(sample.id, sample.task, sample.answer) for sample in samples] == [
        (f"{n}", "vqa", f"{n}。") for n in range(5)
    ]
    back = tmp_path / "back/x.parquet"
    assert converted(f"{out.parent}/*.tar", back, "--to", "llava", "--pack") == f"5 样本 samples  tuwen → llava  {back}"
    assert [path.name for path in back.parent.iterdir()] == ["x.parquet"]
    again = list(open_data(back))
    assert [picture_bytes(sample.images[0]) for sample in again] == [
        (tmp_path / f"pictures/{n % 3}.png").read_bytes() for n in range(5)
    ]
    # Other shards under the same name are replaced together, or not at all.
    said = refused("data", "convert", data, out, *images, "--shard-size", "3")
    assert said == f"{shards[0]}: is there already; choose another OUT, or replace it with --force"
    converted(data, out, *images, "--shard-size", "3", "--force")
    assert [path.name for path in sorted(out.parent.iterdir())] == [f"train-0000{n}-of-00002.tar" for n in range(2)]


def test_captions_are_tables_unless_said(tmp_path: Path) -> None:
    data = llava(tmp_path, count=2)
    out = tmp_path / "captions.tsv"
    assert converted(data, out, "--images", tmp_path / "pictures") == f"2 样本 samples  llava → caption  {out}"
    assert out.read_text(encoding="utf-8").splitlines()[1] == "0\tpictures/0.png\t0。\t这是什么?\t\t\t\t\t"
    line = converted(out, tmp_path / "x.jsonl", "--option", "prompt=Was?", "--limit", "1", "--language", "en")
    assert line.startswith("1 样本 samples  caption → tuwen")
    (record,) = map(json.loads, (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines())
    assert (record["language"], record["images"]) == ("en", ["pictures/0.png"])


def test_nothing_is_destroyed(tmp_path: Path) -> None:
    data = llava(tmp_path, count=2)
    images = ("--images", tmp_path / "pictures")
    content = data.read_bytes()
    assert refused("data", "convert", data, data, *images, "--force") == f"{data}: is what is read; choose another OUT"
    (tmp_path / "link.json").symlink_to(data)
    said = refused("data", "convert", data, tmp_path / "link.json", "--force", *images)
    assert said == f"{tmp_path}/link.json: is what is read; choose another OUT"
    there = tmp_path / "there.jsonl"
    there.write_text("mine", encoding="utf-8")
    said = refused("data", "convert", data, there, *images)
    assert said == f"{there}: is there already; choose another OUT, or replace it with --force"
    (tmp_path / "folder.jsonl").mkdir()
    said = refused("data", "convert", data, tmp_path / "folder.jsonl", "--force", *images)
    assert said == f"{tmp_path}/folder.jsonl: is a folder; name the file to write"
    assert (there.read_text(encoding="utf-8"), data.read_bytes()) == ("mine", content)


def test_a_broken_record_is_named_and_leaves_no_shard(tmp_path: Path) -> None:
    good = {"messages": [{"role": "assistant", "content": "a"}]}
    data = put_lines(tmp_path / "in.jsonl", [good] * 4 + [{"messages": [{"role": "tool", "content": "x"}]}, good])
    said = refused("data", "convert", data, tmp_path / "out/x.jsonl", "--shard-size", "2", "--from", "openai")
    assert said == (
        f"{data}: record 4: turn 1: role 'tool' is not known; known are user, assistant, system, developer;"
        " tuwen data check --fix OUT writes the data without what is broken"
    )
    assert list((tmp_path / "out").iterdir()) == []
    missing = put_lines(
        tmp_path / "missing.jsonl", [{"messages": [{"role": "user", "content": "<image>"}], "images": ["no.png"]}]
    )
    said = refused("data", "convert", missing, tmp_path / "out/x.parquet", "--pack")
    assert said == f"{tmp_path}/no.png: cannot be read (No such file or directory); expected a picture's file"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in.json", "s3://bucket/x.tar"], "s3://bucket/x.tar: data is written to this machine; give a path, and copy"),
        (["in.json", "x.zip"], "x.zip: tuwen is kept in files with .jsonl, .ndjson, .json, .parquet, .arrow, .tar;"),
        (["in.json", "x.csv", "--to", "openai"], "x.csv: openai is kept in files with .jsonl"),
        (["in.json", "x.jsonl", "--to", "lava"], "unknown data format 'lava': choose one of"),
        (["none.json", "x.jsonl"], "none.json: not found; give a data file, a folder of them, or a pattern"),
        (["empty.jsonl", "x.jsonl"], "empty.jsonl: holds no record"),
        (["in.json", "x.jsonl", "--option", "a=1"], "options of llava: it has none, found a"),
        (["in.json", "x.jsonl", "--to-option", "a=1"], "options of tuwen: it has none, found a"),
        (["in.json", "x.jsonl", "--to-option", "=1"], "--to-option =1: expected KEY=VALUE"),
        (["in.json", "/dev/null/x.jsonl"], "/dev/null: cannot be written (File exists)"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llava(tmp_path, count=1)
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert refused("data", "convert", *arguments).startswith(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jsonl", "in.json", "pictures"]
