"""Every sample of a data set that is broken, double, oversized or cannot be learnt from, by name and with the reason.

Samples are read once, in order, and looked at in several processes. Of each, hashes and its place stay in memory (67
bytes; twice that at the end), so that copies and contradictions are found among millions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from functools import cache
from pathlib import PurePath

import numpy as np

from tuwen.config import TuwenError
from tuwen.data.checks import reading, repeats
from tuwen.data.checks.base import CHECKS, Check, CheckOptions, Finding, Reason, Severity, Subject, quoted
from tuwen.data.checks.pictures import PictureLooker
from tuwen.data.checks.reading import why_refused
from tuwen.data.checks.repairs import REPAIRS, repair
from tuwen.data.dataset import Dataset, Place
from tuwen.data.sample import Sample
from tuwen.data.walk import Chunk, walk

# Where a sample lies: as ``Place``, and the number of its record in the file.
PLACES = np.dtype([("file", "u4"), ("record", "u4"), ("offset", "u8"), ("length", "u8"), ("number", "u2")])


class Verdict(IntFlag):
    """What becomes of a sample."""

    GOOD = 0
    BAD = 1
    REPAIRABLE = 2
    WARNED = 4
    NEW_ID = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFinding:
    """Something that is wrong, and with what.

    Attributes:
        where: file and record.
        id: of the sample; empty where it is not known.
        reason: its name.
        severity: of the reason.
        detail: what was found.
    """

    where: str
    id: str
    reason: str
    severity: Severity
    detail: str


@cache
def all_reasons() -> dict[str, Reason]:
    """Every reason by its name, in the order in which they are shown."""
    checks = [CHECKS.get(name).reasons for name in CHECKS.names()]
    return {reason.name: reason for group in (reading.REASONS, *checks, repeats.REASONS) for reason in group}


@dataclass(slots=True)
class ChunkReport:
    """What was found in a chunk.

    Attributes:
        findings: number of the entry in the chunk, id of its sample, and what is wrong with it.
        places: of all entries, ``PLACES``.
        hashes: see ``repeats``, uint64 [entries, columns].
        verdicts: uint8 [entries].
    """

    findings: list[tuple[int, str, Finding]]
    places: np.ndarray
    hashes: np.ndarray
    verdicts: np.ndarray


class Checker:
    """Looks at chunks of a data set.

    Args:
        dataset: that they are of.
        options: what is looked at.
    """

    def __init__(self, dataset: Dataset, options: CheckOptions) -> None:
        self.dataset = dataset
        self._checks: list[Check] = [CHECKS.get(name)(options) for name in CHECKS.names()]
        self._look = PictureLooker(options.decode)
        self._errors = {name for name, reason in all_reasons().items() if reason.severity == "error"}

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """What is wrong with the samples of a chunk."""
        findings: list[tuple[int, str, Finding]] = []
        places: list[tuple[int, ...]] = []
        hashes, verdicts = [], []
        file = PurePath(self.dataset.files[chunk.file]).name
        for number, record, entry in chunk.entries(self.dataset):
            place, sample = entry.place, entry.found
            if isinstance(sample, TuwenError):
                findings.append((len(places), _id(record), why_refused(sample, record, self.dataset.format)))
                hashes.append([0] * repeats.COLUMNS)
                verdicts.append(Verdict.BAD)
            else:
                subject = Subject.of(sample, self._look)
                found = self._findings(subject)
                # Names that the data does not give are made of the place, so that no two are alike.
                own = not sample.id.startswith(f"{file}@{place.offset}")
                findings += [(len(places), sample.id if own else "", finding) for finding in found]
                hashes.append(repeats.hashes(subject, own))
                verdicts.append(self._verdict(sample, found))
            places.append((place.file, number, place.offset, place.length, place.number))
        return ChunkReport(
            findings,
            np.array(places, dtype=PLACES),
            np.array(hashes, dtype=np.uint64).reshape(-1, repeats.COLUMNS),
            np.array(verdicts, dtype=np.uint8),
        )

    def _findings(self, subject: Subject) -> list[Finding]:
        return [finding for check in self._checks for finding in check.look(subject)]

    def _verdict(self, sample: Sample, found: Sequence[Finding]) -> Verdict:
        errors = {finding.reason for finding in found} & self._errors
        if not errors:
            return Verdict.WARNED if found else Verdict.GOOD
        if not errors <= REPAIRS.keys():
            return Verdict.BAD
        mended, _ = repair(sample)
        left = self._findings(Subject.of(mended, self._look))
        return Verdict.BAD if self._errors & {finding.reason for finding in left} else Verdict.REPAIRABLE


def _id(record: object) -> str:
    return str(record.get("id") or "")[:200] if isinstance(record, dict) else ""


@dataclass(slots=True)
class Report:
    """What a data set was found to be.

    Attributes:
        dataset: what was looked at.
        counts: findings by reason.
        examples: the first of each reason.
        verdicts: of each entry, a byte.
    """

    dataset: Dataset
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[NamedFinding]] = field(default_factory=dict)
    verdicts: bytearray = field(default_factory=bytearray)

    @property
    def samples(self) -> int:
        """How many entries there are: samples, and records that should have been."""
        return len(self.verdicts)

    def with_verdict(self, verdict: Verdict) -> int:
        """How many entries have it."""
        return sum(count for value, count in Counter(self.verdicts).items() if value & verdict)

    def total(self, severity: Severity) -> int:
        """Findings of this severity."""
        reasons = all_reasons()
        return sum(count for name, count in self.counts.items() if reasons[name].severity == severity)


def check(
    dataset: Dataset,
    options: CheckOptions,
    *,
    workers: int | None = None,
    keep: int = 5,
    sink: Callable[[NamedFinding], None] = lambda finding: None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Look at all samples of a data set.

    Args:
        dataset: what is looked at.
        options: how.
        workers: processes; as many as there are processors unless said.
        keep: findings of each reason that are kept in the report.
        sink: gets every finding.
        progress: is told of the report as it grows.

    Raises:
        TuwenError: when a process dies.
    """
    report, reasons = Report(dataset), all_reasons()
    places: list[np.ndarray] = [np.zeros(0, dtype=PLACES)]
    hashes: list[np.ndarray] = [np.zeros((0, repeats.COLUMNS), dtype=np.uint64)]

    def tell(where: str, name: str, finding: Finding) -> None:
        severity = reasons[finding.reason].severity
        told = NamedFinding(where=where, id=name, reason=finding.reason, severity=severity, detail=finding.detail)
        report.counts[finding.reason] += 1
        if report.counts[finding.reason] <= keep:
            report.examples.setdefault(finding.reason, []).append(told)
        sink(told)

    for chunk, part in walk(dataset, Checker(dataset, options), workers=workers):
        file = dataset.files[chunk.file]
        for entry, name, finding in part.findings:
            tell(f"{file}: record {part.places[entry]['record']}", name, finding)
        if chunk.broken:
            tell(file, "", Finding("broken_file", chunk.broken))
        report.verdicts += part.verdicts.tobytes()
        places.append(part.places)
        hashes.append(part.hashes)
        progress(report)
    for entry, where, name, finding in _repeats(dataset, np.concatenate(places), np.concatenate(hashes)):
        verdict = Verdict.BAD if reasons[finding.reason].severity == "error" else Verdict.WARNED
        report.verdicts[entry] |= Verdict.NEW_ID if finding.reason == "duplicate_id" else verdict
        tell(where, name, finding)
    return report


def _repeats(dataset: Dataset, places: np.ndarray, hashes: np.ndarray) -> Iterator[tuple[int, str, str, Finding]]:
    """Entry, where it is, its id, and what is wrong with it among the others."""
    for repeat in repeats.find_repeats(hashes):
        here = places[repeat.entry]
        where = f"{dataset.files[here['file']]}: record {here['record']}"
        sample = dataset.sample(Place(*(int(here[key]) for key in ("file", "offset", "length", "number"))))
        name = sample.id if hashes[repeat.entry, repeats.ID] else ""
        detail = f"pair {quoted(sample.pair or '')}"
        if repeat.other >= 0:
            other = places[repeat.other]
            elsewhere = f"{dataset.files[other['file']]}: " if other["file"] != here["file"] else ""
            detail = f"as {elsewhere}record {other['record']}"
        yield repeat.entry, where, name, Finding(repeat.reason, detail)
