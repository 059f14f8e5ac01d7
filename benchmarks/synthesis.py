"""Pictures drawn and labelled in a second, for each suite and for the quickstart's mix.

    python benchmarks/synthesis.py [--size 128] [--seconds 3]

One process draws; training draws in as many as it has workers. Every picture is drawn once.
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.table import Table

from tuwen.data.synth import SUITES, SynthConfig, Synthesiser

MIX = {"shapes": 0.7, "faces": 0.15, "words": 0.15}


def speed(config: SynthConfig, seconds: float) -> tuple[float, float]:
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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="sides of the pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    arguments = parser.parse_args()
    table = Table(title=f"synthesis at {arguments.size} px")
    for heading in ("suite", "pictures/s", "questions/s"):
        table.add_column(heading, justify="left" if heading == "suite" else "right")
    rows = [*((name, {name: 1.0}) for name in SUITES.names()), ("mix of the quickstart", MIX)]
    for name, suites in rows:
        config = SynthConfig(suites=suites, size=arguments.size)
        pictures, questions = speed(config, arguments.seconds)
        table.add_row(name, f"{pictures:,.0f}", f"{questions:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
