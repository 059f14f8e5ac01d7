"""The training benchmark gives all contenders the same samples, and all of them run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def training() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import training.corpora
        import training.measure
        import training.models
        import training.padded

        yield training
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def corpus(training: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("mix") / "corpus"
    return training.corpora.Corpus.write(place, "mix-shared", training.models.find_size("small"), 64)


def test_lengths_are_those_of_the_mix_in_proportion_to_the_picture(training: Any, corpus: Any) -> None:
    lengths, pictured = training.corpora.llava_mix(64)
    scale = 64 / training.corpora.PICTURE_TOKENS
    wanted = np.minimum(lengths, training.corpora.LONGEST) * scale
    found = corpus.lengths()
    assert [has for _, has in found] == pictured.tolist()
    assert np.abs(np.array([length for length, _ in found]) - wanted).max() <= 8
    names = [record["image"] for record in corpus.records() if "image" in record]
    assert len(set(names)) < len(names)
    assert sorted({path.name for path in corpus.pictures.iterdir()}) == sorted(set(names))


def test_every_order_has_all_samples_and_batches_of_its_kind(training: Any) -> None:
    lengths = [(10 + place, place % 5 > 0) for place in range(80)]
    rng = np.random.default_rng(0)
    modality = training.padded.by_modality(lengths, 8, rng)
    assert sorted(modality) == list(range(80))
    for start in range(0, 80, 8):
        assert len({lengths[place][1] for place in modality[start : start + 8]}) == 1
    by_length = training.padded.by_length(lengths, 8, rng)
    assert sorted(by_length) == list(range(80))
    spread = [np.ptp([lengths[place][0] for place in by_length[start : start + 8]]) for start in range(8, 80, 8)]
    assert max(spread) <= 8


def test_shared_pictures_count_once_where_samples_are_computed_together(training: Any, corpus: Any) -> None:
    _, processor = training.models.planned(corpus.model(training.models.find_size("small")))
    samples = [training.corpora.sample_of(record) for record in corpus.records()]
    groups: dict[Any, list[Any]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(sample.images or number, []).append(sample)
    apart = training.measure.amounts_of([[sample] for sample in samples], processor)
    together = training.measure.amounts_of(groups.values(), processor)
    assert (apart.samples, apart.answers) == (together.samples, together.answers) == (64, apart.answers)
    assert apart.tokens == sum(length for length, _ in corpus.lengths())
    saved = sum(len(group) - 1 for group in groups.values())
    assert saved > 0
    assert together.tiles == apart.tiles - saved
    assert apart.tokens - 64 * saved >= together.tokens > apart.tokens - 80 * saved


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["--data", "mix-shared"], ["--data", "scenes"], ["--size", "7b", "--dry-run"]],
    ids=lambda options: options[1],
)
def test_all_contenders_train_a_step(options: list[str]) -> None:
    command = [sys.executable, str(BENCHMARKS / "training"), *options]
    command += ["--samples", "2", "--batch", "2", "--rounds", "1", "--workers", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip() for line in result.stdout.splitlines() if "│" in line
    }
    assert len(rows) == 5
    for name, tokens in rows.items():
        if name.startswith("TRL") and not find_spec("trl"):
            assert tokens == "needs trl"
        else:
            assert int(tokens.replace(",", "")) > 0
