"""Epochs of data on disk, packed: every sample in its turn, the same at any number of processes, from any step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import PIL.Image
import pytest

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import load_model
from tuwen.config import TuwenError
from tuwen.data.collator import Collator
from tuwen.data.data_source import DataSettings, DataSource
from tuwen.data.dataset import write_data
from tuwen.data.epochs.mixture import MixtureSettings, SourceShare
from tuwen.data.epochs.packed_steps import PackedEpochs, PackedSteps
from tuwen.data.sample import Sample
from tuwen.models.processing import TuwenProcessor

BUDGET = 160


@pytest.fixture(scope="module")
def processor(toy_run: Path) -> TuwenProcessor:
    return load_model(toy_run / "model").processor


@pytest.fixture(scope="module")
def sources(processor: TuwenProcessor, tmp_path_factory: pytest.TempPathFactory) -> list[DataSource]:
    """Questions about forty pictures, three about each, and sixty without one."""
    folder = tmp_path_factory.mktemp("data")
    seen, read = [], []
    for number in range(40):
        picture = folder / f"{number}.png"
        PIL.Image.new("RGB", (64, 64), (number, 0, 0)).save(picture)
        for question in range(3):
            name = f"see-{number}-{question}"
            messages = (
                Message.of("user", Image(), f"问题{question}?"),
                Message.of("assistant", "答" * (1 + number % 9)),
            )
            seen.append(Sample(id=name, messages=messages, images=(picture,)))
    for number in range(60):
        messages = (Message.of("user", "问" * (number % 30)), Message.of("assistant", "答" * (1 + number // 3)))
        read.append(Sample(id=f"read-{number}", messages=messages))
    found = []
    for name, samples in (("see", seen), ("read", read)):
        write_data(samples, folder / f"{name}.jsonl")
        source = DataSource(DataSettings(path=str(folder / f"{name}.jsonl")))
        source.measure(processor)
        found.append(source)
    return found


def epochs(
    sources: list[DataSource], processor: TuwenProcessor, *shares: SourceShare, **settings: object
) -> PackedEpochs:
    return PackedEpochs(
        sources,
        shares or [SourceShare()] * len(sources),
        MixtureSettings.model_validate(settings),
        processor,
        budget=BUDGET,
        seed=3,
    )


def names(found: PackedEpochs, epoch: int, packs: range | None = None) -> list[str]:
    numbers = packs or range(len(found.plan(epoch)))
    return [sample.id for pack in numbers for group in found.groups(epoch, pack) for sample in group]


def test_an_epoch_has_every_sample_once_and_another_order_than_the_next(
    sources: list[DataSource], processor: TuwenProcessor
) -> None:
    found = epochs(sources, processor)
    first, second = names(found, 0), names(found, 1)
    assert Counter(first) == Counter(second) == Counter(dict.fromkeys(first, 1))
    assert len(first) == 180
    assert first != second


def test_shares_and_the_part_without_pictures_are_kept(sources: list[DataSource], processor: TuwenProcessor) -> None:
    counted = names(epochs(sources, processor, SourceShare(count=30), SourceShare(repeat=2)), 0)
    assert Counter(name.split("-")[0] for name in counted) == {"see": 30, "read": 120}
    mixed = names(epochs(sources, processor, text_only_share=0.5), 0)
    assert Counter(name.split("-")[0] for name in mixed) == {"see": 90, "read": 90}


def test_a_pack_fits_its_row_with_pictures_shared(sources: list[DataSource], processor: TuwenProcessor) -> None:
    found = epochs(sources, processor)
    collate = Collator(processor, max_length=BUDGET)
    shared = 0
    for pack in range(len(found.plan(0))):
        groups = found.groups(0, pack)
        batch = collate(groups)
        assert batch.input_ids.shape[0] == 1
        assert not batch.notes
        shared += sum(len(group) > 1 for group in groups)
    assert shared > 20


def test_steps_are_the_same_for_any_processes_and_from_any_step(
    sources: list[DataSource], processor: TuwenProcessor
) -> None:
    def step(number: int, world: int, batches: int) -> Counter[str]:
        return Counter(
            sample.id
            for rank in range(world)
            for groups in PackedSteps(
                epochs(sources, processor), sequences=4 // (world * batches), batches=batches, rank=rank, world=world
            )(number)
            for group in groups
            for sample in group
        )

    run = PackedSteps(epochs(sources, processor), sequences=4)
    length = run.steps(1)
    assert length == len(run.epochs.plan(0)) // 4
    assert run.steps(2.5) == pytest.approx(2.5 * length, abs=2)
    for number in (0, 1, length - 1, length, length + 1):
        alone = Counter(sample.id for groups in run(number) for group in groups for sample in group)
        assert alone == step(number, 1, 1) == step(number, 2, 1) == step(number, 1, 4) == step(number, 2, 2)


def test_an_epoch_shorter_than_a_step_is_refused(sources: list[DataSource], processor: TuwenProcessor) -> None:
    with pytest.raises(TuwenError, match="an epoch has .* sequences of 160 tokens, and a step takes 1000"):
        PackedSteps(epochs(sources, processor), sequences=1000).steps(1)


def test_too_long_ones_are_shortened_when_read_or_left_out_and_named(
    sources: list[DataSource], processor: TuwenProcessor
) -> None:
    arguments = (sources, [SourceShare()] * 2, MixtureSettings(), processor)
    shortened = PackedEpochs(*arguments, budget=60, seed=0)
    rejected = PackedEpochs(*arguments, budget=60, seed=0, too_long="reject")
    assert len(names(shortened, 0)) == 180
    assert not shortened.rejected
    left = names(rejected, 0)
    assert len(left) + len(rejected.rejected) == 180
    assert all("more than max_length 60" in bad.reason for bad in rejected.rejected)
