"""Pictures that are missing are named and counted before anything is asked; scores are told what they do not cover."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import refused
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.score import score_files

GOLDEN = Path(__file__).parents[2] / "../shared/fixtures/eval"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/fixtures beside the repository")
# Tables hold their pictures.
NAMES = sorted(set(BENCHMARKS.names()) - {"mmbench", "mmbench_cn", "ccbench", "coco_caption", "folder"})


def copied(name: str, folder: Path) -> Path:
    data = folder / name
    shutil.copytree(GOLDEN / name, data, copy_function=shutil.copyfile)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return data


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_picture_is_named_and_the_rest_can_be_scored(name: str, tmp_path: Path) -> None:
    data = copied(name, tmp_path)
    items = BENCHMARKS.get(name)(data).items()
    picture = next(image for item in items for image in item.images if isinstance(image, Path))
    picture.unlink()
    # SEED-Bench's pictures may have any ending, or none.
    gone = str(picture) if name != "seedbench" else str(picture.with_suffix(""))
    with pytest.raises(TuwenError) as caught:
        score_files(name, data, [data])
    assert f"1 pictures that are not there ({gone}); give --partial" in str(caught.value)
    partly = score_files(name, data, [data], partial=True)
    assert partly.to_dict()["coverage"]["pictures"] == [gone]
    assert partly.score.scores == score_files(name, GOLDEN / name, [GOLDEN / name]).score.scores


def test_nothing_is_asked_before_all_pictures_are_there(tmp_path: Path) -> None:
    picture = {"question": "?", "answer": "x", "metric": "exact"}
    lines = [{**picture, "image": f"{number}.png"} for number in range(7)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = refused("eval", tmp_path / "no-model", "--bench", "folder", "--data", tmp_path, "--out", tmp_path / "out")
    assert f"folder: 7 pictures are not there: {tmp_path / '0.png'}, " in said
    assert said.endswith(f"{tmp_path / '4.png'}, …")


def test_pictures_that_are_none_are_named_and_counted(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    lines = [{"question": "?", "answer": "x", "metric": "exact", "id": name, "image": "1.png"} for name in "abc"]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "1.png").write_bytes(b"no picture")
    model = "openai:http://localhost:9/v1#model"
    said = refused("eval", model, "--bench", "folder", "--data", tmp_path, "--out", tmp_path / "out")
    assert said.startswith(f"3 items with unreadable pictures: a, and 2 others (b, c): {tmp_path / '1.png'}: not a")


def test_corrupt_base64_is_named_and_counted(tmp_path: Path) -> None:
    data = copied("mmbench", tmp_path)
    table = next(data.glob("*.tsv"))
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    place = header.split("\t").index("image")
    for number in (0, 4):
        cells = rows[number].split("\t")
        cells[place] = "*" + cells[place][1:]
        rows[number] = "\t".join(cells)
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    first, second = (rows[number].split("\t")[0] for number in (0, 4))
    said = refused("score", "mmbench", "--data", data, "--predictions", data)
    assert said == f"{table}: index {first}: image: not base64, and 1 others ({second})"
