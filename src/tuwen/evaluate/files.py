"""Files of benchmarks and predictions: read whole, checked, and refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.benchmark import MOST_NAMED, Prediction

# Predictions in Tuwen's own form, in a folder of them.
OWN_FILE = "predictions.jsonl"
Of = TypeVar("Of")


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


def by_id(found: Iterable[tuple[str, str, Of]], what: str) -> dict[str, Of]:
    """What data holds, by id.

    Args:
        found: where each stands, its id, and it itself.
        what: it is called, in messages.

    Raises:
        TuwenError: naming and counting ids that are there twice.
    """
    kept: dict[str, Of] = {}
    again: dict[str, str] = {}
    for where, name, one in found:
        if name in kept:
            again.setdefault(name, where)
        kept.setdefault(name, one)
    if again:
        name, where = next(iter(again.items()))
        raise TuwenError(f"{where}: {what} {name} is there twice{and_others([*again])}")
    return kept


def and_others(names: Sequence[str]) -> str:
    """Names besides the first one, which has been said, for the end of a message; nothing where there are none."""
    shown = ", ".join(names[1 : 1 + MOST_NAMED]) + (", …" if len(names) > 1 + MOST_NAMED else "")
    return f", and {len(names) - 1} others ({shown})" if len(names) > 1 else ""


def prediction_paths(files: Sequence[Path], rows: Sequence[Sequence[str]]) -> list[Path]:
    """The files to read: those that were given, and in place of a folder those of it that are known by name.

    Args:
        files: files or folders.
        rows: names; of each row the first that is there is read.

    Raises:
        TuwenError: for a file that is not there, and a folder without any of the names.
    """
    paths = []
    for path in files:
        if not path.is_dir():
            paths.append(require(path, "predictions"))
            continue
        found = [next((path / name for name in row if (path / name).is_file()), None) for row in rows]
        here = list(dict.fromkeys(one for one in found if one is not None))
        if not here:
            names = ", ".join(dict.fromkeys(name for row in rows for name in row))
            raise TuwenError(f"{path}: no predictions; expected {names}")
        paths += here
    return paths


def numbered(path: Path, what: str = "predictions") -> list[tuple[str, dict[str, Any]]]:
    """A file's records, each with the words that say where it is."""
    return [(f"{path}: record {number}", record) for number, record in enumerate(read_records(path, what), start=1)]


def listed(data: Any, key: str, path: Path) -> list[dict[str, Any]]:
    """The records under a key of a JSON file.

    Raises:
        TuwenError: when there is no such list, or it holds something else.
    """
    records = data.get(key) if isinstance(data, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise TuwenError(f"{path}: {key}: expected a list of records under this key")
    return records


def text(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text of a record.

    Raises:
        TuwenError: when it is missing or something else.
    """
    found = record.get(key)
    if not isinstance(found, str):
        raise TuwenError(f"{where}: {key}: expected text, found {type(found).__name__}")
    return found


def texts(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """References of a record: texts, or records of a text under ``answer``.

    Raises:
        TuwenError: when there is none, or one is something else.
    """
    found = record.get(key)
    if not isinstance(found, list) or not found:
        raise TuwenError(f"{where}: {key}: expected a list of answers, found {type(found).__name__}")
    answers = []
    for one in found:
        answer = one.get("answer") if isinstance(one, dict) else one
        if not isinstance(answer, str):
            raise TuwenError(f"{where}: {key}: expected texts, found {type(answer).__name__}")
        answers.append(answer)
    return tuple(answers)


def official_id(name: str) -> int | str:
    """An id as official files hold it: a whole number where it is one."""
    return int(name) if name.isascii() and name.isdigit() else name


def write_records(path: Path, records: Iterable[Mapping[str, Any]], *, lines: bool = False) -> Path:
    """Write records as a JSON list, or one a line.

    In ASCII: some official programs open files in whatever encoding the machine has.
    """
    rows = (json.dumps(record) for record in records)
    content = "".join(row + "\n" for row in rows) if lines else "[\n" + ",\n".join(rows) + "\n]\n"
    with written_whole(path) as partial:
        partial.write_text(content, encoding="ascii")
    return path
