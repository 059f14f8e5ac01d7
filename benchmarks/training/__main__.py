"""Training side by side: `transformers` LLaVA with ``Trainer``, TRL's ``SFTTrainer``, and Tuwen.

    python benchmarks/training [--data mix-shared|mix|scenes] [--precision fp32|bf16] [--samples 512] [--rounds 3]
    python benchmarks/training --size 7b [--dry-run]

All train the same samples, written once to disk in LLaVA's JSON, with the same sizes, the same things trained, AdamW,
the same precision and about as many samples a step, in turn, each in a process of its own, over an epoch behind two
steps that do not count; pictures are decoded as they are needed. Answer tokens are those that the loss is taken over.

Data: ``mix-shared`` has the lengths of LLaVA-1.5's 665k samples (``packing.llava_mix``), shortened with the picture's
tokens, and as there COCO's pictures have several samples; in ``mix`` every sample has a picture of its own. ``scenes``
are drawn pictures with many questions, each a sample. Size ``7b`` is Chinese-CLIP-L/336 and Qwen2-7B with fresh
weights, trained as the recipe llava-chinese-clip/finetune says, and needs a GPU; ``--dry-run`` tries its settings on
tiny parts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console
from rich.table import Table

from training.corpora import KINDS, Corpus
from training.measure import Outcome
from training.models import find_size
from training.task import Task
from tuwen.train.planning.devices import peak_flops

OURS = "tuwen"
ROWS = {
    "trainer": "LLaVA + Trainer, padded",
    "modality": "… grouped by modality, as LLaVA's",
    "length": "… grouped by length",
    "trl": "TRL SFTTrainer",
    OURS: "Tuwen, packed",
}
NEEDS = {"trl": "trl"}


def contender(name: str) -> Callable[[Task], Outcome]:
    """What trains under a name; imported here, so that no process holds another's libraries."""
    if name == OURS:
        from training import packed

        return packed.train
    if name == "trl":
        from training import trl_sft

        return trl_sft.train
    from training import padded

    return partial(padded.train, order={"trainer": "random"}.get(name, name))


def run_here(options: argparse.Namespace) -> None:
    """Train as one contender, and leave what came of it in the corpus' folder."""
    size = find_size(options.size, dry_run=options.dry_run)
    with tempfile.TemporaryDirectory() as place:
        task = Task(
            corpus=Corpus(options.corpus),
            size=size,
            place=Path(place),
            samples=options.samples,
            batch=options.batch,
            precision=options.precision,
            workers=options.workers,
            seed=options.seed,
        )
        contender(options.run)(task).write(options.corpus / f"{options.run}.json")


def run_apart(name: str, options: argparse.Namespace, corpus: Corpus, seed: int) -> Outcome:
    """Train as one contender in a process of its own."""
    arguments = {
        "run": name,
        "corpus": corpus.place,
        "seed": seed,
        **{key: getattr(options, key) for key in ("size", "samples", "batch", "precision", "workers")},
    }
    command = [sys.executable, str(Path(__file__).parent), *(f"--{key}={value}" for key, value in arguments.items())]
    command += ["--dry-run"] * options.dry_run
    environment = {**os.environ, "TUWEN_CACHE": str(corpus.place / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(f"{name} failed:\n{made.stdout}\n{made.stderr}")
    return Outcome.read(corpus.place / f"{name}.json")


def check_alike(outcomes: dict[str, Outcome]) -> None:
    """All that compute each sample by itself have trained the same tokens, and ours as many for a sample."""
    padded = {outcome.amounts.answers for name, outcome in outcomes.items() if name != OURS}
    assert len(padded) <= 1, f"contenders disagree on what an answer is: {padded}"


def table(rounds: list[dict[str, Outcome]], title: str) -> Table:
    """Medians of all rounds; how many times as fast Tuwen is as others is compared within each round."""
    result = Table(title=title)
    for heading in ("", "answer tokens/s", "samples/s", "peak MiB", "in training"):
        result.add_column(heading, justify="right" if heading else "left")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    most = peak_flops(device, torch.bfloat16)
    for heading in ("Tuwen is faster by", "by processor time", *(["FLOP utilisation"] if most else [])):
        result.add_column(heading, justify="right")
    for name, label in ROWS.items():
        mine = [one[name] for one in rounds if name in one]
        if not mine:
            result.add_row(label, f"needs {NEEDS[name]}" if name in NEEDS else "left out")
            continue
        result.add_row(
            label,
            f"{median(one.amounts.answers / one.seconds for one in mine):,.0f}",
            f"{median(one.amounts.samples / one.seconds for one in mine):,.1f}",
            f"{median(one.peak for one in mine) / 2**20:,.0f}",
            f"{median(one.peak - one.before for one in mine) / 2**20:,.0f}",
            *(_ratios(rounds, name, unit) for unit in ("seconds", "processor")),
            *([f"{median(one.flops / one.seconds for one in mine) / most:.1%}"] if most else []),
        )
    return result


def _ratios(rounds: list[dict[str, Outcome]], name: str, unit: str) -> str:
    """Answer tokens in a unit of time, Tuwen's over another's: the median and the range of all rounds."""
    if name == OURS or OURS not in rounds[0]:
        return ""
    pairs = [(one[OURS], one[name]) for one in rounds]
    rates = [[one.amounts.answers / getattr(one, unit) for one in pair] for pair in pairs]
    ratios = [ours / theirs for ours, theirs in rates]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(KINDS), default="mix-shared")
    parser.add_argument("--size", choices=("small", "7b"), default="small")
    parser.add_argument("--dry-run", action="store_true", help="tiny parts in place of 7b's")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--samples", type=int, default=512, help="in an epoch; a multiple of --batch")
    parser.add_argument("--batch", type=int, default=16, help="samples of a step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes that read")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    # Of the processes that this one starts.
    parser.add_argument("--run", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.samples % options.batch:
        parser.error(f"--samples {options.samples} is no multiple of --batch {options.batch}")
    if options.run:
        run_here(options)
        return
    wanted = [name for name in options.only if name not in NEEDS or find_spec(NEEDS[name])]
    console = Console(width=None if sys.stdout.isatty() else 150)
    with tempfile.TemporaryDirectory() as place:
        size = find_size(options.size, dry_run=options.dry_run)
        corpus = Corpus.write(Path(place) / "corpus", options.data, size, options.samples)
        rounds = []
        for number in range(options.rounds):
            rounds.append({name: run_apart(name, options, corpus, number) for name in wanted})
            check_alike(rounds[-1])
            console.print(f"round {number + 1} of {options.rounds}, load {os.getloadavg()[0]:.1f}", highlight=False)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    console.print(
        table(rounds, f"{options.data}, {options.size}, {options.precision}, {device}, {options.samples} samples")
    )


if __name__ == "__main__":
    main()
