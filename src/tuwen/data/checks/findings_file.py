"""All findings in a JSON file, written as they come."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tuwen.config import TuwenError
from tuwen.data.check import NamedFinding, Report, Verdict, all_reasons
from tuwen.data.checks.fix import Fixed


class FindingsFile:
    """``{"findings": […], "samples": …, "reasons": {…}}``. Use as ``with FindingsFile(path) as file``.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        self._file: IO[str] | None = None

    def __enter__(self) -> FindingsFile:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise TuwenError(f"{self.path}: cannot be written ({error.strerror})") from None
        self._write('{"findings": [')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if kind is not None:
            # Half a file would look like all there is.
            self.path.unlink(missing_ok=True)

    def add(self, finding: NamedFinding) -> None:
        """Write a finding."""
        # What is quoted may hold half a surrogate pair, which only ASCII can say.
        self._write(("," if self._count else "") + "\n  " + json.dumps(asdict(finding)))
        self._count += 1

    def finish(self, report: Report, fixed: Fixed | None) -> None:
        """Write the totals."""
        self._write("\n],\n" + json.dumps(totals(report, fixed), ensure_ascii=False, indent=2)[2:] + "\n")

    def _write(self, text: str) -> None:
        assert self._file is not None, "use it in a with statement"
        self._file.write(text)


def totals(report: Report, fixed: Fixed | None = None) -> dict[str, Any]:
    """Counts of a report, for JSON."""
    values: dict[str, Any] = {
        "files": report.dataset.files,
        "format": report.dataset.format.name,
        "samples": report.samples,
        "bad": report.with_verdict(Verdict.BAD | Verdict.REPAIRABLE),
        "errors": report.total("error"),
        "warnings": report.total("warning"),
        "reasons": {name: report.counts[name] for name in all_reasons() if report.counts[name]},
    }
    if fixed is not None:
        values["fixed"] = {"kept": fixed.kept, "left_out": fixed.left_out, "changes": dict(fixed.changes)}
    return values
