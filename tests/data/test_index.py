"""The index says of every sample where it lies, how long it is and what it shares, and is made once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import load_model
from tuwen.data import indexing
from tuwen.data.data_source import DataSettings, DataSource
from tuwen.data.dataset import open_data, write_data
from tuwen.data.index import SCHEMA, SampleIndex
from tuwen.data.indexing import open_index
from tuwen.data.media import fetch
from tuwen.data.sample import Sample
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import picture_size


@pytest.fixture(scope="module")
def processor(toy_run: Path) -> TuwenProcessor:
    return load_model(toy_run / "model").processor


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty samples: with none, one or two of five pictures."""
    folder = tmp_path_factory.mktemp("data")
    pictures = []
    for number in range(5):
        pictures.append(folder / f"{number}.png")
        PIL.Image.new("RGB", (40 + 30 * number, 64), "teal").save(pictures[-1])
    samples = []
    for number in range(40):
        images = tuple(pictures[(number + step) % 5] for step in range(number % 3))
        asked = Message.of("user", *(Image() for _ in images), f"问题{number}" * (1 + number % 4))
        answered = Message.of("assistant", "答" * (1 + number))
        samples.append(Sample(id=str(number), messages=(asked, answered), images=images))
    write_data(samples, folder / "data.jsonl")
    return folder / "data.jsonl"


def test_places_lengths_and_sizes_are_those_of_the_samples(
    data: Path, processor: TuwenProcessor, tmp_path: Path
) -> None:
    dataset = open_data(data)
    index = open_index(dataset, processor, cache=tmp_path)
    samples = list(dataset)
    assert [dataset.sample(index.place(row)) for row in range(len(index))] == samples
    lengths = [len(processor.renderer.render(one.messages, _image_tokens(one, processor)).input_ids) for one in samples]
    assert index.lengths(processor).tolist() == lengths
    assert index.has_pictures.tolist() == [bool(one.images) for one in samples]
    assert index.path.stat().st_size / len(index) < 400


def _image_tokens(sample: Sample, processor: TuwenProcessor) -> list[int]:
    return [processor.num_image_tokens(*picture_size(fetch(image))) for image in sample.images]


def test_it_is_made_once_and_again_when_anything_it_says_may_differ(
    data: Path, processor: TuwenProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(data.read_bytes())
    first = open_index(open_data(copy, images=data.parent), cache=tmp_path).path
    collect = indexing._collect
    monkeypatch.setattr(indexing, "_collect", lambda *_: pytest.fail("made again"))
    assert open_index(open_data(copy, images=data.parent), cache=tmp_path).path == first
    # The same content at another time is the same data.
    copy.write_bytes(data.read_bytes())
    assert open_index(open_data(copy, images=data.parent), cache=tmp_path).path == first
    monkeypatch.setattr(indexing, "_collect", collect)
    assert open_index(open_data(copy, images=data.parent), processor, cache=tmp_path).path != first
    copy.write_bytes(data.read_bytes() + data.read_bytes())
    again = open_index(open_data(copy, images=data.parent), cache=tmp_path)
    assert again.path != first
    assert len(again) == 80


@pytest.mark.slow
def test_several_processes_make_the_same_index(data: Path, processor: TuwenProcessor, tmp_path: Path) -> None:
    one, three = (
        open_index(open_data(data), processor, cache=tmp_path / str(workers), workers=workers) for workers in (1, 3)
    )
    for name in SCHEMA.names[:-1]:
        assert one.column(name).tolist() == three.column(name).tolist()
    assert one.tiles(lambda width, height: width).tolist() == three.tiles(lambda width, height: width).tolist()


def test_what_cannot_be_used_is_left_out_and_named(data: Path, processor: TuwenProcessor, tmp_path: Path) -> None:
    lines = data.read_text(encoding="utf-8").splitlines()
    missing = json.loads(lines[1]) | {"id": "gone", "images": ["gone.png"]}
    unanswered = json.loads(lines[0]) | {"id": "open", "messages": [{"role": "user", "content": "?"}]}
    broken = [lines[0], "{not json", json.dumps(missing), json.dumps(unanswered), lines[3]]
    path = data.parent / "broken.jsonl"
    path.write_text("\n".join(broken), encoding="utf-8")
    index = open_index(open_data(path), processor, cache=tmp_path)
    assert len(index) == 2
    assert [bad.sample for bad in index.bad] == ["", "gone", "open"]
    assert [bad.position for bad in index.bad] == [len(lines[0].encode()) + 1, *(bad.position for bad in index.bad[1:])]
    for bad, reason in zip(index.bad, ["line 2: not valid JSON", "gone.png: cannot be read", "no token"], strict=True):
        assert reason in bad.reason


def test_the_task_of_a_source_stands_in_the_place_of_the_samples_own(tmp_path: Path) -> None:
    turns = (Message.of("user", "q"), Message.of("assistant", "a"))
    write_data([Sample(id="1", messages=turns, task="vqa"), Sample(id="2", messages=turns)], tmp_path / "x.jsonl")
    for chosen, expected in ((None, ["vqa", ""]), ("mine", ["mine", "mine"])):
        source = DataSource(DataSettings(path=str(tmp_path / "x.jsonl"), task=chosen))
        assert [source.sample(row).task for row in range(len(source.index))] == expected
        assert [sample.task for group in range(source.size or 0) for sample in source.group(0, group)] == expected


def _index_with_pictures(keys: Sequence[int], folder: Path) -> SampleIndex:
    import pyarrow as pa

    from tuwen.data.index import write_index

    columns = {name: np.zeros(len(keys), dtype=np.int64) for name in SCHEMA.names[:-1]}
    columns["pictures"] = np.array(keys, dtype=np.uint64)
    sizes = pa.array([[64, 64] if key else [] for key in keys], pa.list_(pa.uint16()))
    arrays = [*(pa.array(columns[name]).cast(SCHEMA.field(name).type) for name in SCHEMA.names[:-1]), sizes]
    write_index(folder / "index.arrow", [pa.record_batch(arrays, schema=SCHEMA)], [])
    return SampleIndex(folder / "index.arrow")


@given(keys=st.lists(st.integers(0, 4), max_size=40), most=st.integers(1, 5))
def test_groups_are_samples_about_the_same_pictures(
    keys: list[int], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = _index_with_pictures(keys, tmp_path_factory.mktemp("index"))
    rows, offsets = index.groups(most)
    groups = [rows[first:last].tolist() for first, last in itertools.pairwise(offsets)]
    assert sorted(row for group in groups for row in group) == list(range(len(keys)))
    for group in groups:
        assert 1 <= len(group) <= most
        assert len({keys[row] for row in group}) == 1
        assert group == sorted(group)
        assert len(group) == 1 or keys[group[0]]
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    # No more groups than there must be.
    counts = [keys.count(key) for key in set(keys) - {0}]
    assert len(groups) == keys.count(0) + sum(-(-count // most) for count in counts)
