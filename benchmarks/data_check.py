"""How fast data is checked and counted: samples a second of one core, by processor time.

    python benchmarks/data_check.py [--samples 20000] [--pictures 400]

Conversations in LLaVA's form of one to five turns in Chinese and English, fifty of them about each picture, and the
pictures are JPEGs of about a third of a megapixel. Decoding is measured with a conversation for each picture.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from rich.console import Console
from rich.table import Table

from tuwen.data.check import check
from tuwen.data.checks.base import CheckOptions
from tuwen.data.dataset import open_data
from tuwen.data.looking.stats import count

SIZES = ((640, 480), (480, 640), (500, 375), (1024, 768))
ENGLISH = "the brown picture of a man who sits on small chair near red table with plates and two cups while"
HAN = "图片中有一个男人坐在小椅子上旁边是红色的桌子桌上放着两个杯子一只狗从左边看着他背景是窗户和白色的墙"


def draw_pictures(folder: Path, pictures: int) -> None:
    """Coloured clouds, which JPEG packs about as well as photographs."""
    for number in range(pictures):
        width, height = SIZES[number % len(SIZES)]
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=88)


def conversation(rng: random.Random, number: int, pictures: int) -> dict[str, Any]:
    """A record in LLaVA's form."""
    turns: list[dict[str, str]] = []
    for turn in range(rng.randint(1, 5)):
        chinese = rng.random() < 0.5
        source, between = (HAN, "") if chinese else (ENGLISH.split(), " ")
        question, answer = (between.join(rng.choices(source, k=k)) for k in ((15, 60) if chinese else (10, 40)))
        turns.append({"from": "human", "value": question if turn else f"<image>\n{question}"})
        turns.append({"from": "gpt", "value": f"{answer}."})
    return {"id": str(number), "image": f"{number % pictures}.jpg", "conversations": turns}


def write(path: Path, samples: int, pictures: int) -> Path:
    """So many conversations."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(samples):
            file.write(json.dumps(conversation(rng, number, pictures), ensure_ascii=False) + "\n")
    return path


def rate(work: Callable[[], Any], samples: int) -> str:
    """Samples a second of processor time."""
    start = time.process_time()
    work()
    return f"{samples / (time.process_time() - start):,.0f}"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=20_000)
    arguments.add_argument("--pictures", type=int, default=400)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_pictures(folder, given.pictures)
        many = open_data(write(folder / "many.jsonl", given.samples, given.pictures))
        each = open_data(write(folder / "each.jsonl", given.pictures, given.pictures))
        headers, decoded = CheckOptions(decode=False), CheckOptions()
        rows = {
            "check --no-decode": rate(lambda: check(many, headers, workers=1), given.samples),
            "check --no-decode, a picture each": rate(lambda: check(each, headers, workers=1), given.pictures),
            "check, a picture each": rate(lambda: check(each, decoded, workers=1), given.pictures),
            "stats": rate(lambda: count(many, workers=1), given.samples),
            "reading alone": rate(lambda: sum(1 for _ in many), given.samples),
        }
    table = Table()
    table.add_column("work")
    table.add_column("samples/s of one core", justify="right")
    for work, speed in rows.items():
        table.add_row(work, speed)
    Console().print(table)


if __name__ == "__main__":
    main()
