"""Pictures drawn and labelled in a second, for each suite and for the quickstart's mix.

    python benchmarks/synthesis.py [--size 128] [--seconds 3] [--suites ocr chart]

One process draws; training draws in as many as it has workers. Every picture is drawn once. Without --size every suite
draws in its own. What cannot be drawn here, for want of a font or of Chromium, is said below the table.
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.table import Table

from tuwen.config import TuwenError
from tuwen.data.synth import SUITES, SynthConfig, Synthesiser

MIX = {"shapes": 0.7, "faces": 0.15, "words": 0.15}


def speed(config: SynthConfig, seconds: float) -> tuple[str, float, float]:
    """Longest side among 20 pictures in pixels, pictures/s and questions/s in this process."""
    synthesiser = Synthesiser(config)
    sizes = [drawn.image.size for drawn in (synthesiser.draw(1, index) for index in range(20)) if drawn.image]
    pictures = questions = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        questions += len(synthesiser.draw(0, pictures).samples)
        pictures += 1
    longest = str(max(max(size) for size in sizes)) if sizes else "—"
    return longest, pictures / passed, questions / passed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, help="longer side of all pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--suites", nargs="+", help="only these")
    arguments = parser.parse_args()
    table, left_out = Table(title="synthesis"), []
    for heading in ("suite", "px", "pictures/s", "questions/s"):
        table.add_column(heading, justify="left" if heading == "suite" else "right")
    rows = [(name, {name: 1.0}) for name in arguments.suites or SUITES.names()]
    if not arguments.suites:
        rows.append(("mix of the quickstart", MIX))
    for name, suites in rows:
        try:
            longest, pictures, questions = speed(SynthConfig(suites=suites, size=arguments.size), arguments.seconds)
        except TuwenError as error:
            left_out.append(f"{name}: {error}")
        else:
            table.add_row(name, longest, f"{pictures:,.0f}", f"{questions:,.0f}")
    console = Console()
    console.print(table)
    for line in left_out:
        console.print(line)


if __name__ == "__main__":
    main()
