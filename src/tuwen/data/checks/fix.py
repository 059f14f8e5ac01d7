"""The good samples of data that was checked, written anew; what can be put right without guessing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.data.check import Report, Verdict
from tuwen.data.checks.repairs import NEW_ID, repair
from tuwen.data.dataset import Dataset, check_out, write_data
from tuwen.data.sample import Sample
from tuwen.data.walk import chunks


@dataclass(slots=True)
class Fixed:
    """What was written.

    Attributes:
        kept: samples, the changed ones included.
        left_out: entries that were not.
        changes: how many samples each change was made to.
    """

    kept: int = 0
    left_out: int = 0
    changes: Counter[str] = field(default_factory=Counter)


def write_good(report: Report, out: Path, *, strict: bool = False, format: str | None = None) -> Fixed:
    """Write the samples without errors, and those whose errors can be put right.

    Args:
        report: on all of the data.
        out: the file to write.
        strict: leave out what there is a warning about, too.
        format: to write; that of the data unless said.

    Raises:
        TuwenError: when ``out`` is part of the data, or cannot keep a sample.
    """
    dataset = report.dataset
    own = dataset.format.name
    check_out(out, format or own, dataset.files)
    fixed = Fixed()
    samples = _good(report, fixed, Verdict.BAD | Verdict.WARNED if strict else Verdict.BAD)
    fixed.kept = write_data(
        samples,
        out,
        format=format or own,
        # Data that holds its pictures stays in one piece.
        pack=out.name.lower().endswith(dataset.container.suffixes) and _holds_pictures(dataset),
        options=dataset.format.options.model_dump() if format in (None, own) else None,
    )
    return fixed


def _good(report: Report, fixed: Fixed, unwanted: Verdict) -> Iterator[Sample]:
    for number, entry in enumerate(_entries(report.dataset)):
        verdict = Verdict(report.verdicts[number])
        if verdict & unwanted or isinstance(entry, TuwenError):
            fixed.left_out += 1
            continue
        done: list[str] = []
        if verdict & Verdict.REPAIRABLE:
            entry, done = repair(entry)
        if verdict & Verdict.NEW_ID:
            entry, done = replace(entry, id=f"{entry.id}#{number}"), [*done, NEW_ID]
        fixed.changes.update(done)
        yield entry


def _entries(dataset: Dataset) -> Iterator[Sample | TuwenError]:
    """All entries, in the order in which they were looked at."""
    for chunk in chunks(dataset):
        for _, _, entry in chunk.entries(dataset):
            yield entry.found


def _holds_pictures(dataset: Dataset) -> bool:
    """Whether the pictures lie in the data, by the first sample that has any."""
    samples = (entry for entry in _entries(dataset) if isinstance(entry, Sample))
    return next((isinstance(sample.images[0], bytes) for sample in samples if sample.images), False)
