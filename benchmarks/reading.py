"""Samples written, read in order and read by place in a second, for every kind of file, and the memory that takes.

Half of the rows have the pictures in the data, each a photograph's size; the others name them.

    python benchmarks/reading.py [--samples 4000] [--kilobytes 60]

Reading is done in a process of its own. What is mapped into memory (.arrow) is counted, though the system takes it back
when it needs it; of .parquet, the last 128 MB of rows are kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tuwen.chat.messages import Image, Message
from tuwen.data.dataset import open_data, write_data
from tuwen.data.sample import Picture, Sample

KINDS = {"jsonl": "tuwen", "json": "tuwen", "parquet": "tuwen", "arrow": "tuwen", "tar": "tuwen", "csv": "caption"}
FETCHED = 1000


def samples(count: int, size: int, picture: Path | None) -> Iterator[Sample]:
    """Samples about pictures of random bytes, or all about one file."""
    noise = random.Random(0)
    for number in range(count):
        turns = (
            Message.of("user", Image(), "描述这张图片。"),
            Message.of("assistant", f"{number} " + "一张照片。" * 40),
        )
        image: Picture = picture or b"\xff\xd8" + noise.randbytes(size)
        yield Sample(id=f"{number}", messages=turns, images=(image,))


def memory() -> float:
    """MB that this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def reading(out: Path) -> tuple[float, float, float]:
    """Samples/s in order, samples/s by place in random order, and MB of memory at most."""
    dataset = open_data(out)
    before = most = memory()
    start = time.perf_counter()
    places = []
    for entry in dataset.scan():
        places.append(entry.place)
        if len(places) % 100 == 0:
            most = max(most, memory())
    in_order = len(places) / (time.perf_counter() - start)
    wanted = random.Random(1).sample(places, min(FETCHED, len(places)))
    start = time.perf_counter()
    for place in wanted:
        dataset.sample(place)
    return in_order, len(wanted) / (time.perf_counter() - start), max(most, memory()) - before


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--kilobytes", type=int, default=60, help="of a picture")
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.samples:,} samples")
    for heading in ("file", "pictures", "MB", "written/s", "in order/s", "by place/s", "memory MB"):
        table.add_column(heading, justify="left" if heading in ("file", "pictures") else "right")
    pool = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as home:
        picture = Path(home, "picture.jpg")
        picture.write_bytes(b"\xff\xd8" + os.urandom(arguments.kilobytes * 1024))
        for kind, format in KINDS.items():
            for pack in (False, True) if kind != "tar" else (True,):
                out = Path(home, f"data.{kind}")
                made = samples(arguments.samples, arguments.kilobytes * 1024, None if pack else picture)
                start = time.perf_counter()
                write_data(made, out, format=format, pack=pack)
                written = arguments.samples / (time.perf_counter() - start)
                with pool.Pool(1) as process:
                    figures = (out.stat().st_size / 2**20, written, *process.apply(reading, (out,)))
                table.add_row(kind, "inside" if pack else "by name", *(f"{figure:,.0f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
