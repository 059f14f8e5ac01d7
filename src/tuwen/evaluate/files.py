"""Files of benchmarks and predictions: read whole, checked, and refused by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import Prediction

TEXT_KEYS = ("answer", "text", "prediction", "output", "response")


def require(path: Path, what: str) -> Path:
    """``path``, which must be there.

    Raises:
        TuwenError: saying what it should be.
    """
    if not path.exists():
        raise TuwenError(f"{path}: not found; expected {what}")
    return path


def read_text(path: Path, what: str) -> str:
    """A file's text.

    Raises:
        TuwenError: when it is missing or not UTF-8.
    """
    try:
        return require(path, what).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror}); expected {what}") from None
    except UnicodeDecodeError as error:
        raise TuwenError(f"{path}: not UTF-8 at byte {error.start}; expected {what}") from None


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds.

    Raises:
        TuwenError: when it is missing or not JSON.
    """
    text = read_text(path, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TuwenError(f"{path}: not valid JSON: {error}; expected {what}") from None


def read_json_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file, empty lines left out.

    Raises:
        TuwenError: naming the line that is not an object.
    """
    records = []
    # Only a line feed ends a line: an answer may hold any other sign that Python would take for one.
    for number, line in enumerate(read_text(path, what).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TuwenError(f"{path}: line {number}: not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise TuwenError(f"{path}: line {number}: expected keys and values, found {type(record).__name__}")
        records.append(record)
    return records


def read_records(path: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a JSON list or of a JSONL file, whichever it is.

    Raises:
        TuwenError: naming the place that is wrong.
    """
    if path.suffix == ".jsonl" or not read_text(path, what).lstrip().startswith("["):
        return read_json_lines(path, what)
    records = read_json(path, what)
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise TuwenError(f"{path}: record {number}: expected keys and values, found {type(record).__name__}")
    return list(records)


def own_predictions(path: Path) -> list[Prediction] | None:
    """Predictions in Tuwen's own form, JSONL of ``{"id", "answer"}``; None where the file is in another."""
    if path.suffix != ".jsonl":
        return None
    records = read_json_lines(path, "predictions")
    if not records or not all("id" in record and "answer" in record for record in records):
        return None
    return [Prediction(str(record["id"]), record["answer"]) for record in records]


def only(files: Sequence[Path]) -> Path:
    """The one file that was given.

    Raises:
        TuwenError: when there are more.
    """
    if len(files) != 1:
        raise TuwenError(f"{', '.join(map(str, files))}: this benchmark has one file of predictions; give one")
    return require(files[0], "predictions")


def value(record: dict[str, Any], *keys: str, where: str) -> Any:
    """The value under the first of several keys that a record has.

    Raises:
        TuwenError: when it has none of them.
    """
    for key in keys:
        if key in record:
            return record[key]
    raise TuwenError(f"{where}: {' or '.join(keys)}: this key is required and missing")
