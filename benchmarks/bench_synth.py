"""Pictures drawn and labelled in a second, for each suite and for the quickstart's mix.

    python benchmarks/bench_synth.py [--size 128] [--seconds 3] [--workers 2]

Prints pictures/s and questions/s in this process, and pictures/s with ``--workers`` processes, their hand-over
to this one included. Every picture is drawn once; the processes are started before the clock.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

from rich.console import Console
from rich.table import Table

from tuwen.data.synth import SUITES, SynthConfig, Synthesiser, draw_many

MIX = {"shapes": 0.7, "faces": 0.15, "words": 0.15}
FIRST = 256


def alone(config: SynthConfig, seconds: float) -> tuple[float, float]:
    """Pictures/s and questions/s in this process."""
    synthesiser = Synthesiser(config)
    for index in range(20):
        synthesiser.draw(1, index)
    pictures = questions = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        questions += len(synthesiser.draw(0, pictures).samples)
        pictures += 1
    return pictures / passed, questions / passed


def together(config: SynthConfig, seconds: float, workers: int) -> float:
    """Pictures/s that arrive from several processes."""
    drawn = draw_many(config, 0, range(10_000_000), workers)
    # What was drawn while the others were still starting is not counted, nor what waits in the queue then.
    for _ in islice(drawn, FIRST * workers * 4):
        pass
    pictures = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        pictures += sum(1 for _ in islice(drawn, FIRST))
    drawn.close()
    return pictures / passed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="sides of the pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    table = Table(title=f"synthesis at {arguments.size} px")
    for heading in ("suite", "pictures/s, 1 process", "questions/s", f"pictures/s, {arguments.workers} processes"):
        table.add_column(heading, justify="left" if heading == "suite" else "right")
    rows = [*((name, {name: 1.0}) for name in SUITES.names()), ("mix of the quickstart", MIX)]
    for name, suites in rows:
        config = SynthConfig(suites=suites, size=arguments.size)
        pictures, questions = alone(config, arguments.seconds)
        many = together(config, arguments.seconds, arguments.workers)
        table.add_row(name, f"{pictures:,.0f}", f"{questions:,.0f}", f"{many:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
