"""Tables of questions with lettered options, as MMBench and its relatives are published: TSV, pictures in it as base64.

In later releases the rows that ask a question again, with its options rotated, hold the number of its first row in
place of the picture.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS
from tuwen.data.sample import Picture, Stored
from tuwen.evaluate.files import and_others, by_id, require
from tuwen.evaluate.scoring.circular import STEP
from tuwen.evaluate.scoring.table_cells import MISSING, as_pandas_reads

NEEDED = ("index", "question", "A", "B", "image")
# A shorter cell is the number of the row that has the picture.
LONGEST_REFERENCE = 64
_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
_PADDING = ("", "=", "==")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A question with its options in one order.

    Attributes:
        index: see ``scoring.circular``.
        question: its text.
        hint: None where there is none.
        cells: texts of the options by letter, as they stand in the table.
        options: the same as pandas reads them, so without those that say None.
        answer: the right letter; None where it is not published.
        split: "none" where the table has no splits.
        category: None where the table has none.
        ability: MMBench's second level of categories; None where the table has none.
        picture: decoded when it is opened.
    """

    index: int
    question: str
    hint: str | None
    cells: Mapping[str, str]
    options: Mapping[str, str]
    answer: str | None
    split: str
    category: str | None
    ability: str | None
    picture: Picture

    @property
    def first(self) -> int:
        """The index of the question's first row."""
        return self.index % STEP

    @property
    def listed(self) -> list[tuple[str, str]]:
        """Options as LLaVA lists them: up to the first letter without a text."""
        found = []
        for letter in string.ascii_uppercase:
            if none(self.cells.get(letter)):
                break
            found.append((letter, self.cells[letter]))
        return found


def none(cell: str | None) -> bool:
    """Whether LLaVA's program takes a cell for empty."""
    return cell is None or cell in MISSING or cell.lower() in ("nan", "none")


class ChoiceFile:
    """A table of questions.

    Args:
        data: the table, or the folder with it alone.
    """

    def __init__(self, data: Path) -> None:
        self._data = data

    @cached_property
    def path(self) -> Path:
        """The table itself.

        Raises:
            TuwenError: when there is none, or several.
        """
        if not require(self._data, "a folder with the table of questions (.tsv)").is_dir():
            return self._data
        tables = sorted(self._data.glob("*.tsv"))
        if len(tables) != 1:
            found = ", ".join(table.name for table in tables) or "no table"
            raise TuwenError(f"{self._data}: {found}; expected one .tsv here, or the table itself as data")
        return tables[0]

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Rows by their index as text, in the table's order.

        Raises:
            TuwenError: naming the column or row that is missing or wrong.
        """
        records = read_cells(self.path)
        missing = [column for column in NEEDED if not any(column in record for record in records)]
        if missing:
            raise TuwenError(
                f"{self.path}: column {missing[0]}: this column is required and missing{and_others(missing)}"
            )
        letters = [letter for letter in string.ascii_uppercase if any(letter in record for record in records)]
        read = {letter: as_pandas_reads([record.get(letter) for record in records]) for letter in letters}
        places = ((f"{self.path}: row {number}", record) for number, record in enumerate(records, start=1))
        kept = by_id(((where, _index(record, where), (where, record)) for where, record in places), "index")
        cells = {index: record.pop("image", "") for index, (_, record) in kept.items()}
        rows = {}
        for number, (index, (where, record)) in enumerate(kept.items()):
            options = {letter: text for letter in letters if (text := read[letter][number]) is not None}
            rows[index] = _row(int(index), record, letters, options, where)
        return _with_pictures(rows, cells, self.path)


def read_cells(path: Path) -> list[dict[str, str]]:
    """The cells of each row of a table by their column, empty ones left out.

    Raises:
        TuwenError: naming the row that has other columns than the header, or is not UTF-8.
    """
    require(path, "a table (.tsv)")
    if path.suffix.lower() != ".tsv":
        raise TuwenError(f"{path}: expected a table with tabs between its columns (.tsv); save it as one")
    records = []
    for _, _, record in CONTAINERS.get("table")().scan(str(path)):
        if isinstance(record, TuwenError):
            raise record
        records.append(record)
    return records


def _index(record: Mapping[str, str], where: str) -> str:
    cell = record.get("index", "")
    if not (cell.isascii() and cell.isdigit() and len(cell) < 12):
        raise TuwenError(f"{where}: index: expected a whole number, found {cell!r:.40}")
    return str(int(cell))


def _row(index: int, record: Mapping[str, str], letters: Sequence[str], options: Mapping[str, str], where: str) -> Row:
    answer = record.get("answer")
    cells = {letter: record[letter] for letter in letters if letter in record}
    if answer is not None and answer not in cells:
        raise TuwenError(f"{where}: answer: expected a letter that has an option, found {answer!r:.40}")
    if "question" not in record or not cells:
        raise TuwenError(f"{where}: no question or no options; expected texts under question, A, B, …")
    hint = record.get("hint")
    return Row(
        index=index,
        question=record["question"],
        hint=None if none(hint) else hint,
        cells=cells,
        options=options,
        answer=answer,
        split=record.get("split", "none"),
        category=record.get("category"),
        ability=record.get("l2-category"),
        picture=b"",
    )


def _with_pictures(rows: Mapping[str, Row], cells: Mapping[str, str], path: Path) -> dict[str, Row]:
    pictures = {index: Stored(f"data:;base64,{cell}") for index, cell in cells.items() if len(cell) > LONGEST_REFERENCE}
    broken = [index for index in pictures if not _is_base64(cells[index])]
    if broken:
        raise TuwenError(f"{path}: index {broken[0]}: image: not base64{and_others(broken)}")
    found = {}
    for index, row in rows.items():
        cell = cells[index]
        picture = pictures.get(index) or pictures.get(cell)
        if picture is None:
            said = f"refers to row {cell!r:.20}, which has none" if cell else "this cell is empty"
            raise TuwenError(f"{path}: index {index}: image: {said}; expected a picture as base64")
        found[index] = replace(row, picture=picture)
    return found


def _is_base64(cell: str) -> bool:
    """Whether a cell is base64 by its signs and length; nothing is decoded, for tables have gigabytes of it."""
    left = cell.encode().translate(None, _BASE64).decode()
    return left in _PADDING and cell.endswith(left) and len(cell) % 4 == 0
