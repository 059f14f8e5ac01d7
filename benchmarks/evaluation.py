"""Answering in batches against one by one, on the same model and items, and the speed of scorers and intervals.

    python benchmarks/evaluation.py MODEL [--items 64] [--batch-size 16] [--scored 100000]

MODEL is a model's folder, e.g. the quickstart's. Rounds are taken in turns; answers must be equal.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.evaluate.answerers import Given, LocalAnswerer
from tuwen.evaluate.benchmark import BENCHMARKS, Item, Prediction
from tuwen.evaluate.intervals import DRAWS, intervals
from tuwen.evaluate.mme_folder import write_mme
from tuwen.infer import load

ROUNDS = 3


def answered(answerer: LocalAnswerer, items: Sequence[Item]) -> tuple[float, dict[str, str]]:
    """Items a second, and the answers."""
    answers: dict[str, str] = {}

    def take(found: list[tuple[Item, Given, float]]) -> None:
        answers.update({item.id: given[0] for item, given, _ in found})

    started = time.perf_counter()
    answerer.answer(items, take)
    return len(items) / (time.perf_counter() - started), answers


def scored(folder: Path, count: int) -> tuple[float, float]:
    """Seconds that MME's official scorer takes for ``count`` answers, and seconds that the intervals of all its figures
    take after it; the data is written without pictures."""
    lists = folder / "Your_Results"
    lists.mkdir(parents=True)
    lines = [
        f"{number:06d}.jpg\tIs it {half}?\t{('Yes', 'No')[half]}\n" for number in range(count // 2) for half in (0, 1)
    ]
    (lists / "existence.txt").write_text("".join(lines), encoding="utf-8")
    benchmark = BENCHMARKS.get("mme")(folder)
    rng = random.Random(0)
    predictions = [Prediction(item.id, rng.choice(("Yes", "no.", "maybe"))) for item in benchmark.items()]
    started = time.perf_counter()
    score = benchmark.score(predictions)
    done = time.perf_counter()
    intervals(benchmark.items(), score)
    return done - started, time.perf_counter() - done


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--scored", type=int, default=100_000)
    options = parser.parse_args()
    vlm = load(options.model, dtype="float32")
    with tempfile.TemporaryDirectory() as place:
        synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1}, size=128, languages=["en"]))
        drawn = (sample for number in range(options.items) for sample in synthesiser.draw(0, number).samples)
        write_mme(drawn, Path(place) / "mme")
        items = list(BENCHMARKS.get("mme")(Path(place) / "mme").items())[: options.items]
        rates: dict[int, list[float]] = {1: [], options.batch_size: []}
        answers = []
        for _ in range(ROUNDS):
            for size, found in rates.items():
                rate, given = answered(LocalAnswerer("benchmark", vlm, size), items)
                found.append(rate)
                answers.append(given)
        assert all(given == answers[0] for given in answers), "batches must not change an answer"
        alone, batched = (statistics.median(found) for found in rates.values())
        print(
            f"one by one {alone:.1f} items/s, in batches of {options.batch_size} {batched:.1f}: "
            f"{batched / alone:.1f} times"
        )
        for count in (options.scored // 10, options.scored):
            scoring, drawing = scored(Path(place) / str(count), count)
            print(f"MME's scorer: {count:,} answers in {scoring:.2f} s, {DRAWS:,} draws for intervals {drawing:.2f} s")


if __name__ == "__main__":
    main()
