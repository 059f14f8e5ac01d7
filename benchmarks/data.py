"""Pictures decoded and resized, samples indexed, and ten million of them planned.

Pictures are as large as photographs; the same ones go through plain Pillow, the image processor of `transformers` that
gives the same numbers, and Tuwen, in turns, in one process.

    python benchmarks/data.py [--pictures 60] [--samples 4000] [--millions 10]
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
from transformers import CLIPImageProcessor

from tuwen.chat.messages import Image, Message
from tuwen.chat.templates import load_template
from tuwen.data.data_source import DataSettings, DataSource
from tuwen.data.dataset import open_data, write_data
from tuwen.data.epochs.mixture import MixtureSettings, SourceShare
from tuwen.data.epochs.packed_steps import PackedEpochs
from tuwen.data.index import BATCH, SCHEMA, SampleIndex, write_index
from tuwen.data.indexing import open_index
from tuwen.data.sample import Sample
from tuwen.models.language.tokenizer import add_control_tokens, train_tokenizer
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor
from tuwen.vision import open_picture, parse_policy

ROUNDS = 5
SIZE = 336


def photographs(count: int) -> list[bytes]:
    """JPEG files of 640 × 480 with as much detail as photographs have (about 100 kB)."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((640, 480))
        noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (480, 640, 3))
        stream = io.BytesIO()
        PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
        found.append(stream.getvalue())
    return found


def with_pillow(data: bytes) -> np.ndarray:
    """Decode, resize the short side, cut the middle out, normalise: as a script of few lines does it."""
    image = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIZE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), PIL.Image.Resampling.BICUBIC)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float32) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    return ((pixels - mean) / std).astype(np.float32).transpose(2, 0, 1)


def pictures_a_second(files: list[bytes]) -> dict[str, float]:
    """Pictures a second of each way; the middle of several rounds taken in turns."""
    theirs = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    policy = parse_policy({"type": "center_crop", "size": SIZE})

    def with_transformers(data: bytes) -> np.ndarray:
        image = PIL.Image.open(io.BytesIO(data)).convert("RGB")
        pixels: np.ndarray = theirs(image, return_tensors="np")["pixel_values"][0]
        return pixels

    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "Pillow, by hand": with_pillow,
        "transformers": with_transformers,
        "tuwen": lambda data: policy.apply(open_picture(data))[0],
    }
    same = [way(files[0]) for way in ways.values()]
    assert np.allclose(same[1], same[2], atol=1e-5), "both must give the same numbers"
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            for data in files:
                way(data)
            rates[name].append(len(files) / (time.perf_counter() - started))
    return {name: statistics.median(found) for name, found in rates.items()}


def processor(texts: list[str]) -> TuwenProcessor:
    """A processor with a small tokenizer and 336-pixel tiles of 576 tokens."""
    tokenizer, template = train_tokenizer(texts, 4000), load_template("chatml")
    add_control_tokens(tokenizer, [*template.control_tokens, "<image>"])
    images = TuwenImageProcessor({"type": "square", "size": SIZE})
    return TuwenProcessor(images, tokenizer, template.jinja, tokens_per_tile=576)


def samples_a_second(folder: Path, files: list[bytes], count: int) -> tuple[float, float]:
    """Samples indexed a second, without and with the lengths that they have for a model."""
    for number, data in enumerate(files):
        (folder / f"{number}.jpg").write_bytes(data)
    answer = "图中有一只猫坐在窗台上,窗外下着雨。It looks at the street below. " * 3

    def samples() -> Iterator[Sample]:
        for number in range(count):
            messages = (Message.of("user", Image(), f"请描述图片{number}。"), Message.of("assistant", answer))
            yield Sample(id=str(number), messages=messages, images=(folder / f"{number % len(files)}.jpg",))

    write_data(samples(), folder / "data.jsonl")
    dataset = open_data(folder / "data.jsonl")
    rates = []
    for place, own in enumerate((None, processor([answer] * 200))):
        started = time.perf_counter()
        open_index(dataset, own, cache=folder / f"cache{place}", workers=1)
        rates.append(count / (time.perf_counter() - started))
    return rates[0], rates[1]


def synthetic_index(path: Path, count: int) -> None:
    """An index of samples of which a fifth have no picture, three about each of the others' pictures."""

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, count, BATCH):
            rows = np.arange(first, min(count, first + BATCH))
            rng = np.random.default_rng(first)
            seen = rows % 5 != 0
            columns = {
                "file": np.zeros(len(rows)),
                "offset": rows * 700,
                "length": np.full(len(rows), 700),
                "number": np.zeros(len(rows)),
                "text_tokens": np.clip(rng.lognormal(4.6, 0.8, len(rows)), 12, 1900),
                "trained_tokens": np.full(len(rows), 10),
                "shared_tokens": np.zeros(len(rows)),
                "pictures": np.where(seen, rows // 3 + 1, 0),
            }
            arrays = [
                pa.array(values.astype(SCHEMA.field(name).type.to_pandas_dtype())) for name, values in columns.items()
            ]
            sides = np.tile(np.array([640, 480], dtype=np.uint16), int(seen.sum()))
            offsets = np.concatenate([[0], np.cumsum(2 * seen)]).astype(np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(sides)))
            yield pa.record_batch(arrays, schema=SCHEMA)

    write_index(path, batches(), [])


class Indexed(DataSource):
    """A source of which there is nothing but the index."""

    def __init__(self, path: Path) -> None:
        self._config = DataSettings(path=str(path))
        self.index = SampleIndex(path)


def memory() -> float:
    """The most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--millions", type=float, default=10)
    options = parser.parse_args()
    files = photographs(options.pictures)
    print(f"pictures of 640x480 to {SIZE} pixels, one core")
    rates = pictures_a_second(files)
    for name, rate in rates.items():
        print(f"  {name:16} {rate:7.1f} pictures/s  {rate / rates['transformers']:.2f} of transformers")
    with tempfile.TemporaryDirectory() as place:
        plain, measured = samples_a_second(Path(place), files, options.samples)
        print(f"index, one process: {plain:,.0f} samples/s with picture sizes, {measured:,.0f} with tokens too")
        path = Path(place) / "large.arrow"
        count = int(options.millions * 1e6)
        synthetic_index(path, count)
        print(f"{count:,} samples: {path.stat().st_size / count:.1f} bytes each on disk")
        own = processor(["一些文字 some text"] * 50)
        before, started = memory(), time.perf_counter()
        source = Indexed(path)
        print(f"  opened in {time.perf_counter() - started:.2f} s, {memory() - before:.2f} GiB more memory")
        started = time.perf_counter()
        settings = MixtureSettings()
        epochs = PackedEpochs([source], [SourceShare()], settings, own, budget=4096, seed=0)
        plan = epochs.plan(0)
        seconds = time.perf_counter() - started
        print(
            f"  an epoch grouped by picture and packed to 4096 tokens in {seconds:.1f} s: {len(plan):,} sequences, "
            f"{100 * plan.waste:.2f} % padding, {memory() - before:.2f} GiB more memory at most"
        )


if __name__ == "__main__":
    main()
